/** How the operations of a transaction came out: by column for the way from the Worker to the node, with the errors. */
import {
  BrokerUnavailable,
  IdempotencyConflict,
  type StreamRecord,
  StreamTakenOver,
  TopicEnded,
} from "../../topic/broker.ts";
import type { Position } from "../../topic/message.ts";
import { codeOf } from "./schema.ts";

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
  /** The message's, or those of the subscribed topic's position; 0 where there is neither. */
  readonly offsets: number[];
  /** The offset of the topic's end, where the operation made or met it; else 0. */
  readonly ends: number[];
  readonly times: number[];
  /** Only for `takeStream`. */
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
  /** The last entry's. */
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

export function outcomeAt({ epochs, offsets, ends, times, records }: OutcomeColumns, index: number): Outcome {
  const epoch = epochs[index] ?? "";
  const offset = offsets[index] ?? 0;
  const end = ends[index] ?? 0;
  return {
    // A subscribed topic without a message is at 0; a publication has no message there.
    position: offset > 0 || (epoch !== "" && end === 0) ? { epoch, offset } : undefined,
    end: end > 0 ? { epoch, offset: end } : undefined,
    time: times[index],
    record: records[index],
  };
}

/** @throws an error that is no answer to one publication */
export function pushFailure(results: OutcomeColumns, error: unknown): void {
  if (error instanceof IdempotencyConflict) pushOutcome(results, outcomes.conflict, {});
  else if (error instanceof StreamTakenOver) pushOutcome(results, outcomes.takenOver, {});
  else if (error instanceof TopicEnded) pushOutcome(results, outcomes.ended, { end: error.end });
  else if (isTooLarge(error)) pushOutcome(results, outcomes.tooLarge, {});
  else throw error;
}

/** Whether a message is larger than SQLite takes. */
export const isTooLarge = (error: unknown): boolean =>
  codeOf(error) === "SQLITE_TOOBIG" || error instanceof RangeError;

/** The error of an operation that `pushFailure` took, or that was not done; undefined for one that was. */
export function failureAt(
  { outcomes: column }: OutcomeColumns,
  index: number,
  topic: string,
  { end }: Outcome,
  unavailable: BrokerUnavailable,
): Error | undefined {
  const outcome = column[index];
  if (outcome === outcomes.conflict) return new IdempotencyConflict();
  if (outcome === outcomes.takenOver) return new StreamTakenOver();
  if (outcome === outcomes.ended && end) return new TopicEnded(topic, end);
  if (outcome === outcomes.tooLarge)
    return new BrokerUnavailable("the message is larger than the disk's file can hold");
  return outcome === outcomes.failed ? unavailable : undefined;
}
