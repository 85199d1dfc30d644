/** A WebSocket that reconnects: one line over any number of connections. It does not depend on the page. */
import { backoffSeconds, isFinal } from "../../src/client/coming-back.ts";

/** How a connection ended, and which side ended it. */
export interface Ending {
  /** RFC 6455 section 7.4, and the server's own codes from 4000 up; 1006 if there was no Close frame. */
  readonly code: number;
  readonly reason: string;
  /**
   * `silent`: given up because nothing was received for too long. `cut`: dropped on purpose, as if it had been lost.
   * `unopened`: lost before it was open.
   */
  readonly cause: "remote" | "silent" | "own" | "cut" | "unopened";
}

export type LineState =
  | { readonly name: "connecting" }
  | { readonly name: "open" }
  | { readonly name: "closing" }
  /** Not connected; the next try is at `retryAtMilliseconds` by `performance.now()`. */
  | {
      readonly name: "waiting";
      readonly ending: Ending;
      /** The number of failed tries in a row, this one included; 0 after a cut, which was no try. */
      readonly tries: number;
      readonly retryAtMilliseconds: number;
    }
  /** Not connected and not trying; without an ending it was never connected. */
  | { readonly name: "closed"; readonly ending: Ending | undefined };

export interface Heartbeat {
  /** Sent in place of a ping frame, which a browser cannot send. */
  readonly message: string;
  /** Whether this connection has one. */
  isNeeded?(): boolean;
  /** Called only while an answer is due. If it returns true, the message is not passed to `onMessage`. */
  isAnswer(data: string | ArrayBuffer): boolean;
  onRoundTrip(milliseconds: number): void;
}

export interface LineOptions {
  /**
   * Opens a connection. Called before every try, so that a line can continue where it stopped (`?since=<last id>`).
   * @throws for a URL or a subprotocol that no WebSocket can have
   */
  dial(): WebSocket;
  readonly heartbeat?: Heartbeat;
  onState(state: LineState): void;
  onMessage(data: string | ArrayBuffer): void;
}

/** Below the 30 s after which some proxies and mobile networks drop an idle connection. */
export const heartbeatIntervalSeconds = 25;

/** A network that drops packets can leave a browser trying for minutes. */
const openingSecondsMax = 20;

/** After a connection that lasted this long, the next loss starts from the shortest wait again. */
const settledSeconds = 10;

export class Line implements Disposable {
  readonly #options: LineOptions;
  readonly #disposed = new AbortController();
  #state: LineState = { name: "closed", ending: undefined };
  #socket: WebSocket | undefined;
  /** The number of failed tries in a row. */
  #tries = 0;
  #openedAtMilliseconds: number | undefined;
  #heardAtMilliseconds = 0;
  #beatSentAtMilliseconds: number | undefined;
  /** Either the wait for the next try or the limit of the present one: they never run together. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #beats: ReturnType<typeof setInterval> | undefined;

  constructor(options: LineOptions) {
    this.#options = options;
    // The network has just come back, so a try now is likely to succeed: do not wait.
    const again = (): void => {
      if (this.#state.name === "waiting") this.connect();
    };
    addEventListener("online", again, { signal: this.#disposed.signal });
  }

  [Symbol.dispose](): void {
    this.#disposed.abort();
    this.disconnect();
  }

  get state(): LineState {
    return this.#state;
  }

  /** Connects now, in place of the present connection. @throws for a URL or a subprotocol that no WebSocket can have */
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

  /** @returns whether it could be sent: only an open line takes messages */
  send(data: string | ArrayBuffer | Uint8Array<ArrayBuffer>): boolean {
    if (this.#state.name !== "open" || !this.#socket) return false;
    this.#socket.send(data);
    return true;
  }

  #dial(): void {
    const socket = this.#options.dial();
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#giveUp(), openingSecondsMax * 1000);
    // There is no "error" listener: the event carries no details, and "close" always follows.
    const current = (handle: (event: Event) => void) => (event: Event) => {
      if (socket === this.#socket) handle(event);
    };
    socket.addEventListener(
      "open",
      current(() => this.#opened()),
    );
    socket.addEventListener(
      "message",
      current((event) => {
        if (event instanceof MessageEvent) this.#receive(event.data);
      }),
    );
    socket.addEventListener(
      "close",
      current((event) => {
        if (!(event instanceof CloseEvent)) return;
        const { code, reason } = event;
        this.#ended({ code, reason, cause: this.#state.name === "closing" ? "own" : "remote" });
      }),
    );
    this.#enter({ name: "connecting" });
  }

  #opened(): void {
    if (this.#state.name === "closing") return;
    clearTimeout(this.#timer);
    this.#openedAtMilliseconds = this.#heardAtMilliseconds = performance.now();
    const { heartbeat } = this.#options;
    if (heartbeat && (heartbeat.isNeeded?.() ?? true)) {
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

  /** A browser notices a lost peer only when it sends something, and then only after minutes. */
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
    // The token of the page stays the same until a person enters another one.
    if (ending.cause === "own" || ending.code === 4401 || isFinal(ending.code, ending.reason))
      this.#enter({ name: "closed", ending });
    else this.#wait(ending, backoffSeconds(this.#tries++, ending.code));
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

  /** Does not wait for the closing handshake: with a lost peer it takes a browser long. */
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
