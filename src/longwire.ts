/** Longwire as a library: what a program may use of it. assembly.ts joins the parts, server.ts serves them. */
import type { WebSocketHandler } from "bun";
import type { Authorize } from "./access/permissions.ts";
import { assemble, type Parts } from "./assembly.ts";
import type { ReceivedMessage } from "./endpoint/topics/iterator.ts";
import {
  ProgramTopics,
  type PublishData,
  type Published,
  type PublishOptions,
  type ReadOptions,
  type RemoveOptions,
  type SubscribeOptions,
} from "./endpoint/topics/program.ts";
import { type Routes, routesOf } from "./http/routes.ts";
import { createLogger, type Logger } from "./log.ts";
import { startServer } from "./server.ts";
import {
  ConfigError,
  completeConfig,
  type GivenConfig,
  type GivenHandlerConfig,
  handlerSettings,
  readOptions,
  settings,
} from "./settings/config.ts";

export type { Authorization, Authorize } from "./access/permissions.ts";
export { GapError, type ReceivedMessage } from "./endpoint/topics/iterator.ts";
export {
  type MemberOptions,
  MessageSizeError,
  type PublishData,
  type Published,
  type PublishOptions,
  type ReadOptions,
  type RemoveOptions,
  StoppedError,
  type SubscribeOptions,
} from "./endpoint/topics/program.ts";
export { DataDirectoryError } from "./engine/data-directory-error.ts";
export type { Answer } from "./http/request-context.ts";
export type { RequestHandler, Routes } from "./http/routes.ts";
export type { Logger } from "./log.ts";
export {
  ConfigError,
  type GivenConfig as Config,
  type GivenHandlerConfig as HandlerConfig,
} from "./settings/config.ts";
export {
  BrokerUnavailable,
  ConditionFailed,
  IdempotencyConflict,
  KeyAbsent,
  TopicEnded,
  TopicFull,
} from "./topic/broker.ts";
export { DraftError } from "./topic/draft.ts";
export { TopicIsFeed } from "./topic/hub.ts";
export { PresenceFull } from "./topic/presence.ts";

export interface Options extends GivenHandlerConfig {
  /** Where to mount, such as `/realtime`: begins with a slash and does not end in one. By default at the root. */
  readonly prefix: string;
  /** Takes the log lines. By default they go to stderr. */
  readonly log: Logger;
  /** Asked for each topic that no token allows. With it and without keys it alone decides. */
  readonly authorize: Authorize;
}

/** Settings of a server of its own, by their names in `Config`; `log` and `authorize` as in `Options`. */
export type ServerOptions = GivenConfig & Pick<Options, "log" | "authorize">;

/** What `createHandler` returns. Disposing it closes its connections with 1001. */
export interface Longwire extends AsyncDisposable {
  /** `/ping`, `/topics/*` and `/presence/*`, below the prefix, for the `routes` of `Bun.serve`. */
  readonly routes: Routes;

  /**
   * The handler for the `websocket` of `Bun.serve`. Bun takes one for all sockets of a server.
   *
   * ```ts
   * import { createHandler } from "longwire";
   *
   * const longwire = createHandler();
   * const server = Bun.serve({
   *   port: 0,
   *   routes: longwire.routes,
   *   fetch: (request, server) =>
   *     server.upgrade(request, { data: { name: "ann" } }) ? undefined : new Response("my own page"),
   *   websocket: longwire.websocket<{ name: string }>({
   *     message: (socket, message) => void socket.send(`${socket.data.name}: ${message}`),
   *   }),
   * });
   * await server.stop(true);
   * await longwire[Symbol.asyncDispose]();
   * ```
   *
   * @param yours receives every event of the sockets that you upgraded yourself. Its `maxPayloadLength` and
   * `backpressureLimit`, in bytes, are the least that these sockets have
   */
  websocket<Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data>;

  /**
   * Publishes a message to everyone who is subscribed to the topic, clients and program alike.
   *
   * ```ts
   * import { createHandler } from "longwire";
   *
   * await using longwire = createHandler();
   * const { id } = await longwire.publish("news", { hello: "world" }, { idempotencyKey: crypto.randomUUID() });
   * console.log(id);
   * ```
   *
   * @param topic 1 to 200 letters, marks and digits of any script and `. _ ~ : -`, with `/` between parts
   * @param data at most `messageBytesMax` bytes
   * @throws {TypeError} if the topic has no such name, or the data is neither text, bytes nor JSON, such as a Blob
   * @throws {DraftError} if the data is not what its type says, such as JSON
   * @throws {MessageSizeError} if the data is too large
   * @throws {IdempotencyConflict} if the key was used within 5 minutes with other data
   * @throws {TopicEnded} if the topic has ended
   * @throws {ConditionFailed} in a keyed topic, if its key does not meet `ifMatch` or `ifAbsent`
   * @throws {TopicFull} in a keyed topic, if it takes no further key
   * @throws {TopicIsFeed} if the topic is a feed
   * @throws {BrokerUnavailable} if it is unknown whether the message was published: repeat it with the same key
   * @throws {StoppedError} after `stop()` or disposal
   */
  publish(topic: string, data: PublishData, options?: PublishOptions): Promise<Published>;

