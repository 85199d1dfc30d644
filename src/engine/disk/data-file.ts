/** The file of the topics: its transactions, its witness, and the space that it takes. */
import type { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  databaseName,
  type FileRow,
  fileRowOf,
  identityOf,
  makeDurable,
  openDatabase,
  witnessText,
} from "./directory.ts";
import { checksumOf, Entries } from "./entry.ts";
import { commitsOf, DamagedData } from "./schema.ts";

/** Pages that incremental vacuum gives back in one slice. */
const slicePages = 256;

/** After a checkpoint the WAL is cut to this size. It is larger only while a reader holds it. */
const walBytesKept = 64 * 1024 * 1024;

/** The file that is open is no longer the one at its path, so what is written to it is lost. */
export class FileGone extends Error {}

/** Numbers of topics, which the file has too: to count a million rows would take a second of each start. */
export interface TopicCounts {
  readonly count: number;
  readonly idleCount: number;
}

interface StateRow {
  readonly commits: number;
  readonly latest_time: number;
  readonly topics: number;
  readonly idle: number;
  readonly merged: number;
}

/** A row of `batch`. */
export interface BatchRow {
  readonly seq: number;
  readonly previous: number;
  readonly time: number;
  readonly checksum: number;
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** What the row of a batch has as its checksum, unless it is damaged. */
export const batchChecksum = ({ seq, previous, time, entries }: Omit<BatchRow, "checksum">): number =>
  checksumOf([seq, previous, time], entries);

/** A batch that is not merged. */
export interface StoredBatch extends Pick<BatchRow, "seq" | "time"> {
  readonly entries: Entries;
}

export class DataFile {
  readonly database: Database;
  /** Whether the disk had no room for `-shm`, and other programs find the file locked. */
  readonly isAlone: boolean;
  /** By the clock, of the last transaction before this file was opened. */
  readonly latestTime: number;
  readonly counts: TopicCounts;
  readonly #path: string;
  readonly #file: FileRow;
  readonly #witness: number;
  #commits: number;
  #lastBatch: number;
  #mergedBatch: number;
  /** What the row of `state` has. */
  #savedCounts: TopicCounts;
  /** What the transaction in progress did with batches. */
  #hasBatch = false;
  #deletedUpTo = 0;
  #witnessed = 0;
  /** The transactions at the last sweep, and those that were moved from the write-ahead log when nothing was written. */
  #commitsSwept = 0;
  #commitsMoved = 0;
  #isWriting = false;

