/**
 * Every table of `longwire.db`. `user_version` is the version of the schema: an older one is migrated in a transaction.
 *
 * Messages of all topics are rows in the order in which they came, so that appending writes at the end of one table, and
 * retention deletes at its beginning. Offsets of a topic have no hole: its messages are those after `dropped` up to `last`.
 * A topic's epoch is the file's generation and the topic's number. So one row begins a new epoch for every topic.
 */
import { type Database, SQLiteError } from "bun:sqlite";

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
    commits INTEGER NOT NULL,      -- The number of the last transaction. The second file has it too, at most 1 s later.
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
];

export const schemaVersion = migrations.length;

export function versionOf(database: Database): number {
  return Number((database.query("PRAGMA user_version").get() as { user_version: number }).user_version);
}

/** Brings an older schema up to date. The caller has begun a transaction. */
export function migrate(database: Database): void {
  for (const migration of migrations.slice(versionOf(database))) database.run(migration);
  database.run(`PRAGMA user_version = ${schemaVersion}`);
}

/** The code of a `SQLiteError`, such as `SQLITE_FULL`. */
export const codeOf = (error: unknown): string =>
  error instanceof SQLiteError ? (error.code ?? "SQLITE_ERROR") : "";
