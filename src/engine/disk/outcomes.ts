/** How the operations of a batch came out: on the way from the Worker to the node, with the errors. */
import {
  BrokerUnavailable,
  ConditionFailed,
  IdempotencyConflict,
  KeyAbsent,
  type StreamRecord,
  StreamTakenOver,
  TopicEnded,
  TopicFull,
} from "../../topic/broker.ts";
import type { Position } from "../../topic/message.ts";
import { DamagedData } from "./schema.ts";

export const outcomes = {
  done: 0,
  conflict: 1,
  failed: 2,
  ended: 3,
  takenOver: 4,
  conditionFailed: 5,
  keyAbsent: 6,
  full: 7,
} as const;

/** By the place of the operation in the batch. */
export interface Outcomes {
  readonly codes: Uint8Array;
  /** Of the last entry that a publication appended, and its time. */
  readonly offsets: Float64Array;
  readonly times: Float64Array;
  /** By the place of the topic's name in the batch; empty for a topic that does not exist. */
  readonly epochs: string[];
  /** Of operations that are no new publication. */
  readonly others: Map<number, OtherOutcome>;
  /** Of the feeds to which the batch appended. */
  readonly fed: FedOutcomes[];
}

/** What a batch appended to a feed. */
export interface FedOutcomes {
  readonly topic: string;
  readonly epoch: string;
  readonly time: number;
  /** Of the last entry that an operation appended, by the place of the operation; 0 where it appended none. */
  readonly offsets: Float64Array;
}

/** Every part may be missing. */
export interface OtherOutcome {
  /** Of the topic, of the message that was appended the first time, or of the value that does not meet a condition. */
  readonly position?: Position | undefined;
  readonly end?: Position | undefined;
  /** The end's. */
  readonly time?: number | undefined;
  readonly record?: StreamRecord | undefined;
  /** Why it failed, where the rest of its batch did not. */
  readonly reason?: string | undefined;
}

export const noOutcomes = (operations: number): Outcomes => ({
  codes: new Uint8Array(operations),
  offsets: new Float64Array(operations),
  times: new Float64Array(operations),
  epochs: [],
  others: new Map(),
  fed: [],
});

/** @throws an error that is no answer to one operation */
export function setFailure({ codes, others }: Outcomes, index: number, error: unknown): void {
  if (error instanceof IdempotencyConflict) codes[index] = outcomes.conflict;
  else if (error instanceof StreamTakenOver) codes[index] = outcomes.takenOver;
  else if (error instanceof TopicEnded) {
    codes[index] = outcomes.ended;
    others.set(index, { end: error.end });
  } else if (error instanceof ConditionFailed) {
    codes[index] = outcomes.conditionFailed;
    others.set(index, { position: error.current });
  } else if (error instanceof KeyAbsent) {
    codes[index] = outcomes.keyAbsent;
    others.set(index, { position: error.position });
  } else if (error instanceof TopicFull) {
    codes[index] = outcomes.full;
    others.set(index, { reason: error.bound });
  } else if (error instanceof DamagedData) {
    codes[index] = outcomes.failed;
    others.set(index, { reason: error.message });
  } else throw error;
}

/** The error of an operation that was not done; undefined for one that was. */
export function failureAt(
  { codes, others }: Outcomes,
  index: number,
  topic: string,
  unavailable: BrokerUnavailable,
): Error | undefined {
  const { position, end, reason = "" } = others.get(index) ?? {};
  switch (codes[index]) {
    case outcomes.done:
      return undefined;
    case outcomes.conflict:
      return new IdempotencyConflict();
    case outcomes.takenOver:
      return new StreamTakenOver();
    case outcomes.ended:
      return end ? new TopicEnded(topic, end) : unavailable;
    case outcomes.conditionFailed:
      return new ConditionFailed(topic, position);
    case outcomes.keyAbsent:
      return position ? new KeyAbsent(topic, position) : unavailable;
    case outcomes.full:
      return new TopicFull(topic, reason);
    default:
      return reason === "" ? unavailable : new BrokerUnavailable(reason);
  }
}
