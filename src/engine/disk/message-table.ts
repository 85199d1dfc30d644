/** The rows of `message` and `clock_step`: messages, and when each counts as received. */
import type { Database } from "bun:sqlite";
import type { Page } from "../../topic/broker.ts";
import { retainedBytes } from "../../topic/message.ts";
import type { MessageColumns } from "./protocol.ts";
import type { DiskTopic } from "./topic-table.ts";

/** A page of history is cut off after this time, so that cold reads from a slow disk do not hold up publishers. */
const readMillisecondsMax = 20;

/** A message, as far as retention looks at it. */
export interface MessagePlace {
  /** The place among the messages of all topics. */
  readonly seq: number;
  readonly topic: number;
  readonly offset: number;
  /** In milliseconds since 1970. */
  readonly received: number;
}

interface MessageRow {
  readonly offset: number;
  readonly time: number;
  readonly content_type: string;
  /** In JSON. */
  readonly attributes: string | null;
  readonly data: string | Uint8Array<ArrayBuffer>;
}

/** The clock was set back to `time`, when `seq` was the last message. */
interface ClockStep {
  readonly seq: number;
  readonly time: number;
}

export class MessageTable {
  readonly #database: Database;
  /** By both columns ascending. */
  #clockSteps: readonly ClockStep[];

  constructor(database: Database) {
    this.#database = database;
    this.#clockSteps = database
      .query("SELECT seq, time FROM clock_step ORDER BY seq")
      .all() as readonly ClockStep[];
  }

  /** @param received the time by the clock; `row.time` never decreases */
  insert(topic: DiskTopic, row: MessageRow, received: number): void {
    this.#database
      .query(
        "INSERT INTO message (topic, offset, time, received, content_type, attributes, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(topic.id, row.offset, row.time, received, row.content_type, row.attributes, row.data);
  }

  page(topic: DiskTopic, start: number, { messagesMax, bytesMax }: Page): MessageColumns {
    const columns: MessageColumns = { offsets: [], times: [], contentTypes: [], attributes: [], data: [] };
    const began = performance.now();
    let bytes = 0;
    const rows = this.#database
      .query(
        "SELECT offset, time, content_type, attributes, data FROM message WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?",
      )
      .iterate(topic.id, start, messagesMax) as IterableIterator<MessageRow>;
    for (const { offset, time, content_type, attributes, data } of rows) {
      columns.offsets.push(offset);
      columns.times.push(time);
      columns.contentTypes.push(content_type);
      columns.attributes.push(attributes);
      columns.data.push(data);
      bytes += retainedBytes({ data, contentType: content_type }) + (attributes?.length ?? 0);
      if (bytes >= bytesMax || performance.now() - began > readMillisecondsMax) break;
    }
    return columns;
  }

  /** The offset of the first message from `first` on that was received at `time` or later; one after the last if none was. */
  firstSince(topic: DiskTopic, first: number, time: number): number {
    let low = first;
    let high = topic.last + 1;
    if (low < high && this.receivedTime(topic, low) >= time) return low;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.receivedTime(topic, middle) >= time) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** When a message that is kept was received. It grows with the offset. */
  receivedTime(topic: DiskTopic, offset: number): number {
    const row = this.#database
      .query("SELECT seq, received FROM message WHERE topic = ? AND offset = ?")
      .get(topic.id, offset) as Pick<MessagePlace, "seq" | "received"> | null;
    if (!row) throw new Error(`${topic.name} lacks its message ${offset}`);
    return this.#effectiveTime(row);
  }

  /** Messages of all topics, those that came first, with the times that they count as received. */
  oldest(countMax: number): MessagePlace[] {
    const rows = this.#database
      .query("SELECT seq, topic, offset, received FROM message ORDER BY seq LIMIT ?")
      .all(countMax) as MessagePlace[];
    return this.#clockSteps.length === 0
      ? rows
      : rows.map((row) => ({ ...row, received: this.#effectiveTime(row) }));
  }

  /** Deletes the messages of all topics that came up to `seq`. */
  deleteUpTo(seq: number): void {
    this.#database.query("DELETE FROM message WHERE seq <= ?").run(seq);
  }

  /** Deletes a topic's messages up to an offset. */
  deleteOf(topic: DiskTopic, offset: number): void {
    this.#database.query("DELETE FROM message WHERE topic = ? AND offset <= ?").run(topic.id, offset);
  }

  /** The clock was set back: the messages until now count as received by `now` at the latest. */
  clockWasSetBack(now: number): void {
    const { seq } = this.#database.query("SELECT max(seq) AS seq FROM message").get() as {
      readonly seq: number | null;
    };
    const step = { seq: seq ?? 0, time: now };
    this.#database.query("DELETE FROM clock_step WHERE time >= ?").run(now);
    this.#database.query("INSERT OR REPLACE INTO clock_step VALUES (?, ?)").run(step.seq, step.time);
    this.#clockSteps = [...this.#clockSteps.filter(({ time }) => time < now), step];
  }

  #effectiveTime({ seq, received }: Pick<MessagePlace, "seq" | "received">): number {
    const step = this.#clockSteps.find((step) => step.seq >= seq);
    return step ? Math.min(received, step.time) : received;
  }
}
