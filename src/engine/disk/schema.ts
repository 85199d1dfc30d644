/**
 * Every table of `longwire.db`. `user_version` is the version of the schema: an older one is migrated at the start.
 *
 * A commit appends one row to `batch`. Batches are merged in the background into rows of `segment`, each with entries of one
 * topic, from which history is read and which retention deletes. Entries are bytes, as entry.ts describes them, and the view
 * `message` shows them as rows to other programs.
 *
 * Keyed topics are in `keyed` alone, with the last entry of each key: a commit writes them there, and not into `batch`.
 *
 * A row of `topic` is what was merged: the entries of the topic in `batch` with a greater offset are newer. Offsets of a plain topic
 * have no hole: its messages are those after `dropped` up to the last one. A topic's epoch is the file's generation and the
 * topic's number. So one row begins a new epoch for every topic.
 */
import { type Database, SQLiteError } from "bun:sqlite";
import { messageView } from "./message-view.ts";

/** Segments that are merged have at least this number. Smaller ones hold messages of schema 1, which are older. */
export const firstMergedSegment = 2 ** 40;

const migrations: readonly string[] = [
  `
  CREATE TABLE file (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation TEXT NOT NULL,      -- The first 13 characters of every epoch.
    since_time INTEGER NOT NULL,   -- Since when every topic is known.
    inode TEXT NOT NULL,           -- Of this file. A copy has another.
    birth TEXT NOT NULL,           -- In nanoseconds; 0 where the filesystem has no birth times.
    witness TEXT NOT NULL,         -- The name of the second file, its inode, its birth and the token in it.
    witness_inode TEXT NOT NULL,
    witness_birth TEXT NOT NULL,
    token TEXT NOT NULL
  );
  CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    commits INTEGER NOT NULL,      -- The number of the last transaction, unless a batch has a greater one.
    latest_time INTEGER NOT NULL,  -- By the clock. A clock that is earlier at the next start was set back.
    topics INTEGER NOT NULL,       -- Number of topics, and of those without a message.
    idle INTEGER NOT NULL
  );
  INSERT INTO state VALUES (1, 0, 0, 0, 0);
  CREATE TABLE topic (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- Never used again, since an epoch belongs to one topic.
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL,         -- The offset of the last message.
    ended INTEGER NOT NULL,        -- 1 where the topic has ended: the end is at last + 1. Otherwise 0.
    time INTEGER NOT NULL,         -- Of the end, or else of the last message.
    dropped INTEGER NOT NULL,      -- The offset of the last message that was deleted.
    dropped_time INTEGER,          -- When that one was received.
    used INTEGER NOT NULL          -- When the last message came or the last subscriber left.
  );
  CREATE INDEX topic_idle ON topic (used) WHERE dropped = last;
  CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    received INTEGER NOT NULL,     -- By the clock; earlier than time where the clock was set back.
    content_type TEXT NOT NULL,
    attributes TEXT,               -- An object in JSON.
    data NOT NULL                  -- TEXT or BLOB, as it was published.
  );
  CREATE UNIQUE INDEX message_of_topic ON message (topic, offset);
  CREATE TABLE clock_step (        -- The clock was set back: messages up to seq count as received by time at the latest.
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL
  );
  CREATE TABLE publication (       -- Idempotency keys, the oldest first.
    seq INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    publisher TEXT NOT NULL,
    record TEXT NOT NULL,          -- \`PublicationRecord\` in JSON, without the fingerprint.
    added INTEGER NOT NULL
  );
  `,
  `
  ALTER TABLE message RENAME TO old_message;       -- Moved into segments in the background, then dropped.
  ALTER TABLE clock_step RENAME TO old_clock_step;
  ALTER TABLE topic ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;       -- CRC-32. 0 in rows that schema 1 wrote.
  ALTER TABLE publication ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE state ADD COLUMN merged INTEGER NOT NULL DEFAULT 0;         -- The last batch that was merged and deleted.
  CREATE TABLE batch (
    seq INTEGER PRIMARY KEY,       -- The number of its transaction.
    previous INTEGER NOT NULL,     -- The seq of the batch before it.
    time INTEGER NOT NULL,         -- By the clock.
    checksum INTEGER NOT NULL,     -- CRC-32 of "seq previous time" and the entries.
    entries BLOB NOT NULL          -- Of all topics, in their order.
  );
  CREATE TABLE segment (
    id INTEGER PRIMARY KEY,        -- Within a topic it grows with the offsets.
    topic INTEGER NOT NULL,
    first INTEGER NOT NULL,        -- Offsets of its first and last message.
    last INTEGER NOT NULL,
    received INTEGER NOT NULL,     -- By the clock, of its first and last message.
    received_last INTEGER NOT NULL,
    checksum INTEGER NOT NULL,     -- CRC-32 of "topic first last" and the entries.
    entries BLOB NOT NULL
  );
  CREATE UNIQUE INDEX segment_of_topic ON segment (topic, first);
  CREATE TABLE clock_step (        -- The clock was set back: segments up to this one count as received by time at the latest.
    segment INTEGER PRIMARY KEY,
    time INTEGER NOT NULL
  );
  `,
  `
  CREATE TABLE keyed_topic (       -- The keyed topics, beside their rows in topic.
    topic INTEGER PRIMARY KEY,     -- Where no such topic is left, its rows are being deleted.
    floor INTEGER NOT NULL,        -- The offset of the newest removal that is forgotten; 0 for none.
    forgotten_time INTEGER,        -- When that one was received.
    value_count INTEGER NOT NULL,
    removal_count INTEGER NOT NULL,
    value_bytes INTEGER NOT NULL,
    offset_sum INTEGER NOT NULL,   -- Of its rows in keyed: offset + id, modulo 2^32. The other: CRC-32 of the key + id.
    key_sum INTEGER NOT NULL,
    checksum INTEGER NOT NULL      -- CRC-32 of the numbers before it but forgotten_time, plus that, modulo 2^32 - 5.
  );
  CREATE TABLE keyed (             -- The last entry of each key.
    id INTEGER PRIMARY KEY,
    topic INTEGER NOT NULL,
    key TEXT NOT NULL,
    offset INTEGER NOT NULL,
    removed INTEGER NOT NULL,      -- 1 for a removal, which is kept for a while. Otherwise 0.
    received INTEGER NOT NULL,     -- By the clock.
    checksum INTEGER NOT NULL,     -- CRC-32 of "topic offset removed key" and the entry, plus received, modulo 2^32 - 5.
    entry BLOB NOT NULL
  );
  CREATE UNIQUE INDEX keyed_by_key ON keyed (topic, key);
  CREATE UNIQUE INDEX keyed_by_offset ON keyed (topic, removed, offset);
  CREATE INDEX keyed_removal ON keyed (received) WHERE removed = 1;
  DROP VIEW IF EXISTS message;
  ${messageView}
  `,
];

