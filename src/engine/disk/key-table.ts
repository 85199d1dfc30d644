/** The rows of `publication`: idempotency keys on disk, beside those in memory where they are looked up. */
import type { Database } from "bun:sqlite";
import { idempotencySeconds } from "../../topic/broker.ts";
import { IdempotencyKeys } from "../idempotency-keys.ts";
import type { PublicationRecord } from "../publication-record.ts";
import type { Moment } from "./protocol.ts";

interface KeyRow {
  readonly seq: number;
  readonly fingerprint: string;
  readonly publisher: string;
  /** A `PublicationRecord` without its fingerprint, in JSON. */
  readonly record: string;
  /** In milliseconds since 1970. */
  readonly added: number;
}

/** A record that the transaction in progress adds or replaces. */
interface ChangedKey {
  readonly record: PublicationRecord;
  readonly publisher: string;
}

export class KeyTable {
  readonly #database: Database;
  readonly #keys: IdempotencyKeys;
  /** By fingerprint. */
  readonly #rows = new Map<string, number>();
  /** Rows of evicted keys. The next transaction deletes them. */
  #evictedRows: number[] = [];
  #evictedCount = 0;
  /** The keys of the transaction in progress, by fingerprint. */
  readonly #changed = new Map<string, ChangedKey>();
  /** Rows that the transaction in progress has replaced, by fingerprint. */
  readonly #replacedRows = new Map<string, number>();

  constructor(database: Database, bytesMax: number, moment: Moment) {
    this.#database = database;
    this.#keys = new IdempotencyKeys(bytesMax, (key) => this.#evicted(key));
    this.#load(moment);
    this.#evictedCount = 0;
  }

  get(fingerprint: string, { monotonic }: Moment): PublicationRecord | undefined {
    const changed = this.#changed.get(fingerprint);
    return changed ? changed.record : this.#keys.get(fingerprint, monotonic - idempotencySeconds * 1000);
  }

  put(record: PublicationRecord, publisher: string): void {
    this.#changed.set(record.fingerprint, { record, publisher });
  }

  /** Writes the changed records into the transaction. */
  save({ now }: Moment): void {
    // If the transaction fails, these rows stay until they expire.
    for (const seq of this.#evictedRows.splice(0))
      this.#database.query("DELETE FROM publication WHERE seq = ?").run(seq);
    for (const { record, publisher } of this.#changed.values()) {
      const { fingerprint, ...kept } = record;
      const replaced = this.#rows.get(fingerprint);
      if (replaced !== undefined) {
        this.#database.query("DELETE FROM publication WHERE seq = ?").run(replaced);
        this.#replacedRows.set(fingerprint, replaced);
      }
      const { lastInsertRowid } = this.#database
        .query("INSERT INTO publication (fingerprint, publisher, record, added) VALUES (?, ?, ?, ?)")
        .run(fingerprint, publisher, JSON.stringify(kept), now);
      this.#rows.set(fingerprint, Number(lastInsertRowid));
    }
  }

  /** The transaction is durable. */
  keepChanges({ monotonic }: Moment): void {
    for (const { record, publisher } of this.#changed.values()) this.#keys.put(record, publisher, monotonic);
    this.#changed.clear();
    this.#replacedRows.clear();
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    for (const fingerprint of this.#changed.keys()) this.#rows.delete(fingerprint);
    for (const [fingerprint, seq] of this.#replacedRows) this.#rows.set(fingerprint, seq);
    this.#changed.clear();
    this.#replacedRows.clear();
  }

  /**
   * Forgets keys that are too old.
   * @returns rows to be deleted by `deleteUpTo`, at most `countMax`; undefined for none
   */
  expire(
    { now, monotonic }: Moment,
    countMax: number,
  ): { readonly seq: number; readonly count: number } | undefined {
    this.#keys.expire(monotonic - idempotencySeconds * 1000);
    const rows = this.#database
      .query("SELECT seq, added, fingerprint FROM publication ORDER BY seq LIMIT ?")
      .all(countMax) as KeyRow[];
    const kept = rows.findIndex(({ added }) => added >= now - idempotencySeconds * 1000 && added <= now);
    const expired = kept === -1 ? rows : rows.slice(0, kept);
    for (const { seq, fingerprint } of expired)
      if (this.#rows.get(fingerprint) === seq) this.#rows.delete(fingerprint);
    const last = expired.at(-1);
    return last && { seq: last.seq, count: expired.length };
  }

  deleteUpTo(seq: number): void {
    this.#database.query("DELETE FROM publication WHERE seq <= ?").run(seq);
  }

  /** How many keys were evicted since the last call. */
  takeEvictedCount(): number {
    const count = this.#evictedCount;
    this.#evictedCount = 0;
    return count;
  }

  #load({ now, monotonic }: Moment): void {
    const rows = this.#database
      .query("SELECT * FROM publication WHERE added >= ? ORDER BY seq")
      .all(now - idempotencySeconds * 1000) as KeyRow[];
    for (const { seq, fingerprint, publisher, record, added } of rows) {
      this.#rows.set(fingerprint, seq);
      const kept = JSON.parse(record) as Omit<PublicationRecord, "fingerprint">;
      // The clock may have been set back since: no key is younger than now.
      this.#keys.put({ fingerprint, ...kept }, publisher, monotonic - Math.max(0, now - added));
    }
  }

  #evicted({ fingerprint }: PublicationRecord): void {
    const row = this.#rows.get(fingerprint);
    this.#rows.delete(fingerprint);
    if (row !== undefined) this.#evictedRows.push(row);
    this.#evictedCount++;
  }
}
