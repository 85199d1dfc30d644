/** Whether an engine on disk still has what it acknowledged, and nothing else than what was published. */
import { type Broker, BrokerUnavailable, type History } from "../../src/topic/broker.ts";
import type { Draft } from "../../src/topic/draft.ts";
import { isRemoval, keyOf } from "../../src/topic/key.ts";
import type { Message, TopicPosition } from "../../src/topic/message.ts";
import { readPage } from "../engine/contract/keyed-topic.ts";
import { after, all } from "../engine/contract/messages.ts";
import { Waits } from "../engine/contract/waits.ts";
import { realTime } from "../support/time.ts";
import {
  endedPrefix,
  itemOf,
  keyedPublicationOf,
  keyedTopic,
  numberOf,
  publicationOf,
  streamKey,
  streamOf,
  topicOf,
} from "./publications.ts";
import type { Acknowledgement } from "./writer.ts";

/** Publications in flight that were not acknowledged. */
const unacknowledgedMax = 100;

const { read } = new Waits(realTime);

/** On a busy machine an engine may refuse for a moment what it would not refuse otherwise. */
export async function patiently<Answer>(ask: () => Answer | Promise<Answer>): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof BrokerUnavailable) || attempt === 20) throw error;
      await Bun.sleep(100);
    }
  }
}

/** By topic, the offset of the last message that an engine with other limits may have deleted. */
export type Dropped = Readonly<Record<string, number>>;

/** @param found all that an engine shows */
export const droppedIn = (found: readonly Acknowledgement[]): Dropped =>
  Object.fromEntries(
    [...Map.groupBy(found.filter(isOfPlain), topicOfAcknowledged)].map(([topic, own]) => [
      topic,
      Math.min(...own.map(({ offset }) => offset)) - 1,
    ]),
  );

/** What must be found. */
interface Expected {
  readonly acknowledged: readonly Acknowledgement[];
  readonly dropped: Dropped;
  readonly historyMessages: number;
}

/** @returns what it has, acknowledged or not: it must stay from now on @throws what is wrong, in words */
export async function requireWhole(
  broker: Broker,
  { acknowledged: expected, dropped, historyMessages }: Expected,
): Promise<Acknowledgement[]> {
  const acknowledged = expected.filter(isOfPlain);
  const byTopic = Map.groupBy(acknowledged, topicOfAcknowledged);
  const topics = topicsOf(acknowledged);
  const positions: (TopicPosition | undefined)[] = [];
  while (positions.length < topics.length) {
    const piece = topics.slice(positions.length, positions.length + 100);
    positions.push(...(await patiently(() => broker.positions(piece))));
  }
  const found: OfPlain[] = [];
  const streams: OfPlain[][] = [];
  for (const [index, topic] of topics.entries()) {
    const mine = byTopic.get(topic) ?? [];
    const position = positions[index];
    if (!position) {
      if (mine.length > 0) throw new Error(`${topic} is gone, with ${mine.length} acknowledged messages`);
      continue;
    }
    const history = await patiently(() => read(broker, topic, all, position));
    requireOrder(topic, history, historyMessages, dropped[topic] ?? 0);
    const shown = history.messages.map((message) => requirePublished(topic, message));
    requireAcknowledged(topic, mine, shown, history);
    if (topic.startsWith("streams/")) streams.push(shown);
    found.push(...shown);
  }
  // Together, since each of these writes waits for an fsync.
  await Promise.all([...streams.map((items) => requireRecord(broker, items)), requireKeys(broker, found)]);
  return [...found, ...(await requireValues(broker, expected.filter(isOfKey)))];
}

/** The last entry of a key. */
type OfKey = Acknowledgement & { readonly key: string };
type OfPlain = Acknowledgement & { readonly number: number };

const isOfKey = (each: Acknowledgement): each is OfKey => each.key !== undefined;
const isOfPlain = (each: Acknowledgement): each is OfPlain => each.key === undefined;

