/**
 * The rows of `keyed` and `keyed_topic`: the last entry of each key of a keyed topic, written with the commit that appended it.
 *
 * A row replaces the earlier one of its key, so that no hole in the offsets shows that one is missing. The sums in `keyed_topic`
 * do: all that is found by both indexes is compared with them when a process first reads a topic.
 */
import type { Database } from "bun:sqlite";
import { matchesTopic } from "../../topic/message.ts";
import { compareIndexes } from "./keyed-indexes.ts";
import {
  emptyKeyedState,
  isSoundRow,
  type KeptRow,
  type KeyedRow,
  type KeyedState,
  type KeyedTopic,
  type KeyedTopicRow,
  keyedRowChecksum,
  keyedTopicChecksum,
  keyTerm,
  offsetTerm,
  rowBytes,
  type StoredRow,
  stateOfRow,
  sumOf,
  timeModulus,
  withoutEntry,
} from "./keyed-row.ts";
import { DamagedData } from "./schema.ts";

/** Numbers of topics whose indexes were compared. Past it they are compared again. */
const comparedMax = 100_000;

export class KeyedTable {
  /** Bytes of the values of all topics, by `rowBytes`. */
  valueBytes: number;
  readonly #database: Database;
  readonly #patterns: readonly string[];
  /** Whether a topic may be keyed, so that each has to be looked up. */
  readonly #isUsed: boolean;
  readonly #compared = new Set<number>();
  /** Topics that are deleted, and whose rows are still to be. */
  readonly #doomed: Set<number>;
  /** Undoes in memory what the transaction in progress changed, the last change first. */
  #undo: (() => void)[] = [];

  constructor(database: Database, patterns: readonly string[]) {
    this.#database = database;
    this.#patterns = patterns;
    const rows = database
      .query("SELECT topic, value_bytes AS bytes, topic IN (SELECT id FROM topic) AS lives FROM keyed_topic")
      .all() as { readonly topic: number; readonly bytes: number; readonly lives: 0 | 1 }[];
    this.#isUsed = patterns.length > 0 || rows.length > 0;
    this.valueBytes = rows.reduce((sum, { bytes, lives }) => sum + bytes * lives, 0);
    this.#doomed = new Set(rows.filter(({ lives }) => lives === 0).map(({ topic }) => topic));
  }

