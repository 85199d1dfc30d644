/** The engine in Redis, as engine.ts has it. */
import { count, counts, gauge, type Metric } from "../../metrics.ts";
import type { HistoryLimits } from "../../topic/retention.ts";
import type { Engine, EngineDeps, KindsOfTopics, PresenceLimits } from "../engine.ts";
import { RedisBroker } from "./broker.ts";

/** Settings of this engine. `RedisBrokerSettings` says what they mean. */
interface RedisConfig extends HistoryLimits, KindsOfTopics, PresenceLimits {
  readonly positionAgeSeconds: number;
  readonly redisUrl: { readonly url: string; readonly database: number };
  readonly redisReplicaUrl: { readonly url: string } | undefined;
  readonly redisPrefix: string;
  readonly redisAcknowledge: number;
  readonly redisLosslessFailover: boolean;
}

export function open(config: RedisConfig, { log }: Pick<EngineDeps, "log">): Engine {
  const { url, database } = config.redisUrl;
  const replicaUrl = config.redisReplicaUrl?.url;
  const { redisPrefix: prefix } = config;
  const { redisAcknowledge: acknowledge, redisLosslessFailover: losslessFailover } = config;
  const own = {
    url,
    database,
    prefix,
    acknowledge,
    losslessFailover,
    presenceLimits: config.presence.length > 0 ? config : undefined,
    ...(replicaUrl !== undefined && { replicaUrl }),
  };
  const broker = new RedisBroker({ ...config, ...own }, log);
  return { kind: "redis", broker, presence: broker.presence, metrics: () => metricsOf(broker) };
}

const metricsOf = (redis: RedisBroker): Metric[] => [
  gauge(
    "longwire_redis_generation",
    "Rises with each takeover, restart and flush of Redis.",
    () => redis.generation,
  ),
  count("longwire_redis_losses_total", "Takeovers with a possible loss.", () => redis.losses),
  count("longwire_redis_disconnects_total", "Connections to Redis that ended.", () => redis.disconnects),
  gauge(
    "longwire_redis_announcement_delay_seconds",
    "From this node through Redis and back to it, by the last beat.",
    () => redis.announcementDelaySeconds,
  ),
  gauge("longwire_redis_publishes_waiting", "Publications in flight.", () => redis.publishesInFlight),
  gauge("longwire_redis_near", "Whether announcements come from the replica.", () =>
    Number(redis.near?.isNear ?? false),
  ),
  counts(
    "longwire_redis_near_reads_total",
    "Reads of history and positions that were asked of the replica, by the server that answered.",
    "server",
    () => redis.near?.reads ?? { replica: 0, primary: 0 },
  ),
];
