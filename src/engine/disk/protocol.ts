/** What a node and its Worker say to each other. Messages are bytes, as entry.ts has them: they are copied, not cloned. */
import type { Condition, KeyState, Once, Page, TopicState } from "../../topic/broker.ts";
import type { End, Place, Position, Since, TopicPosition } from "../../topic/message.ts";
import type { EngineLimits } from "../engine.ts";
import type { RecordKey } from "../publication-record.ts";
import type { Outcomes } from "./outcomes.ts";

/** The node's clock: the Worker has none of its own. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Milliseconds since some moment of this process. It never goes back. */
  readonly monotonic: number;
}

/** The operations of one transaction. */
export interface Batch {
  /** Of one operation after the other. The topic of an entry is the place of its name. */
  readonly entries: Uint8Array<ArrayBuffer>;
  /** Number of operations. */
  readonly operations: number;
  /** Of the topics, each once. */
  readonly names: readonly string[];
  /** Of publications with an idempotency key, by the place of the operation. */
  readonly keys: ReadonlyMap<number, RecordKey>;
  /** Of streams that are taken over. */
  readonly takeovers: ReadonlyMap<number, Takeover>;
  /** Of publications to keyed topics. */
  readonly conditions: ReadonlyMap<number, Condition>;
}

export interface Takeover {
  readonly once: Once;
  readonly writer: string;
}

export interface StoreOptions {
  readonly directory: string;
  readonly limits: EngineLimits;
  readonly subscribed: readonly string[];
}

/** What a Worker is asked. */
export type WorkerQuestion =
  | ({ readonly kind: "open" } & StoreOptions)
  | { readonly kind: "commit"; readonly batch: Batch }
  | { readonly kind: "history"; readonly topic: string; readonly since: Since; readonly page: Page }
  | { readonly kind: "value"; readonly topic: string; readonly key: string }
  | { readonly kind: "positions"; readonly topics: readonly string[] }
  | { readonly kind: "inspect"; readonly topics: readonly string[] }
  | { readonly kind: "sweep" }
  | { readonly kind: "close" };

/** The answer has the same id. */
export type WorkerRequest = Moment & { readonly id: number } & WorkerQuestion;

/** `History` whose messages are entries. */
export interface StoredHistory {
  readonly complete: boolean;
  readonly isTrimmed: boolean;
  readonly from: Place;
  /** Set in a keyed topic. */
  readonly through?: Place;
  readonly position: Position;
  readonly end: End | undefined;
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** `KeyState` whose value is an entry. */
export interface StoredKeyState extends Omit<KeyState, "value"> {
  readonly value: Uint8Array<ArrayBuffer> | undefined;
}

export type StoredTopic = Omit<TopicState, "subscribers">;

/** Why nothing can be written. `isGone` where nothing can be read either. */
export interface Failure {
  readonly reason: string;
  readonly isGone: boolean;
}

/** What the Worker measured. Counts are of this process. */
export interface DiskUsage {
  readonly topics: number;
  /** Bytes of the pages that are in use. */
  readonly historyBytes: number;
  readonly fileBytes: number;
  readonly walBytes: number;
  /** Bytes of entries that are not merged. */
  readonly unmergedBytes: number;
  /** Positions and keys that were forgotten before their time since the last answer. */
  readonly evictedPositions: number;
  readonly evictedKeys: number;
  /** The last damage that the work in the background has passed over, in words. */
  readonly damage?: string | undefined;
}

/** Before anything was measured. */
export const emptyUsage: DiskUsage = {
  topics: 0,
  historyBytes: 0,
  fileBytes: 0,
  walBytes: 0,
  unmergedBytes: 0,
  evictedPositions: 0,
  evictedKeys: 0,
};

export type WorkerAnswer = { readonly id: number } & (
  | {
      readonly kind: "opened";
      readonly sinceTime: number;
      readonly usage: DiskUsage;
      /** Topics that begin a new epoch at their next use, because `--keyed` was changed. */
      readonly formerTopics: number;
      /** Why it can be read and not written. */
      readonly failure: Failure | undefined;
    }
  | {
      readonly kind: "committed";
      readonly outcomes: Outcomes;
      /** That of the batch's entries, for another batch. */
      readonly memory: ArrayBuffer;
      /** Time that the transaction took, with its fsync. */
      readonly milliseconds: number;
      readonly failure?: Failure;
    }
  | { readonly kind: "history"; readonly history: StoredHistory | undefined }
  | { readonly kind: "value"; readonly state: StoredKeyState | undefined }
  | { readonly kind: "positions"; readonly positions: (TopicPosition | undefined)[] }
  | { readonly kind: "inspected"; readonly topics: (StoredTopic | undefined)[] }
  | { readonly kind: "swept"; readonly usage: DiskUsage; readonly failure?: Failure }
  | { readonly kind: "refused"; readonly failure: Failure }
  | { readonly kind: "closed" }
);
