/** What the parts of the contract about keyed topics publish and read. */
import type { Appended, Broker, Condition, History, KeyState, Once } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatPlace, type Position, type Since } from "../../../src/topic/message.ts";
import { after, publish, wholePage } from "./messages.ts";

/** It matches the pattern of `generous`. */
export const newKeyedTopic = (): string => `keyed/${crypto.randomUUID()}`;

export const valueDraft = (key: string, data: string): Draft => ({
  data,
  contentType: "text/plain",
  attributes: { partitionkey: key },
});

export async function positionOf(publishing: Promise<Appended>): Promise<Position> {
  const { message } = await publishing;
  if (!message) throw new Error("the publication has no message");
  return message;
}

interface Options {
  readonly condition?: Condition;
  readonly once?: Once;
}

export const set = (
  broker: Broker,
  topic: string,
  key: string,
  data: string,
  options: Options = {},
): Promise<Position> => positionOf(publish(broker, topic, { drafts: [valueDraft(key, data)], ...options }));

export const remove = (
  broker: Broker,
  topic: string,
  key: string,
  options: Options = {},
): Promise<Position> => positionOf(publish(broker, topic, { drafts: [removalOf(key)], ...options }));

/** A whole page: see `wholeOf`. */
export async function readPage(
  broker: Broker,
  topic: string,
  since: Since,
  page = wholePage,
): Promise<History> {
  const history = await broker.history(topic, since, page);
  if (!history) throw new Error(`the engine does not have ${topic}`);
  return await wholeOf(broker, topic, history, page);
}

/** A page, and what follows where the engine has ended it early: reading takes long on a busy machine. */
export async function wholeOf(
  broker: Broker,
  topic: string,
  history: History,
  page = wholePage,
): Promise<History> {
  const { messages, through, end, position } = history;
  const left = page.messagesMax - messages.length;
  const isAtEnd = through?.base === undefined && through?.offset === position.offset - (end ? 1 : 0);
  if (!through || isAtEnd || left <= 0 || messages.length === 0) return history;
  const rest = await readPage(broker, topic, after(through), { ...page, messagesMax: left });
  if (!rest.complete) throw new Error(`there is no more after ${formatPlace(through)}`);
  return { ...rest, ...history, messages: [...messages, ...rest.messages], through: rest.through ?? through };
}

export async function keyState(broker: Broker, topic: string, key: string): Promise<KeyState> {
  const state = await broker.value(topic, key);
  if (!state) throw new Error(`the engine does not have ${topic}`);
  return state;
}

/** Key and data of each message, and `-` for a removal. */
export const shown = ({ messages }: History): string[] =>
  messages.map(({ attributes, data }) =>
    attributes?.type === "longwire.removed"
      ? `-${attributes.partitionkey}`
      : `${attributes?.partitionkey}=${data}`,
  );

export const at = (...positions: Position[]): Condition => ({ kind: "at", positions });
export const absent: Condition = { kind: "absent" };
export const present: Condition = { kind: "present" };
