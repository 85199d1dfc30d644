/** From what the Worker answers to messages and ends. */
import type { History, KeyState } from "../../topic/broker.ts";
import type { End, Message, Position } from "../../topic/message.ts";
import { Entries, freeMemory } from "./entry.ts";
import type { StoredHistory, StoredKeyState } from "./protocol.ts";

export function historyOf(topic: string, { entries: bytes, end, ...history }: StoredHistory): History {
  const entries = new Entries(bytes);
  const messages: Message[] = [];
  for (const at of entries.places()) messages.push(entries.messageAt(at, topic, history.position.epoch));
  freeMemory(bytes);
  return { ...history, messages, ...(end && { end }) };
}

export function keyStateOf(topic: string, { value, position, floor }: StoredKeyState): KeyState {
  return { value: value && new Entries(value).messageAt(0, topic, position.epoch), position, floor };
}

export const endOf = (topic: string, position: Position, time: number): End => ({
  topic,
  ...position,
  time,
  isEnd: true,
});
