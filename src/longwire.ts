/** Longwire as a library: the endpoints joined into routes and one WebSocket handler, alone or within your own server. */
import type { WebSocketHandler } from "bun";
import { guardOrigin } from "./access.ts";
import { MemoryBroker } from "./broker-memory.ts";
import { type Config, completeConfig, type HandlerConfig, handlerSettings, settings } from "./config.ts";
import { Connections } from "./connection.ts";
import { draftOfValue } from "./draft.ts";
import { echoEndpoint } from "./echo.ts";
import { closeCode, Encodings } from "./envelope.ts";
import { NativeFanOut } from "./fan-out.ts";
import { notFound, problem, type Routes } from "./http.ts";
import { Hub } from "./hub.ts";
import { createLogger, type Logger } from "./log.ts";
import { faultOfTopicName, formatId, parseSince } from "./message.ts";
import { iterateMessages, type ReceivedMessage } from "./message-iterator.ts";
import { pageRoutes } from "./page.ts";
import { topicsEndpoint } from "./topics.ts";

export { BrokerUnavailable, IdempotencyConflict } from "./broker.ts";
export { type Config, ConfigError, type HandlerConfig } from "./config.ts";
export { DraftError } from "./draft.ts";
export type { Answer, RequestHandler, Routes } from "./http.ts";
export type { Logger } from "./log.ts";
export { GapError, type ReceivedMessage } from "./message-iterator.ts";

export interface Options extends HandlerConfig {
  /** Where to mount, such as `/realtime`; begins with a slash and does not end in one. */
  readonly prefix: string;
  /** Takes the log lines; left out, they go to stderr. */
  readonly log: Logger;
}

export interface PublishOptions {
  /** A media type. Left out: text/plain for a string, application/octet-stream for bytes, application/json for an object. */
  readonly contentType?: string;
  /** The same key within 5 minutes on the same topic publishes once and answers with the first id. */
  readonly idempotencyKey?: string;
}

export interface SubscribeOptions {
  /** An id, `all`, or a span such as `90s`; left out, from now on. */
  readonly since?: string;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

export interface Longwire extends AsyncDisposable {
  /** `/ping` and `/topics/*`, beneath the prefix. */
  readonly routes: Routes;
  /** @param yours takes every event of the sockets that you upgraded yourself, within limits at least as wide as Bun's */
  websocket<Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data>;
  /**
   * @throws {TypeError} for a topic name that is none
   * @throws {DraftError} for data that its type does not allow
   * @throws {IdempotencyConflict} for a key that was used with other data
   * @throws {BrokerUnavailable} where it is unknown whether it was published: repeat it with the same key
   */
  publish(
    topic: string,
    data: string | Uint8Array | ArrayBuffer | object,
    options?: PublishOptions,
  ): Promise<{ topic: string; id: string }>;
  /**
   * Messages in order, each once. The subscription stands when the first `next()` is called, and ends with the loop.
   * @throws {TypeError} for a topic name or a `since` that is none
   * @throws {GapError} from the iteration, where messages were lost
   */
  subscribe(topic: string, options?: SubscribeOptions): AsyncIterable<ReceivedMessage>;
}

export interface LongwireServer extends Longwire {
  readonly url: URL;
  /** Stops accepting, closes every connection with 1001, and resolves when they are gone or after 2 s. */
  stop(): Promise<void>;
}

/** What a closed socket needs to send what it still holds; a peer that does not read is not waited for any longer. */
const stopSecondsMax = 2;

/**
 * Mounts Longwire into your own `Bun.serve({ routes: longwire.routes, websocket: longwire.websocket() })`.
 * Disposing it closes its connections with 1001.
 * @throws {ConfigError}
 */
export function createHandler(options: Partial<Options> = {}): Longwire {
  const { prefix = "", log, ...given } = options;
  const config = completeConfig(handlerSettings, given);
  return mount(config, prefix, log ?? createLogger(config.logLevel));
}

/**
 * Starts a server of its own; `port: 0` takes any free port, told by `url`.
 * @throws {ConfigError}
 * @throws an error with `code` "EADDRINUSE" when the port is taken, and others of listening as Bun throws them
 */
export async function createServer(
  given: Partial<Config> & Partial<Pick<Options, "log">> = {},
): Promise<LongwireServer> {
  const { log: givenLog, ...settingsGiven } = given;
  const config = completeConfig(settings, settingsGiven);
  const log = givenLog ?? createLogger(config.logLevel);
  const longwire = mount(config, "", log);
  const server = Bun.serve({
    hostname: config.host,
    port: config.port,
    // Said, because a compiled binary is otherwise in development too and shows its source in an error answer.
    development: false,
    // Said, because with `development: false` Bun otherwise shares a taken port, and half the connections go elsewhere.
    reusePort: false,
    // Endless: over its own limit Bun refuses without a word, and to a page without CORS. publish.ts holds the limit, and
    // of a body that nobody reads Bun keeps nothing.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: { ...pageRoutes(), ...longwire.routes },
    fetch: notFound,
    websocket: longwire.websocket(),
    error: (error) => {
      log.error({ err: error }, "a request failed");
      return problem(500, "A fault of the server; its log has the cause.");
    },
  });

  const stop = async (): Promise<void> => {
    const ended = server.stop();
    await longwire[Symbol.asyncDispose]();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
    await server.stop(true);
  };
  return { ...longwire, url: server.url, stop, [Symbol.asyncDispose]: stop };
}

function mount(config: HandlerConfig, prefix: string, log: Logger): Longwire {
  const connections = new Connections(config, log);
  const encodings = new Encodings();
  const fanOut = new NativeFanOut(connections, encodings);
  const broker = new MemoryBroker(config);
  const hub = new Hub(broker, fanOut, config, log);
  const topicsPath = `${prefix}/topics/`;
  const topics = topicsEndpoint({ config, hub, connections, fanOut, encodings, log }, topicsPath);
  return {
    routes: {
      [`${prefix}/ping`]: guardOrigin(echoEndpoint(config), config, log),
      [`${topicsPath}*`]: guardOrigin(topics, config, log),
    },

    websocket: (yours) => connections.websocket(yours),

    publish: async (topic, data, { contentType, idempotencyKey } = {}) => {
      requireTopic(topic);
      const draft = draftOfValue(data, contentType);
      const once =
        idempotencyKey === undefined ? undefined : { key: idempotencyKey, publisher: "the program" };
      return { topic, id: formatId(await hub.publish(topic, draft, once)) };
    },

    subscribe: (topic, { since, signal } = {}) => {
      requireTopic(topic);
      const wanted = since === undefined ? undefined : parseSince(since, Date.now());
      if (since !== undefined && !wanted)
        throw new TypeError(`since must be an id, "all" or a span such as 90s, not "${since}"`);
      const host = { hub, fanOut, bufferedBytesMax: config.bufferedBytesMax };
      return { [Symbol.asyncIterator]: () => iterateMessages(host, topic, wanted, since ?? "", signal) };
    },

    [Symbol.asyncDispose]: async () => {
      connections.closeAll(closeCode.goingAway, "the server stops");
      hub.close();
      await broker.close();
    },
  };
}

function requireTopic(name: string): void {
  const fault = faultOfTopicName(name);
  if (fault) throw new TypeError(fault);
}
