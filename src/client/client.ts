/**
 * The client: follows topics through every disconnect. It is the one of docs/protocol.md with tokens, ends, event streams
 * and a heartbeat, and needs nothing but `WebSocket` or `EventSource`, and `fetch`. A server has it as /client.js.
 */

/** A message: a CloudEvent (docs/protocol.md, `cloudevents.json`). */
export interface FollowedMessage {
  readonly id: string;
  readonly topic: string;
  /** `longwire.message`, unless its publisher gave another. */
  readonly type: string;
  /** When it was published, in RFC 3339. */
  readonly time: string;
  readonly datacontenttype: string;
  /** Any JSON value for a JSON type; a string for other text; missing in a binary message. */
  readonly data?: unknown;
  /** The bytes of a binary message. */
  readonly data_base64?: string;
  /** Other attributes that its publisher gave. */
  readonly [attribute: string]: unknown;
}

/** Messages of a topic that are gone: those after `requested`, up to `from`. */
export interface FollowedGap {
  readonly topic: string;
  readonly requested: string;
  readonly from: string;
}

/** The end of a topic: no message follows. */
export interface FollowedEnd {
  readonly topic: string;
  readonly id: string;
}

export interface FollowOptions {
  /** Called for each message, in the order of its topic, once. */
  onMessage?(message: FollowedMessage): void;
  /** Called before the first message that follows the gap. Without it messages can be missing unnoticed. */
  onGap?(gap: FollowedGap): void;
  /** Called once a topic has ended. */
  onEnd?(end: FollowedEnd): void;
  /** A connection is open: from now on messages arrive as they are published. */
  onOpen?(): void;
  /** A connection was lost, with the close code. The next one is tried after a while. */
  onLost?(code: number): void;
  /**
   * Called once, when nothing is followed any more: with 1000 and "ended" after the end of all topics, with 1000 and
   * "stopped" after `stop`, or with the close code after which coming back does not help.
   */
  onStop?(code: number, reason: string): void;
  /** Called before the first connection, and again when the server does not take the token any more. */
  token?(): string | Promise<string>;
  /** Default `websocket`. An `eventsource` passes where only plain HTTP does; at most 20 topics. */
  readonly transport?: "websocket" | "eventsource";
}

/** What `follow` returns. */
export interface Following {
  /** The `since` of a URL that continues after the last message: to be stored for a later visit. Null before the first `onOpen` without a `since`. */
  readonly cursor: string | null;
  /** Closes the connection, for good. */
  stop(): void;
}

/** How a connection ended. */
type Lost = (code: number, reason: string) => void;

/** @returns what ends the connection; then `lost` is not called */
type Open = (
  url: URL,
  token: string | undefined,
  receive: (event: FollowedMessage) => void,
  lost: Lost,
) => () => void;

/** Longest time before a connection is tried again, and between two pings of a silent one. */
const waitSecondsMax = 30;

/** After these coming back does not help (docs/protocol.md, "Close codes"). */
const finalCodes = [1002, 1007, 1008, 1009, 4403];

/** The status of an answer as a close code. Time mends every other status. */
const codeOfStatus: Readonly<Record<number, number>> = {
  204: 1000,
  400: 1008,
  401: 4401,
  403: 4403,
  410: 1008,
};

/** Not a close code: an `EventSource` met a status that it does not show. */
const refused = 0;

/**
 * Follows topics: it reconnects with backoff, continues after the last message, and reports what cannot be continued.
 *
 * ```ts
 * import { follow } from "longwire/client";
 *
 * const following = follow("http://localhost:9090/topics/answers/42?since=all", {
 *   onMessage: ({ data }) => console.log(data),
 *   onGap: ({ from }) => console.log("messages are missing before", from),
 *   onStop: (code, reason) => console.log(code, reason),
 * });
 * setTimeout(() => following.stop(), 100);
 * ```
 *
 * @param url of the topics, absolute or as the page has it; its `since` says where the first connection begins
 * @throws {TypeError} if it is no URL
 */
export function follow(url: string | URL, options: FollowOptions): Following {
  return new Follower(url, options);
}

class Follower implements Following {
  readonly #url: URL;
  readonly #options: FollowOptions;
  readonly #isStream: boolean;
  /** The id to come back with of each topic, in the order of the URL. */
  #ids = new Map<string, string>();
  /** The ids of the ends that were reported, by topic. */
  readonly #ends = new Map<string, string>();
  #token: string | undefined;
  /** Connections since the last one that opened. */
  #tries = 0;
  #isOpen = false;
  #close: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(url: string | URL, options: FollowOptions) {
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("ws", "http");
    this.#options = options;
    this.#isStream = options.transport === "eventsource";
    if (this.#isStream) this.#url.searchParams.set("format", "cloudevents");
    void this.#connect();
  }

  get cursor(): string | null {
    return this.#ids.size > 0 ? [...this.#ids.values()].join(",") : this.#url.searchParams.get("since");
  }

  stop(): void {
    this.#stop(1000, "stopped");
  }