  /** Whether a topic with this name is keyed from now on. */
  isKeyed(name: string): boolean {
    return matchesTopic(this.#patterns, name);
  }

  /** How many topics are not of the kind that the settings make them, and begin a new epoch when they are used. */
  get formerCount(): number {
    const keyed = this.#database
      .query("SELECT name FROM keyed_topic JOIN topic ON topic.id = keyed_topic.topic")
      .all() as { readonly name: string }[];
    return (
      keyed.filter(({ name }) => !this.isKeyed(name)).length +
      this.#patterns.reduce((count, pattern) => count + this.#plainCount(pattern), 0)
    );
  }

  /** Keyed topics that are plain from now on. */
  formerIds(): number[] {
    const rows = this.#database
      .query("SELECT id, name FROM keyed_topic JOIN topic ON topic.id = keyed_topic.topic")
      .all() as KeyedTopic[];
    return rows.filter(({ name }) => !this.isKeyed(name)).map(({ id }) => id);
  }

  /** @returns undefined for a topic that is not keyed. @throws {DamagedData} */
  stateOf(topic: KeyedTopic): KeyedState | undefined {
    if (!this.#isUsed) return undefined;
    const row = this.#database
      .query("SELECT * FROM keyed_topic WHERE topic = ?")
      .get(topic.id) as KeyedTopicRow | null;
    if (!row) return undefined;
    const state = stateOfRow(row);
    if (row.checksum !== keyedTopicChecksum(topic.id, state))
      throw new DamagedData(`the keys of topic ${topic.id}, "${topic.name}"`);
    if (!this.#compared.has(topic.id)) {
      compareIndexes(this.#database, topic, state);
      if (this.#compared.size >= comparedMax) this.#compared.clear();
      this.#compared.add(topic.id);
    }
    return state;
  }

  /** @returns undefined where the topic is not keyed */
  create({ id, name }: KeyedTopic): KeyedState | undefined {
    if (!this.isKeyed(name)) return undefined;
    this.#database
      .query("INSERT INTO keyed_topic VALUES (?, 0, NULL, 0, 0, 0, 0, 0, ?)")
      .run(id, keyedTopicChecksum(id, emptyKeyedState));
    return emptyKeyedState;
  }

  save(topic: number, state: KeyedState): void {
    const { floor, forgottenTime, values, removals, valueBytes, offsetSum, keySum } = state;
    this.#database
      .query(
        "UPDATE keyed_topic SET floor = ?, forgotten_time = ?, value_count = ?, removal_count = ?, value_bytes = ?, offset_sum = ?, key_sum = ?, checksum = ? WHERE topic = ?",
      )
      .run(
        ...[floor, forgottenTime, values, removals, valueBytes, offsetSum, keySum],
        ...[keyedTopicChecksum(topic, state), topic],
      );
  }

  /** The topic is deleted: its rows follow in slices. */
  doom(topic: number, { valueBytes }: KeyedState): void {
    this.#doomed.add(topic);
    this.#hold(-valueBytes);
    this.#undo.push(() => this.#doomed.delete(topic));
  }

  /** @returns how many rows of deleted topics it deleted; less than `countMax` if there are no more */
  purge(countMax: number): number {
    let count = 0;
    for (const topic of this.#doomed) {
      count += this.#database
        .query(
          "DELETE FROM keyed WHERE id IN (SELECT id FROM keyed WHERE topic = ?1 LIMIT ?2) AND +topic = ?1",
        )
        .run(topic, countMax - count).changes;
      if (count >= countMax) return count;
      this.#database.query("DELETE FROM keyed_topic WHERE topic = ?").run(topic);
      this.#doomed.delete(topic);
      this.#undo.push(() => this.#doomed.add(topic));
    }
    return count;
  }

  get hasDoomed(): boolean {
    return this.#doomed.size > 0;
  }

  /** What a key has. @throws {DamagedData} */
  find(topic: KeyedTopic, key: string): KeptRow | undefined {
    const row = this.findEntry(topic, key);
    return row && withoutEntry(row);
  }

  /** The same, with its entry. @throws {DamagedData} */
  findEntry(topic: KeyedTopic, key: string): StoredRow | undefined {
    const place = this.#database
      .query("SELECT id FROM keyed INDEXED BY keyed_by_key WHERE topic = ? AND key = ?")
      .get(topic.id, key) as Pick<KeptRow, "id"> | null;
    const row = place ? this.#rowOf(topic, place.id) : undefined;
    if (row && row.key !== key) throw new DamagedData(`the index of the keys of topic "${topic.name}"`);
    return row;
  }

  /** Reads many rows at once: each query by itself would lock the file, which takes longer than a row. */
  reading<Result>(read: () => Result): Result {
    this.#database.query("BEGIN").run();
    try {
      return read();
    } finally {
      if (this.#database.inTransaction) this.#database.query("COMMIT").run(); // Damage may have ended it.
    }
  }

  /** The row that `outlineAfter` names. @throws {DamagedData} */
  read(topic: KeyedTopic, { id, offset }: Pick<KeptRow, "id" | "offset">): StoredRow {
    const row = this.#rowOf(topic, id);
    if (row.offset !== offset) throw new DamagedData(`the index of the entries of topic "${topic.name}"`);
    return row;
  }

  /**
   * Writes the last entry of a key.
   * @param earlier what the key has
   * @returns what the topic has then
   */
  put(
    { id: topic }: KeyedTopic,
    state: KeyedState,
    row: KeyedRow & Pick<StoredRow, "entry">,
    earlier: KeptRow | undefined,
  ): { readonly state: KeyedState; readonly kept: KeptRow } {
    const { key, offset, removed, received, entry } = row;
    const checksum = keyedRowChecksum(topic, row, entry);
    let id = earlier?.id;
    if (id === undefined) {
      const inserted = this.#database
        .query("INSERT INTO keyed VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)")
        .run(topic, key, offset, removed, received, checksum, entry);
      id = Number(inserted.lastInsertRowid);
    } else {
      this.#database
        .query("UPDATE keyed SET offset = ?, removed = ?, received = ?, checksum = ?, entry = ? WHERE id = ?")
        .run(offset, removed, received, checksum, entry, id);
    }
    const kept = { id, key, offset, removed, received, bytes: entry.length };
    return { state: this.#counted(state, kept, earlier), kept };
  }

  /** Forgets removals of a topic. @returns what the topic has then */
  forget(state: KeyedState, removals: readonly KeptRow[]): KeyedState {
    let left = state;
    for (const row of removals) {
      this.#database.query("DELETE FROM keyed WHERE id = ?").run(row.id);
      left = this.#counted(left, undefined, row);
      if (row.offset > left.floor) left = { ...left, floor: row.offset, forgottenTime: row.received };
    }
    return left;
  }

  /** The oldest removals of a topic. @throws {DamagedData} */
  oldestRemovals(topic: KeyedTopic, countMax: number): KeptRow[] {
    const rows = this.#database
      .query("SELECT * FROM keyed WHERE topic = ? AND removed = 1 ORDER BY offset LIMIT ?")
      .all(topic.id, countMax) as StoredRow[];
    return rows.map((row) => this.removalOf(topic, row));
  }

  /** A row that an index has among the removals. @throws {DamagedData} */
  removalOf(topic: KeyedTopic, row: StoredRow): KeptRow {
    if (row.removed === 0) throw new DamagedData(`the index of the removals of topic "${topic.name}"`);
    return withoutEntry(this.#sound(topic, row));
  }

  /** Removals of all topics, those that were received first, as their index has them. */
  oldestOfAll(countMax: number): StoredRow[] {
    return this.#database
      .query("SELECT * FROM keyed WHERE removed = 1 ORDER BY received LIMIT ?")
      .all(countMax) as StoredRow[];
  }

  /**
   * The next entries of a topic in the order of their offsets: values after `offset`, and removals after `removalsAfter`.
   */
  outlineAfter(
    topic: KeyedTopic,
    offset: number,
    removalsAfter: number,
    countMax: number,
  ): Pick<KeptRow, "id" | "offset">[] {
    const part = (removed: 0 | 1, after: string): string =>
      `SELECT * FROM (SELECT id, offset FROM keyed
        WHERE topic = ?1 AND removed = ${removed} AND offset > ${after} ORDER BY offset LIMIT ?4)`;
    return this.#database
      .query(`${part(0, "?2")} UNION ALL ${part(1, "?3")} ORDER BY offset LIMIT ?4`)
      .all(topic.id, offset, removalsAfter, countMax) as Pick<KeptRow, "id" | "offset">[];
  }

  /** The offset of the value that has `count - 1` later ones; undefined where the topic has fewer. */
  valueFromEnd({ id }: KeyedTopic, count: number): number | undefined {
    const row = this.#database
      .query("SELECT offset FROM keyed WHERE topic = ? AND removed = 0 ORDER BY offset DESC LIMIT 1 OFFSET ?")
      .get(id, count - 1) as { readonly offset: number } | null;
    return row?.offset;
  }

  /**
   * The first value or removal that was received at `time` or later, by search: times grow with the offsets.
   * @throws {DamagedData}
   */
  firstSince(topic: KeyedTopic, removed: 0 | 1, time: number, last: number): number | undefined {
    const after = this.#database.query(
      "SELECT id, offset FROM keyed WHERE topic = ? AND removed = ? AND offset >= ? ORDER BY offset LIMIT 1",
    );
    let low = 1;
    let high = last + 1;
    let found: number | undefined;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const place = after.get(topic.id, removed, middle) as Pick<KeptRow, "id" | "offset"> | null;
      if (place && this.#rowOf(topic, place.id).received < time) low = place.offset + 1;
      else {
        found = place?.offset ?? found;
        high = middle;
      }
    }
    return found;
  }

  /** The last removal before an offset. @throws {DamagedData} */
  removalBefore(topic: KeyedTopic, offset: number): KeptRow | undefined {
    const row = this.#database
      .query(
        "SELECT * FROM keyed WHERE topic = ? AND removed = 1 AND offset < ? ORDER BY offset DESC LIMIT 1",
      )
      .get(topic.id, offset) as StoredRow | null;
    return row ? this.removalOf(topic, row) : undefined;
  }

  /** The clock was set back: what was received later counts as received now. It is at the end of each topic. */
  clockWasSetBack(now: number): void {
    const setBack = (time: string): string =>
      `${time} = ?1, checksum = (checksum + ${timeModulus} - (${time} - ?1) % ${timeModulus}) % ${timeModulus}`;
    this.#database
      .query(`UPDATE keyed_topic SET ${setBack("forgotten_time")} WHERE forgotten_time > ?1`)
      .run(now);
    for (const { topic } of this.#database.query("SELECT topic FROM keyed_topic").all() as KeyedTopicRow[])
      for (const removed of [0, 1])
        this.#database
          .query(
            `UPDATE keyed SET ${setBack("received")} WHERE topic = ?2 AND removed = ?3 AND offset > coalesce(
              (SELECT offset FROM keyed WHERE topic = ?2 AND removed = ?3 AND received <= ?1 ORDER BY offset DESC LIMIT 1), 0) AND received > ?1`,
          )
          .run(now, topic, removed);
  }

  /** The transaction was committed. */
  keepChanges(): void {
    this.#undo = [];
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
  }

  #plainCount(pattern: string): number {
    const isPrefix = pattern.endsWith("*");
    const first = isPrefix ? pattern.slice(0, -1) : pattern;
    // The last character of all: no name is after it and begins with the prefix.
    const last = isPrefix ? `${first}\u{10ffff}` : first;
    const { count } = this.#database
      .query(
        "SELECT count(*) AS count FROM topic WHERE name >= ? AND name <= ? AND id NOT IN (SELECT topic FROM keyed_topic)",
      )
      .get(first, last) as { readonly count: number };
    return count;
  }

  /** SQLite finds nothing where an index leads to a row that is not there, and does not say so. */
  #rowOf(topic: KeyedTopic, id: number): StoredRow {
    const row = this.#database.query("SELECT * FROM keyed WHERE id = ?").get(id) as StoredRow | null;
    if (!row) throw new DamagedData(`an entry of topic "${topic.name}" is missing`);
    return this.#sound(topic, row);
  }

  #sound(topic: KeyedTopic, row: StoredRow): StoredRow {
    if (row.topic === topic.id && isSoundRow(row)) return row;
    throw new DamagedData(`the entry ${row.offset} of topic "${topic.name}"`);
  }

  /** What a topic has with a row put in and an earlier one taken out. */
  #counted(state: KeyedState, added: KeptRow | undefined, taken: KeptRow | undefined): KeyedState {
    const count = (row: KeptRow | undefined, removed: 0 | 1): number => (row?.removed === removed ? 1 : 0);
    const bytes = (row: KeptRow | undefined): number =>
      row?.removed === 0 ? rowBytes(row.key, row.bytes) : 0;
    const more = bytes(added) - bytes(taken);
    this.#hold(more);
    return {
      ...state,
      values: state.values + count(added, 0) - count(taken, 0),
      removals: state.removals + count(added, 1) - count(taken, 1),
      valueBytes: state.valueBytes + more,
      offsetSum: sumOf(state.offsetSum, added ? offsetTerm(added) : 0, taken ? offsetTerm(taken) : 0),
      keySum:
        added && taken
          ? state.keySum
          : sumOf(state.keySum, added ? keyTerm(added) : 0, taken ? keyTerm(taken) : 0),
    };
  }

  #hold(bytes: number): void {
    if (bytes === 0) return;
    this.valueBytes += bytes;
    this.#undo.push(() => {
      this.valueBytes -= bytes;
    });
  }
}
