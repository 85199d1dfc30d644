/** The rows of `topic`, the recently used ones and those with unmerged entries in memory. */
import type { Database } from "bun:sqlite";
import type { TopicCounts } from "./data-file.ts";
import { checksumOf } from "./entry.ts";
import type { KeyedState } from "./keyed-row.ts";
import type { KeyedTable } from "./keyed-table.ts";
import { DamagedData } from "./schema.ts";

/** What a row has of the topic's log. */
export interface TopicEnd {
  last: number;
  ended: 0 | 1;
  time: number;
}

export interface DiskTopic extends TopicEnd {
  readonly id: number;
  readonly name: string;
  /** The columns of the same names, as schema.ts explains them. */
  dropped: number;
  droppedTime: number | null;
  used: number;
  /** Set for a keyed topic. No entry of it is in a batch, so that it is always merged. */
  keyed: KeyedState | undefined;
  /** Whether the settings make it one of the other kind, so that it is as if it were forgotten. */
  readonly isFormer: boolean;
  /** As far as its entries are merged: what its row has. */
  merged: Readonly<TopicEnd>;
  /** In how many memory tables it has entries. It is not forgotten meanwhile. */
  pins: number;
  isDeleted: boolean;
  /** Whether it counts among the idle ones. */
  wasIdle: boolean;
}

interface TopicRow extends TopicEnd {
  readonly id: number;
  readonly name: string;
  readonly dropped: number;
  readonly dropped_time: number | null;
  readonly used: number;
  readonly checksum: number | null;
}

/** Topics in memory, about 400 bytes each. Past it all are forgotten but the pinned ones, and those in use are read again. */
const cachedMax = 20_000;

/** Without a message that is merged. */
const isIdle = ({ dropped, merged }: DiskTopic): boolean => dropped >= merged.last;

export class TopicTable {
  /** Number of topics, and of those that are idle. */
  count: number;
  idleCount: number;
  readonly #database: Database;
  readonly #keyed: KeyedTable;
  readonly #byName = new Map<string, DiskTopic>();
  readonly #byId = new Map<number, DiskTopic>();
  /** Undoes in memory what the transaction in progress changed, the last change first. */
  #undo: (() => void)[] = [];
  readonly #changed = new Set<DiskTopic>();
  /** What background work has passed over, in words. */
  damage: string | undefined;
  #forgetPast = cachedMax;
  #lastId: number;

  constructor(database: Database, { count, idleCount }: TopicCounts, keyed: KeyedTable) {
    this.#database = database;
    this.#keyed = keyed;
    this.count = count;
    this.idleCount = idleCount;
    const sequence = database.query("SELECT seq FROM sqlite_sequence WHERE name = 'topic'").get();
    this.#lastId = (sequence as { readonly seq: number } | null)?.seq ?? 0;
  }

  byName(name: string): DiskTopic | undefined {
    const known = this.#byName.get(name);
    if (known) return known;
    const read = this.#read(this.#database.query("SELECT * FROM topic WHERE name = ?").get(name));
    if (read && read.name !== name) throw new DamagedData(`the index of the topic "${name}"`);
    return read;
  }

  byId(id: number): DiskTopic | undefined {
    return this.#byId.get(id) ?? this.#read(this.#database.query("SELECT * FROM topic WHERE id = ?").get(id));
  }