  /**
   * Subscribes to a topic: its messages in order, each once. The subscription begins with the first `next()`, and ends
   * with the loop, the signal or the server.
   *
   * ```ts
   * import { createHandler, GapError } from "longwire";
   *
   * await using longwire = createHandler();
   * await longwire.publish("news", "hello");
   * try {
   *   for await (const { id, data } of longwire.subscribe("news", { since: "all" })) {
   *     console.log(id, data);
   *     break;
   *   }
   * } catch (error) {
   *   if (error instanceof GapError) console.log(`messages are gone; continue with since: "${error.from}"`);
   *   else throw error;
   * }
   * ```
   *
   * @throws {TypeError} if the topic has no such name, `since` is not an id, `all` or a span, or `member` cannot be one
   * @throws {StoppedError} after `stop()` or disposal
   * @throws {GapError} from the iteration, if messages after the last one are gone
   * @throws {PresenceFull} from the iteration, if the topic takes no further member
   * @throws {BrokerUnavailable} from the iteration, if the engine is away
   */
  subscribe(topic: string, options?: SubscribeOptions): AsyncIterable<ReceivedMessage>;

  /**
   * Who is on a topic, and how that changes: for each member that comes or whose info changes a message of the type
   * `longwire.join` or `longwire.update`, with its `key` and as `data` the JSON text `{"member", "since"}`; for one that has
   * left a message with `removed`. With `since: "all"` those who are here come first.
   *
   * ```ts
   * import { createHandler } from "longwire";
   *
   * await using longwire = createHandler({ presence: ["room/*"] });
   * const member = { key: "ann", info: { name: "Ann" } };
   * const messages = longwire.subscribe("room/42", { member })[Symbol.asyncIterator]();
   * void messages.next(); // Ann is here from now on.
   * for await (const { key, removed, data } of longwire.presence("room/42", { since: "all" })) {
   *   console.log(removed ? `${key} has left` : `${key} is here: ${data}`);
   *   break;
   * }
   * ```
   *
   * @throws {TypeError} if the topic has no presence, or `since` is not an id, `all` or a span
   * @throws {StoppedError} after `stop()` or disposal
   * @throws {GapError} from the iteration: subscribe again with `since: error.from`, and what was received before is void
   * @throws {BrokerUnavailable} from the iteration, if the engine is away
   */
  presence(topic: string, options?: ReadOptions): AsyncIterable<ReceivedMessage>;

  /**
   * Takes a key of a keyed topic away. Its subscribers are told, by a message with `removed`.
   *
   * ```ts
   * import { createHandler } from "longwire";
   *
   * await using longwire = createHandler({ keyed: ["prices"] });
   * await longwire.publish("prices", "187.30", { key: "AAPL" });
   * await longwire.remove("prices", "AAPL");
   * ```
   *
   * @throws {KeyAbsent} if the key has no value: nothing is published
   * @throws {ConditionFailed} if its value is not `ifMatch`
   * @throws {TypeError} if the topic is not keyed; what `publish` throws
   */
  remove(topic: string, key: string, options?: RemoveOptions): Promise<Published>;

  /**
   * The value of a key of a keyed topic.
   *
   * ```ts
   * import { createHandler } from "longwire";
   *
   * await using longwire = createHandler({ keyed: ["prices"] });
   * await longwire.publish("prices", "187.30", { key: "AAPL" });
   * const { id, data } = (await longwire.value("prices", "AAPL")) ?? {};
   * console.log(id, data);
   * ```
   *
   * @returns undefined where the key has none
   * @throws {TypeError} if the topic is not keyed
   * @throws {BrokerUnavailable} if the engine is away
   * @throws {StoppedError} after `stop()` or disposal
   */
  value(topic: string, key: string): Promise<ReceivedMessage | undefined>;

  /**
   * Opens no more connections, and closes the open ones with 1012 over `drainWindowSeconds`, so that clients reconnect to
   * other nodes. Resolves when they are closed. Publishing continues.
   */
  drain(): Promise<void>;
}

/** The settings that `reload` takes. */
export type Keys = Pick<GivenConfig, "apiKeys" | "jwtSecrets" | "jwtPublicKeys">;

/** Whether the engine that keeps the topics can be used. */
export interface EngineState {
  /** False until it was first reached, and while it is away: topics are answered with 503. */
  readonly available: boolean;
  /** Why it is away, or available only to be read. */
  readonly reason?: string;
}

