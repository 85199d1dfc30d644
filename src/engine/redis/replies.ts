/** What the scripts answer, read into the types of the seam. */
import {
  type Appended,
  BrokerUnavailable,
  ConditionFailed,
  type History,
  IdempotencyConflict,
  KeyAbsent,
  type KeyState,
  StreamTakenOver,
  TopicEnded,
  TopicFull,
} from "../../topic/broker.ts";
import type { Message, Place, Position, TopicPosition } from "../../topic/message.ts";
import { decodeEntry } from "./entry.ts";
import type { Reply } from "./link.ts";
import type { Claim } from "./testimony.ts";
import { wordsOf } from "./unavailable.ts";

/**
 * @param answer what append.lua returns for a publication
 * @param isKeyed whether the topic is keyed: a server without memory for its values is told from one that is away
 * @throws what `Broker.publish` throws
 */
export function appendedOf(topic: string, answer: string, isKeyed: boolean): Appended {
  const [epoch = "", message, end] = answer.split(" ", 3);
  const refuse = refusals[epoch];
  if (refuse) throw refuse(topic, message ?? "", end ?? "");
  if (epoch === "ERROR") {
    const words = wordsOf(answer.slice("ERROR ".length));
    throw isKeyed && message === "OOM" ? new TopicFull(topic, words) : new BrokerUnavailable(words);
  }
  const position = message === "-" ? undefined : { epoch, offset: Number(message) };
  if (end === "-") return position ? { message: position } : {};
  return { ...(position && { message: position }), end: { epoch, offset: Number(end) } };
}

/**
 * @param answer what append.lua returns for a publication that was appended
 * @returns the last position that it gave each feed of its topic; none for a repetition
 */
export function fedPositionsOf(answer: string): Position[] {
  const positions: Position[] = [];
  const words = answer.split(" ");
  for (let at = 3; at < words.length; at += 3)
    positions.push({ epoch: words[at] ?? "", offset: Number(words[at + 1]) });
  return positions;
}

/** Errors by the word that an answer of append.lua begins with, of the two words after it. */
const refusals: Readonly<Record<string, (topic: string, first: string, second: string) => Error>> = {
  CONFLICT: () => new IdempotencyConflict(),
  TAKEN: () => new StreamTakenOver(),
  ENDED: (topic, epoch, offset) => new TopicEnded(topic, { epoch, offset: Number(offset) }),
  MISMATCH: (topic, epoch, offset) =>
    new ConditionFailed(topic, offset === "-" ? undefined : { epoch, offset: Number(offset) }),
  ABSENT: (topic, epoch, offset) => new KeyAbsent(topic, { epoch, offset: Number(offset) }),
  FULL: (topic, keys, keysMax) => new TopicFull(topic, `it has ${keys} keys, and --keys-max is ${keysMax}`),
};

/** @param reached the first line of what append.lua returns */
export function claimOf(reached: string): Claim {
  const [generation, replid = "", offset] = reached.split(" ");
  return { generation: Number(generation), replid, offset: Number(offset) };
}

/** @param place `<epoch>:<offset>`; `-` for none */
export function placeOf<Name extends string>(
  name: Name,
  place: string | undefined,
): { readonly [Key in Name]?: Position } {
  if (place === undefined || place === "-") return {};
  const [epoch = "", offset] = place.split(":");
  return { [name]: { epoch, offset: Number(offset) } } as { readonly [Key in Name]?: Position };
}

/** @param reply `{ epoch, last offset, end }` (stored.lua) */
export function positionOf(topic: string, reply: Reply | readonly (Reply | undefined)[]): TopicPosition {
  const [epoch, last, ended] = Array.isArray(reply) ? reply : [];
  const position = { epoch: String(epoch), offset: Number(last) };
  const [message, , time] = String(ended).split(":");
  if (time === undefined) return position;
  const previous = Number(message) === position.offset - 1 ? {} : { previous: Number(message) };
  return { ...position, end: { topic, ...position, time: Number(time), ...previous, isEnd: true } };
}

export function arrayOf(reply: Reply): readonly Reply[] {
  if (!Array.isArray(reply)) throw new Error(`Redis answered a script with ${String(reply)}`);
  return reply;
}

/** @param reply what read.lua returns for a topic that exists */
export function historyOf(topic: string, reply: readonly Reply[]): History {
  const [complete, epoch, from, last, ended, isTrimmed, ...entries] = reply;
  const name = String(epoch);
  const { end, ...position } = positionOf(topic, [name, last, ended]);
  return {
    complete: complete === 1,
    isTrimmed: isTrimmed === 1,
    from: { epoch: name, offset: Number(from) },
    messages: entries.map((entry) => decodeEntry(topic, entry as Buffer, name) as Message),
    position,
    ...(end && { end }),
  };
}

/** @param reply what read-keyed.lua returns for a topic that exists */
export function keyedHistoryOf(topic: string, reply: readonly Reply[]): History {
  const [complete, epoch, from, last, ended, base, through, throughBase, ...entries] = reply;
  const name = String(epoch);
  const { end, ...position } = positionOf(topic, [name, last, ended]);
  const placeAt = (offset: Reply | undefined, of: Reply | undefined): Place => {
    const place = { epoch: name, offset: Number(offset) };
    return String(of) === "-" ? place : { ...place, base: Number(of) };
  };
  return {
    complete: complete === 1,
    isTrimmed: false,
    from: placeAt(from, base),
    messages: entries.map((entry) => decodeEntry(topic, entry as Buffer, name) as Message),
    through: placeAt(through, throughBase),
    position,
    ...(end && { end }),
  };
}

/** @param reply what value.lua returns for a topic that exists */
export function keyStateOf(topic: string, reply: readonly Reply[]): KeyState {
  const [epoch, last, ended, floor, entry] = reply;
  const value = entry instanceof Buffer ? (decodeEntry(topic, entry, String(epoch)) as Message) : undefined;
  return { value, position: positionOf(topic, [String(epoch), last, ended]), floor: Number(floor) };
}
