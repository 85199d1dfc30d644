/** Longwire as a library: the endpoints joined into routes and one WebSocket handler, alone or within your own server. */
import { resolve } from "node:path";
import type { WebSocketHandler } from "bun";
import { Access } from "./access/access.ts";
import type { Authorize } from "./access/permissions.ts";
import { bufferLimits } from "./connection/buffers.ts";
import { Connections } from "./connection/connections.ts";
import { connectionsAllowed, watchDescriptors } from "./connection/descriptors.ts";
import { closeAll, drainAll } from "./connection/drain.ts";
import { NativeFanOut } from "./connection/fan-out.ts";
import { Upgrader } from "./connection/handshake.ts";
import { Heartbeat } from "./connection/heartbeat.ts";
import { HeldBytes } from "./connection/held-bytes.ts";
import { Openings } from "./connection/openings.ts";
import { Reading } from "./connection/reading.ts";
import { webSocketHandler } from "./connection/websocket.ts";
import { documentHandlers } from "./endpoint/documents.ts";
import { notFound } from "./endpoint/not-found.ts";
import { type EngineSize, Operations } from "./endpoint/operations.ts";
import { pageHandlers } from "./endpoint/page.ts";
import { echoEndpoint } from "./endpoint/ping/echo.ts";
import { statusEndpoint } from "./endpoint/status.ts";
import { topicsEndpoint } from "./endpoint/topics/endpoint.ts";
import type { ReceivedMessage } from "./endpoint/topics/iterator.ts";
import {
  ProgramTopics,
  type PublishData,
  type Published,
  type PublishOptions,
  type SubscribeOptions,
} from "./endpoint/topics/program.ts";
import type { DiskBroker } from "./engine/disk/disk.ts";
import type { DiskMeter } from "./engine/disk/meter.ts";
import { type Evicted, MemoryBroker, type MemoryBrokerLimits } from "./engine/memory.ts";
import type { RedisBroker } from "./engine/redis/broker.ts";
import {
  type ListenOptions,
  listenOptions,
  operationsListenOptions,
  readCertificate,
  requireLoopback,
} from "./http/listener.ts";
import { guardHost, guardOrigin, isLoopback } from "./http/origin.ts";
import { Proxies } from "./http/proxies.ts";
import { Refusals } from "./http/refusal.ts";
import { logRefusals } from "./http/refusal-log.ts";
import { RenewableServer } from "./http/renewable-server.ts";
import type { Handler } from "./http/request-context.ts";
import { type Routes, routeOf, routesOf } from "./http/routes.ts";
import { createLogger, isWritingLogger, type Logger, sampled } from "./log.ts";
import { Counters } from "./metrics.ts";
import {
  type Config,
  ConfigError,
  completeConfig,
  type HandlerConfig,
  handlerSettings,
  settings,
} from "./settings/config.ts";
import { stopSecondsMax } from "./settings/limits.ts";
import { checkRelations, checkServerRelations, doubtsAbout, hasKeys } from "./settings/relations.ts";
import { readRetainedTopics, type Unit } from "./settings/units.ts";
import type { Broker } from "./topic/broker.ts";
import { Hub } from "./topic/hub.ts";
import { closeCode } from "./wire/close-code.ts";
import { Encodings } from "./wire/encodings.ts";

export type { Authorization, Authorize } from "./access/permissions.ts";
export { GapError, type ReceivedMessage } from "./endpoint/topics/iterator.ts";
export {
  MessageSizeError,
  type PublishData,
  type Published,
  type PublishOptions,
  StoppedError,
  type SubscribeOptions,
} from "./endpoint/topics/program.ts";
export { DataDirectoryError } from "./engine/disk/data-directory-error.ts";
export type { Answer } from "./http/request-context.ts";
export type { RequestHandler, Routes } from "./http/routes.ts";
export type { Logger } from "./log.ts";
export { type Config, ConfigError, type HandlerConfig } from "./settings/config.ts";
export { BrokerUnavailable, IdempotencyConflict, TopicEnded } from "./topic/broker.ts";
export { DraftError } from "./topic/draft.ts";

export interface Options extends HandlerConfig {
  /** Where to mount, such as `/realtime`: begins with a slash and does not end in one. By default at the root. */
  readonly prefix: string;
  /** Takes the log lines. By default they go to stderr. */
  readonly log: Logger;
  /** Asked for each topic that no token allows. With it and without keys it alone decides. */
  readonly authorize: Authorize;
}

/** Settings of a server of its own, by their names in `Config`; `log` and `authorize` as in `Options`. */
export type ServerOptions = Config & Pick<Options, "log" | "authorize">;