const topicOfAcknowledged = ({ number, item }: OfPlain): string =>
  item === undefined ? topicOf(number) : streamOf(number);

/** Those of publications in flight as well: what was not acknowledged may be there too, whole. */
function topicsOf(acknowledged: readonly OfPlain[]): string[] {
  const topics = new Set(acknowledged.map(topicOfAcknowledged));
  const numbers = acknowledged.filter(({ item }) => item === undefined).map(({ number }) => number);
  const streams = acknowledged.filter(({ item }) => item !== undefined).map(({ number }) => number);
  numbers.sort((one, other) => one - other);
  for (const [index, number] of numbers.entries()) {
    const next = numbers[index + 1] ?? Number.POSITIVE_INFINITY;
    for (let between = number; between < Math.min(next, number + unacknowledgedMax); between++)
      topics.add(topicOf(between));
  }
  topics.add(streamOf(Math.max(...streams, -1) + 1));
  return [...topics];
}

/** Offsets have no hole and end at the position, and retention deletes no more than it must. */
function requireOrder(
  topic: string,
  { messages, position, end }: History,
  historyMessages: number,
  dropped: number,
): void {
  const last = position.offset - (end ? 1 : 0);
  const first = messages[0]?.offset ?? last + 1;
  for (const [index, { epoch, offset }] of messages.entries())
    if (offset !== first + index || epoch !== position.epoch)
      throw new Error(
        `${topic} has ${epoch}-${offset} at place ${index} after ${first}, and is of ${position.epoch}`,
      );
  if (first + messages.length - 1 !== last)
    throw new Error(`${topic} is at ${last}, and ends with ${messages.at(-1)?.offset}`);
  if (messages.length < Math.min(historyMessages, last - dropped))
    throw new Error(`${topic} is at ${last}, and has only ${messages.length} messages`);
}

/** Compares all of a message with what was published. */
function requirePublished(topic: string, message: Message): OfPlain {
  const number = numberOf(message);
  const item = topic.startsWith("streams/") ? message.offset : undefined;
  const draft = item === undefined ? publicationOf(number).draft : itemOf(number, item);
  const acknowledgement = { number, epoch: message.epoch, offset: message.offset, ...(item && { item }) };
  if (topicOfAcknowledged(acknowledgement) !== topic || !Bun.deepEquals(draftIn(message), draft))
    throw new Error(
      `${topic} has ${message.offset}, which was not published so: ${JSON.stringify(message).slice(0, 300)}`,
    );
  return acknowledgement;
}

const draftIn = ({ data, contentType, attributes }: Message): Draft => ({
  ...{ data, contentType },
  ...(attributes && { attributes }),
});

function requireAcknowledged(
  topic: string,
  acknowledged: readonly OfPlain[],
  shown: readonly OfPlain[],
  { position, end, messages }: History,
): void {
  const numbers = new Map(shown.map((each) => [`${each.number} ${each.item}`, each]));
  if (numbers.size !== shown.length) throw new Error(`${topic} has a message twice`);
  const first = messages[0]?.offset ?? position.offset + 1;
  for (const each of acknowledged) {
    if (each.epoch !== position.epoch)
      throw new Error(`${topic} has another epoch: ${position.epoch}, not ${each.epoch}`);
    if (topic.startsWith(endedPrefix) && !end) throw new Error(`${topic} has lost its end`);
    if (each.offset >= first && numbers.get(`${each.number} ${each.item}`)?.offset !== each.offset)
      throw new Error(`${topic} has lost ${each.offset}, which was acknowledged`);
  }
}

