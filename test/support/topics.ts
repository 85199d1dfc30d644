/** Clients of a topic: POST, a WebSocket, a stream of server-sent events. */
import type { Client, Close } from "./bun-client.ts";
import { ws } from "./clients.ts";
import type { RunningServer } from "./server.ts";
import { Inbox, until, within } from "./wait.ts";

let topicsNamed = 0;

/** A name that no other test of this file uses. */
export const newTopic = (): string => `test/${++topicsNamed}`;

export const topicsUrl = (server: Pick<RunningServer, "url">, path: string): string =>
  new URL(`/topics/${path}`, server.url).href;

export const post = (
  server: Pick<RunningServer, "url">,
  path: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> => fetch(topicsUrl(server, path), { method: "POST", body, headers });

/** Polls page by page. @returns all events after `since` */
export async function everyEvent(
  server: Pick<RunningServer, "url">,
  path: string,
  since = "all",
): Promise<ReceivedEvent[]> {
  const events: ReceivedEvent[] = [];
  let next: string | undefined = `${topicsUrl(server, path)}?since=${since}`;
  while (next) {
    const response: Response = await fetch(next);
    if (response.status !== 200)
      throw new Error(`a poll was answered with ${response.status}: ${await response.text()}`);
    events.push(...((await response.json()) as ReceivedEvent[]));
    next = nextPage(response, server);
  }
  return events;
}

/** The URL of the next page of a poll; undefined if there is no more. */
export function nextPage(response: Response, { url }: Pick<RunningServer, "url">): string | undefined {
  const link = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
  return link && new URL(link, url).href;
}

/** Resolves when a span is no longer a gap: a server in memory knows no messages from before its start. */
export async function untilKnownFor(server: RunningServer, span: string): Promise<void> {
  const topic = newTopic();
  await until(async () => {
    const response = await fetch(`${topicsUrl(server, topic)}?since=${span}`);
    return (await response.text()) === "[]";
  }, `the server to have run for ${span}`);
}

/** Publishes text. @returns the id @throws if the answer is not 200 */
export async function publish(
  server: Pick<RunningServer, "url">,
  topic: string,
  text: string,
): Promise<string> {
  const response = await post(server, topic, text, { "Content-Type": "text/plain" });
  const body = await response.text();
  if (response.status !== 200) throw new Error(`publishing was answered with ${response.status}: ${body}`);
  return JSON.parse(body).published[0].id;
}

/** @returns the ids */
export async function publishEach(
  server: Pick<RunningServer, "url">,
  topic: string,
  texts: readonly string[],
) {
  const ids: string[] = [];
  for (const text of texts) ids.push(await publish(server, topic, text));
  return ids;
}

export interface TopicState {
  readonly topic: string;
  readonly position: string | null;
  readonly retained: number;
  readonly subscribers: number;
  readonly ended?: string;
}

export async function inspect(server: Pick<RunningServer, "url">, topic: string): Promise<TopicState> {
  const { topics } = (await (await fetch(topicsUrl(server, topic))).json()) as { topics: TopicState[] };
  return topics[0] as TopicState;
}

/** `k3-7` → 7 */
export const offsetOf = (id: string): number => Number(id.slice(id.lastIndexOf("-") + 1));

/** An event of CloudEvents 1.0, parsed from JSON. */
export interface ReceivedEvent {
  readonly specversion: string;
  readonly type: string;
  readonly source: string;
  readonly id: string;
  readonly topic?: string;
  readonly time: string;
  readonly authtype?: string;
  readonly authid?: string;
  readonly partitionkey?: string;
  readonly datacontenttype?: string;
  readonly data?: unknown;
  readonly data_base64?: string;
}

export interface OpenedTopic {
  readonly topic: string;
  readonly id: string;
  readonly resumed: boolean;
}

export interface TopicClient extends Client {
  /** The next message, which must be an event as text. */
  event(): Promise<ReceivedEvent>;
  /** Stops reading, so that TCP slows down the server. */
  pause(): void;
  terminate(): void;
}

/** Opens a topic with the ws package, which can send headers. */
export const openTopic = (
  server: Pick<RunningServer, "socketUrl">,
  path: string,
  subprotocols: readonly string[] = [],
  headers: Readonly<Record<string, string>> = {},
): Promise<TopicClient> => openSocketAt(server, `/topics/${path}`, subprotocols, headers);

/** @param path of the server, such as `/presence/news` */
export async function openSocketAt(
  server: Pick<RunningServer, "socketUrl">,
  path: string,
  subprotocols: readonly string[] = [],
  headers: Readonly<Record<string, string>> = {},
): Promise<TopicClient> {
  const socket = new ws.WebSocket(server.socketUrl(path), [...subprotocols], { headers });
  const inbox = new Inbox<string | Buffer>();
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<Close>();
  socket.on("open", opened.resolve);
  socket.on("error", opened.reject);
  socket.on("message", (data, isBinary) => inbox.put(isBinary ? (data as Buffer) : data.toString()));
  socket.on("close", (code, reason) => {
    inbox.end(new Error(`closed with ${code} ${reason}`));
    closed.resolve({ code, reason: reason.toString() });
  });
  await within(opened.promise, `the ws package to open ${path}`);
  const next = (): Promise<string | Buffer> => inbox.take("a message");
  return {
    protocol: socket.protocol,
    closed: closed.promise,
    send: (message) => socket.send(message),
    next,
    event: async () => {
      const message = await next();
      if (typeof message !== "string") throw new Error("a binary frame came in place of an event");
      return JSON.parse(message);
    },
    close: (code, reason) => socket.close(code, reason),
    pause: () => socket.pause(),
    terminate: () => socket.terminate(),
    [Symbol.dispose]: () => socket.terminate(),
  };
}

export const cloudEvents = ["cloudevents.json"] as const;

/** Opens a topic as cloudevents.json and reads `longwire.open`. */
export async function openEvents(
  server: Pick<RunningServer, "socketUrl">,
  path: string,
): Promise<TopicClient & { topics: OpenedTopic[] }> {
  const client = await openTopic(server, path, cloudEvents);
  const open = await client.event();
  if (open.type !== "longwire.open") throw new Error(`the first event was ${open.type}`);
  return { ...client, topics: (open.data as { topics: OpenedTopic[] }).topics };
}

/** One event of a stream, or a comment, as sent. */
export interface StreamBlock {
  /** Its lines joined by LF, without the empty line at the end. */
  readonly text: string;
  readonly comment: boolean;
  readonly event: string | undefined;
  readonly id: string | undefined;
  readonly retry: string | undefined;
  readonly data: string;
}

export interface StreamClient extends AsyncDisposable {
  readonly response: Response;
  /** Resolves at the proper end of the stream; rejects if it broke off. */
  readonly ended: Promise<void>;
  /** The next event; skips comments. */
  next(): Promise<StreamBlock>;
  /** The next event or comment. */
  block(): Promise<StreamBlock>;
}

/** A reader of server-sent events that also shows the parts that an EventSource hides. */
export const openStream = (
  server: Pick<RunningServer, "url">,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<StreamClient> => openStreamAt(server, `/topics/${path}`, headers);

/** @param path of the server, such as `/presence/news` */
export async function openStreamAt(
  server: Pick<RunningServer, "url">,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<StreamClient> {
  const abort = new AbortController();
  const response = await fetch(new URL(path, server.url), {
    headers: { Accept: "text/event-stream", ...headers },
    signal: abort.signal,
  });
  if (response.status !== 200 || !response.body)
    throw new Error(`the stream was answered with ${response.status}: ${await response.text()}`);
  const inbox = new Inbox<StreamBlock>();
  const ended = readBlocks(response.body, (block) => inbox.put(block));
  ended.then(
    () => inbox.end(new Error("the stream ended")),
    (error) => inbox.end(new Error(`the stream broke off: ${error}`)),
  );
  const block = (): Promise<StreamBlock> => inbox.take("an event of the stream");
  return {
    response,
    ended,
    block,
    next: async () => {
      for (;;) {
        const next = await block();
        if (!next.comment) return next;
      }
    },
    [Symbol.asyncDispose]: async () => {
      abort.abort();
      await ended.catch((error) => {
        if (!abort.signal.aborted) throw error;
      });
    },
  };
}

async function readBlocks(
  body: ReadableStream<Uint8Array>,
  onBlock: (block: StreamBlock) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  /** Of an event that has not come whole. They are joined once, because an event can be of many pieces. */
  let pieces: string[] = [];
  for await (const chunk of body) {
    const piece = decoder.decode(chunk, { stream: true });
    const before = pieces.at(-1)?.at(-1) ?? "";
    if (piece === "") continue;
    pieces.push(piece);
    if (!`${before}${piece}`.includes("\n\n")) continue;
    const blocks = pieces.join("").split("\n\n");
    const rest = blocks.pop() ?? "";
    pieces = rest === "" ? [] : [rest];
    for (const block of blocks) onBlock(parseBlock(block));
  }
  if (pieces.length > 0) throw new Error(`the stream ended within an event: ${pieces.join("")}`);
}

/** @param text of an event, without the blank line that ends it */
export function parseBlock(text: string): StreamBlock {
  /** By name, the last value of the fields other than data. */
  const last = new Map<string, string>();
  const data: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("data: ")) {
      data.push(line.slice("data: ".length)); // First, because an event can have a million of them.
      continue;
    }
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    const value = line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") data.push(value);
    else last.set(name, value);
  }
  return {
    text,
    comment: data.length === 0 && last.keys().every((name) => name === ""),
    event: last.get("event"),
    id: last.get("id"),
    retry: last.get("retry"),
    data: data.join("\n"),
  };
}