/** What `createServer` returns. Disposing it is `stop()`. */
export interface LongwireServer extends Longwire {
  /** Whether topics can be used now. A Redis or a disk that is away is tried again and again. */
  readonly engine: EngineState;
  /** Where it listens: `http:` or `https:`, or `unix://` and the path of its socket file. */
  readonly url: URL;
  /**
   * Takes other keys, and reads the files of the certificate again. Open connections stay open, with what they were
   * allowed; everyone who connects from now on needs the new keys and is shown the new certificate.
   *
   * ```ts
   * import { createServer } from "longwire";
   *
   * await using server = await createServer({ port: 0, apiKeys: ["the-key-of-last-month"] });
   * await server.reload({ apiKeys: ["the-key-of-last-month", "the-key-of-this-month"] });
   * ```
   *
   * @param keys those left out stay
   * @throws {ConfigError} and nothing has changed, if a key or a file cannot be used, or if the last key of a kind would be
   * taken away or a first one set: whether the server is open is decided at its start
   */
  reload(keys?: Partial<Keys>): Promise<void>;
  /** Stops accepting, closes every connection with 1001, and resolves when all are gone, or after 2 s. */
  stop(): Promise<void>;
}

/**
 * Mounts Longwire into a `Bun.serve` of your own. Without a key and without `authorize`, everyone that your server lets in
 * may do everything.
 *
 * ```ts
 * import { createHandler } from "longwire";
 *
 * await using longwire = createHandler({
 *   prefix: "/realtime",
 *   messageBytesMax: 64 * 1024,
 *   authorize: (request, { topic }) => topic === `users/${request.headers.get("x-user")}`,
 * });
 * await using server = Bun.serve({
 *   port: 0,
 *   routes: longwire.routes, // /realtime/ping, /realtime/topics/… and /realtime/presence/…
 *   fetch: () => new Response("my own page"),
 *   websocket: longwire.websocket(),
 * });
 * console.log(server.url.href);
 * ```
 *
 * @throws {ConfigError} for an option that is not known or out of range, or that contradicts another
 * @throws {DataDirectoryError} if the directory of `data` cannot be used
 */
export function createHandler(options: Partial<Options> = {}): Longwire {
  const { prefix = "", log, authorize, ...given } = options;
  requirePrefix(prefix);
  const config = completeConfig(handlerSettings, readOptions(handlerSettings, given));
  const parts = assemble(config, prefix, log ?? createLogger(config.logLevel), authorize);
  return publicApi(parts, parts[Symbol.asyncDispose]);
}

/**
 * Starts a server of its own, with the page at `/` and the endpoints for operators. If it cannot listen, everything that
 * it has opened is released.
 *
 * ```ts
 * import { createServer } from "longwire";
 *
 * await using server = await createServer({ port: 0, historyAgeSeconds: 3600 });
 * console.log(`${server.url}topics/news`);
 * ```
 *
 * @param options `port: 0` takes any free port, which `url` names
 * @throws {ConfigError} for an option that is not known, is out of range or contradicts another, a file that cannot be used, and for a
 * server without a key on an address that others reach, unless it is `insecure`
 * @throws {DataDirectoryError} if the directory of `data` cannot be used
 * @throws an error of Bun's if it cannot listen; its `code` is "EADDRINUSE" if the port is taken
 */
export async function createServer(options: Partial<ServerOptions> = {}): Promise<LongwireServer> {
  const { log, authorize, ...given } = options;
  const config = completeConfig(settings, readOptions(settings, given));
  const server = await startServer(config, log ?? createLogger(config.logLevel), authorize);
  const { parts, url, drain, reload } = server;
  const api = publicApi(parts, server.stop);
  return {
    ...api,
    get engine() {
      const { available, reason } = parts.engine.broker.state;
      return { available, ...(reason !== undefined && { reason }) };
    },
    reload: async (keys = {}) => await reload(readOptions(keySettings, keys)),
    ...{ url, drain, stop: async () => await api[Symbol.asyncDispose]() },
  };
}

const { apiKeys, jwtSecrets, jwtPublicKeys } = settings;
const keySettings = { apiKeys, jwtSecrets, jwtPublicKeys };

/** The part of it that a program sees. @param end closes the connections and the engine */
function publicApi(parts: Parts, end: () => Promise<void>): Longwire {
  const { handlers, refusals, websocket, drain } = parts;
  const program = new ProgramTopics(parts);
  return {
    routes: routesOf(handlers, refusals),
    websocket,
    publish: (topic, data, options) => program.publish(topic, data, options),
    subscribe: (topic, options) => program.subscribe(topic, options),
    presence: (topic, options) => program.presence(topic, options),
    remove: (topic, key, options) => program.remove(topic, key, options),
    value: (topic, key) => program.value(topic, key),
    drain,
    [Symbol.asyncDispose]: () => {
      program[Symbol.dispose]();
      return end();
    },
  };
}

/** @throws {ConfigError} for a prefix that no route could match, such as one that ends in a slash */
function requirePrefix(prefix: string): void {
  if (/^(?:\/[^/?#*:\s]+)*$/.test(prefix)) return;
  throw new ConfigError(
    `prefix must be empty or a path such as /realtime, which begins with a slash and does not end in one, not "${prefix}"`,
  );
}
