/** What the engine on disk forgets: messages that are too many, too old or too large together, and unused positions. */
import type { DataFile } from "./data-file.ts";
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
  readonly limits: StoreOptions["limits"];
  /** Names of topics with a subscriber. */
  readonly subscribed: ReadonlySet<string>;
}

export class DiskRetention {
  readonly #deps: DiskRetentionDeps;
  #evictedPositions = 0;
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
    const { historyAgeSeconds, retain } = this.#deps.limits;
    const surplus = this.surplusBytes;
    // Messages of topics with a shorter age are in between: readers do not see them, and they take space until then.
    const ageSecondsMax = Math.max(historyAgeSeconds, ...retain.map(({ ageSeconds }) => ageSeconds));
    const oldest = now - ageSecondsMax * 1000;
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
