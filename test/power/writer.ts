/**
 * A program that publishes to an engine on disk until it is killed: `bun run test/power/writer.ts <JSON of WriterOptions>`. It
 * notes in its journal what was acknowledged, after the answer, and prints a line when it is enough.
 */
import { DiskBroker } from "../../src/engine/disk/broker.ts";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { BrokerUnavailable, KeyAbsent, TopicFull } from "../../src/topic/broker.ts";
import type { Position } from "../../src/topic/message.ts";
import { Random } from "../support/random.ts";
import { recordingLog } from "../support/recording-log.ts";
import { until } from "../support/wait.ts";
import { OwnJournal } from "./journal.ts";
import {
  itemOf,
  keyedPublicationOf,
  keyedTopic,
  numberOf,
  publicationOf,
  streamKey,
  streamOf,
  topicsMax,
} from "./publications.ts";

export interface WriterOptions {
  readonly directory: string;
  readonly workerUrl: string;
  readonly limits: EngineLimits;
  readonly seed: number;
  /** Of the first publication and stream; each next one counts up. */
  readonly firstNumber: number;
  readonly publications: number;
  /** It goes on for so long at least: retention and merging need time. */
  readonly secondsMin: number;
  /** Syncs that fail at some moment, and the end of the name of their files. */
  readonly failing?: { readonly syncs: number; readonly nameEnd: string } | undefined;
}

/** What a note in the journal says: a publication, an item of a stream, or the last entry of a key. */
export interface Acknowledgement extends Position {
  /** Undefined for a removal of a key. */
  readonly number?: number | undefined;
  readonly item?: number;
  readonly key?: string;
  /** Of the keyed topic. */
  readonly floor?: number | undefined;
}

const inFlight = 24;
const keysInFlight = 4;

/** The items of each step of a stream. */
const steps = [[1], [2, 3], [4], [5, 6, 7]] as const;

const options: WriterOptions = JSON.parse(process.argv[2] ?? "");
const journal = new OwnJournal();
const random = new Random(options.seed);
const broker = new DiskBroker({ ...options, workerUrl: new URL(options.workerUrl), log: recordingLog() });
broker.listen({ announced: () => undefined, missed: () => undefined, subscriberCount: () => 0 });
await until(() => broker.state.available, "the disk to be opened", 60);
const began = performance.now();
const failAt = random.below(options.publications);
let acknowledged = 0;
let isEnough = false;
let next = options.firstNumber;
let nextKeyed = options.firstNumber;
/** Of the keyed topic, as it was read. */
let floor = 0;
await Promise.race([
  Promise.all([
    ...Array.from({ length: inFlight }, publishEach),
    ...Array.from({ length: keysInFlight }, writeKeys),
    writeStreams(),
    read(),
  ]),
  Bun.stdin.text(), // Its end is that of the process that started this one.
]);
process.exit();

async function publishEach(): Promise<void> {
  for (;;) {
    const number = next++;
    const { topic, publication } = publicationOf(number);
    const position = await answered(() => broker.publish(topic, publication), publication.once !== undefined);
    if (position?.message) acknowledge({ number, ...position.message });
  }
}

function acknowledge(acknowledgement: Acknowledgement): void {
  journal.note(JSON.stringify(acknowledgement));
  acknowledged++;
  if (acknowledged === failAt && options.failing)
    journal.failSyncs(options.failing.syncs, options.failing.nameEnd);
  if (isEnough || acknowledged < options.publications) return;
  if (performance.now() - began < options.secondsMin * 1000) return;
  isEnough = true;
  console.log("enough");
}

/** @returns undefined where it is unknown whether it was published, and it must not be repeated */
async function answered<Answer>(ask: () => Promise<Answer>, canRepeat: boolean): Promise<Answer | undefined> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof BrokerUnavailable)) throw error;
      if (!canRepeat) return undefined;
      await Bun.sleep(20); // Until the engine has opened its file again.
    }
  }
}

/** Each publication is repeated until it is answered: no other one than those in flight is unknown. */
async function writeKeys(): Promise<void> {
  for (;;) {
    const number = nextKeyed++;
    const { key, value, publication } = keyedPublicationOf(number);
    try {
      const appended = await answered(() => broker.publish(keyedTopic, publication), true);
      if (appended?.message) acknowledge({ ...(value && { number }), key, floor, ...appended.message });
    } catch (error) {
      if (!(error instanceof KeyAbsent || error instanceof TopicFull)) throw error;
    }
  }
}

/** One stream after the other. A step that failed is repeated by a new writer, as a producer does. */
async function writeStreams(): Promise<void> {
  for (let number = options.firstNumber; ; number++)
    for (const items of steps) {
      const item = items.at(-1) ?? 0;
      const position = await answered(() => writeStep(number, items, item), true);
      if (position) acknowledge({ number, item, ...position });
    }
}

async function writeStep(
  number: number,
  items: readonly number[],
  last: number,
): Promise<Position | undefined> {
  const [topic, once, writer] = [streamOf(number), streamKey(number), crypto.randomUUID()];
  const record = await broker.takeStream(topic, once, writer);
  if (record.items === last) return record.last;
  const step = { once, writer, items: last, digest: `${last}`, ...(record.first && { first: record.first }) };
  return (await broker.publish(topic, { drafts: items.map((item) => itemOf(number, item)), step })).message;
}

/** Reads while it is written, as a returning client does. What was shown once must stay, so it counts as acknowledged. */
async function read(): Promise<void> {
  const page = { messagesMax: 100, bytesMax: 1024 * 1024 };
  for (;;) {
    const topic = `t/${random.below(topicsMax)}`;
    const history = await answered(() => broker.history(topic, { kind: "last", count: 3 }, page), false);
    const last = history?.messages.at(-1);
    if (last)
      journal.note(JSON.stringify({ number: numberOf(last), epoch: last.epoch, offset: last.offset }));
    floor = (await answered(() => broker.value(keyedTopic, "key 0"), false))?.floor ?? floor;
    await Bun.sleep(random.below(10));
  }
}
