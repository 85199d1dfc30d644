/** From what the Worker answers to messages and ends. */
import type { History } from "../../topic/broker.ts";
import type { End, Message, Position } from "../../topic/message.ts";
import { Entries, freeMemory } from "./entry.ts";
import type { StoredHistory } from "./protocol.ts";

export function historyOf(topic: string, { entries: bytes, end, ...history }: StoredHistory): History {
  const entries = new Entries(bytes);
  const messages: Message[] = [];
  for (const at of entries.places()) messages.push(entries.messageAt(at, topic, history.position.epoch));
  freeMemory(bytes);
  return { ...history, messages, ...(end && { end }) };
}

export const endOf = (topic: string, position: Position, time: number): End => ({
  topic,
  ...position,
  time,
  isEnd: true,
});