  /** @throws {FileGone} @throws an error of SQLite */
  constructor(directory: string) {
    this.#path = join(directory, databaseName);
    if (!existsSync(this.#path)) throw new FileGone(`${this.#path} was removed or cannot be reached`);
    const { database, isAlone } = openDatabase(this.#path);
    this.database = database;
    this.isAlone = isAlone;
    makeDurable(this.database);
    this.database.run(`PRAGMA journal_size_limit = ${walBytesKept}`);
    this.database.run("PRAGMA cache_size = -32000");
    const file = fileRowOf(this.database);
    if (!file) throw new Error(`${this.#path} was not prepared`);
    this.#file = file;
    this.require();
    const state = this.#get<StateRow>("SELECT * FROM state");
    if (!state) throw new Error(`${this.#path} has no state`);
    const batch = this.#get<BatchRow>("SELECT seq, time FROM batch ORDER BY seq DESC LIMIT 1");
    this.#commits = commitsOf(database);
    this.#mergedBatch = state.merged;
    this.#lastBatch = batch?.seq ?? state.merged;
    this.latestTime = batch && batch.seq > state.commits ? batch.time : state.latest_time;
    this.counts = { count: state.topics, idleCount: state.idle };
    this.#savedCounts = this.counts;
    this.#witness = openSync(join(directory, file.witness), "r+");
  }

  /** Begins every epoch. */
  get generation(): string {
    return this.#file.generation;
  }

  get sinceTime(): number {
    return this.#file.since_time;
  }

  get isWriting(): boolean {
    return this.#isWriting;
  }

  get walBytes(): number {
    return statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  close(): void {
    try {
      this.writeWitness();
    } finally {
      closeSync(this.#witness);
      this.database.close();
    }
  }

  /** Begins a transaction, if none is in progress. */
  begin(): void {
    if (this.#isWriting) return;
    this.database.query("BEGIN IMMEDIATE").run();
    this.#isWriting = true;
  }

  /** Appends the entries of the transaction. */
  appendBatch(entries: Uint8Array<ArrayBuffer>, time: number): number {
    const seq = this.#commits + 1;
    const previous = this.#lastBatch;
    const checksum = batchChecksum({ seq, previous, time, entries });
    this.database
      .query("INSERT INTO batch VALUES (?, ?, ?, ?, ?)")
      .run(seq, previous, time, checksum, entries);
    this.#hasBatch = true;
    return seq;
  }

  /** Deletes batches that are merged. */
  deleteBatches(upTo: number): void {
    this.database.query("DELETE FROM batch WHERE seq <= ?").run(upTo);
    this.#deletedUpTo = upTo;
  }

  /** The batches that are not merged. @throws {DamagedData} */
  *batches(): Generator<StoredBatch> {
    let expected = this.#mergedBatch;
    const rows = this.database
      .query("SELECT * FROM batch ORDER BY seq")
      .iterate() as IterableIterator<BatchRow>;
    for (const row of rows) {
      const { seq, previous, time, checksum, entries } = row;
      if (previous !== expected || checksum !== batchChecksum(row)) throw new DamagedData(`batch ${seq}`);
      expected = seq;
      yield { seq, time, entries: new Entries(entries) };
    }
  }

  /** Commits it. When it returns, it is durable. A batch alone needs no other row. */
  commit(now: number, { count, idleCount }: TopicCounts): void {
    const { count: savedCount, idleCount: savedIdle } = this.#savedCounts;
    if (!this.#hasBatch || count !== savedCount || idleCount !== savedIdle)
      this.database
        .query("UPDATE state SET commits = ?, latest_time = ?, topics = ?, idle = ?, merged = ?")
        .run(this.#commits + 1, now, count, idleCount, this.#deletedUpTo || this.#mergedBatch);
    this.database.query("COMMIT").run();
    this.#isWriting = false;
    this.#commits++;
    this.#savedCounts = { count, idleCount };
    if (this.#hasBatch) this.#lastBatch = this.#commits;
    if (this.#deletedUpTo > 0) this.#mergedBatch = this.#deletedUpTo;
    this.#forgetTransaction();
  }

  #forgetTransaction(): void {
    this.#hasBatch = false;
    this.#deletedUpTo = 0;
  }

  rollBack(): void {
    const wasWriting = this.#isWriting;
    this.#isWriting = false;
    this.#forgetTransaction();
    if (wasWriting && this.database.inTransaction) this.database.run("ROLLBACK");
  }

  /** SQLite goes on writing into a file that was removed. @throws {FileGone} */
  require(): void {
    let inode: string;
    try {
      ({ inode } = identityOf(this.#path));
    } catch (error) {
      throw new FileGone(`${this.#path} was removed or cannot be reached: ${String(error)}`);
    }
    if (inode !== this.#file.inode)
      throw new FileGone(`${this.#path} was replaced by another file: restart Longwire to use that one`);
  }

  /** The number of a transaction that is durable already. */
  writeWitness(): void {
    if (this.#witnessed === this.#commits) return;
    writeSync(this.#witness, witnessText(this.#file.token, this.#commits), 0);
    this.#witnessed = this.#commits;
  }

  /** The pages of the file, and those in use. */
  pages(): { pages: number; used: number; pageBytes: number } {
    const number = (name: string): number =>
      Number(Object.values(this.#get<Record<string, number>>(`PRAGMA ${name}`) ?? {})[0]);
    const pages = number("page_count");
    return { pages, used: pages - number("freelist_count"), pageBytes: number("page_size") };
  }

  /** Keeps some free pages for what comes. @returns whether there is more to give back */
  giveSpaceBack(): boolean {
    const { pages, used } = this.pages();
    const surplus = pages - used - Math.max(slicePages, pages / 16);
    if (surplus <= 0) return false;
    this.database.query(`PRAGMA incremental_vacuum(${Math.min(Math.ceil(surplus), slicePages)})`).all();
    return surplus > slicePages;
  }

  /** SQLite moves the write-ahead log into the file while there are writes. If none follow, the file would not shrink. */
  checkpointIfIdle(): void {
    if (this.#commits === this.#commitsSwept && this.#commits !== this.#commitsMoved) {
      this.database.query("PRAGMA wal_checkpoint(PASSIVE)").all();
      this.#commitsMoved = this.#commits;
    }
    this.#commitsSwept = this.#commits;
  }

  #get<Row>(sql: string): Row | undefined {
    return (this.database.query(sql).get() as Row | null) ?? undefined;
  }
}
