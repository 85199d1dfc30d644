/**
 * The directory of `--data`: one process owns it, its schema is the current one, and a copy is found out.
 *
 *   longwire.db, -wal, -shm   the topics, as schema.ts describes them
 *   high-water.<token>        the second witness: the number of a transaction that is durable, made anew at each start
 *   reserve                   space for a start and for retention on a full disk, as reserve.ts describes it
 *   lock                      held in BEGIN EXCLUSIVE by its owner, so that tools may still read the first
 *
 * A file that is behind what was acknowledged must not go on in the same epochs: two messages would have one id. So both
 * witnesses are compared at the start, and where one fails every topic begins a new epoch.
 */
import { Database } from "bun:sqlite";
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { DataDirectoryError } from "../data-directory-error.ts";
import { isFull, releaseReserveIfFull } from "./reserve.ts";
import { codeOf, commitsOf, migrate, schemaVersion, versionOf } from "./schema.ts";

export const databaseName = "longwire.db";
const lockName = "lock";
export const witnessPrefix = "high-water.";

export interface DirectoryReport {
  /** The file is new. */
  readonly isNew: boolean;
  /** Why every topic began a new epoch; undefined where none did. */
  readonly newEpochsBecause: string | undefined;
  /** The name of a filesystem over a network, where locks and fsync may not hold. */
  readonly networkFilesystem: string | undefined;
}

/** Holds the directory until it is disposed. The lock lives as long as this object is referenced. */
export class OwnedDirectory implements Disposable {
  readonly report: DirectoryReport;
  readonly #lock: Database;

  /**
   * @param now milliseconds since 1970
   * @throws {DataDirectoryError}
   */
  constructor(
    readonly path: string,
    now: number,
  ) {
    makeDirectory(path);
    this.#lock = lockDirectory(path);
    try {
      this.report = prepare(path, now);
    } catch (error) {
      this[Symbol.dispose]();
      throw error instanceof DataDirectoryError ? error : new DataDirectoryError(whyNot(path, error));
    }
  }

  [Symbol.dispose](): void {
    this.#lock.close();
  }
}

const systemCodeOf = (error: unknown): unknown =>
  error instanceof Error && "code" in error ? error.code : undefined;

/** @throws {DataDirectoryError} */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    const code = systemCodeOf(error);
    const user = process.getuid?.();
    if (code === "EEXIST" || code === "ENOTDIR")
      throw new DataDirectoryError(
        `${fileOnTheWayTo(path)} is a file, not a directory. Choose another path with --data`,
      );
    throw new DataDirectoryError(
      code === "EACCES"
        ? `User ${user} may not make the directory ${path}: make it for that user, or choose another path with --data`
        : `Cannot make the directory ${path}: ${messageOf(error)}`,
    );
  }
}

/** From the top: of what is below a file nothing can be asked. */
function fileOnTheWayTo(path: string): string {
  const full = resolve(path);
  const above = dirname(full);
  const found = above === full ? full : fileOnTheWayTo(above);
  return statSync(found).isDirectory() ? full : found;
}

/** SQLite says of none of its files which one it could not open. @throws {DataDirectoryError} */
function requireAccess(directory: string): void {
  requireWritable(directory, directory);
  for (const name of readdirSync(directory)) {
    const isOurs = name === lockName || name.startsWith(databaseName) || name.startsWith(witnessPrefix);
    if (!isOurs) continue;
    const path = join(directory, name);
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
      throw new DataDirectoryError(`${path} is a directory, and must be a file. Move it away`);
    requireWritable(path, directory);
  }
}

function requireWritable(path: string, directory: string): void {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const [code, user, owner] = [
      systemCodeOf(error),
      process.getuid?.(),
      statSync(path, { throwIfNoEntry: false })?.uid,
    ];
    if (code === "ENOENT") return; // SQLite deletes some of its files when another process closes them.
    if (code !== "EACCES") throw new DataDirectoryError(`Cannot write to ${path}: ${messageOf(error)}`);
    throw new DataDirectoryError(
      owner === user
        ? `${path} may not be read and written by its own user ${user}: chmod -R u+rwX ${directory}`
        : `${path} belongs to user ${owner}, and this process runs as user ${user}: start it as user ${owner}, or give it the files with chown -R ${user} ${directory}`,
    );
  }
}

