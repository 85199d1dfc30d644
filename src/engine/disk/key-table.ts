/**
 * Idempotency keys on disk, beside those in memory where they are looked up. They are entries of the batch with their
 * publication, and rows of `publication` once that is merged.
 */
import type { Database } from "bun:sqlite";
import { idempotencySeconds } from "../../topic/broker.ts";
import { IdempotencyKeys } from "../idempotency-keys.ts";
import type { PublicationRecord } from "../publication-record.ts";
import { checksumOf } from "./entry.ts";
import type { Moment } from "./protocol.ts";
import { DamagedData } from "./schema.ts";

/** A row of `publication`. */
export interface KeyRow {
  readonly seq: number;
  readonly fingerprint: string;
  readonly publisher: string;
  /** A `PublicationRecord` without its fingerprint, in JSON. */
  readonly record: string;
  /** In milliseconds since 1970. */
  readonly added: number;
  readonly checksum: number | null;
}

/** Rows that schema 1 wrote have no checksum but 0. */
export const isSoundKey = ({ checksum, ...row }: KeyRow): boolean =>
  checksum === 0 || checksum === keyChecksum(row);

const keyChecksum = ({ fingerprint, publisher, record, added }: Omit<KeyRow, "seq" | "checksum">): number =>
  checksumOf([fingerprint, publisher, record, added]);

/** A record as an entry has it, in JSON. */
export interface StoredRecord {
  readonly record: PublicationRecord;
  readonly publisher: string;
}

/** A record that is not merged. */
interface UnmergedRecord extends StoredRecord {
  readonly added: number;
}

export class KeyTable {
  readonly #database: Database;
  readonly #keys: IdempotencyKeys;
  /** By fingerprint, as are all of these. */
  readonly #rows = new Map<string, number>();
  /** Those of the transaction in progress. */
  readonly #changed = new Map<string, StoredRecord>();
  /** In the batches that come, and in those that are being merged. */
  #unmerged = new Map<string, UnmergedRecord>();
  #merging = new Map<string, UnmergedRecord>();
  /** Rows of keys that were evicted or replaced. The next merge deletes them. */
  #surplusRows: number[] = [];
  /** Those that the merge in progress deletes. It would never get to its topics if it took those that come meanwhile. */
  #mergingSurplus: number[] = [];
  #evictedCount = 0;

  constructor(database: Database, bytesMax: number, moment: Moment) {
    this.#database = database;
    this.#keys = new IdempotencyKeys(bytesMax, ({ fingerprint }) => {
      this.#forget(fingerprint);
      this.#evictedCount++;
    });
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

  /** What the transaction in progress adds or replaces. */
  get changed(): Iterable<StoredRecord> {
    return this.#changed.values();
  }

  /** The transaction is durable. */
  keepChanges(moment: Moment): void {
    for (const stored of this.#changed.values()) this.keep(stored, moment.now, moment);
    this.#changed.clear();
  }

  /** A record of a batch, which was added at a time. */
  keep(stored: StoredRecord, added: number, { now, monotonic }: Moment): void {
    const { fingerprint } = stored.record;
    // The clock may have been set back since: no key is younger than now.
    const age = Math.max(0, now - added);
    if (age > idempotencySeconds * 1000) return;
    this.#forget(fingerprint);
    this.#unmerged.set(fingerprint, { ...stored, added });
    this.#keys.put(stored.record, stored.publisher, monotonic - age);
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    this.#changed.clear();
  }

  /** What is not merged is merged from now on. */
  beginMerge(): void {
    this.#merging = this.#unmerged;
    this.#unmerged = new Map();
    this.#mergingSurplus = this.#surplusRows;
    this.#surplusRows = [];
  }

  /**
   * Writes a slice of them, in a transaction of the caller's.
   * @returns what is to be called when it is committed; undefined if there is nothing to write
   */
  mergeSlice(countMax: number): (() => void) | undefined {
    if (this.#merging.size === 0 && this.#mergingSurplus.length === 0) return undefined;
    const surplus = this.#mergingSurplus.slice(0, countMax);
    for (const seq of surplus) this.#database.query("DELETE FROM publication WHERE seq = ?").run(seq);
    const written: [string, number][] = [];
    for (const [fingerprint, unmerged] of this.#merging.entries().take(countMax))
      written.push([fingerprint, this.#insert(unmerged)]);
    return () => {
      this.#mergingSurplus.splice(0, surplus.length);
      for (const [fingerprint, seq] of written) {
        this.#merging.delete(fingerprint);
        this.#rows.set(fingerprint, seq);
      }
    };
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

  #insert({ record: { fingerprint, ...kept }, publisher, added }: UnmergedRecord): number {
    const text = JSON.stringify(kept);
    const checksum = keyChecksum({ fingerprint, publisher, record: text, added });
    const { lastInsertRowid } = this.#database
      .query(
        "INSERT INTO publication (fingerprint, publisher, record, added, checksum) VALUES (?, ?, ?, ?, ?)",
      )
      .run(fingerprint, publisher, text, added, checksum);
    return Number(lastInsertRowid);
  }

  #load({ now, monotonic }: Moment): void {
    const rows = this.#database
      .query("SELECT * FROM publication WHERE added >= ? ORDER BY seq")
      .all(now - idempotencySeconds * 1000) as KeyRow[];
    for (const row of rows) {
      const { seq, fingerprint, publisher, record, added } = row;
      if (!isSoundKey(row)) throw new DamagedData(`the idempotency key in row ${seq}`);
      const kept = JSON.parse(record) as Omit<PublicationRecord, "fingerprint">;
      this.#rows.set(fingerprint, seq);
      this.#keys.put({ fingerprint, ...kept }, publisher, monotonic - Math.max(0, now - added));
    }
  }

  /** The record of a fingerprint is gone, or another one takes its place. */
  #forget(fingerprint: string): void {
    this.#unmerged.delete(fingerprint);
    this.#merging.delete(fingerprint);
    const row = this.#rows.get(fingerprint);
    this.#rows.delete(fingerprint);
    if (row !== undefined) this.#surplusRows.push(row);
  }
}
