/** What the parts of the contract publish, read and listen with: all of it through the interface alone. */
import { expect } from "bun:test";
import type { Broker, BrokerListener, History, Once, Page } from "../../src/topic/broker.ts";
import type { Draft } from "../../src/topic/draft.ts";
import { type End, formatId, type Message, type Position, type Since } from "../../src/topic/message.ts";
import { until, within } from "../support/wait.ts";

export const wholePage: Page = { messagesMax: 1000, bytesMax: 16 * 1024 * 1024 };

/** Records the announcements that a node receives. */
export class Announcements implements BrokerListener {
  misses = 0;
  readonly #first = new Map<string, Message | End>();
  #announced = Promise.withResolvers<void>();

  announced(entry: Message | End): void {
    const id = `${entry.topic} ${formatId(entry)}`;
    if (!this.#first.has(id)) this.#first.set(id, entry);
    this.#announced.resolve();
    this.#announced = Promise.withResolvers();
  }

  missed(): void {
    this.misses++;
  }

  subscriberCount(): number {
    return 0;
  }

  /** Each message of a topic once, as it was first announced. */
  of(topic: string): Message[] {
    return this.entriesOf(topic).filter((entry): entry is Message => !entry.isEnd);
  }

  /** The same with the end. */
  entriesOf(topic: string): (Message | End)[] {
    return [...this.#first.values()].filter((entry) => entry.topic === topic);
  }

  async upTo(topic: string, position: Position | undefined): Promise<void> {
    const id = `${topic} ${position && formatId(position)}`;
    while (!this.#first.has(id)) await within(this.#announced.promise, `the announcement of ${id}`);
  }
}

export function listen(broker: Broker): Announcements {
  const announced = new Announcements();
  broker.listen(announced);
  return announced;
}

/** A topic that no other test and no earlier run uses. */
export const newTopic = (): string => `contract/${crypto.randomUUID()}`;

export const all: Since = { kind: "all" };
export const after = (position: Position): Since => ({ kind: "position", position });

export const text = (data: string): Draft => ({ data, contentType: "text/plain" });
export const bytes = (data: Uint8Array<ArrayBuffer>): Draft => ({
  data,
  contentType: "application/octet-stream",
});

/** Publishes one message. @returns its position */
export const post = (
  broker: Pick<Broker, "publish">,
  topic: string,
  draft: Draft,
  once?: Once,
): Promise<Position> =>
  broker.publish(topic, { draft, ...(once && { once }) }).then(({ message }) => {
    if (!message) throw new Error("the answer to a publication with a message has no position of it");
    return message;
  });

/** Ends a topic. @returns the position of its end */
export async function endTopic(broker: Pick<Broker, "publish">, topic: string): Promise<Position> {
  const { end } = await broker.publish(topic, { end: true });
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

/** Publishes until the engine's clock gives a message a later time than the first one has. */
export async function publishUntilTimePasses(
  broker: Broker,
  topic: string,
  first: Position,
): Promise<{ late: Message; messages: readonly Message[] }> {
  let messages = (await read(broker, topic, all, first)).messages;
  await until(async () => {
    ({ messages } = await read(broker, topic, all, await post(broker, topic, text("late"))));
    return messages.at(-1)?.time !== messages[0]?.time;
  }, "the engine's clock to move on");
  return { late: messages.at(-1) as Message, messages };
}

/** Reads until the history has reached `reached`: an engine may read from a replica that is lagging. */
export async function read(
  broker: Broker,
  topic: string,
  since: Since,
  reached: Position | undefined,
  page = wholePage,
): Promise<History> {
  let history: History | undefined;
  await until(
    async () => {
      history = await broker.history(topic, since, page);
      const position = history?.position;
      return position?.epoch === reached?.epoch && (position?.offset ?? 0) >= (reached?.offset ?? 0);
    },
    `history to reach ${reached && formatId(reached)}`,
  );
  if (!history) throw new Error("it cannot have reached a position and not exist");
  return history;
}

interface ExpectedHistory {
  readonly complete: boolean;
  readonly from: Position | undefined;
  readonly offsets: readonly number[];
  readonly position: Position | undefined;
}

export function expectHistory(
  history: History,
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
