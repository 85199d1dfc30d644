/** What an engine on this machine requires before it appends to a keyed topic. */
import { type Condition, ConditionFailed, KeyAbsent, TopicFull } from "../topic/broker.ts";
import type { Position } from "../topic/message.ts";
import type { EngineLimits } from "./engine.ts";

/** What a publication does to a key. */
interface KeyChange {
  readonly key: string;
  /** What its value takes; undefined where it takes the key away. */
  readonly valueBytes: number | undefined;
}

/** The value that a key has. */
export interface HeldValue {
  readonly offset: number;
  readonly bytes: number;
}

/** What a keyed topic has before a publication. */
interface KeyedTarget {
  readonly name: string;
  readonly position: Position;
  readonly valueCount: number;
  /** Of all keyed topics. */
  readonly valueBytes: number;
  /** The value of a key. */
  held(key: string): HeldValue | undefined;
}

type KeyedLimits = Pick<EngineLimits, "keysMax" | "historyBytesMax">;

/**
 * Whether a keyed topic takes a publication: its condition first, then the keys that it takes away, then the room for its values.
 * @throws {ConditionFailed} @throws {KeyAbsent} @throws {TopicFull}
 */
export function requireKeys(
  target: KeyedTarget,
  changes: readonly KeyChange[],
  condition: Condition | undefined,
  limits: KeyedLimits,
): void {
  const { name, position } = target;
  // A key that is given several values has the last of them.
  const added = new Map<string, number>();
  for (const { key, valueBytes } of changes) {
    const held = target.held(key);
    const at = held && { epoch: position.epoch, offset: held.offset };
    if (condition && !meets(at, condition)) throw new ConditionFailed(name, at);
    if (valueBytes !== undefined) added.set(key, valueBytes);
    else if (!held) throw new KeyAbsent(name, position);
  }
  requireRoom(target, added, limits);
}

/** @param value the position of the key's value */
function meets(value: Position | undefined, condition: Condition): boolean {
  if (condition.kind === "absent") return value === undefined;
  if (!value || condition.kind === "present") return value !== undefined;
  return condition.positions.some(({ epoch, offset }) => epoch === value.epoch && offset === value.offset);
}

/** Replacing by what is no larger goes on, also where a limit was lowered. @throws {TopicFull} */
function requireRoom(
  { name, valueCount, valueBytes, held }: KeyedTarget,
  added: ReadonlyMap<string, number>,
  { keysMax, historyBytesMax }: KeyedLimits,
): void {
  let newKeys = 0;
  let newBytes = 0;
  for (const [key, bytes] of added) {
    const earlier = held(key);
    if (!earlier) newKeys++;
    newBytes += bytes - (earlier?.bytes ?? 0);
  }
  if (newKeys > 0 && valueCount + newKeys > keysMax)
    throw new TopicFull(name, `it has ${valueCount} keys, and --keys-max is ${keysMax}`);
  if (newBytes > 0 && valueBytes + newBytes > historyBytesMax)
    throw new TopicFull(
      name,
      `the values of all keyed topics fill --history-bytes, which is ${historyBytesMax}`,
    );
}
