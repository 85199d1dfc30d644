/**
 * The shape of every engine. Its folder exports `open(config, deps)` in open.ts, and nothing above the seam
 * (topic/broker.ts) knows which engine it is.
 */
import type { Logger } from "../log.ts";
import type { Metric } from "../metrics.ts";
import type { Broker } from "../topic/broker.ts";
import type { HistoryLimits } from "../topic/retention.ts";

/** An engine that is open. It is closed by its broker. */
export interface Engine {
  readonly kind: "memory" | "disk" | "redis";
  readonly broker: Broker;
  /** Undefined where the server of the engine counts that itself. */
  readonly size?: EngineSize;
  /** What only this engine measures, for /metrics. */
  metrics(): readonly Metric[];
}

/** How much an engine keeps. */
export interface EngineSize {
  /** Topics whose position is known. */
  readonly topicCount: number;
  /** Bytes of history, with its overhead. */
  readonly historyBytes: number;
}

/** The limits of an engine on this machine. */
export interface EngineLimits extends HistoryLimits {
  /** How long a topic's position outlives its last message and subscriber. */
  readonly positionAgeSeconds: number;
  /** Bytes of the positions of topics without a message or subscriber. */
  readonly positionBytesMax: number;
  /** Bytes of all idempotency keys. */
  readonly idempotencyBytesMax: number;
}

/** What an engine had to forget before its time, because a bound was reached. */
export type Evicted = "idempotency_keys" | "positions";

/** What an engine needs of the server. */
export interface EngineDeps {
  readonly log: Logger;
  /** Where the code of the disk's Worker is. Only a file at the top of `src` can say: elsewhere it is wrong when compiled. */
  readonly workerUrl: URL;
  /** Called when things were forgotten early, with their number. */
  evicted(what: Evicted, number: number): void;
}
