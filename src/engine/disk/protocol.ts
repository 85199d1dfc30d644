/** What a node and its Worker say to each other. Columns and not rows: an array of strings costs less to copy than objects. */
import type { Once, Page, Publication, StreamRecord, StreamStep, TopicState } from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { End, Position, Since, TopicPosition } from "../../topic/message.ts";
import type { EngineLimits } from "../engine.ts";

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
  readonly data: (Draft["data"] | undefined)[];
  readonly contentTypes: string[];
  /** In JSON. */
  readonly attributes: (string | null)[];
  readonly ends: boolean[];
  readonly onces: (Once | undefined)[];
  readonly steps: (StreamStep | undefined)[];
  /** Of `takeStream`. */
  readonly writers: (string | undefined)[];
}

/** How an operation of a transaction came out. */
export const outcomes = {
  done: 0,
  repeated: 1,
  conflict: 2,
  tooLarge: 3,
  failed: 4,
  ended: 5,
  takenOver: 6,
} as const;

export interface OutcomeColumns {
  readonly outcomes: number[];
  readonly epochs: string[];
  /** Of the message, or of the subscribed topic's position; 0 where there is neither. */
  readonly offsets: number[];
  /** The offset of the topic's end, where the operation made or met it; else 0. */
  readonly ends: number[];
  readonly times: number[];
  /** Of `takeStream`. */
  readonly records: (StreamRecord | undefined)[];
}

export const noOutcomes = (): OutcomeColumns => ({
  outcomes: [],
  epochs: [],
  offsets: [],
  ends: [],
  times: [],
  records: [],
});

/** One operation's outcome, of which every part may be missing. */
export interface Outcome {
  readonly position?: Position | undefined;
  readonly end?: Position | undefined;
  /** Of the last entry. */
  readonly time?: number | undefined;
  readonly record?: StreamRecord | undefined;
}

export function pushOutcome(
  results: OutcomeColumns,
  outcome: number,
  { position, end, time, record }: Outcome,
): void {
  results.outcomes.push(outcome);
  results.epochs.push((position ?? end)?.epoch ?? "");
  results.offsets.push(position?.offset ?? 0);
  results.ends.push(end?.offset ?? 0);
  results.times.push(time ?? 0);
  results.records.push(record);
}

export interface Opening {
  readonly directory: string;
  readonly limits: EngineLimits;
  readonly subscribed: readonly string[];
}

export type Request = Moment & { readonly id: number } & (
    | ({ readonly kind: "open" } & Opening)
    | { readonly kind: "commit"; readonly operations: OperationColumns }
    | { readonly kind: "history"; readonly topic: string; readonly since: Since; readonly page: Page }
    | { readonly kind: "positions"; readonly topics: readonly string[] }
    | { readonly kind: "inspect"; readonly topics: readonly string[] }
    | { readonly kind: "sweep" }
    | { readonly kind: "close" }
  );

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

export type Answer = { readonly id: number } & (
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
