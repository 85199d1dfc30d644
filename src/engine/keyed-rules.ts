/** What an engine on this machine requires before it appends to a keyed topic. */
import { type Condition, TopicFull } from "../topic/broker.ts";
import type { Position } from "../topic/message.ts";
import type { EngineLimits } from "./engine.ts";

/** @param value the position of the key's value */
export function meets(value: Position | undefined, condition: Condition): boolean {
  if (condition.kind === "absent") return value === undefined;
  if (!value || condition.kind === "present") return value !== undefined;
  return condition.positions.some(({ epoch, offset }) => epoch === value.epoch && offset === value.offset);
}

/** What a publication would make of the values. */
export interface Growth {
  readonly topic: string;
  /** Values that the topic has, and how many more it would have. */
  readonly values: number;
  readonly newKeys: number;
  /** Bytes that the values of all keyed topics have, and how many more they would have; below 0 where it is less. */
  readonly valueBytes: number;
  readonly newBytes: number;
}

/** Replacing by what is no larger goes on, also where a limit was lowered. @throws {TopicFull} */
export function requireRoom(
  { topic, values, newKeys, valueBytes, newBytes }: Growth,
  { keysMax, historyBytesMax }: Pick<EngineLimits, "keysMax" | "historyBytesMax">,
): void {
  if (newKeys > 0 && values + newKeys > keysMax)
    throw new TopicFull(topic, `it has ${values} keys, and --keys-max is ${keysMax}`);
  if (newBytes > 0 && valueBytes + newBytes > historyBytesMax)
    throw new TopicFull(
      topic,
      `the values of all keyed topics fill --history-bytes, which is ${historyBytesMax}`,
    );
}
