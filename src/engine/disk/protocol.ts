/** What a node and its Worker say to each other. Columns and not rows: an array of strings costs less to copy than objects. */
import type { Once, Page, Publication, StreamStep, TopicState } from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { End, Position, Since, TopicPosition } from "../../topic/message.ts";
import type { EngineLimits } from "../engine.ts";
import type { OutcomeColumns } from "./outcomes.ts";

/** The node's clock: the Worker has none of its own. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Milliseconds since some moment of this process. It never goes back. */
  readonly monotonic: number;
}

export type Operation =
  | { readonly kind: "publish"; readonly topic: string; readonly publication: Publication }
  | { readonly kind: "takeStream"; readonly topic: string; readonly once: Once; readonly writer: string }
  /** Brings the topic into being. */
  | { readonly kind: "subscribe"; readonly topic: string }
  | { readonly kind: "unsubscribe"; readonly topic: string };

/** The operations of one transaction, by column. */
export interface OperationColumns {
  readonly kinds: Operation["kind"][];
  readonly topics: string[];
  /** The number of messages. */
  readonly counts: number[];
  /** Those of the messages of all operations, in their order, as are the next two. */
  readonly data: Draft["data"][];
  readonly contentTypes: string[];
  /** In JSON. */
  readonly attributes: (string | null)[];
  readonly ends: boolean[];
  readonly onces: (Once | undefined)[];
  readonly steps: (StreamStep | undefined)[];
  /** Only for `takeStream`. */
  readonly writers: (string | undefined)[];
}

export interface StoreOptions {
  readonly directory: string;
  readonly limits: EngineLimits;
  readonly subscribed: readonly string[];
}

/** What a Worker is asked. */
export type WorkerQuestion =
  | ({ readonly kind: "open" } & StoreOptions)
  | { readonly kind: "commit"; readonly operations: OperationColumns }
  | { readonly kind: "history"; readonly topic: string; readonly since: Since; readonly page: Page }
  | { readonly kind: "positions"; readonly topics: readonly string[] }
  | { readonly kind: "inspect"; readonly topics: readonly string[] }
  | { readonly kind: "sweep" }
  | { readonly kind: "close" };

/** The answer has the same id. */
export type WorkerRequest = Moment & { readonly id: number } & WorkerQuestion;

/** Messages of one topic. */
export interface MessageColumns {
  readonly offsets: number[];
  readonly times: number[];
  readonly contentTypes: string[];
  /** In JSON. */
  readonly attributes: (string | null)[];
  readonly data: Draft["data"][];
}

/** `History` whose messages are columns. */
export interface HistoryColumns extends MessageColumns {
  readonly complete: boolean;
  readonly isTrimmed: boolean;
  readonly from: Position;
  readonly position: Position;
  readonly end: End | undefined;
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
  /** Positions and keys that were forgotten before their time since the last answer. */
  readonly evictedPositions: number;
  readonly evictedKeys: number;
}

/** Before anything was measured. */
export const emptyUsage: DiskUsage = {
  topics: 0,
  historyBytes: 0,
  fileBytes: 0,
  walBytes: 0,
  evictedPositions: 0,
  evictedKeys: 0,
};

export type WorkerAnswer = { readonly id: number } & (
  | {
      readonly kind: "opened";
      readonly sinceTime: number;
      readonly usage: DiskUsage;
      /** Why it can be read and not written. */
      readonly failure: Failure | undefined;
    }
  | {
      readonly kind: "committed";
      readonly results: OutcomeColumns;
      /** Time that the transaction took, with its fsync. */
      readonly milliseconds: number;
      readonly failure?: Failure;
    }
  | { readonly kind: "history"; readonly history: HistoryColumns | undefined }
  | { readonly kind: "positions"; readonly positions: (TopicPosition | undefined)[] }
  | { readonly kind: "inspected"; readonly topics: (StoredTopic | undefined)[] }
  | { readonly kind: "swept"; readonly usage: DiskUsage; readonly failure?: Failure }
  | { readonly kind: "refused"; readonly failure: Failure }
  | { readonly kind: "closed" }
);