export const schemaVersion = migrations.length;

export function versionOf(database: Database): number {
  return Number((database.query("PRAGMA user_version").get() as { user_version: number }).user_version);
}

/** Brings an older schema up to date: no row is touched. The caller has begun a transaction. */
export function migrate(database: Database): void {
  const version = versionOf(database);
  for (const migration of migrations.slice(version)) database.run(migration);
  if (version === 0) dropOldTables(database);
  database.run(`PRAGMA user_version = ${schemaVersion}`);
}

/** Those of schema 1, once they are empty. */
export function dropOldTables(database: Database): void {
  database.run("DROP TABLE IF EXISTS old_message; DROP TABLE IF EXISTS old_clock_step");
}

export const hasTable = (database: Database, name: string): boolean =>
  database.query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== null;

/** The number of the last transaction. The caller knows that the schema is the current one. */
export const commitsOf = (database: Database): number =>
  (
    database
      .query("SELECT max(commits, coalesce((SELECT max(seq) FROM batch), 0)) AS commits FROM state")
      .get() as {
      commits: number;
    }
  ).commits;

/** A row whose checksum is not that of its content, or that is not where it must be. */
export class DamagedData extends Error {
  constructor(what: string) {
    super(`the data is damaged: ${what}. Look with "longwire data check"`);
  }
}

/** The code of a `SQLiteError`, such as `SQLITE_FULL`. */
export const codeOf = (error: unknown): string =>
  error instanceof SQLiteError ? (error.code ?? "SQLITE_ERROR") : "";
