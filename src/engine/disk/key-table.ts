/** The rows of `publication`: idempotency keys on disk, beside those in memory where they are looked up. */
import type { Database } from "bun:sqlite";
import { idempotencySeconds } from "../../topic/broker.ts";
import type { Position } from "../../topic/message.ts";
import { IdempotencyKeys, type Publication } from "../idempotency.ts";
import type { Moment } from "./protocol.ts";

interface KeyRow extends Position {
  readonly seq: number;
  readonly fingerprint: string;
  readonly publisher: string;
  readonly digest: string;
  /** In milliseconds since 1970. */
  readonly added: number;
}

/** A key that the transaction in progress adds. */
export interface AddedKey extends Publication {
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
  /** Of the transaction in progress, by fingerprint. */
  readonly #added = new Map<string, AddedKey>();

  constructor(database: Database, bytesMax: number, moment: Moment) {
    this.#database = database;
    this.#keys = new IdempotencyKeys(bytesMax, (key) => this.#evicted(key));
    this.#load(moment);
    this.#evictedCount = 0;
  }

  get(fingerprint: string, { monotonic }: Moment): Publication | undefined {
    return this.#added.get(fingerprint) ?? this.#keys.get(fingerprint, monotonic - idempotencySeconds * 1000);
  }

  add(key: AddedKey): void {
    this.#added.set(key.fingerprint, key);
  }

  /** Writes the added keys into the transaction. */
  save({ now }: Moment): void {
    // If the transaction fails, these rows stay until they expire.
    for (const seq of this.#evictedRows.splice(0))
      this.#database.query("DELETE FROM publication WHERE seq = ?").run(seq);
    for (const { fingerprint, publisher, digest, position } of this.#added.values()) {
      const { lastInsertRowid } = this.#database
        .query(
          "INSERT INTO publication (fingerprint, publisher, digest, epoch, offset, added) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .run(fingerprint, publisher, digest, position.epoch, position.offset, now);
      this.#rows.set(fingerprint, Number(lastInsertRowid));
    }
  }

  /** The transaction is durable. */
  keepChanges({ monotonic }: Moment): void {
    for (const { publisher, ...publication } of this.#added.values())
      this.#keys.add(publication, publisher, monotonic);
    this.#added.clear();
  }

  /** The transaction was rolled back. */
  forgetChanges(): void {
    for (const fingerprint of this.#added.keys()) this.#rows.delete(fingerprint);
    this.#added.clear();
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
    for (const { fingerprint } of expired) this.#rows.delete(fingerprint);
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
    for (const { seq, fingerprint, publisher, digest, epoch, offset, added } of rows) {
      this.#rows.set(fingerprint, seq);
      const position = { epoch, offset };
      // The clock may have been set back since: no key is younger than now.
      this.#keys.add({ fingerprint, digest, position }, publisher, monotonic - Math.max(0, now - added));
    }
  }

  #evicted({ fingerprint }: Publication): void {
    const row = this.#rows.get(fingerprint);
    this.#rows.delete(fingerprint);
    if (row !== undefined) this.#evictedRows.push(row);
    this.#evictedCount++;
  }
}
