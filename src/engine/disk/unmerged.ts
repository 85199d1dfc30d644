/**
 * The entries of batches that are not merged yet, as a table in memory: a copy of their bytes, and for each topic the places
 * of its messages. It is filled, then merged, and there are at most two. It is rebuilt from `batch` at the start.
 */
import { type Entries, EntryWriter, entryKinds, hasPlace } from "./entry.ts";
import type { DiskTopic, TopicEnd } from "./topic-table.ts";

/** What a table has of a topic. */
export interface UnmergedTopic {
  readonly topic: DiskTopic;
  /** The places of its messages. Their offsets have no hole. */
  places: number[];
  /** The offset of the first of them. */
  first: number;
  /** After its last entry in this table. */
  end: Readonly<TopicEnd>;
}

export class Unmerged {
  readonly writer: EntryWriter;
  readonly topics = new Map<number, UnmergedTopic>();
  /** The last batch, or 0, and the number of them. */
  lastBatch = 0;
  batches = 0;
  /** When the first batch came. */
  since = 0;

  /** @param writer an empty one, maybe with memory that was used before */
  constructor(writer = new EntryWriter()) {
    this.writer = writer;
  }

  get bytes(): number {
    return this.writer.length;
  }

  get entries(): Entries {
    return this.writer.entries;
  }

  /**
   * Adds a batch whose entries have their places.
   * @param topicOf undefined for a topic that was deleted since
   */
  add(seq: number, batch: Entries, time: number, topicOf: (id: number) => DiskTopic | undefined): void {
    const base = this.writer.copy(batch.bytes);
    this.lastBatch = seq;
    if (this.batches++ === 0) this.since = time;
    for (const at of batch.places()) {
      if (!hasPlace(batch.kindAt(at))) continue;
      const topic = topicOf(batch.topicAt(at));
      if (topic) this.#addEntry(topic, batch, at, base);
    }
  }

  #addEntry(topic: DiskTopic, batch: Entries, at: number, base: number): void {
    const own = this.#topic(topic);
    const kind = batch.kindAt(at);
    if (kind === entryKinds.use) return;
    const offset = batch.offsetAt(at);
    const time = batch.timeAt(at);
    if (kind === entryKinds.end) {
      own.end = { last: own.end.last, ended: 1, time };
      return;
    }
    own.end = { last: offset, ended: 0, time };
    if (kind === entryKinds.passed) own.places = [];
    else if (own.places.push(base + at) === 1) own.first = offset;
  }

  #topic(topic: DiskTopic): UnmergedTopic {
    const known = this.topics.get(topic.id);
    if (known) return known;
    topic.pins++;
    const { last, ended, time } = topic;
    const own: UnmergedTopic = { topic, places: [], first: 0, end: { last, ended, time } };
    this.topics.set(topic.id, own);
    return own;
  }

  /** Its entries are merged. */
  delete({ topic }: UnmergedTopic): void {
    topic.pins--;
    this.topics.delete(topic.id);
  }
}