/** Each key has the last of its acknowledged entries, or a later one. A removal that is missing was forgotten. */
async function requireValues(broker: Broker, acknowledged: readonly OfKey[]): Promise<OfKey[]> {
  const state = await patiently(() => broker.value(keyedTopic, "key 0"));
  if (!state && acknowledged.length > 0)
    throw new Error(`${keyedTopic} is gone, with ${acknowledged.length} acknowledged entries`);
  if (!state) return [];
  const { position, floor } = state;
  for (const each of acknowledged)
    if (each.epoch !== position.epoch || each.offset > position.offset || (each.floor ?? 0) > floor)
      throw new Error(
        `${keyedTopic} has lost what was acknowledged: it is at ${JSON.stringify(position)}, with the floor ${floor}, and not as ${JSON.stringify(each)}`,
      );
  const values = await patiently(() => readPage(broker, keyedTopic, all));
  const changes = await patiently(() => readPage(broker, keyedTopic, after({ ...position, offset: floor })));
  if (!changes.complete) throw new Error(`${keyedTopic} does not know what came after its floor`);
  const found = new Map(
    [...values.messages, ...changes.messages].map((message) => [
      keyOf(message),
      requireEntry(message, floor),
    ]),
  );
  const lastOfKeys = new Map<string, OfKey>();
  for (const each of acknowledged)
    if (each.offset > (lastOfKeys.get(each.key)?.offset ?? 0)) lastOfKeys.set(each.key, each);
  for (const { key, number, offset } of lastOfKeys.values()) {
    const entry = found.get(key);
    const isForgotten = !entry && number === undefined && offset <= floor;
    const isLater = entry !== undefined && entry.offset > offset;
    if (!isForgotten && !isLater && (entry?.offset !== offset || entry.number !== number))
      throw new Error(`${keyedTopic} has lost the entry ${offset} of ${key}, which was acknowledged`);
  }
  const last = Math.max(floor, ...[...found.values()].map(({ offset }) => offset));
  if (last !== position.offset)
    throw new Error(`${keyedTopic} is at ${position.offset}, and ends with ${last}`);
  return [...found.values()];
}

function requireEntry(message: Message, floor: number): OfKey {
  const { epoch, offset } = message;
  const key = keyOf(message);
  if (isRemoval(message)) return { key, epoch, offset, floor };
  const number = numberOf(message);
  if (!Bun.deepEquals(draftIn(message), keyedPublicationOf(number).value))
    throw new Error(
      `${keyedTopic} has ${offset}, which was not published so: ${JSON.stringify(message).slice(0, 300)}`,
    );
  return { number, key, epoch, offset, floor };
}

/** The record of a stream is kept if and only if its items are. */
async function requireRecord(broker: Broker, shown: readonly OfPlain[]): Promise<void> {
  const { number = 0, offset } = shown.at(-1) ?? {};
  if (offset === undefined) return;
  const record = await patiently(() => broker.takeStream(streamOf(number), streamKey(number), "reader"));
  if (record.items !== offset || record.last?.offset !== offset)
    throw new Error(`${streamOf(number)} has ${offset} items, and its record has ${JSON.stringify(record)}`);
}

/** A message is kept if and only if its key is: a repetition has the first position. */
async function requireKeys(broker: Broker, found: readonly OfPlain[]): Promise<void> {
  await Promise.all(
    found.slice(-30).map(async ({ number, item, offset }) => {
      const { topic, publication } = publicationOf(number);
      if (item !== undefined || !publication.once) return;
      const { message } = await patiently(() => broker.publish(topic, publication));
      if (message?.offset !== offset)
        throw new Error(`the key of ${topic} ${offset} is lost: its repetition is at ${message?.offset}`);
    }),
  );
}

/** Something new goes on in the same epoch. */
export async function requireContinuation(broker: Broker): Promise<void> {
  const topic = "t/0";
  const publication = {
    drafts: [{ data: "after", contentType: "text/plain" }],
    once: { key: "after", publisher: "reader" },
  };
  const [before] = await patiently(() => broker.positions([topic]));
  const { message } = await patiently(() => broker.publish(topic, publication));
  if (before && (message?.epoch !== before.epoch || message.offset !== before.offset + 1))
    throw new Error(
      `${topic} went on from ${before.epoch}-${before.offset} at ${message?.epoch}-${message?.offset}`,
    );
}
