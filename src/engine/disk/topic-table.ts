/** The rows of `topic`, the recently used ones in memory. */
import type { Database } from "bun:sqlite";
import type { TopicCounts } from "./data-file.ts";

export interface DiskTopic {
  readonly id: number;
  readonly name: string;
  /** The columns of the same names, as schema.ts explains them. */
  last: number;
  ended: 0 | 1;
  time: number;
  dropped: number;
  droppedTime: number | null;
  used: number;
  /** Whether it counts among the idle ones. */
  wasIdle: boolean;
}

interface TopicRow {
  readonly id: number;
  readonly name: string;
  readonly last: number;
  readonly ended: 0 | 1;
  readonly time: number;
  readonly dropped: number;
  readonly dropped_time: number | null;
  readonly used: number;
}

/** Topics in memory, about 300 bytes each. Past it all are forgotten, and those in use are read again. */
const cachedMax = 20_000;

/** Without a message on disk. */
export const isIdle = ({ dropped, last }: DiskTopic): boolean => dropped === last;

export class TopicTable {
  /** Number of topics, and of those that are idle. */
  count: number;
  idleCount: number;
  readonly #database: Database;
  readonly #byName = new Map<string, DiskTopic>();
  readonly #byId = new Map<number, DiskTopic>();
  #savedCounts: readonly [number, number];

  constructor(database: Database, { count, idleCount }: TopicCounts) {
    this.#database = database;
    this.count = count;
    this.idleCount = idleCount;
    this.#savedCounts = [count, idleCount];
  }

  byName(name: string): DiskTopic | undefined {
    return (
      this.#byName.get(name) ??
      this.#read(this.#database.query("SELECT * FROM topic WHERE name = ?").get(name))
    );
  }

  byId(id: number): DiskTopic | undefined {
    return this.#byId.get(id) ?? this.#read(this.#database.query("SELECT * FROM topic WHERE id = ?").get(id));
  }

  /** Idle topics that were last used at `time` or earlier, the longest unused first. */
  idleUntil(time: number, countMax: number): DiskTopic[] {
    const rows = this.#database
      .query("SELECT * FROM topic WHERE dropped = last AND used <= ? ORDER BY used LIMIT ?")
      .all(time, countMax) as TopicRow[];
    return rows.map((row) => this.#byId.get(row.id) ?? (this.#read(row) as DiskTopic));
  }

  create(name: string, now: number): DiskTopic {
    const { lastInsertRowid } = this.#database
      .query("INSERT INTO topic (name, last, ended, time, dropped, used) VALUES (?, 0, 0, 0, 0, ?)")
      .run(name, now);
    this.count++;
    this.idleCount++;
    const id = Number(lastInsertRowid);
    return this.#keep({
      id,
      name,
      last: 0,
      ended: 0,
      time: 0,
      dropped: 0,
      droppedTime: null,
      used: now,
      wasIdle: true,
    });
  }

  save(topic: DiskTopic): void {
    this.#database
      .query(
        "UPDATE topic SET last = ?, ended = ?, time = ?, dropped = ?, dropped_time = ?, used = ? WHERE id = ?",
      )
      .run(topic.last, topic.ended, topic.time, topic.dropped, topic.droppedTime, topic.used, topic.id);
    if (topic.wasIdle !== isIdle(topic)) this.idleCount += isIdle(topic) ? 1 : -1;
    topic.wasIdle = isIdle(topic);
    // Kept again: it may have been forgotten while the transaction held it.
    this.#keep(topic);
  }

  delete(topic: DiskTopic): void {
    this.#database.query("DELETE FROM topic WHERE id = ?").run(topic.id);
    this.#byName.delete(topic.name);
    this.#byId.delete(topic.id);
    this.count--;
    if (topic.wasIdle) this.idleCount--;
  }

  /** The transaction was committed. */
  keepChanges(): void {
    this.#savedCounts = [this.count, this.idleCount];
    if (this.#byName.size > cachedMax) this.forgetCached();
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    [this.count, this.idleCount] = this.#savedCounts;
    this.forgetCached();
  }

  forgetCached(): void {
    this.#byName.clear();
    this.#byId.clear();
  }

  #read(found: unknown): DiskTopic | undefined {
    if (!found) return undefined;
    const { dropped_time, ...row } = found as TopicRow;
    return this.#keep({ ...row, droppedTime: dropped_time, wasIdle: row.dropped === row.last });
  }

  /** Only between transactions may any be forgotten, so that a topic is never two objects. */
  #keep(topic: DiskTopic): DiskTopic {
    this.#byName.set(topic.name, topic);
    this.#byId.set(topic.id, topic);
    return topic;
  }
}
