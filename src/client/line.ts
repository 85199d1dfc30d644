/** One line over any number of connections: it comes back, and knows nothing of what it carries. */
import { answered, backoffSeconds, type Ending, endingOf, isFinal } from "./coming-back.ts";
import { type FollowedMessage, type Open, type Opening, open, request, type Transport } from "./transport.ts";

export interface LineOptions {
  /** A connection is open: from now on messages arrive as they are published. */
  onOpen?(): void;
  /** A connection was lost, with the close code. The next one is tried after the wait. */
  onLost?(code: number, reason: string, waitSeconds: number): void;
  /**
   * Called once, when nothing is followed any more: with 1000 and "ended" after the end of all topics, with 1000 and
   * "stopped" after `stop`, or with the close code after which coming back does not help.
   */
  onStop?(code: number, reason: string): void;
  /** Called before the first connection, and again when the server does not take the token any more. */
  token?(): string | Promise<string>;
  /**
   * By default a WebSocket, and an event stream where WebSockets do not pass: after two that never opened although the
   * server answers a request, the other one is tried. An `eventsource` carries at most 20 topics.
   */
  readonly transport?: Transport;
  /** Opens each connection in place of `WebSocket` and `fetch`. */
  readonly open?: Open;
}

export interface ReconnectingLine {
  readonly transport: Transport;
  stop(code?: number, reason?: string): void;
}

/** More topics cannot be followed over an event stream. */
const streamTopicsMax = 20;

/**
 * A connection is given up that is not open by its first beat: a network that drops packets, or a proxy that swallows the
 * handshake, could leave a client trying for minutes. An open one is pinged at every second beat, below the 30 s after which
 * some proxies drop an idle connection.
 */
const beatSeconds = 10;

/** A server that answers pings, or sends a comment at least every 25 s on an event stream, is gone after so many. */
const silentBeatsMax = 5;

/** A connection, a request or a wait. */
type Step = (signal: AbortSignal, end: (...ending: Ending | []) => void) => void;

/** @param urlNow the address of the next connection */
export function keepConnected(
  options: LineOptions,
  urlNow: () => URL,
  receive: (event: FollowedMessage) => void,
): ReconnectingLine {
  let isStream = options.transport === "eventsource";
  let token: string | undefined;
  /** Connections since the last one that opened. */
  let tries = 0;
  let isStopped = false;
  let leave: () => void;
  /** @returns what the step ended with; nothing if `stop` ended it */
  const during = (step: Step): Promise<Ending | []> =>
    new Promise((resolve) => {
      const ending = new AbortController();
      const end: Parameters<Step>[1] = (...how) => {
        ending.abort();
        resolve(how);
      };
      leave = end;
      step(ending.signal, end);
    });
  const connect: Step = async (signal, end) => {
    try {
      token ??= await options.token?.();
      if (signal.aborted) return;
      const url = urlNow();
      if (isStream) url.searchParams.set("format", "cloudevents");
      watch(options.open ?? open, { isStream, url, token, signal }, receive, end, () => {
        tries = 0;
      });
    } catch (error) {
      end(1006, String(error)); // The issuer of tokens is away, or no subprotocol can have the token.
    }
  };
  const run = async (): Promise<void> => {
    while (!isStopped) {
      let [code, reason = "", waitSeconds] = await during(connect);
      // Not each time: the server may be full, or away.
      if (code === 1006 && tries % 4 === 1) {
        const found = await during((signal, end) => ask(urlNow(), token, signal, end));
        if (found[0] !== answered) [code, reason = ""] = found;
        // Something in the way may stop what this transport needs.
        else if (!options.transport && urlNow().pathname.split(",").length <= streamTopicsMax)
          isStream = !isStream;
      }
      if (code === undefined || isStopped) continue;
      if (code === 4401 ? !options.token : isFinal(code, reason)) return stop(code, reason);
      if (code === 4401) token = undefined;
      const seconds = waitSeconds ?? backoffSeconds(tries++, code);
      const waiting = during((signal, end) => every(seconds, signal, end));
      options.onLost?.(code, reason, seconds);
      await waiting;
    }
  };
  const stop = (code = 1000, reason = "stopped"): void => {
    if (isStopped) return;
    isStopped = true;
    leave();
    options.onStop?.(code, reason);
  };
  void run();
  return {
    get transport() {
      return isStream ? "eventsource" : "websocket";
    },
    stop,
  };
}

/** Opens a connection, and gives it up when nothing arrives. */
function watch(
  open: Open,
  opening: Opening,
  receive: (event: FollowedMessage) => void,
  lost: (...ending: Ending) => void,
  opened: () => void,
): void {
  const { signal } = opening;
  let isOpen = false;
  let beats = 0;
  let beatsHeard = 0;
  const take = (event?: FollowedMessage): void => {
    if (signal.aborted) return;
    beatsHeard = beats;
    if (event?.type === "longwire.open") {
      isOpen = true;
      opened();
    }
    if (event?.type === "longwire.close") {
      const { code, reason } = event.data as { code: number; reason: string };
      lost(code, reason);
    } else if (event) receive(event);
  };
  const ping = open(opening, take, lost);
  every(beatSeconds, signal, () => {
    if (!isOpen || ++beats - beatsHeard > silentBeatsMax) lost(1006, "silent");
    else if (beats % 2 === 0) ping?.();
  });
}

/** Finds out by a plain request why no connection opens. */
function ask(
  url: URL,
  token: string | undefined,
  signal: AbortSignal,
  end: (...ending: Ending) => void,
): void {
  url.searchParams.set("limit", "1");
  request(url, token, signal, "*/*")
    .then(endingOf, (): Ending => [1006, ""])
    .then((ending) => end(...ending));
}

/** Acts again and again, until the signal. */
function every(seconds: number, signal: AbortSignal, act: () => void): void {
  const timer = setInterval(act, seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