  /**
   * Reads a topic, or an entry of one, for background work. A damaged one is passed over, so that it does not stop the work for all others. Whoever
   * asks for it gets the error.
   */
  unlessDamaged<Found>(read: () => Found | undefined): Found | undefined {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof DamagedData)) throw error;
      this.damage = error.message;
      return undefined;
    }
  }

  /** Idle topics that were last used at `time` or earlier, the longest unused first. */
  idleUntil(time: number, countMax: number): DiskTopic[] {
    const rows = this.#database
      .query("SELECT * FROM topic WHERE dropped = last AND used <= ? ORDER BY used LIMIT ?")
      .all(time, countMax) as TopicRow[];
    return rows
      .map((row) => this.#byId.get(row.id) ?? this.unlessDamaged(() => this.#read(row)))
      .filter((topic) => topic?.pins === 0) as DiskTopic[];
  }

  create(name: string, now: number): DiskTopic {
    const id = ++this.#lastId;
    const start = { last: 0, ended: 0, time: 0 } as const;
    const topic: DiskTopic = {
      ...start,
      ...{ id, name, dropped: 0, droppedTime: null, used: now },
      ...{ merged: start, pins: 0, isDeleted: false, wasIdle: true },
      ...{ keyed: this.#keyed.create({ id, name }), isFormer: false },
    };
    this.#database
      .query("INSERT INTO topic VALUES (?, ?, 0, 0, 0, 0, NULL, ?, ?)")
      .run(id, name, now, rowChecksum(topic));
    this.count++;
    this.idleCount++;
    this.#undo.push(() => {
      this.#forget(topic);
      this.count--;
      this.idleCount--;
      this.#lastId--;
    });
    return this.#keep(topic);
  }

  /** Call it before the first change of a topic in a transaction. */
  changes(topic: DiskTopic): void {
    if (this.#changed.has(topic)) return;
    this.#changed.add(topic);
    const before = { ...topic };
    this.#undo.push(() => {
      const { pins } = topic;
      Object.assign(topic, before, { pins });
    });
  }

  /** Writes what is merged, and what does not depend on the log. */
  save(topic: DiskTopic): void {
    if (topic.keyed) this.#saveKeyed(topic, topic.keyed);
    const { merged, dropped, droppedTime, used, id } = topic;
    this.#database
      .query(
        "UPDATE topic SET last = ?, ended = ?, time = ?, dropped = ?, dropped_time = ?, used = ?, checksum = ? WHERE id = ?",
      )
      .run(
        ...[merged.last, merged.ended, merged.time],
        ...[Math.min(dropped, merged.last), droppedTime, used, rowChecksum(topic), id],
      );
    if (topic.wasIdle === isIdle(topic)) return;
    const change = isIdle(topic) ? 1 : -1;
    this.idleCount += change;
    this.#undo.push(() => {
      this.idleCount -= change;
    });
    topic.wasIdle = isIdle(topic);
  }

  delete(topic: DiskTopic): void {
    const { wasIdle } = topic;
    if (topic.keyed) this.#keyed.doom(topic.id, topic.keyed);
    this.#database.query("DELETE FROM topic WHERE id = ?").run(topic.id);
    this.#forget(topic);
    topic.isDeleted = true;
    this.count--;
    if (wasIdle) this.idleCount--;
    this.#undo.push(() => {
      topic.isDeleted = false;
      this.#keep(topic);
      this.count++;
      if (wasIdle) this.idleCount++;
    });
  }

  /** The transaction was committed. */
  keepChanges(): void {
    this.#undo = [];
    this.#changed.clear();
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
    this.#changed.clear();
  }

  /** Bounds the topics in memory. Call it after each commit, as `forgetCached`. */
  forgetSurplus(): void {
    if (this.#byId.size > this.#forgetPast) this.forgetCached();
  }

  /**
   * Not within a transaction, so that a topic is never two objects, and not before the topics of a new batch are pinned: their
   * rows do not have its messages.
   */
  forgetCached(): void {
    for (const topic of this.#byId.values()) if (topic.pins === 0) this.#forget(topic);
    this.#forgetPast = Math.max(cachedMax, 2 * this.#byId.size);
  }

  /** What it has is in its own table, so that it is merged. It is idle where it has nothing, or has ended. */
  #saveKeyed(topic: DiskTopic, keyed: KeyedState): void {
    const { last, ended, time, id } = topic;
    topic.merged = { last, ended, time };
    topic.dropped = ended || keyed.values + keyed.removals === 0 ? last : 0;
    this.#keyed.save(id, keyed);
  }

  #read(found: unknown): DiskTopic | undefined {
    if (!found) return undefined;
    const { dropped_time, checksum, last, ended, time, ...row } = found as TopicRow;
    const merged = { last, ended, time };
    const keyed = this.#keyed.stateOf(row);
    const topic: DiskTopic = {
      ...row,
      ...merged,
      ...{ merged, droppedTime: dropped_time, pins: 0, isDeleted: false, wasIdle: row.dropped === last },
      ...{ keyed, isFormer: (keyed !== undefined) !== this.#keyed.isKeyed(row.name) },
    };
    if (checksum !== 0 && checksum !== rowChecksum(topic))
      throw new DamagedData(`the row of topic ${row.id}, "${row.name}"`);
    return this.#keep(topic);
  }

  #keep(topic: DiskTopic): DiskTopic {
    this.#byName.set(topic.name, topic);
    this.#byId.set(topic.id, topic);
    return topic;
  }

  #forget(topic: DiskTopic): void {
    this.#byName.delete(topic.name);
    this.#byId.delete(topic.id);
  }
}

/** What may change in all rows at once, `dropped_time` and `used`, is not covered. */
export const rowChecksum = ({
  id,
  name,
  merged,
  dropped,
}: Pick<DiskTopic, "id" | "name" | "merged" | "dropped">): number =>
  checksumOf([id, name, merged.last, merged.ended, merged.time, Math.min(dropped, merged.last)]);
