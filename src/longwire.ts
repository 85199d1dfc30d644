/** Longwire as a library: the endpoints joined into routes and one WebSocket handler, alone or within your own server. */

import { resolve } from "node:path";
import type { WebSocketHandler } from "bun";
import { Access } from "./access/access.ts";
import type { Authorize } from "./access/permissions.ts";
import { bufferLimits } from "./connection/buffers.ts";
import { Connections } from "./connection/connections.ts";
import { connectionsAllowed } from "./connection/descriptors.ts";
import { closeAll, drainAll } from "./connection/drain.ts";
import { NativeFanOut } from "./connection/fan-out.ts";
import { Upgrader } from "./connection/handshake.ts";
import { Heartbeat } from "./connection/heartbeat.ts";
import { webSocketHandler } from "./connection/websocket.ts";
import { echoEndpoint } from "./endpoint/echo.ts";
import { notFound } from "./endpoint/not-found.ts";
import { Operations } from "./endpoint/operations.ts";
import { pageHandlers } from "./endpoint/page.ts";
import { topicsEndpoint } from "./endpoint/topics/endpoint.ts";
import { MessageIterators, type ReceivedMessage } from "./endpoint/topics/iterator.ts";
import { type Evicted, MemoryBroker } from "./engine/memory.ts";
import { listenOptions, requireLoopback } from "./http/listener.ts";
import { guardHost, guardOrigin } from "./http/origin.ts";
import { Proxies } from "./http/proxies.ts";
import { Refusals } from "./http/refusal.ts";
import { logRefusals } from "./http/refusal-log.ts";
import type { Handler } from "./http/request-context.ts";
import { type Routes, routeOf, routesOf } from "./http/routes.ts";
import { createLogger, type Logger, sampled } from "./log.ts";
import { Counters } from "./metrics.ts";
import {
  type Config,
  completeConfig,
  type HandlerConfig,
  handlerSettings,
  settings,
} from "./settings/config.ts";
import { stopSecondsMax } from "./settings/limits.ts";
import { checkRelations, checkServerRelations, doubtsAbout } from "./settings/relations.ts";
import type { Broker } from "./topic/broker.ts";
import { draftOfValue } from "./topic/draft.ts";
import { Hub } from "./topic/hub.ts";
import { faultOfTopicName, formatId, parseSince } from "./topic/message.ts";
import { closeCode } from "./wire/close-code.ts";
import { Encodings } from "./wire/encodings.ts";

export type { Authorization, Authorize } from "./access/permissions.ts";
export { GapError, type ReceivedMessage } from "./endpoint/topics/iterator.ts";
export type { Answer } from "./http/request-context.ts";
export type { RequestHandler, Routes } from "./http/routes.ts";
export type { Logger } from "./log.ts";
export { type Config, ConfigError, type HandlerConfig } from "./settings/config.ts";
export { BrokerUnavailable, IdempotencyConflict } from "./topic/broker.ts";
export { DraftError } from "./topic/draft.ts";

export interface Options extends HandlerConfig {
  /** Where to mount, such as `/realtime`; begins with a slash and does not end in one. */
  readonly prefix: string;
  /** Takes the log lines; left out, they go to stderr. */
  readonly log: Logger;
  /** Asked for each topic that no token allows; with it and without keys it alone decides. */
  readonly authorize: Authorize;
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
  /**
   * Takes no connection any more and closes those there are with 1012, spread over `drainWindowSeconds`; resolves when
   * they are closed. Publishing goes on.
   */
  drain(): Promise<void>;
}

export interface LongwireServer extends Longwire {
  /** Of a server on a socket file it is `unix://` and the path. */
  readonly url: URL;
  /** Stops accepting, closes every connection with 1001, and resolves when they are gone or after 2 s. */
  stop(): Promise<void>;
}

/**
 * Mounts Longwire into your own `Bun.serve({ routes: longwire.routes, websocket: longwire.websocket() })`. Without a key
 * and without `authorize` everyone that your server lets in may do everything.
 * Disposing it closes its connections with 1001.
 * @throws {ConfigError}
 */
export function createHandler(options: Partial<Options> = {}): Longwire {
  const { prefix = "", log, authorize, ...given } = options;
  const config = completeConfig(handlerSettings, given);
  return publicApi(assemble(config, prefix, log ?? createLogger(config.logLevel), authorize));
}

/** What a program sees of it. */
function publicApi(parts: Parts): Longwire {
  const { handlers, refusals, websocket, publish, subscribe, drain } = parts;
  const { [Symbol.asyncDispose]: dispose } = parts;
  const routes = routesOf(handlers, refusals);
  return { routes, websocket, publish, subscribe, drain, [Symbol.asyncDispose]: dispose };
}

/**
 * Starts a server of its own; `port: 0` takes any free port, told by `url`.
 * @throws {ConfigError} also for a server without a key on an address that others reach, unless it is `insecure`
 * @throws an error with `code` "EADDRINUSE" when the port is taken, and others of listening as Bun throws them
 */
