/**
 * A bit of the data file that flipped: the engine may refuse to answer, and must not answer anything else than before. Each
 * flip is made in a copy of its own, so every topic begins a new epoch, which is the same whatever flipped.
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataDirectoryError } from "../../src/engine/data-directory-error.ts";
import { DiskBroker } from "../../src/engine/disk/broker.ts";
import { type Broker, BrokerUnavailable } from "../../src/topic/broker.ts";
import type { Message } from "../../src/topic/message.ts";
import { readPage, set } from "../engine/contract/keyed-topic.ts";
import { after, all } from "../engine/contract/messages.ts";
import { Waits } from "../engine/contract/waits.ts";
import { Random } from "../support/random.ts";
import { recordingLog } from "../support/recording-log.ts";
import { realTime } from "../support/time.ts";
import { until } from "../support/wait.ts";
import { publicationOf } from "./publications.ts";
import { limitsWith, workerUrl } from "./stage.ts";
import { patiently } from "./verdict.ts";

const pageBytes = 4096;

/** It merges each 256 KiB, so that most messages are in segments, and the rest in batches. */
const historyBytesMax = 4 * 1024 ** 2;

const { read } = new Waits(realTime);

/** Its rows are in tables of their own. */
const keyedTopic = "keyed/one";
const keys = Array.from({ length: 150 }, (_, index) => `key ${index}`);

type Kept = Pick<Message, "offset" | "time" | "data" | "contentType" | "attributes">;

/** What a reader gets of each topic; undefined where an error with a reason. */
type Answers = ReadonlyMap<string, readonly Kept[] | undefined>;

interface FlipTally {
  flips: number;
  /** Those with an error at the start or to a reader. */
  refused: number;
}

/** @param pagesMax that many pages, spread over the file; every page if there are no more */
export async function flipBits(seed: number, publications: number, pagesMax: number): Promise<FlipTally> {
  const random = new Random(seed);
  using folder = new Folder();
  const [file, before] = await fill(folder.directory(), publications);
  const tally: FlipTally = { flips: 0, refused: 0 };
  const pages = file.length / pageBytes;
  const step = Math.max(1, pages / pagesMax);
  for (let page = random.fraction() * step; page < pages; page += step) {
    const [at, bit] = [Math.floor(page) * pageBytes + random.below(pageBytes), random.below(8)];
    const flipped = Buffer.from(file);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
    const after = await answersOf(folder.directory(), flipped, [...before.keys()]);
    for (const [topic, messages] of after ?? [])
      if (messages && !Bun.deepEquals(messages, before.get(topic)))
        throw new Error(`bit ${bit} of byte ${at} of ${file.length} changes what ${topic} has`);
    tally.flips++;
    if (!after || [...after.values()].includes(undefined)) tally.refused++;
  }
  return tally;
}

/** @returns the data file of an engine that was closed, and what it has */
async function fill(directory: string, publications: number): Promise<[Buffer, Answers]> {
  const topics = new Set<string>();
  const answers = await opened(directory, async (broker) => {
    for (let first = 0; first < publications; first += 50)
      await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          const { topic, publication } = publicationOf(first + index);
          topics.add(topic);
          const once = { key: `${first + index}`, publisher: "flips" }; // A busy machine is asked again.
          await patiently(() => broker.publish(topic, { ...publication, once }));
        }),
      );
    topics.add(keyedTopic);
    for (const some of [keys, keys.slice(50)])
      await Promise.all(
        some.map((key) => patiently(() => set(broker, keyedTopic, key, `${key} ${"x".repeat(200)}`))),
      );
    return await patiently(async () => {
      const answers = await readAll(broker, [...topics]);
      if ([...answers.values()].includes(undefined)) throw new BrokerUnavailable("too busy to read");
      return answers;
    });
  });
  requireMerged(directory);
  return [readFileSync(join(directory, "longwire.db")), answers];
}

/** @throws if there is no segment, so that no flip is in one */
function requireMerged(directory: string): void {
  using database = new Database(join(directory, "longwire.db"), { readonly: true });
  if (!database.query("SELECT 1 FROM segment").get()) throw new Error("nothing was merged");
}

/** @returns undefined where the engine does not start, with a reason */
async function answersOf(
  directory: string,
  file: Buffer,
  topics: readonly string[],
): Promise<Answers | undefined> {
  try {
    writeFileSync(join(directory, "longwire.db"), file);
    return await opened(directory, (broker) => readAll(broker, topics));
  } catch (error) {
    if (error instanceof DataDirectoryError || error instanceof BrokerUnavailable) return undefined;
    throw error;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Of directories. A Worker that was late may still remove files of its own, so what was left of a directory goes at the end. */
class Folder implements Disposable {
  readonly #path = mkdtempSync(join(tmpdir(), "longwire-flips-"));

  directory(): string {
    return mkdtempSync(join(this.#path, "data-"));
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

async function opened<Answer>(directory: string, act: (broker: Broker) => Promise<Answer>): Promise<Answer> {
  const limits = { ...limitsWith(1_000_000, historyBytesMax), keyed: [keyedTopic], keysMax: keys.length };
  const broker = new DiskBroker({ directory, workerUrl, limits, log: recordingLog() });
  try {
    broker.listen({ announced: () => undefined, missed: () => undefined, subscriberCount: () => 0 });
    const opening = "the data is being opened";
    await until(() => (broker.state.reason ?? "") !== opening, "the disk to be opened or refused", 60);
    if (!broker.state.available) throw new BrokerUnavailable(broker.state.reason ?? "");
    return await act(broker);
  } finally {
    await broker.close();
  }
}

async function readAll(broker: Broker, topics: readonly string[]): Promise<Answers> {
  const answers = new Map<string, readonly Kept[] | undefined>();
  for (const topic of topics)
    try {
      const messages = topic === keyedTopic ? await readKeys(broker) : await readMessages(broker, topic);
      answers.set(topic, messages.map(keptOf));
    } catch (error) {
      if (!(error instanceof BrokerUnavailable)) throw error;
      answers.set(topic, undefined);
    }
  return answers;
}

async function readMessages(broker: Broker, topic: string): Promise<readonly Message[]> {
  const [reached] = await broker.positions([topic]);
  return reached ? (await read(broker, topic, all, reached)).messages : [];
}

/** As a snapshot, as a reader that returns has the last of them, and each by itself. */
async function readKeys(broker: Broker): Promise<readonly Message[]> {
  const [position] = await broker.positions([keyedTopic]);
  if (!position) return [];
  const since = after({ ...position, offset: position.offset - 50 });
  const [snapshot, changes] = [
    await readPage(broker, keyedTopic, all),
    await readPage(broker, keyedTopic, since),
  ];
  const values = await Promise.all(keys.map(async (key) => (await broker.value?.(keyedTopic, key))?.value));
  return [...snapshot.messages, ...changes.messages, ...values.filter((value) => value !== undefined)];
}

const keptOf = ({ offset, time, data, contentType, attributes }: Message): Kept => ({
  ...{ offset, time, data, contentType },
  ...(attributes && { attributes }),
});
