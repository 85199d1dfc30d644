/** What the parts of the contract publish and expect: all of it through the interface alone. */
import { expect } from "bun:test";
import type { Appended, Broker, History, Once, Page, Publication } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { formatId, type Message, type Position, type Since } from "../../../src/topic/message.ts";

export const wholePage: Page = { messagesMax: 1000, bytesMax: 16 * 1024 * 1024 };

/** A topic that no other test and no earlier run uses. */
export const newTopic = (): string => `contract/${crypto.randomUUID()}`;

export const all: Since = { kind: "all" };
export const after = (position: Position): Since => ({ kind: "position", position });

export const text = (data: string): Draft => ({ data, contentType: "text/plain" });
export const bytes = (data: Uint8Array<ArrayBuffer>): Draft => ({
  data,
  contentType: "application/octet-stream",
});

/** Of a publication that may be repeated. The topic makes the key another one in each test. */
export const once: Once = { key: "key", publisher: "publisher" };

/** Publishes, and rejects also where the engine throws at once. */
export const publish = async (
  broker: Pick<Broker, "publish">,
  topic: string,
  publication: Publication,
): Promise<Appended> => await broker.publish(topic, publication);

/** Publishes one message. @returns its position */
export async function post(
  broker: Pick<Broker, "publish">,
  topic: string,
  draft: Draft,
  once?: Once,
): Promise<Position> {
  const { message } = await broker.publish(topic, { drafts: [draft], ...(once && { once }) });
  if (!message) throw new Error("the answer to a publication with a message has no position of it");
  return message;
}

/** Ends a topic. @returns the position of its end */
export async function endTopic(broker: Pick<Broker, "publish">, topic: string): Promise<Position> {
  const { end } = await broker.publish(topic, { drafts: [], end: true });
  if (!end) throw new Error("the answer to an end has no position of it");
  return end;
}

/** The error of a call that fails. `expect().rejects` runs an event loop of its own, in which no Worker answers. */
export const failureOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (error) => error,
  );

export const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `#${index + 1}`);

/** The offsets of the messages that come after `from`, up to `to`. */
export const offsetsBetween = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, index) => from + index + 1);

export const publicPart = ({ time: _, ...rest }: Message): Omit<Message, "time"> => rest;

export async function publishOneByOne(broker: Broker, topic: string, count: number): Promise<Position[]> {
  const positions: Position[] = [];
  for (const word of numbered(count)) positions.push(await post(broker, topic, text(word)));
  return positions;
}

export async function epochOf(broker: Broker, topic: string): Promise<string> {
  return (await broker.positions([topic]))[0]?.epoch ?? "";
}

interface ExpectedHistory {
  readonly complete: boolean;
  readonly from: Position | undefined;
  readonly offsets: readonly number[];
  readonly position: Position | undefined;
}

export function expectHistory(
  { isTrimmed: _, ...history }: History,
  { complete, from, offsets, position }: ExpectedHistory,
): void {
  const epoch = from?.epoch ?? "";
  expect<unknown>({ ...history, messages: history.messages.map(formatId) }).toEqual({
    complete,
    from,
    messages: offsets.map((offset) => formatId({ epoch, offset })),
    position,
  });
}