export async function createServer(
  given: Partial<Config> & Partial<Pick<Options, "log" | "authorize">> = {},
): Promise<LongwireServer> {
  const { log: givenLog, authorize, ...settingsGiven } = given;
  const config = completeConfig(settings, settingsGiven);
  checkServerRelations(config);
  const log = givenLog ?? createLogger(config.logLevel);
  // Holds what has to be released where the server cannot listen.
  await using unlessListening = new AsyncDisposableStack();
  const parts = unlessListening.use(assemble(config, "", log, authorize));
  const operations = unlessListening.use(new Operations(parts));
  const isOpen = parts.access.isOpen && !config.insecure;
  if (isOpen) requireLoopback(config);
  const { refusals } = parts;
  const handlers = { ...pageHandlers(), ...parts.handlers, ...operations.handlers };
  const guarded = Object.entries(handlers).map(([path, handler]) => [
    path,
    guardHost(handler, { config, log: parts.log }),
  ]);
  const server = Bun.serve({
    ...(await listenOptions(config)),
    // Said, because a compiled binary is otherwise in development too and shows its source in an error answer.
    development: false,
    // Endless: over its own limit Bun refuses without a word, and to a page without CORS. publish.ts holds the limit, and
    // of a body that nobody reads Bun keeps nothing.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: routesOf(isOpen ? Object.fromEntries(guarded) : handlers, refusals),
    fetch: routeOf(notFound, refusals),
    websocket: parts.websocket(),
    error: (error) => refusals.of(error).response(),
  });
  const running = unlessListening.move();
  log.info({ ...inForce(config), connectionsMax: parts.connections.connectionsMax, isOpen }, "listening");

  const refusalLog = logRefusals(parts.counters, log);
  let stopped: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    const ended = server.stop();
    await running.disposeAsync();
    refusalLog[Symbol.dispose]();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
    await server.stop(true);
  };
  const stop = (): Promise<void> => {
    stopped ??= end();
    return stopped;
  };
  const drain = async (): Promise<void> => {
    const { drainDelaySeconds, drainWindowSeconds } = config;
    log.info({ drainDelaySeconds, drainWindowSeconds, connections: parts.connections.count }, "draining");
    parts.connections.beginDraining();
    await Bun.sleep(drainDelaySeconds * 1000);
    const ended = server.stop(); // Takes no new connection; answers under way are finished.
    await parts.drain();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
  };
  const url = config.unixSocket ? new URL(`unix://${resolve(config.unixSocket)}`) : server.url;
  return { ...publicApi(parts), url, drain, stop, [Symbol.asyncDispose]: stop };
}

/** Every setting for the log, but for what is secret. */
function inForce(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, { unit }]) => {
      const value = config[name as keyof Config];
      return [name, unit.isSecret && Array.isArray(value) ? `${value.length} set` : value];
    }),
  );
}

/** All parts of a server, joined; the one place that knows them all. */
interface Parts extends Omit<Longwire, "routes"> {
  readonly handlers: Readonly<Record<string, Handler>>;
  readonly access: Access;
  readonly broker: Broker;
  readonly memory: MemoryBroker;
  readonly connections: Connections;
  readonly counters: Counters;
  readonly refusals: Refusals;
  /** For lines that strangers can cause. */
  readonly log: Logger;
}

function assemble(
  config: HandlerConfig,
  prefix: string,
  givenLog: Logger,
  authorize: Authorize | undefined,
): Parts {
  checkRelations(config, { hasAuthorize: authorize !== undefined });
  const log = sampled(givenLog);
  for (const doubt of doubtsAbout(config, connectionsAllowed())) log.warn({}, doubt);
  const counters = new Counters();
  const refusals = new Refusals(counters, log);
  const access = new Access({ config, authorize, log });
  const proxies = new Proxies(config.trustedProxies);
  const connections = new Connections(config, counters);
  const heartbeat = new Heartbeat({ config, connections, counters, log });
  const buffers = bufferLimits(config);
  const upgrader = new Upgrader(connections, proxies);
  const topicsPath = `${prefix}/topics/`;
  const encodings = new Encodings(topicsPath);
  const fanOut = new NativeFanOut({ connections, buffers, encodings, counters, log });
  const memory = new MemoryBroker(config, { evicted: (what) => countEviction(what, counters, log) });
  const broker: Broker = memory;
  const hub = new Hub({ broker, fanOut, limits: config, counters, log: givenLog });
  const deps = {
    config,
    hub,
    access,
    connections,
    upgrader,
    proxies,
    fanOut,
    encodings,
    refusals,
    counters,
    log,
  };
  const iterators = new MessageIterators({ hub, fanOut, bufferedBytesMax: config.bufferedBytesMax });
  return {
    ...deps,
    broker,
    memory,

    handlers: {
      [`${prefix}/ping`]: guardOrigin(refusals.answering(echoEndpoint(deps)), deps),
      [`${topicsPath}*`]: guardOrigin(refusals.answering(topicsEndpoint(deps, topicsPath)), deps),
    },

    websocket: (yours) => webSocketHandler({ config, buffers, connections, heartbeat, counters, log }, yours),

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
      if (since !== undefined && !wanted) {
        throw new TypeError(`since must be an id, "all" or a span such as 90s, not "${since}"`);
      }
      const options = { topic, since: wanted, requested: since ?? "", signal };
      return { [Symbol.asyncIterator]: () => iterators.iterate(options) };
    },

    drain: () => drainAll(connections, config.drainWindowSeconds),

    [Symbol.asyncDispose]: async () => {
      await closeAll(connections, closeCode.goingAway, "the server stops");
      iterators.endAll();
      hub.close();
      await broker.close();
    },
  };
}

function countEviction(what: Evicted, { evicted }: Counters, log: Logger): void {
  evicted[what]++;
  const setting = { idempotency_keys: "--idempotency-bytes", positions: "--position-bytes" }[what];
  log.warn({ setting }, `${what.replace("_", " ")} are forgotten before their time: a bound is reached`);
}

function requireTopic(name: string): void {
  const fault = faultOfTopicName(name);
  if (fault) throw new TypeError(fault);
}