  async #connect(): Promise<void> {
    try {
      this.#token ??= await this.#options.token?.();
    } catch {
      this.#retry(1006); // The issuer of tokens is away.
      return;
    }
    if (this.#isStopped) return;
    this.#isOpen = false;
    const open = this.#isStream ? openStream : openSocket;
    this.#close = open(
      this.#urlNow(),
      this.#token,
      (event) => this.#receive(event),
      (code, reason) => void this.#lost(code, reason),
    );
  }

  #urlNow(): URL {
    const url = new URL(this.#url);
    if (this.cursor !== null) url.searchParams.set("since", this.cursor);
    return url;
  }

  /** Takes an id over in the same step in which its event is handed on. */
  #receive(event: FollowedMessage): void {
    if (this.#isStopped) return; // An EventSource may hand on the rest of what it has read.
    const { type, topic, id, data } = event;
    if (type === "longwire.open") {
      const { topics } = data as { topics: readonly { topic: string; id: string }[] };
      this.#ids = new Map(topics.map(({ topic, id }) => [topic, id]));
      this.#isOpen = true;
      this.#tries = 0;
      this.#options.onOpen?.();
    } else if (type === "longwire.gap") {
      const gap = data as FollowedGap;
      this.#ids.set(gap.topic, gap.from);
      this.#options.onGap?.(gap);
    } else if (type === "longwire.end") this.#end({ topic, id });
    else if (type === "longwire.message" || !type.startsWith("longwire.")) {
      this.#ids.set(topic, id);
      this.#options.onMessage?.(event);
    }
  }

  /** Each connection reports the end of each topic once more. */
  #end(end: FollowedEnd): void {
    const { topic, id } = end;
    this.#ids.set(topic, id);
    if (this.#ends.get(topic) !== id) {
      this.#ends.set(topic, id);
      this.#options.onEnd?.(end);
    }
    if ([...this.#ids].every(([topic, id]) => this.#ends.get(topic) === id)) this.#stop(1000, "ended");
  }

  async #lost(code: number, reason: string): Promise<void> {
    const isUnknown = code === refused || (code === 1006 && !this.#isOpen);
    const found = isUnknown ? await this.#askWhy(code) : code;
    if (this.#isStopped) return;
    if (isUnknown && found === 1000) this.#stop(found, "ended");
    else if (finalCodes.includes(found) || (found === 4401 && !this.#options.token))
      this.#stop(found, reason);
    else this.#retry(found);
  }

  /** Finds out by a plain request why a connection was refused. @returns the close code of its status */
  async #askWhy(code: number): Promise<number> {
    // Not each time: the server may be full, or away.
    if (code !== refused && this.#tries % 4 !== 1) return 1006;
    const url = this.#urlNow();
    url.searchParams.set("limit", "1");
    const headers: Record<string, string> = { Accept: this.#isStream ? "text/event-stream" : "*/*" };
    if (this.#token !== undefined) headers.Authorization = `Bearer ${this.#token}`;
    try {
      const { status, body } = await fetch(url, { headers });
      await body?.cancel();
      return codeOfStatus[status] ?? 1006;
    } catch {
      return 1006; // The server cannot be reached.
    }
  }

  #retry(code: number): void {
    if (code === 4401) this.#token = undefined;
    const isAtOnce = this.#tries === 0 && (code === 1012 || code === 4401);
    const waitSeconds = isAtOnce ? 0 : Math.min(waitSecondsMax, 2 ** this.#tries) * Math.random();
    this.#tries++;
    this.#timer = setTimeout(() => void this.#connect(), waitSeconds * 1000);
    this.#options.onLost?.(code);
  }

  #stop(code: number, reason: string): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#close?.();
    this.#options.onStop?.(code, reason);
  }
}

const openSocket: Open = (url, token, receive, lost) => {
  url.protocol = url.protocol.replace("http", "ws");
  const bearer = token === undefined ? [] : [`bearer.${token}`];
  const socket = new WebSocket(url, ["cloudevents.json", ...bearer]);
  let isSilent = false;
  const close = (): void => {
    clearInterval(heartbeat);
    socket.onmessage = socket.onerror = socket.onclose = null;
    socket.close();
  };
  const end = (code: number, reason: string): void => {
    close();
    lost(code, reason);
  };
  // A network that is gone ends no connection: only a ping without an answer shows it.
  const heartbeat = setInterval(() => {
    if (isSilent) end(1006, "silent");
    else if (socket.readyState === socket.OPEN) socket.send('{"specversion":"1.0","type":"longwire.ping"}');
    isSilent = true;
  }, waitSecondsMax * 1000);
  socket.onmessage = ({ data }) => {
    isSilent = false;
    receive(JSON.parse(data));
  };
  // Node 20 reports only this of a handshake that failed, and Bun a code that means something else.
  socket.onerror = () => end(1006, "");
  socket.onclose = ({ code, reason }) => end(code, reason);
  return close;
};

const openStream: Open = (url, token, receive, lost) => {
  if (token !== undefined) url.searchParams.set("access_token", token);
  const source = new EventSource(url);
  let closed = { code: 1006, reason: "" };
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "longwire.close") closed = event.data;
    else receive(event);
  };
  // It would come back by itself, but with the same token.
  source.onerror = () => {
    const { code, reason } = source.readyState === source.CLOSED ? { code: refused, reason: "" } : closed;
    source.close();
    lost(code, reason);
  };
  return () => source.close();
};
