/** What `longwire data check` finds wrong with the rows of a file whose pages are sound. It reads all of them, and writes nothing. */
import type { Database } from "bun:sqlite";
import { type BatchRow, batchChecksum } from "./data-file.ts";
import { Entries, entryKinds } from "./entry.ts";
import { isSoundKey, type KeyRow } from "./key-table.ts";
import { checkKeyed } from "./keyed-check.ts";
import { hasTable } from "./schema.ts";
import { type SegmentRow, segmentChecksum } from "./segment-table.ts";
import { rowChecksum } from "./topic-table.ts";

/** More are not listed. */
const faultsMax = 100;

interface CheckedTopic {
  readonly id: number;
  readonly name: string;
  readonly last: number;
  readonly ended: 0 | 1;
  readonly time: number;
  readonly dropped: number;
  readonly checksum: number | null;
}

interface CheckedSegment extends Pick<SegmentRow, "id" | "topic" | "first" | "last"> {
  readonly checksum: number;
  readonly entries: Uint8Array<ArrayBuffer>;
}

/** A run of messages of a topic, by their offsets. */
type OffsetRange = Pick<CheckedSegment, "first" | "last">;

export interface RowsChecked {
  readonly faults: readonly string[];
  readonly topics: number;
  readonly messages: number;
}

/** @param isOld whether the file is of schema 1, so that no checksum and no segment is there */
export function checkRows(database: Database, isOld: boolean): RowsChecked {
  const check = new RowCheck(database, isOld);
  database.transaction(() => check.run())(); // As of one moment: a server may be writing.
  return check;
}

class RowCheck implements RowsChecked {
  readonly faults: string[] = [];
  topics = 0;
  messages = 0;
  readonly #database: Database;
  readonly #isOld: boolean;
  /** The last message of each topic that a batch has, if it is newer than what is merged. */
  readonly #unmerged = new Map<number, OffsetRange>();
  /** The last message of each topic that was published and not kept. */
  readonly #passed = new Map<number, number>();
  readonly #oldTable: string | undefined;
  #keyed: ReadonlySet<number> = new Set();

  constructor(database: Database, isOld: boolean) {
    this.#database = database;
    this.#isOld = isOld;
    this.#oldTable = ["old_message", "message"].find((name) => hasTable(database, name));
  }

  run(): void {
    if (!this.#isOld) {
      this.#checkBatches();
      this.#checkKeys();
    }
    const keyed = checkKeyed(this.#database, (fault) => this.#add(fault));
    this.#keyed = keyed.topics;
    this.messages += keyed.values;
    for (const topic of this.#rows<CheckedTopic>("SELECT * FROM topic")) this.#checkTopic(topic);
    const strays = this.#strays();
    if (strays > 0) this.#add(`${strays} messages belong to no topic`);
  }

  #checkBatches(): void {
    const { merged } = this.#database.query("SELECT merged FROM state").get() as { readonly merged: number };
    let expected = merged;
    for (const row of this.#rows<BatchRow>("SELECT * FROM batch ORDER BY seq")) {
      const { seq, previous, checksum, entries } = row;
      if (checksum !== batchChecksum(row)) this.#add(`batch ${seq} does not match its checksum`);
      else this.#noticeEntries(new Entries(entries));
      if (previous !== expected) this.#add(`the batch before batch ${seq} is missing`);
      expected = seq;
    }
  }

  #noticeEntries(entries: Entries): void {
    for (const at of entries.places()) {
      const kind = entries.kindAt(at);
      const [topic, offset] = [entries.topicAt(at), entries.offsetAt(at)];
      if (kind === entryKinds.passed) this.#passed.set(topic, offset);
      if (kind !== entryKinds.text && kind !== entryKinds.binary) continue;
      const run = this.#unmerged.get(topic) ?? { first: offset, last: offset };
      this.#unmerged.set(topic, { first: run.first, last: offset });
    }
  }

  #checkKeys(): void {
    for (const row of this.#rows<KeyRow>("SELECT * FROM publication"))
      if (!isSoundKey(row)) this.#add(`the idempotency key in row ${row.seq} does not match its checksum`);
  }

  /** A topic has each of its messages after `dropped` up to the last. */
  #checkTopic(topic: CheckedTopic): void {
    this.topics++;
    const { id, name, checksum, last, ended, time } = topic;
    if (
      !this.#isOld &&
      checksum !== 0 &&
      checksum !== rowChecksum({ id, name, dropped: topic.dropped, merged: { last, ended, time } })
    )
      this.#add(`the row of the topic ${name} does not match its checksum`);
    if (this.#keyed.has(id)) return; // It has no message of each offset.
    const runs = [...this.#segmentsOf(id), ...this.#oldOf(id)].sort((one, other) => one.first - other.first);
    const unmerged = this.#unmerged.get(id);
    const dropped = Math.max(topic.dropped, this.#passed.get(id) ?? 0);
    if (unmerged && unmerged.last > last)
      runs.push({ first: Math.max(unmerged.first, last + 1), last: unmerged.last });
    const end = Math.max(last, dropped, unmerged?.last ?? 0);
    const count = countOf(runs, dropped, end);
    this.messages += count;
    if (count !== end - dropped)
      this.#add(
        `the topic ${name} has ${count} messages and should have those from ${dropped + 1} to ${end}`,
      );
  }

  *#segmentsOf(topic: number): Generator<OffsetRange> {
    if (this.#isOld) return;
    for (const row of this.#rows<CheckedSegment>(
      "SELECT * FROM segment WHERE topic = ? ORDER BY first",
      topic,
    )) {
      const { id, first, last, checksum, entries } = row;
      if (checksum !== segmentChecksum(row, entries))
        this.#add(
          `segment ${id}, of topic ${topic}, messages ${first} to ${last}, does not match its checksum`,
        );
      yield row;
    }
  }

  *#oldOf(topic: number): Generator<OffsetRange> {
    if (!this.#oldTable) return;
    const rows = this.#rows<{ offset: number }>(
      `SELECT offset FROM ${this.#oldTable} WHERE topic = ? ORDER BY offset`,
      topic,
    );
    for (const { offset } of rows) yield { first: offset, last: offset };
  }

  #strays(): number {
    const counts = [
      ...(this.#isOld ? [] : ["SELECT coalesce(sum(last - first + 1), 0) AS strays FROM segment"]),
      ...(this.#oldTable ? [`SELECT count(*) AS strays FROM ${this.#oldTable}`] : []),
    ];
    return counts
      .map((sql) => this.#database.query(`${sql} WHERE topic NOT IN (SELECT id FROM topic)`).get())
      .reduce((sum: number, row) => sum + (row as { readonly strays: number }).strays, 0);
  }

  #rows<Row>(sql: string, ...parameters: number[]): IterableIterator<Row> {
    return this.#database.query(sql).iterate(...parameters) as IterableIterator<Row>;
  }

  #add(fault: string): void {
    if (this.faults.length < faultsMax) this.faults.push(fault);
  }
}

/** How many of the messages after `dropped` up to `last` the runs have, each counted once. */
function countOf(runs: readonly OffsetRange[], dropped: number, last: number): number {
  let reached = dropped;
  let count = 0;
  for (const run of runs) {
    const first = Math.max(run.first, reached + 1);
    const until = Math.min(run.last, last);
    if (until < first) continue;
    count += until - first + 1;
    reached = until;
  }
  return count;
}
