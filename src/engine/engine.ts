/**
 * The shape of every engine. Its folder exports `open(config, deps)` in open.ts, and nothing above the seam
 * (topic/broker.ts) knows which engine it is.
 */
import type { Logger } from "../log.ts";
import type { Metric } from "../metrics.ts";
import type { Broker } from "../topic/broker.ts";
import type { Feed } from "../topic/feed.ts";
import { matchesTopic } from "../topic/message.ts";
import { isPresenceTopic, type PresenceRegister } from "../topic/presence.ts";
import type { HistoryLimits } from "../topic/retention.ts";

/** An engine that is open. It is closed by its broker. */
export interface Engine {
  readonly kind: "memory" | "disk" | "redis";
  readonly broker: Broker;
  /** Knows who is here; undefined where no topic has presence. The members are in topics of `broker`, which closes it, too. */
  readonly presence?: PresenceRegister | undefined;
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

/** Which topics are keyed, how much of them is kept, and which go into feeds. */
export interface KindsOfTopics {
  /** Each a topic's name, or a prefix that ends in `*`. */
  readonly keyed: readonly string[];
  /** Values of one topic, and removals. */
  readonly keysMax: number;
  readonly feeds: readonly Feed[];
}

/** Which topics have presence, and how much of it. */
export interface PresenceLimits {
  /** Topics whose members are known. Each a topic's name, or a prefix that ends in `*`. */
  readonly presence: readonly string[];
  /** How long a member stays without a line. */
  readonly presenceGraceSeconds: number;
  /** Members of one topic. */
  readonly presenceMembersMax: number;
}

/** Whether a topic keeps only the last message of each key: by `--keyed`, or because it has the members of another. */
export const isKeyed = ({ keyed }: Pick<KindsOfTopics, "keyed">, topic: string): boolean =>
  isPresenceTopic(topic) || matchesTopic(keyed, topic);

/** The limits of an engine on this machine. */
export interface EngineLimits extends HistoryLimits, KindsOfTopics {
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

/** What can be done with the data of an engine while no server is needed for it. Each throws a `DataDirectoryError`. */
export interface Maintenance {
  /** Reads every page of the data, and compares topics with their messages. */
  checkData(directory: string): CheckReport;
  /**
   * Copies the data into one file, as it is at this moment, on a connection of its own: publishing goes on.
   * @param target a path at which nothing is
   * @returns the size of the copy in bytes
   */
  backUp(directory: string, target: string): number;
  /**
   * Puts a copy in the place of the data. The next start finds that it is a copy, and begins new epochs.
   * @param source a file that `backUp` made
   * @returns where the former data is; undefined where there was none
   */
  restore(source: string, directory: string): string | undefined;
  /**
   * Begins a new epoch for every topic, so that each client is told a gap: for a copy that Longwire cannot recognize, such as
   * the snapshot of a volume.
   */
  beginNewEpochs(directory: string): void;
}

export interface CheckReport {
  /** In words; empty where all is well. */
  readonly faults: readonly string[];
  readonly topics: number;
  readonly messages: number;
  readonly bytes: number;
}
