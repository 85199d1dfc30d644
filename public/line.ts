/** A WebSocket that comes back: one line, and whatever connections it takes. It knows nothing of the page. */

/** How a connection ended. `cause` tells an end that we made ourselves from one that came to us. */
export interface Ending {
  /** RFC 6455 section 7.4, and the server's own from 4000 up; 1006 when there was no Close frame. */
  readonly code: number;
  readonly reason: string;
  /** `silent`: nothing was heard for so long that we gave it up. `cut`: dropped on purpose, as if it had been lost. */
  readonly cause: "remote" | "silent" | "own" | "cut";
}

export type LineState =
  | { readonly name: "connecting" }
  | { readonly name: "open" }
  | { readonly name: "closing" }
  /** Not connected; the next try is at `retryAtMilliseconds` by `performance.now()`. */
  | {
      readonly name: "waiting";
      readonly ending: Ending;
      /** How many tries in a row came to nothing, this one included; 0 after a cut, which was no try. */
      readonly tries: number;
      readonly retryAtMilliseconds: number;
    }
  /** Not connected and not trying; without an ending it never was. */
  | { readonly name: "closed"; readonly ending: Ending | undefined };

export interface Heartbeat {
  /** A browser cannot send ping frames, so this text does their work. */
  readonly message: string;
  /** Asked only while an answer is due; what it says yes to is not handed to `onMessage`. */
  isAnswer(data: string | ArrayBuffer): boolean;
  onRoundTrip(milliseconds: number): void;
}

export interface LineOptions {
  /** Asked before every try, so that a line can come back to where it stopped (`?since=<last id>`). */
  url(): string | URL;
  readonly subprotocols?: readonly string[];
  readonly heartbeat?: Heartbeat;
  onState(state: LineState): void;
  onMessage(data: string | ArrayBuffer): void;
}

/** Below the 30 s after which some proxies and mobile networks forget a connection that carries nothing. */
export const heartbeatIntervalSeconds = 25;

/** A network that swallows packets can leave a browser trying for minutes. */
const openingSecondsMax = 20;

/** A connection that lasted this long was a good one, and the next loss starts from the shortest wait again. */
const settledSeconds = 10;

/** Short enough not to be noticed, long enough that a thousand clients of one node do not arrive as one. */
const atOnceSecondsMax = 0.5;

const retrySecondsFirst = 1;
const retrySecondsMax = 30;

/**
 * The wait before a try: doubles from 1 s to 30 s, and half of it is left to chance so that the clients of a server that
 * went away do not all come back in the same moment.
 * @param retry 0 for the first one
 * @param random from 0 to 1
 */
export function retryDelaySeconds(retry: number, random: number): number {
  const longestSeconds = Math.min(retrySecondsMax, retrySecondsFirst * 2 ** retry);
  return longestSeconds * (0.5 + random / 2);
}

/** Whether a client comes back by itself after this code; `never` waits for a person, or for a new token. */
export function comeback(code: number): "at once" | "later" | "never" {
  switch (code) {
    case 1012: // This node is draining, and another one is there.
      return "at once";
    case 1002: // From here to 1010 the same again would end the same way.
    case 1003:
    case 1007:
    case 1008:
    case 1009:
    case 1010:
    case 4401:
    case 4403:
    case 4410:
      return "never";
    default:
      return "later";
  }
}

export class Line {
  readonly #options: LineOptions;
  #state: LineState = { name: "closed", ending: undefined };
  #socket: WebSocket | undefined;
  /** How many tries in a row came to nothing. */
  #tries = 0;
  #openedAtMilliseconds: number | undefined;
  #heardAtMilliseconds = 0;
  #beatSentAtMilliseconds: number | undefined;
  /** Of the two that never run together: the wait for the next try, and the longest wait for an opening. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #beats: ReturnType<typeof setInterval> | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
    // A network that is back is the best moment to try, whatever the wait had been.
    addEventListener("online", () => {
      if (this.#state.name === "waiting") this.connect();
    });
  }

  get state(): LineState {
    return this.#state;
  }

  /** Connects now, in place of what there is. @throws for a URL or a subprotocol that no WebSocket can have */
  connect(): void {
    this.#tries = 0;
    this.#abandon();
    this.#dial();
  }