/** @throws {DataDirectoryError} */
export function lockDirectory(directory: string): Database {
  requireAccess(directory);
  let lock: Database | undefined;
  try {
    lock = new Database(join(directory, lockName));
    lock.run("PRAGMA journal_mode = MEMORY"); // A journal on disk would need space.
    lock.run("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close();
    if (codeOf(error) === "SQLITE_BUSY")
      throw new DataDirectoryError(
        `Another process uses ${directory}. Stop it, or choose another directory with --data`,
      );
    throw new DataDirectoryError(`Cannot write in ${directory}: ${messageOf(error)}`);
  }
}

/** Identifies a file on its filesystem. A copy of it has another inode or another birth. */
export interface Identity {
  readonly inode: string;
  /** In nanoseconds; 0 where the filesystem has no birth times. */
  readonly birth: string;
}

export function identityOf(path: string): Identity {
  const { ino, birthtimeNs } = statSync(path, { bigint: true });
  return { inode: String(ino), birth: String(birthtimeNs) };
}

/** The one row of `file`. */
export interface FileRow {
  readonly generation: string;
  readonly since_time: number;
  readonly inode: string;
  readonly birth: string;
  readonly witness: string;
  readonly witness_inode: string;
  readonly witness_birth: string;
  readonly token: string;
}

export const fileRowOf = (database: Database): FileRow | undefined =>
  (database.query("SELECT * FROM file").get() as FileRow | null) ?? undefined;

/** Bytes of the write-ahead log in one read and write. */
const rewriteBytes = 1024 * 1024;

/**
 * Writes the write-ahead log again, in its place, and syncs it. Nothing may write to it meanwhile.
 *
 * After a failed fsync Linux counts the pages as written, and the next fsync succeeds without them. They are read from
 * memory until the power is cut. So SQLite takes transactions as committed that are not on the disk, and those that it
 * appends are lost with them. Pages that were written again are on the disk after a sync, and so is all that SQLite reads.
 */
export function rewriteLog(directory: string): void {
  const path = join(directory, `${databaseName}-wal`);
  if (!existsSync(path) && existsSync(join(directory, databaseName))) return;
  const file = openSync(path, "r+");
  try {
    const bytes = Buffer.allocUnsafe(rewriteBytes);
    for (let at = 0; ; at += rewriteBytes) {
      const count = readSync(file, bytes, 0, rewriteBytes, at);
      if (count === 0) break;
      if (writeSync(file, bytes, 0, count, at) !== count) throw new Error(`${path} was written only in part`);
    }
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/**
 * Opens the file of the topics. SQLite needs space for `-shm`, unless no other program may open the file.
 * @returns `isAlone`: the disk is full, and other programs find the file locked
 */
export function openDatabase(path: string): { readonly database: Database; readonly isAlone: boolean } {
  const database = new Database(path);
  try {
    versionOf(database);
    return { database, isAlone: false };
  } catch (error) {
    database.close();
    if (!isFull(error)) throw error;
  }
  const alone = new Database(path);
  alone.run("PRAGMA locking_mode = EXCLUSIVE");
  return { database: alone, isAlone: true };
}

/** The two settings that make a commit durable before it is acknowledged. */
export function makeDurable(database: Database): void {
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  database.run("PRAGMA busy_timeout = 1000");
}

/** What a witness holds: one write of a length that never changes, so that it is the old number or the new one. */
export const witnessText = (token: string, commits: number): string =>
  `${token} ${String(commits).padStart(16)}\n`;

export const randomName = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) => word.toString(36).padStart(7, "0"))
    .join("")
    .slice(-13);

function prepare(directory: string, now: number): DirectoryReport {
  const path = join(directory, databaseName);
  const isNew = !existsSync(path);
  releaseReserveIfFull(directory);
  const { database } = openDatabase(path);
  try {
    const version = versionOf(database);
    if (version > schemaVersion) {
      throw new DataDirectoryError(
        `${path} was written by a newer Longwire (schema ${version}; this one knows ${schemaVersion}). Start that version, or choose another directory with --data`,
      );
    }
    if (version === 0) database.run("PRAGMA auto_vacuum = INCREMENTAL"); // Has an effect only before the first table.
    makeDurable(database); // After the first write of a new file, which sets its `auto_vacuum`.
    const newEpochsBecause = takeOver(database, directory, now);
    return { isNew, newEpochsBecause, networkFilesystem: networkFilesystemOf(directory) };
  } finally {
    database.close();
  }
}

/**
 * Makes a new witness. A full disk has no room for it: then the one of the former start stays, which is all the same unless
 * a copy of both files is put back later.
 * @returns why every topic begins a new epoch
 */
function takeOver(database: Database, directory: string, now: number): string | undefined {
  try {
    return renewWitness(database, directory, now);
  } catch (error) {
    if (!isFull(error)) throw error;
    removeWitnesses(directory, fileRowOf(database)?.witness);
    const because =
      versionOf(database) < schemaVersion ? "it is to be migrated" : whyCopied(database, directory);
    if (because === undefined) return undefined;
    throw new DataDirectoryError(
      `The disk is full, and ${join(directory, databaseName)} must be written to: ${because}. Free some space`,
    );
  }
}

/** Makes a new witness, and records it in the same transaction that migrates the schema and begins new epochs. */
function renewWitness(database: Database, directory: string, now: number): string | undefined {
  const path = join(directory, databaseName);
  const token = randomName();
  const witness = `${witnessPrefix}${token}`;
  writeDurably(join(directory, witness), witnessText(token, 0));
  syncFile(directory);
  let because: string | undefined;
  database.transaction(() => {
    migrate(database);
    const before = fileRowOf(database);
    because = before && whyCopied(database, directory);
    const begins = before === undefined || because !== undefined;
    const [own, other] = [identityOf(path), identityOf(join(directory, witness))];
    database
      .query("INSERT OR REPLACE INTO file VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        begins ? randomName() : before.generation,
        begins ? now : before.since_time,
        own.inode,
        own.birth,
        witness,
        other.inode,
        other.birth,
        token,
      );
  })();
  removeWitnesses(directory, witness);
  return because;
}

function removeWitnesses(directory: string, kept: string | undefined): void {
  for (const name of readdirSync(directory))
    if (name.startsWith(witnessPrefix) && name !== kept) rmSync(join(directory, name), { force: true });
}

/** @returns which witness says that the file may have lost its end */
function whyCopied(database: Database, directory: string): string | undefined {
  const row = fileRowOf(database);
  if (!row) return undefined;
  const own = identityOf(join(directory, databaseName));
  if (own.inode !== row.inode || own.birth !== row.birth)
    return `${databaseName} is a copy: its inode or birth time is not the recorded one`;
  const path = join(directory, row.witness);
  if (!existsSync(path)) return `the file ${row.witness} is missing: ${databaseName} may be an older copy`;
  const other = identityOf(path);
  if (other.inode !== row.witness_inode || other.birth !== row.witness_birth)
    return `${row.witness} is a copy: its inode or birth time is not the recorded one`;
  const [token, number] = readFileSync(path, "utf8").trim().split(/ +/);
  if (token !== row.token) return `${row.witness} is not the file that was recorded`;
  const commits = commitsOf(database);
  if (Number(number) > commits)
    return `${databaseName} ends at transaction ${commits}, and ${row.witness} knows of ${number}: its end is lost`;
  return undefined;
}

function writeDurably(path: string, text: string): void {
  const file = openSync(path, "w", 0o600);
  try {
    writeSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Makes a file's bytes durable, or the names in a directory. */
export function syncFile(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** statfs(2): the magic numbers of filesystems over a network. */
const networkFilesystems: Readonly<Record<number, string>> = {
  26985: "NFS",
  4283649346: "CIFS",
  4266872130: "SMB2",
  20859: "SMB",
  16914839: "9p",
  1702057286: "FUSE",
};

const networkFilesystemOf = (directory: string): string | undefined =>
  networkFilesystems[statfsSync(directory).type >>> 0];

function whyNot(directory: string, error: unknown): string {
  const path = join(directory, databaseName);
  const code = codeOf(error);
  if (code.startsWith("SQLITE_CORRUPT") || code.startsWith("SQLITE_NOTADB"))
    return `${path} is damaged (${messageOf(error)}). ${whatToDo(path)}`;
  return `cannot use ${path}: ${messageOf(error)}`;
}

const whatToDo = (path: string): string =>
  `Nothing was deleted. Look with "longwire data check", put a backup back with "longwire data restore", or begin anew with --data elsewhere; ${path} stays as it is`;

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
