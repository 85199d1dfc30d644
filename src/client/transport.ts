/** Carries one connection of `follow` over a WebSocket or an event stream. */
import { type Ending, endingOf } from "./coming-back.ts";

export type Transport = "websocket" | "eventsource";

/** A connection that is to be opened. */
export interface Opening {
  /** An event stream in the place of a WebSocket. */
  readonly isStream: boolean;
  /** With the `since` of this connection, and with `http:` or `https:` also for a WebSocket. */
  readonly url: URL;
  readonly token: string | undefined;
  /** Aborted when the connection is to end. Whatever it reports after that is ignored. */
  readonly signal: AbortSignal;
}

/** To be called once the connection has ended by itself. */
type Lose = (...ending: Ending) => void;

/**
 * @param receive to be called with each event of `cloudevents.json`, and with nothing for another sign of life
 * @param lost to be called once the connection has ended by itself
 * @returns what asks the server for a sign of life, unless the server gives one by itself
 */
export type Open = (
  opening: Opening,
  receive: (event?: FollowedMessage) => void,
  lost: Lose,
) => (() => void) | undefined;

/** A message: a CloudEvent (docs/protocol.md, `cloudevents.json`). */
export interface FollowedMessage {
  readonly id: string;
  readonly topic: string;
  /** `longwire.message`, unless its publisher gave another; `longwire.removed` where a key was removed, without data. */
  readonly type: string;
  /** In a keyed topic: the key whose message this is. */
  readonly partitionkey?: string;
  /** When it was published, in RFC 3339. */
  readonly time: string;
  /** Missing in a removal. */
  readonly datacontenttype?: string;
  /** Any JSON value for a JSON type; a string for other text; missing in a binary message and in a removal. */
  readonly data?: unknown;
  /** The bytes of a binary message. */
  readonly data_base64?: string;
  /** Other attributes that its publisher gave. */
  readonly [attribute: string]: unknown;
}

/** A browser cannot send ping frames. */
const pingEvent = '{"specversion":"1.0","type":"longwire.ping"}';

/** Opens a connection of `WebSocket` or `fetch`. */
export const open: Open = ({ isStream, url, token, signal }, receive, lost) => {
  const read = (text?: string): void => receive(text && JSON.parse(text));
  if (isStream) return overStream(request(url, token, signal, "text/event-stream"), read, lost);
  const protocols = ["cloudevents.json", ...(token ? [`bearer.${token}`] : [])];
  // Some browsers refuse `https:` for a WebSocket.
  return overSocket(new WebSocket(url.href.replace("http", "ws"), protocols), signal, read, lost);
};

export function request(
  url: URL,
  token: string | undefined,
  signal: AbortSignal,
  type: string,
): Promise<Response> {
  return fetch(url, {
    signal,
    headers: { Accept: type, ...(token && { Authorization: `Bearer ${token}` }) },
  });
}

export function overSocket(
  socket: WebSocket,
  signal: AbortSignal,
  receive: (frame: string) => void,
  lost: Lose,
): () => void {
  socket.onmessage = ({ data }) => receive(data);
  // Node 20 reports only this of a handshake that failed, and Bun a code that means something else.
  socket.onerror = () => lost(1006, "");
  socket.onclose = ({ code, reason }) => lost(code, reason);
  signal.onabort = () => socket.close();
  return () => socket.send(pingEvent);
}

/**
 * Over `fetch`, which shows the status of a refusal and sends the token in a header: an `EventSource` does neither.
 * @param receive takes the data of each event, and nothing for a comment
 */
export function overStream(
  asked: Promise<Response>,
  receive: (data?: string) => void,
  lost: Lose,
): undefined {
  const follow = async (): Promise<Ending> => {
    const answer = await asked;
    if (answer.status !== 200) return endingOf(answer);
    await readEvents(answer, (events) => {
      receive();
      // What it throws is reported and ends nothing, as in the handler of a socket.
      for (const data of events) queueMicrotask(() => receive(data));
    });
    return [1006, ""];
  };
  follow()
    .catch((): Ending => [1006, ""]) // The network is gone.
    .then((ending) => lost(...ending));
}

/**
 * Reads a stream of Longwire whose data is one line. An event with a name is left out: none of `?format=cloudevents` has
 * one.
 * @param take called with the data of the events that arrived together; of none for a comment
 * @throws what `fetch` throws if the connection is lost
 */
export async function readEvents({ body }: Response, take: (events: string[]) => void): Promise<void> {
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) return; // An event without its blank line is incomplete.
    const events = (text + value).split("\n\n");
    text = events.pop() ?? "";
    take(events.flatMap((event) => /^(retry.*\n)?data: (.*)/.exec(event)?.[2] ?? []));
  }
}
