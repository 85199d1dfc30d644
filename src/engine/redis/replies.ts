/** What the scripts answer, read into the types of the seam. */
import {
  type Appended,
  BrokerUnavailable,
  type History,
  IdempotencyConflict,
  StreamTakenOver,
  TopicEnded,
} from "../../topic/broker.ts";
import type { Message, Position, TopicPosition } from "../../topic/message.ts";
import { decodeEntry } from "./entry.ts";
import type { Reply } from "./link.ts";
import type { Claim } from "./testimony.ts";
import { wordsOf } from "./unavailable.ts";

/** @param answer what append.lua returns for a publication. @throws what `Broker.publish` throws */
export function appendedOf(topic: string, answer: string): Appended {
  const [epoch = "", message, end] = answer.split(" ", 3);
  if (epoch === "CONFLICT") throw new IdempotencyConflict();
  if (epoch === "TAKEN") throw new StreamTakenOver();
  if (epoch === "ENDED") throw new TopicEnded(topic, { epoch: message ?? "", offset: Number(end) });
  if (epoch === "ERROR") throw new BrokerUnavailable(wordsOf(answer.slice("ERROR ".length)));
  const position = message === "-" ? undefined : { epoch, offset: Number(message) };
  if (end === "-") return position ? { message: position } : {};
  return { ...(position && { message: position }), end: { epoch, offset: Number(end) } };
}

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
