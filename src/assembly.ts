/** Joins all parts of a handler. Only this file knows all of them, and only it knows the engines. */
import type { WebSocketHandler } from "bun";
import { Access } from "./access/access.ts";
import type { Authorize } from "./access/permissions.ts";
import { Connections } from "./connection/connections.ts";
import { connectionsAllowed } from "./connection/descriptors.ts";
import { closeAll, drainAll } from "./connection/drain.ts";
import { Upgrader } from "./connection/handshake.ts";
import { Heartbeat } from "./connection/heartbeat.ts";
import { Openings } from "./connection/openings.ts";
import { Reading } from "./connection/reading.ts";
import { webSocketHandler } from "./connection/websocket.ts";
import { bufferLimits } from "./delivery/buffer-limits.ts";
import { openDelivery } from "./delivery/delivery.ts";
import { echoEndpoint } from "./endpoint/ping/echo.ts";
import { presenceEndpoint } from "./endpoint/presence/endpoint.ts";
import { topicsEndpoint } from "./endpoint/topics/endpoint.ts";
import { type Engine, type EngineDeps, type Evicted, isKeyed, type Maintenance } from "./engine/engine.ts";
import { withMembersInMemory } from "./engine/members-in-memory.ts";
import { open as openMemory } from "./engine/memory/open.ts";
import { guardOrigin } from "./http/origin.ts";
import { Proxies } from "./http/proxies.ts";
import { Refusals } from "./http/refusal.ts";
import { type Logger, sampled } from "./log.ts";
import { Counters } from "./metrics.ts";
import type { HandlerConfig } from "./settings/config.ts";
import { checkRelations, doubtsAbout } from "./settings/relations.ts";
import { Hub, type HubDeps } from "./topic/hub.ts";
import { matchesTopic } from "./topic/message.ts";
import { isPresenceTopic, type PresenceRegister } from "./topic/presence.ts";
import { closeCode } from "./wire/close-code.ts";
import { Encodings } from "./wire/encodings.ts";

/** All parts of a handler. Disposing them closes its connections and its engine. */
export type Parts = ReturnType<typeof assemble>;

export function assemble(
  config: HandlerConfig,
  prefix: string,
  givenLog: Logger,
  authorize: Authorize | undefined,
) {
  checkRelations(config, { hasAuthorize: authorize !== undefined });
  const log = sampled(givenLog);
  for (const doubt of doubtsAbout(config, connectionsAllowed())) log.warn({}, doubt);
  const counters = new Counters();
  const refusals = new Refusals(counters, log);
  const access = new Access({ config, authorize, log });
  const proxies = new Proxies(config.trustedProxies);
  const connections = new Connections(config, proxies, counters, log);
  const heartbeat = new Heartbeat({ config, connections, counters, log });
  const buffers = bufferLimits(config);
  const upgrader = new Upgrader(connections);
  const reading = new Reading({ bufferedBytesMax: config.bufferedBytesMax, heartbeat, counters, log });
  const openings = new Openings(connections);
  const encodings = new Encodings(prefix);
  const { held, native, live } = openDelivery(buffers, connections, encodings, counters, log);
  connections.everySecond(() => held.check());
  const engine = openEngine(config, {
    log: givenLog,
    // The URL is right only in a file at the top of src, also in a binary.
    workerUrl: new URL("./engine/disk/worker.ts", import.meta.url),
    evicted: (what, number) => countEvictions(what, number, counters, log),
  });
  const { broker, presence } = engine;
  const kinds = kindsOf(config, presence);
  const hub = new Hub({ broker, live, ...kinds, limits: config, counters, log: givenLog });
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
    native,
    held,
    encodings,
    refusals,
    counters,
    log,
  };
  return {
    ...deps,
    engine,
    handlers: {
      [`${prefix}/ping`]: guardOrigin(echoEndpoint(deps), deps),
      [`${prefix}/topics/*`]: guardOrigin(topicsEndpoint(deps, prefix), deps),
      [`${prefix}/presence/*`]: guardOrigin(presenceEndpoint(deps, prefix), deps),
    },

    websocket: <Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data> =>
      webSocketHandler({ config, buffers, connections, heartbeat, reading, counters, log }, yours),

    drain: (): Promise<void> => drainAll(connections, config.drainWindowSeconds),

    [Symbol.asyncDispose]: async (): Promise<void> => {
      await closeAll(connections, closeCode.goingAway, "the server stops");
      encodings[Symbol.dispose]();
      hub.close();
      await broker.close();
    },
  };
}

const kindsOf = (
  config: HandlerConfig,
  register: PresenceRegister | undefined,
): Pick<HubDeps<never>, "isKeyed" | "presence" | "feeds"> => ({
  isKeyed: (topic) => isKeyed(config, topic),
  presence:
    register && config.presence.length > 0
      ? { register, has: (topic) => !isPresenceTopic(topic) && matchesTopic(config.presence, topic) }
      : undefined,
  feeds: config.feeds,
});

/** Loads Redis and SQLite only where they are used: SQLite takes 2 MiB. @throws {DataDirectoryError} */
function openEngine(config: HandlerConfig, deps: EngineDeps): Engine {
  const { redisUrl } = config;
  if (redisUrl) {
    const { open }: typeof import("./engine/redis/open.ts") = require("./engine/redis/open.ts");
    return open({ ...config, redisUrl }, deps);
  }
  if (config.data !== "") {
    const { open }: typeof import("./engine/disk/open.ts") = require("./engine/disk/open.ts");
    const disk = open(config, deps);
    if (config.presence.length === 0) return disk;
    return withMembersInMemory(disk, openMemory({ ...config, historyBytesMax: membersBytesMax }, deps));
  }
  return openMemory(config, deps);
}

/** Memory of who is here, beside topics on disk: for some 500,000 members. */
const membersBytesMax = 256 * 1024 * 1024;

/** Loaded as the engines are. */
export function diskMaintenance(): Maintenance {
  const {
    maintenance,
  }: typeof import("./engine/disk/maintenance.ts") = require("./engine/disk/maintenance.ts");
  return maintenance;
}

function countEvictions(what: Evicted, number: number, { evicted }: Counters, log: Logger): void {
  evicted[what] += number;
  const setting = { idempotency_keys: "--idempotency-bytes", positions: "--position-bytes" }[what];
  log.warn({ setting }, `${what.replace("_", " ")} are forgotten before their time: a bound is reached`);
}