  /** Closes and stays closed. */
  disconnect(): void {
    if (this.#state.name === "waiting") {
      clearTimeout(this.#timer);
      this.#enter({ name: "closed", ending: this.#state.ending });
    } else if (this.#socket && this.#state.name !== "closing") {
      this.#enter({ name: "closing" });
      this.#socket.close(1000);
    }
  }

  /**
   * Drops an open connection as a lost network would: nothing that is still on its way arrives. (A page cannot keep its
   * browser from sending a Close frame; the server learns of the end a little sooner than from a network.)
   * @param waitSeconds until it comes back by itself
   */
  cut(waitSeconds: number): void {
    if (this.#state.name !== "open") return;
    this.#tries = 0;
    this.#abandon();
    this.#wait({ code: 1006, reason: "", cause: "cut" }, waitSeconds);
  }

  /** @returns whether it could be sent: only an open line takes messages */
  send(data: string | ArrayBuffer | Uint8Array<ArrayBuffer>): boolean {
    if (this.#state.name !== "open" || !this.#socket) return false;
    this.#socket.send(data);
    return true;
  }

  #dial(): void {
    const socket = new WebSocket(this.#options.url(), [...(this.#options.subprotocols ?? [])]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#giveUp(), openingSecondsMax * 1000);
    // There is no "error" listener: the event says nothing, and "close" always follows.
    const current =
      <Received extends Event>(handle: (event: Received) => void) =>
      (event: Received) => {
        if (socket === this.#socket) handle(event);
      };
    socket.addEventListener(
      "open",
      current(() => this.#opened()),
    );
    socket.addEventListener(
      "message",
      current<MessageEvent>(({ data }) => this.#receive(data)),
    );
    socket.addEventListener(
      "close",
      current<CloseEvent>(({ code, reason }) =>
        this.#ended({ code, reason, cause: this.#state.name === "closing" ? "own" : "remote" }),
      ),
    );
    this.#enter({ name: "connecting" });
  }

  #opened(): void {
    if (this.#state.name === "closing") return;
    clearTimeout(this.#timer);
    this.#openedAtMilliseconds = this.#heardAtMilliseconds = performance.now();
    if (this.#options.heartbeat) {
      const { heartbeat } = this.#options;
      this.#beats = setInterval(() => this.#beat(heartbeat), heartbeatIntervalSeconds * 1000);
    }
    this.#enter({ name: "open" });
  }

  #receive(data: string | ArrayBuffer): void {
    const now = performance.now();
    this.#heardAtMilliseconds = now;
    const { heartbeat } = this.#options;
    if (heartbeat && this.#beatSentAtMilliseconds !== undefined && heartbeat.isAnswer(data)) {
      const roundTripMilliseconds = now - this.#beatSentAtMilliseconds;
      this.#beatSentAtMilliseconds = undefined;
      heartbeat.onRoundTrip(roundTripMilliseconds);
    } else {
      this.#options.onMessage(data);
    }
  }

  /** A browser does not notice that a peer is gone while it has nothing to send, and then only after minutes. */
  #beat({ message }: Heartbeat): void {
    const sentAtMilliseconds = this.#beatSentAtMilliseconds;
    if (sentAtMilliseconds === undefined) {
      this.#beatSentAtMilliseconds = performance.now();
      this.send(message);
    } else if (this.#heardAtMilliseconds < sentAtMilliseconds) {
      this.#giveUp();
    }
  }

  #giveUp(): void {
    this.#ended({ code: 1006, reason: "", cause: this.#state.name === "closing" ? "own" : "silent" });
  }

  #ended(ending: Ending): void {
    const openMilliseconds =
      this.#openedAtMilliseconds === undefined ? 0 : performance.now() - this.#openedAtMilliseconds;
    if (openMilliseconds >= settledSeconds * 1000) this.#tries = 0;
    this.#abandon();
    const when = comeback(ending.code);
    if (ending.cause === "own" || when === "never") {
      this.#enter({ name: "closed", ending });
      return;
    }
    const delaySeconds =
      when === "at once" && this.#tries === 0
        ? Math.random() * atOnceSecondsMax
        : retryDelaySeconds(this.#tries, Math.random());
    this.#tries++;
    this.#wait(ending, delaySeconds);
  }

  #wait(ending: Ending, delaySeconds: number): void {
    this.#timer = setTimeout(() => this.#dial(), delaySeconds * 1000);
    this.#enter({
      name: "waiting",
      ending,
      tries: this.#tries,
      retryAtMilliseconds: performance.now() + delaySeconds * 1000,
    });
  }

  /** Not waited for: the closing handshake with a peer that is gone takes a browser long. */
  #abandon(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#beats);
    this.#openedAtMilliseconds = this.#beatSentAtMilliseconds = undefined;
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(1000);
  }

  #enter(state: LineState): void {
    this.#state = state;
    this.#options.onState(state);
  }
}