/** What `createHandler` returns. Disposing it closes its connections with 1001. */
export interface Longwire extends AsyncDisposable {
  /** `/ping` and `/topics/*`, below the prefix, for the `routes` of `Bun.serve`. */
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
   * @throws {TypeError} if the topic has no such name, or `since` is not an id, `all` or a span
   * @throws {StoppedError} after `stop()` or disposal
   * @throws {GapError} from the iteration, if messages after the last one are gone
   * @throws {BrokerUnavailable} from the iteration, if the engine is away
   */
  subscribe(topic: string, options?: SubscribeOptions): AsyncIterable<ReceivedMessage>;

  /**
   * Opens no more connections, and closes the open ones with 1012 over `drainWindowSeconds`, so that clients reconnect to
   * other nodes. Resolves when they are closed. Publishing continues.
   */
  drain(): Promise<void>;
}

/** The settings that `reload` takes. */
export type Keys = Pick<Config, "apiKeys" | "jwtSecrets" | "jwtPublicKeys">;

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
 *   routes: longwire.routes, // /realtime/ping and /realtime/topics/…
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
  const config = completeConfig(handlerSettings, given);
  return publicApi(assemble(config, prefix, log ?? createLogger(config.logLevel), authorize));
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
  const { log: givenLog, authorize, ...given } = options;
  const config = completeConfig(settings, given);
  checkServerRelations(config);
  // Before anything is opened or made.
  if (!hasKeys(config) && !authorize && !config.insecure) requireLoopback(config);
  const addresses = await addressesOf(config);
  const log = givenLog ?? createLogger(config.logLevel);
  // Holds what has to be released if the server cannot listen.
  await using unlessListening = new AsyncDisposableStack();
  const parts = unlessListening.use(assemble(config, "", log, authorize));
  const operations = unlessListening.use(new Operations(parts));
  const { connections, counters } = parts;
  const listeners = unlessListening.use(await listen(config, addresses, parts, operations));
  const { server, url } = listeners;
  const running = unlessListening.move();
  logStart(config, parts, log);

  const refusalLog = logRefusals(counters, log);
  const descriptors = watchDescriptors(() => server.closeIdleConnections(), counters, parts.log);
  let stopped: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    const ended = server.stop();
    await running.disposeAsync();
    refusalLog[Symbol.dispose]();
    descriptors[Symbol.dispose]();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
    await server.stop(true);
  };
  const stop = (): Promise<void> => {
    stopped ??= end();
    return stopped;
  };
  const drain = async (): Promise<void> => {
    const { drainDelaySeconds, drainWindowSeconds } = config;
    log.info({ drainDelaySeconds, drainWindowSeconds, connections: connections.count }, "draining");
    connections.beginDraining();
    await Bun.sleep(drainDelaySeconds * 1000);
    const ended = server.stop(); // Takes no new connection; answers under way are finished.
    await parts.drain();
    await Promise.race([ended, Bun.sleep(stopSecondsMax * 1000)]);
  };
  const reload = (keys: Partial<Keys> = {}): Promise<void> => reloadFiles(config, keys, parts.access, server);
  return {
    ...publicApi(parts),
    get engine() {
      const { available, reason } = parts.broker.state;
      return { available, ...(reason !== undefined && { reason }) };
    },
    ...{ url, drain, stop, reload, [Symbol.asyncDispose]: stop },
  };
}

/** @throws {ConfigError} before anything is changed */
async function reloadFiles(
  config: Config,
  keys: Partial<Keys>,
  access: Access,
  server: RenewableServer,
): Promise<void> {
  const { tlsCertificateFile, tlsKeyFile, unixSocket } = config;
  if (tlsCertificateFile && unixSocket)
    throw new ConfigError("a certificate that is served on a socket file is taken over only by a restart");
  const checked = completeConfig(keySettings, {
    apiKeys: config.apiKeys,
    jwtSecrets: config.jwtSecrets,
    jwtPublicKeys: config.jwtPublicKeys,
    ...keys,
  });
  const certificate = tlsCertificateFile && (await readCertificate(tlsCertificateFile, tlsKeyFile));
  access.useKeys(checked);
  if (certificate) server.renew(certificate);
}

const { apiKeys, jwtSecrets, jwtPublicKeys } = settings;
const keySettings = { apiKeys, jwtSecrets, jwtPublicKeys };

