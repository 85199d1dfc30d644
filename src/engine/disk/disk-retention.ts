/** What the engine on disk forgets: messages that are too many, too old or too large together, and unused positions. */
import type { DataFile } from "./data-file.ts";
import type { KeyedTable } from "./keyed-table.ts";
import type { StoreOptions } from "./protocol.ts";
import type { SegmentRow, SegmentTable } from "./segment-table.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";

/** Segments, positions or keys that one slice deletes. A slice takes 1 to 5 ms. */
export const sliceRows = 500;

/** Bytes on disk of a topic without messages: its row and its places in two indexes. Measured with names of 20 characters. */
const positionBytes = 200;

export interface DiskRetentionDeps {
  readonly file: DataFile;
  readonly topics: TopicTable;
  readonly segments: SegmentTable;
  readonly keyed: KeyedTable;
  readonly limits: StoreOptions["limits"];
  /** Names of topics with a subscriber. */
  readonly subscribed: ReadonlySet<string>;
}

export class DiskRetention {
  readonly #deps: DiskRetentionDeps;
  #evictedPositions = 0;
  #areFormerLeft = true;
  /** The place in the set of subscribed topics from which the next sweep goes on. */
  #subscribedIterator: Iterator<string> | undefined;

  constructor(deps: DiskRetentionDeps) {
    this.#deps = deps;
  }

  /** How many positions were forgotten before their time since the last call. */
  takeEvictedCount(): number {
    const count = this.#evictedPositions;
    this.#evictedPositions = 0;
    return count;
  }

  /** By how much the file is larger than `--history-bytes`. */
  get surplusBytes(): number {
    const { used, pageBytes } = this.#deps.file.pages();
    return used * pageBytes - this.#deps.limits.historyBytesMax;
  }

  /** How many topics without messages are too many for `--position-bytes`. */
  get surplusPositions(): number {
    return Math.ceil(this.#deps.topics.idleCount - this.#deps.limits.positionBytesMax / positionBytes);
  }

  /**
   * Drops the oldest segments of all topics while they are too old or the file is too large.
   * @returns how many it dropped; less than `countMax` if there are no more to drop
   */
  dropOldest(countMax: number, now: number): number {
    const surplus = this.surplusBytes;
    const oldest = this.#oldestKept(now);
    const isKept = (row: SegmentRow): boolean =>
      this.#deps.segments.receivedTime(row, row.received_last) >= oldest;
    const [front] = this.#deps.segments.oldest(1);
    if (!front || (surplus <= 0 && isKept(front))) return 0;
    this.#deps.file.begin();
    const rows = this.#deps.segments.oldest(countMax);
    let bytes = 0;
    const kept = rows.findIndex((row) => {
      const isSurplus = bytes < surplus;
      bytes += row.bytes;
      return !isSurplus && isKept(row);
    });
    const dropped = kept === -1 ? rows : rows.slice(0, kept);
    this.#deps.segments.deleteUpTo(dropped.at(-1)?.id ?? 0);
    for (const row of dropped) this.#dropped(row);
    return dropped.length;
  }

  /**
   * Forgets removals of keyed topics that are too old, or any where the file is too large without other messages, and deletes
   * rows of topics that are gone.
   * @returns whether there may be more
   */
  forgetKeyed(countMax: number, now: number): boolean {
    this.#discardFormer();
    const forgotten = this.#forgetRemovals(countMax, now);
    return this.#purge(countMax) || forgotten === countMax;
  }

  /** Those that are used before begin anew by that. */
  #discardFormer(): void {
    if (!this.#areFormerLeft) return;
    const { topics, keyed, file } = this.#deps;
    const former = keyed.formerIds();
    for (const id of former) {
      const topic = topics.unlessDamaged(() => topics.byId(id));
      if (!topic) continue;
      file.begin();
      topics.delete(topic);
    }
    this.#areFormerLeft = former.length > 0; // It may be rolled back.
  }

  /** @returns how many it forgot */
  #forgetRemovals(countMax: number, now: number): number {
    const { keyed, topics, file, segments } = this.#deps;
    const oldest = this.#oldestKept(now);
    const isFull = this.surplusBytes > 0 && segments.oldest(1).length === 0;
    const rows = keyed.oldestOfAll(countMax).filter(({ received }) => isFull || received < oldest);
    let count = 0;
    for (const [id, removals] of Map.groupBy(rows, ({ topic }) => topic)) {
      const topic = topics.unlessDamaged(() => topics.byId(id));
      if (!topic?.keyed) continue; // Its rows are deleted with it.
      file.begin();
      topics.changes(topic);
      const sound = removals.flatMap((row) => topics.unlessDamaged(() => keyed.removalOf(topic, row)) ?? []);
      topic.keyed = keyed.forget(topic.keyed, sound);
      topics.save(topic);
      count += sound.length;
    }
    return count;
  }

  #purge(countMax: number): boolean {
    const { keyed, file } = this.#deps;
    if (!keyed.hasDoomed) return false;
    file.begin();
    return keyed.purge(countMax) >= countMax;
  }

  /** Messages of topics with a shorter age are in between: readers do not see them, and they take space until then. */
  #oldestKept(now: number): number {
    const { historyAgeSeconds, retain } = this.#deps.limits;
    return now - Math.max(historyAgeSeconds, ...retain.map(({ ageSeconds }) => ageSeconds)) * 1000;
  }

  #dropped(row: SegmentRow): void {
    const { topics } = this.#deps;
    const topic = topics.unlessDamaged(() => topics.byId(row.topic));
    if (!topic || row.last <= topic.dropped) return;
    topics.changes(topic);
    topic.dropped = Math.min(row.last, topic.merged.last);
    topic.droppedTime = this.#deps.segments.receivedTime(row, row.received_last);
    topics.save(topic);
  }

  /** @returns whether there may be more to expire */
  expirePositions(now: number): boolean {
    const { positionAgeSeconds } = this.#deps.limits;
    const expired = this.#deps.topics.idleUntil(now - positionAgeSeconds * 1000, sliceRows);
    const surplus = this.surplusPositions;
    const evicted =
      surplus > 0 && expired.length === 0
        ? this.#deps.topics.idleUntil(now, Math.min(surplus, sliceRows))
        : [];
    for (const topic of [...expired, ...evicted]) {
      this.#deps.file.begin();
      if (this.#deps.subscribed.has(topic.name)) this.#use(topic, now);
      else this.#deps.topics.delete(topic);
    }
    this.#evictedPositions += evicted.filter(({ name }) => !this.#deps.subscribed.has(name)).length;
    return expired.length + evicted.length === sliceRows;
  }

  /** A quiet topic's position must not be found expired after a restart, when its subscribers have not come back yet. */
  refreshSubscribed(now: number): void {
    const latestUse = now - this.#deps.limits.positionAgeSeconds * 500;
    this.#subscribedIterator ??= this.#deps.subscribed.values();
    for (let count = 0; count < sliceRows; count++) {
      const { done, value } = this.#subscribedIterator.next();
      if (done) {
        this.#subscribedIterator = undefined;
        return;
      }
      const { topics } = this.#deps;
      const topic = topics.unlessDamaged(() => topics.byName(value));
      if (topic && topic.used < latestUse) this.#use(topic, now);
    }
  }

  /** The topic's position lives for its age from now on. */
  #use(topic: DiskTopic, now: number): void {
    this.#deps.file.begin();
    this.#deps.topics.changes(topic);
    topic.used = now;
    this.#deps.topics.save(topic);
  }
}
