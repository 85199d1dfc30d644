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
    const state = this.#get<{ commits: number; latest_time: number; topics: number; idle: number }>(
      "SELECT commits, latest_time, topics, idle FROM state",
    );
    if (!state) throw new Error(`${this.#path} has no state`);
    this.#commits = state.commits;
    this.latestTime = state.latest_time;
    this.counts = { count: state.topics, idleCount: state.idle };
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
    closeSync(this.#witness);
    this.database.close();
  }

  /** Begins a transaction, if none is in progress. */
  begin(): void {
    if (this.#isWriting) return;
    this.database.run("BEGIN IMMEDIATE");
    this.#isWriting = true;
  }

  /** Commits it. When it returns, it is durable. */
  commit(now: number, { count, idleCount }: TopicCounts): void {
    this.database
      .query("UPDATE state SET commits = ?, latest_time = ?, topics = ?, idle = ?")
      .run(this.#commits + 1, now, count, idleCount);
    this.database.run("COMMIT");
    this.#isWriting = false;
    this.#commits++;
  }

  rollBack(): void {
    const wasWriting = this.#isWriting;
    this.#isWriting = false;
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