function logStart(config: Config, parts: Parts, log: Logger): void {
  const { connectionsMax } = parts.connections;
  const inForceNow = { ...inForce(config), connectionsMax, isOpen: isOpen(parts, config) };
  // On a terminal it is a line for each of 40 settings.
  if (isWritingLogger(log) && log.isOnTerminal) log.debug(inForceNow, "listening");
  else log.info(inForceNow, "listening");
  const { host, port, unixSocket } = config;
  if (parts.access.isOpen && !unixSocket && !isLoopback(host))
    log.warn(
      { host, port },
      "open to other machines, without a key: everyone who reaches this address may publish, subscribe and end topics",
    );
}

const isOpen = ({ access }: Parts, { insecure }: Config): boolean => access.isOpen && !insecure;

/** The listener of a server, and the one of its endpoints for operators, if that is another. */
interface Listeners extends AsyncDisposable {
  readonly server: RenewableServer;
  readonly url: URL;
}

/** Where a server listens, and where its endpoints for operators do, if that is elsewhere. */
interface Addresses {
  readonly main: ListenOptions;
  readonly operations: ListenOptions | undefined;
}

/** @throws {ConfigError} for a file that cannot be used */
const addressesOf = async (config: Config): Promise<Addresses> => ({
  operations: await operationsListenOptions(config),
  main: await listenOptions(config),
});

async function listen(
  config: Config,
  addresses: Addresses,
  parts: Parts,
  operations: Operations,
): Promise<Listeners> {
  const { refusals } = parts;
  const isGuarded = isOpen(parts, config);
  const routes = (handlers: Readonly<Record<string, Handler>>): Routes => {
    const guard = (handler: Handler): Handler =>
      isGuarded ? guardHost(handler, { config, log: parts.log }) : handler;
    return routesOf(
      Object.fromEntries(Object.entries(handlers).map(([path, handler]) => [path, guard(handler)])),
      refusals,
    );
  };
  const common = {
    // By default a compiled binary is in development, too, and shows its source in an error answer.
    development: false,
    fetch: routeOf(notFound, refusals),
    error: (error: Error) => refusals.of(error).response(),
    websocket: parts.websocket(),
  };
  await using unlessListening = new AsyncDisposableStack();
  if (addresses.operations) {
    const separate = Bun.serve({ ...common, ...addresses.operations, routes: routes(operations.handlers) });
    unlessListening.defer(() => separate.stop(true));
  }
  const pages = pageHandlers();
  const mainRoutes = routes({
    ...pages,
    "/status": guardOrigin(statusEndpoint({ ...parts, engineKind: engineKindOf(config) }), {
      config,
      ...parts,
    }),
    ...documentHandlers({ page: pages["/"], ...parts }),
    ...parts.handlers,
    ...(addresses.operations ? {} : operations.handlers),
  });
  const server = await RenewableServer.listen(addresses.main, (options) =>
    Bun.serve({
      ...common,
      ...options,
      // Endless: over its own limit Bun refuses without a word, and to a page without CORS. publish.ts holds the limit, and
      // of a body that nobody reads Bun keeps nothing.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      routes: mainRoutes,
    }),
  );
  const url = config.unixSocket ? new URL(`unix://${resolve(config.unixSocket)}`) : server.url;
  const listening = unlessListening.move();
  return { server, url, [Symbol.asyncDispose]: () => listening.disposeAsync() };
}

const engineKindOf = ({ redisUrl, data }: Config): "memory" | "disk" | "redis" =>
  redisUrl !== "" ? "redis" : data === "" ? "memory" : "disk";

/** The part of it that a program sees. */
function publicApi(parts: Parts): Longwire {
  const { handlers, refusals, websocket, publish, subscribe, drain } = parts;
  const { [Symbol.asyncDispose]: dispose } = parts;
  const routes = routesOf(handlers, refusals);
  return { routes, websocket, publish, subscribe, drain, [Symbol.asyncDispose]: dispose };
}

/** Every setting, for the log. Secrets are only counted. */
function inForce(config: Config): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).map(([name, { unit }]) => {
      const value = config[name as keyof Config];
      if (!unit.isSecret) return [name, value];
      return [name, Array.isArray(value) ? `${value.length} set` : (unit as Unit<unknown>).show(value)];
    }),
  );
}

