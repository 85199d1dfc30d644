/** What the engine on disk forgets: messages that are too many, too old or too large together, and unused positions. */
import { limitsOf } from "../../topic/retention.ts";
import type { DataFile } from "./data-file.ts";
import type { MessageTable } from "./message-table.ts";
import type { StoreOptions } from "./protocol.ts";
import { type DiskTopic, isIdle, type TopicTable } from "./topic-table.ts";

/** Messages that a topic may have on disk beyond its limit, so that they are deleted together. No reader sees them. */
const surplusMax = 32;

/** Messages, positions or keys that one slice deletes. A slice takes 1 to 5 ms. */
export const sliceRows = 500;

/** Bytes on disk of a topic without messages: its row and its places in two indexes. Measured with names of 20 characters. */
const positionBytes = 200;

export interface DiskRetentionDeps {
  readonly file: DataFile;
  readonly topics: TopicTable;
  readonly messages: MessageTable;
  readonly limits: StoreOptions["limits"];
  /** Names of topics with a subscriber. */
  readonly subscribed: ReadonlySet<string>;
  /** Topics that the transaction in progress changed. */
  readonly changed: Set<DiskTopic>;
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

  /** The topic's position lives for its age from now on. */
  use(topic: DiskTopic, now: number): void {
    this.#deps.file.begin();
    topic.used = now;
    this.#deps.changed.add(topic);
  }

  /** Deletes what exceeds `--history-messages` by a number that is worth it. */
  trim(topic: DiskTopic): void {
    const { messages } = limitsOf(this.#deps.limits, topic.name);
    const surplus = topic.last - topic.dropped - messages;
    if (surplus <= Math.min(surplusMax, messages)) return;
    this.#dropUpTo(topic, topic.last - messages);
  }

  #dropUpTo(topic: DiskTopic, offset: number): void {
    topic.droppedTime = this.#deps.messages.receivedTime(topic, offset);
    this.#deps.messages.deleteOf(topic, offset);
    topic.dropped = offset;
  }

  /**
   * Drops the oldest messages of all topics while they are too old or the file is too large.
   * @returns whether there may be more to drop
   */
  dropOldest(rowsMax: number, now: number): boolean {
    const { historyAgeSeconds, historyBytesMax, retain } = this.#deps.limits;
    const { used, pageBytes } = this.#deps.file.pages();
    const isTooLarge = used * pageBytes > historyBytesMax;
    // Messages of topics with a shorter age are in between: readers do not see them, and they take space until then.
    const ageSecondsMax = Math.max(historyAgeSeconds, ...retain.map(({ ageSeconds }) => ageSeconds));
    const oldest = now - ageSecondsMax * 1000;
    const [front] = this.#deps.messages.oldest(1);
    if (!front || (!isTooLarge && front.received >= oldest)) return false;
    this.#deps.file.begin();
    const rows = this.#deps.messages.oldest(rowsMax);
    const kept = isTooLarge ? -1 : rows.findIndex(({ received }) => received >= oldest);
    const dropped = kept === -1 ? rows : rows.slice(0, kept);
    this.#deps.messages.deleteUpTo(dropped.at(-1)?.seq ?? 0);
    for (const row of dropped) {
      const topic = this.#deps.topics.byId(row.topic);
      if (!topic || row.offset <= topic.dropped) continue;
      topic.dropped = row.offset;
      topic.droppedTime = row.received;
      this.#deps.changed.add(topic);
    }
    return dropped.length === rowsMax;
  }

  /** @returns whether there may be more to expire */
  expirePositions(now: number): boolean {
    const { positionAgeSeconds, positionBytesMax } = this.#deps.limits;
    // Rows that this sweep changes are not yet saved, and a topic must not be both saved and deleted.
    const expired = this.#deps.topics
      .idleUntil(now - positionAgeSeconds * 1000, sliceRows)
      .filter((topic) => !this.#deps.changed.has(topic));
    const surplus = Math.ceil(this.#deps.topics.idleCount - positionBytesMax / positionBytes);
    const evicted =
      surplus > 0 && expired.length === 0
        ? this.#deps.topics
            .idleUntil(now, Math.min(surplus, sliceRows))
            .filter((topic) => !this.#deps.changed.has(topic))
        : [];
    for (const topic of [...expired, ...evicted]) {
      this.#deps.file.begin();
      if (this.#deps.subscribed.has(topic.name)) this.use(topic, now);
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
      const topic = this.#deps.topics.byName(value);
      if (topic && isIdle(topic) && topic.used < latestUse) this.use(topic, now);
    }
  }
}
