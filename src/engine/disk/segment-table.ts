/** The rows of `segment` and `clock_step`: merged entries of one topic each, and when they count as received. */
import type { Database } from "bun:sqlite";
import { checksumOf, Entries, freeMemory } from "./entry.ts";
import { DamagedData, firstMergedSegment } from "./schema.ts";
import type { DiskTopic } from "./topic-table.ts";

/**
 * Entries that a segment has at most, in bytes, unless one is larger. More would make a short read of history copy more than
 * it needs, and fewer make the index of segments larger.
 */
export const segmentBytesMax = 64 * 1024;

/** Consecutive messages of a topic, wherever they are kept. Times are by the clock, and grow with the offsets. */
export interface Piece {
  readonly first: number;
  readonly last: number;
  readonly received: number;
  readonly receivedLast: number;
  /** Reads them. @param offset of the first that is wanted. @throws {DamagedData} */
  read(offset: number): PieceEntries;
}

export interface PieceEntries {
  readonly entries: Entries;
  readonly places: Iterable<number>;
  /** Frees the entries, where they are a copy. Left out, garbage collection frees them. */
  release?(): void;
}

/** A segment without its entries. */
export interface SegmentRow {
  readonly id: number;
  readonly topic: number;
  readonly first: number;
  readonly last: number;
  readonly received: number;
  readonly received_last: number;
  readonly bytes: number;
}

/** What the row of a segment has as its checksum, unless it is damaged. */
export const segmentChecksum = (
  { topic, first, last }: Pick<SegmentRow, "topic" | "first" | "last">,
  entries: Uint8Array,
): number => checksumOf([topic, first, last], entries);

/** The clock was set back to `time`, when `segment` was the last one. */
interface ClockStep {
  readonly segment: number;
  readonly time: number;
}

/** SQLite knows the length of a row's entries without reading them. */
const columns = "id, topic, first, last, received, received_last, length(entries) AS bytes";

export class SegmentTable {
  readonly #database: Database;
  /** By both columns ascending. */
  #clockSteps: readonly ClockStep[];

  constructor(database: Database) {
    this.#database = database;
    this.#clockSteps = database
      .query("SELECT segment, time FROM clock_step ORDER BY segment")
      .all() as readonly ClockStep[];
  }

  /** The segment with a message; undefined where there is none. @throws {DamagedData} */
  pieceAt(topic: DiskTopic, offset: number): Piece | undefined {
    const row = this.#lastRow(topic, offset);
    if (!row || row.last < offset) return undefined;
    return {
      ...{ first: row.first, last: row.last },
      ...{
        received: this.receivedTime(row, row.received),
        receivedLast: this.receivedTime(row, row.received_last),
      },
      read: (from) => this.#read(row, from),
    };
  }

  /** The last segment of which all messages are at an offset or before it. @throws {DamagedData} */
  lastUpTo(topic: DiskTopic, offset: number): SegmentRow | undefined {
    return this.#lastRow(topic, offset, "AND last <= ?2");
  }

  /** The last segment that begins at an offset or before it, and meets a condition. */
  #lastRow(topic: DiskTopic, offset: number, condition = ""): SegmentRow | undefined {
    const row = this.#database
      .query(
        `SELECT ${columns} FROM segment WHERE topic = ?1 AND first <= ?2 ${condition} ORDER BY first DESC LIMIT 1`,
      )
      .get(topic.id, offset) as SegmentRow | null;
    if (row && (row.topic !== topic.id || row.first > offset || row.last < row.first))
      throw new DamagedData(`the index of the segments of topic "${topic.name}"`);
    return row ?? undefined;
  }

  /** Appends a run of messages. @param id it is given the number after the last one if this is left out */
  insert(
    topic: DiskTopic,
    run: Entries,
    { first, last, received, receivedLast }: Omit<Piece, "read">,
    id?: number,
  ): void {
    this.#database
      .query("INSERT INTO segment VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .run(
        id ?? this.#nextId(),
        ...[topic.id, first, last, received, receivedLast],
        segmentChecksum({ topic: topic.id, first, last }, run.bytes),
        run.bytes,
      );
  }

  /** Segments of all topics, those that were merged first. */
  oldest(countMax: number): SegmentRow[] {
    return this.#database
      .query(`SELECT ${columns} FROM segment ORDER BY id LIMIT ?`)
      .all(countMax) as SegmentRow[];
  }

  /** Deletes the segments of all topics up to one. */
  deleteUpTo(id: number): void {
    this.#database.query("DELETE FROM segment WHERE id <= ?").run(id);
  }

  /** Deletes a topic's segments up to the one that begins with `first`. */
  deleteOf(topic: DiskTopic, first: number): void {
    this.#database.query("DELETE FROM segment WHERE topic = ? AND first <= ?").run(topic.id, first);
  }

  /** The clock was set back: the segments until now count as received by `now` at the latest. */
  clockWasSetBack(now: number): void {
    // Those that are still to be moved from schema 1 are older, too.
    const step = { segment: Math.max(this.#lastId(), firstMergedSegment - 1), time: now };
    this.#database.query("DELETE FROM clock_step WHERE time >= ?").run(now);
    this.#database.query("INSERT OR REPLACE INTO clock_step VALUES (?, ?)").run(step.segment, step.time);
    this.#clockSteps = [...this.#clockSteps.filter(({ time }) => time < now), step];
  }

  receivedTime({ id }: Pick<SegmentRow, "id">, received: number): number {
    const step = this.#clockSteps.find(({ segment }) => segment >= id);
    return step ? Math.min(received, step.time) : received;
  }

  /** Greater than those of the last clock step, which may have been deleted: a step does not cover what comes after it. */
  #nextId(): number {
    return Math.max(this.#lastId(), firstMergedSegment - 1, this.#clockSteps.at(-1)?.segment ?? 0) + 1;
  }

  #lastId(): number {
    const { id } = this.#database.query("SELECT max(id) AS id FROM segment").get() as {
      readonly id: number | null;
    };
    return id ?? 0;
  }

  #read(row: SegmentRow, offset: number): PieceEntries {
    const found = this.#database.query("SELECT checksum, entries FROM segment WHERE id = ?").get(row.id) as {
      readonly checksum: number;
      readonly entries: Uint8Array<ArrayBuffer>;
    } | null;
    const bytes = found?.entries ?? new Uint8Array();
    if (found?.checksum !== segmentChecksum(row, bytes))
      throw new DamagedData(`segment ${row.id}, of topic ${row.topic}, messages ${row.first} to ${row.last}`);
    const entries = new Entries(bytes);
    const places: number[] = [];
    for (const at of entries.places()) if (entries.offsetAt(at) >= offset) places.push(at);
    return { entries, places, release: () => freeMemory(bytes) };
  }
}