/** @throws {ConfigError} for a prefix that no route could match, such as one that ends in a slash */
function requirePrefix(prefix: string): void {
  if (/^(?:\/[^/?#*:\s]+)*$/.test(prefix)) return;
  throw new ConfigError(
    `prefix must be empty or a path such as /realtime, which begins with a slash and does not end in one, not "${prefix}"`,
  );
}

/** All parts of a server, joined. Only this file knows all of them. */
interface Parts extends Omit<Longwire, "routes"> {
  readonly handlers: Readonly<Record<string, Handler>>;
  readonly access: Access;
  readonly proxies: Proxies;
  readonly broker: Broker;
  /** Undefined where the topics are in Redis. */
  readonly engine: EngineSize | undefined;
  readonly disk: DiskMeter | undefined;
  readonly redis: RedisBroker | undefined;
  readonly connections: Connections;
  readonly held: HeldBytes;
  readonly encodings: Encodings;
  readonly counters: Counters;
  readonly refusals: Refusals;
  /** For lines that clients can cause. */
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
  const connections = new Connections(config, counters, log);
  const heartbeat = new Heartbeat({ config, connections, counters, log });
  const buffers = bufferLimits(config);
  const upgrader = new Upgrader(connections, proxies);
  const reading = new Reading({ bufferedBytesMax: config.bufferedBytesMax, heartbeat, counters, log });
  const openings = new Openings(connections, proxies);
  const topicsPath = `${prefix}/topics/`;
  const encodings = new Encodings(topicsPath);
  const held = new HeldBytes({ connections, totalMax: buffers.totalBytesMax, counters, log });
  connections.everySecond(() => held.check());
  const fanOut = new NativeFanOut({ connections, buffers, held, encodings, counters, log });
  const limits = { ...config, retained: config.retain.flatMap((text) => readRetainedTopics(text) ?? []) };
  const engine = openEngine(config, limits, givenLog, (what, number) =>
    countEvictions(what, number, counters, log),
  );
  const broker: Broker = engine;
  const hub = new Hub({ broker, fanOut, limits, counters, log: givenLog });
  const deps = {
    config,
    hub,
    access,
    buffers,
    connections,
    openings,
    reading,
    upgrader,
    proxies,
    fanOut,
    encodings,
    refusals,
    counters,
    log,
  };
  const program = new ProgramTopics(deps);
  return {
    ...deps,
    broker,
    engine: "topicCount" in engine ? engine : undefined,
    disk: "meter" in engine ? engine.meter : undefined,
    redis: "generation" in engine ? engine : undefined,
    held,
    handlers: {
      [`${prefix}/ping`]: guardOrigin(refusals.answering(echoEndpoint(deps)), deps),
      [`${topicsPath}*`]: guardOrigin(refusals.answering(topicsEndpoint(deps, topicsPath)), deps),
    },

    websocket: (yours) =>
      webSocketHandler({ config, buffers, connections, heartbeat, reading, counters, log }, yours),

    publish: (topic, data, options) => program.publish(topic, data, options),
    subscribe: (topic, options) => program.subscribe(topic, options),
    drain: () => drainAll(connections, config.drainWindowSeconds),

    [Symbol.asyncDispose]: async () => {
      await closeAll(connections, closeCode.goingAway, "the server stops");
      program[Symbol.dispose]();
      encodings[Symbol.dispose]();
      hub.close();
      await broker.close();
    },
  };
}

/** @throws {DataDirectoryError} if the directory of `data` cannot be used */
function openEngine(
  config: HandlerConfig,
  limits: MemoryBrokerLimits,
  log: Logger,
  evicted: (what: Evicted, number: number) => void,
): MemoryBroker | DiskBroker | RedisBroker {
  if (config.redisUrl !== "") {
    const { RedisBroker } = require("./engine/redis/broker.ts") as typeof import("./engine/redis/broker.ts");
    const { redisUrl: url, redisPrefix: prefix, redisAcknowledge, redisLosslessFailover } = config;
    const own = {
      url,
      prefix,
      acknowledge: redisAcknowledge,
      losslessFailover: redisLosslessFailover,
      ...(config.redisReplicaUrl !== "" && { replicaUrl: config.redisReplicaUrl }),
    };
    return new RedisBroker({ ...limits, ...own }, log);
  }
  if (config.data === "") return new MemoryBroker(limits, { evicted });
  // Loaded when needed: SQLite takes 2 MiB. The URL is right only in a file at the top of src, also in a binary.
  const { DiskBroker } = require("./engine/disk/disk.ts") as typeof import("./engine/disk/disk.ts");
  const workerUrl = new URL("./engine/disk/worker.ts", import.meta.url);
  return new DiskBroker({ directory: config.data, workerUrl, limits, log, evicted });
}

function countEvictions(what: Evicted, number: number, { evicted }: Counters, log: Logger): void {
  evicted[what] += number;
  const setting = { idempotency_keys: "--idempotency-bytes", positions: "--position-bytes" }[what];
  log.warn({ setting }, `${what.replace("_", " ")} are forgotten before their time: a bound is reached`);
}
