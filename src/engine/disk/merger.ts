/**
 * Merges batches into segments, in slices between commits. While one table in memory is merged, the next one is filled. A
 * slice is a transaction: after a kill, what was merged is in the rows of its topics, and the rest is still in `batch`.
 */
import { limitsOf } from "../../topic/retention.ts";
import type { DataFile } from "./data-file.ts";
import { type Entries, EntryWriter } from "./entry.ts";
import type { KeyTable } from "./key-table.ts";
import type { OldMessages } from "./old-messages.ts";
import type { StoreOptions } from "./protocol.ts";
import { type SegmentTable, segmentBytesMax } from "./segment-table.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";
import { Unmerged, type UnmergedTopic } from "./unmerged.ts";

/** Entries in memory before they are merged. More make longer segments, and a start that reads more. */
const mergeBytesMax = 4 * 1024 * 1024;
const mergeBytesMin = 4 * 1024;
const mergeBatchesMax = 4096;
/** A topic takes about 1 KiB in memory and a row in a merge: a commit that has to wait for one waits for no more topics. */
const mergeTopicsMax = 4096;

/** A quiet topic's position in its row is not older. */
const mergeAfterMilliseconds = 60_000;

/** What a slice writes. It takes 1 to 5 ms. */
const sliceBytes = 256 * 1024;
const sliceTopics = 128;
const sliceKeys = 500;

export interface MergerDeps {
  readonly file: DataFile;
  readonly topics: TopicTable;
  readonly segments: SegmentTable;
  readonly old: OldMessages;
  readonly keys: KeyTable;
  readonly limits: StoreOptions["limits"];
}

export class Merger {
  readonly #deps: MergerDeps;
  readonly #mergeBytes: number;
  #filling = new Unmerged();
  #merging: Unmerged | undefined;
  /** The memory of the table that was merged last, for the next one. */
  #spare: EntryWriter | undefined;
  readonly #writer = new EntryWriter();

  constructor(deps: MergerDeps) {
    this.#deps = deps;
    // Retention deletes only what is merged.
    this.#mergeBytes = Math.min(mergeBytesMax, Math.max(mergeBytesMin, deps.limits.historyBytesMax / 16));
  }

  /** The tables in memory, the newer one first. */
  get unmerged(): readonly Unmerged[] {
    return this.#merging ? [this.#filling, this.#merging] : [this.#filling];
  }

  /** The table to which a batch is added. */
  get filling(): Unmerged {
    return this.#filling;
  }

  get bytes(): number {
    return this.#filling.bytes + (this.#merging?.bytes ?? 0);
  }

  /** @param now by the clock of the batches */
  isDue(now: number): boolean {
    if (this.#merging) return true;
    const { batches, since } = this.#filling;
    return this.#isFull() || (batches > 0 && Math.abs(now - since) > mergeAfterMilliseconds);
  }

  /** Whether commits have to wait for it, so that what is not merged stays bounded. */
  get isLate(): boolean {
    return this.#merging !== undefined && this.#isFull();
  }

  /**
   * Merges a slice, in a transaction of the caller's. It begins with all that is there, if nothing is being merged.
   * @returns what is to be called when it is committed
   */
  slice(): () => void {
    if (!this.#merging) {
      this.#merging = this.#filling;
      this.#filling = new Unmerged(this.#spare);
      this.#spare = undefined;
      this.#deps.keys.beginMerge();
    }
    const merging = this.#merging;
    const keysMerged = this.#deps.keys.mergeSlice(sliceKeys);
    if (keysMerged) return keysMerged;
    const merged = this.#mergeTopics(merging);
    const isDone = merged.length === merging.topics.size;
    if (isDone && merging.lastBatch > 0) this.#deps.file.deleteBatches(merging.lastBatch);
    return () => {
      for (const own of merged) merging.delete(own);
      if (isDone) this.#endMerge(merging.writer);
    };
  }

  #endMerge(writer: EntryWriter): void {
    this.#merging = undefined;
    if (writer.capacity > 4 * mergeBytesMax) return;
    writer.length = 0;
    this.#spare = writer;
  }

  #isFull(): boolean {
    const { bytes, batches, topics } = this.#filling;
    return bytes >= this.#mergeBytes || batches >= mergeBatchesMax || topics.size >= mergeTopicsMax;
  }

  #mergeTopics(merging: Unmerged): UnmergedTopic[] {
    const { entries } = merging;
    const merged: UnmergedTopic[] = [];
    let bytes = 0;
    for (const own of merging.topics.values()) {
      if (!own.topic.isDeleted) bytes += this.#mergeTopic(own, entries);
      merged.push(own);
      if (bytes >= sliceBytes || merged.length >= sliceTopics) break;
    }
    return merged;
  }

  /** @returns the bytes that it wrote */
  #mergeTopic({ topic, places, first, end }: UnmergedTopic, entries: Entries): number {
    const { topics, limits } = this.#deps;
    topics.changes(topic);
    const surplus = end.last - limitsOf(limits, topic.name).messages;
    if (surplus >= first && places.length > 0 && surplus > topic.dropped)
      this.#drop(topic, surplus, entries.receivedAt(places[surplus - first] ?? 0));
    else if (surplus > topic.dropped) this.#dropSegments(topic, surplus);
    // Messages that were published and not kept: nobody sees those before them.
    if (topic.dropped > topic.merged.last) this.#deleteUpTo(topic, topic.merged.last);
    topic.merged = end;
    const bytes = this.#write(topic, entries, places.slice(Math.max(0, topic.dropped + 1 - first)));
    topics.save(topic);
    return bytes;
  }

  /** Deletes what exceeds `--history-messages`: messages up to one that is not merged yet. */
  #drop(topic: DiskTopic, offset: number, received: number): void {
    this.#deleteUpTo(topic, offset);
    topic.dropped = offset;
    topic.droppedTime = received;
  }

  #deleteUpTo(topic: DiskTopic, offset: number): void {
    this.#deps.segments.deleteOf(topic, offset);
    this.#deps.old.deleteOf(topic, offset);
  }

  /** The same, by whole segments. No reader sees the messages that stay for now. */
  #dropSegments(topic: DiskTopic, surplus: number): void {
    const { segments } = this.#deps;
    const last = segments.lastUpTo(topic, surplus);
    if (!last || last.last <= topic.dropped) return;
    segments.deleteOf(topic, last.first);
    topic.dropped = last.last;
    topic.droppedTime = segments.receivedTime(last, last.received_last);
  }

  #write(topic: DiskTopic, entries: Entries, places: readonly number[]): number {
    const writer = this.#writer;
    let written = 0;
    writer.length = 0;
    let first = 0;
    for (const [index, at] of places.entries()) {
      if (writer.length === 0) first = at;
      writer.copy(entries.bytes.subarray(at, at + entries.lengthAt(at)));
      const next = places[index + 1];
      if (next !== undefined && writer.length + entries.lengthAt(next) <= segmentBytesMax) continue;
      this.#deps.segments.insert(topic, writer.entries, {
        ...{ first: entries.offsetAt(first), last: entries.offsetAt(at) },
        ...{ received: entries.receivedAt(first), receivedLast: entries.receivedAt(at) },
      });
      written += writer.length;
      writer.length = 0;
    }
    return written;
  }
}
