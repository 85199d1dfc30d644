/** The messages that a file of schema 1 had when it was migrated: read where they are, and moved into segments in slices. */
import type { Database } from "bun:sqlite";
import { Entries, EntryWriter, entryKinds } from "./entry.ts";
import { dropOldTables, firstMergedSegment, hasTable } from "./schema.ts";
import { type Piece, type SegmentTable, segmentBytesMax } from "./segment-table.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";

/** What one slice moves at most: it takes some milliseconds, and needs little space before it frees as much. */
const sliceRows = 500;
const sliceBytes = 512 * 1024;

interface OldRow {
  readonly seq: number;
  readonly topic: number;
  readonly offset: number;
  readonly time: number;
  readonly received: number;
  readonly content_type: string;
  readonly attributes: string | null;
  readonly data: string | Uint8Array<ArrayBuffer>;
}

/** The clock was set back to `time` when the message `seq` was the last one. */
interface OldClockStep {
  readonly seq: number;
  readonly time: number;
}

export class OldMessages {
  readonly #database: Database;
  readonly #clockSteps: readonly OldClockStep[];
  #areLeft: boolean;

  constructor(database: Database) {
    this.#database = database;
    this.#areLeft = hasTable(database, "old_message");
    this.#clockSteps = this.#areLeft
      ? (database.query("SELECT seq, time FROM old_clock_step ORDER BY seq").all() as OldClockStep[])
      : [];
  }

  get areLeft(): boolean {
    return this.#areLeft;
  }

  pieceAt(topic: DiskTopic, offset: number): Piece | undefined {
    if (!this.#areLeft) return undefined;
    const row = this.#database
      .query("SELECT * FROM old_message WHERE topic = ? AND offset = ?")
      .get(topic.id, offset) as OldRow | null;
    if (!row) return undefined;
    const received = this.#receivedTime(row);
    return {
      ...{ first: offset, last: offset, received, receivedLast: received },
      read: () => ({ entries: this.#entriesOf([row]), places: [0] }),
    };
  }

  deleteOf(topic: DiskTopic, offset: number): void {
    if (this.#areLeft)
      this.#database.query("DELETE FROM old_message WHERE topic = ? AND offset <= ?").run(topic.id, offset);
  }

  /**
   * Moves the oldest messages, in a transaction of the caller's.
   * @returns what is to be called when it is committed
   */
  moveSlice(topics: TopicTable, segments: SegmentTable): () => void {
    const rows = this.#oldest();
    for (const run of runsOf(rows)) {
      const [first] = run;
      const topic = first && topics.byId(first.topic);
      const kept = topic ? run.filter(({ offset }) => offset > topic.dropped) : [];
      const last = kept.at(-1);
      if (!topic || !kept[0] || !last) continue;
      segments.insert(
        topic,
        this.#entriesOf(kept),
        {
          ...{ first: kept[0].offset, last: last.offset },
          ...{ received: this.#receivedTime(kept[0]), receivedLast: this.#receivedTime(last) },
        },
        this.#nextSegment(),
      );
    }
    this.#database.query("DELETE FROM old_message WHERE seq <= ?").run(rows.at(-1)?.seq ?? 0);
    const isDone = rows.length === 0;
    if (isDone) dropOldTables(this.#database);
    return () => {
      this.#areLeft = !isDone;
    };
  }

  #oldest(): OldRow[] {
    const rows: OldRow[] = [];
    let bytes = 0;
    const all = this.#database
      .query("SELECT * FROM old_message ORDER BY seq LIMIT ?")
      .iterate(sliceRows) as IterableIterator<OldRow>;
    for (const row of all) {
      rows.push(row);
      bytes += row.data.length;
      if (bytes >= sliceBytes) break;
    }
    return rows;
  }

  #nextSegment(): number {
    const { id } = this.#database
      .query("SELECT max(id) AS id FROM segment WHERE id < ?")
      .get(firstMergedSegment) as { readonly id: number | null };
    return (id ?? 0) + 1;
  }

  #entriesOf(rows: readonly OldRow[]): Entries {
    const writer = new EntryWriter();
    for (const row of rows) {
      const { data, content_type: contentType, attributes, topic, offset, time } = row;
      const kind = typeof data === "string" ? entryKinds.text : entryKinds.binary;
      const at = writer.write({ kind, data, contentType, attributes: attributes ?? undefined }, true);
      writer.entries.placeAt(at, { topic, offset, time, received: this.#receivedTime(row) });
    }
    return new Entries(writer.entries.bytes.slice());
  }

  #receivedTime({ seq, received }: Pick<OldRow, "seq" | "received">): number {
    const step = this.#clockSteps.find((step) => step.seq >= seq);
    return step ? Math.min(received, step.time) : received;
  }
}

/** The rows of each topic, in runs of at most a segment. Within a topic they stay in their order. */
function runsOf(rows: readonly OldRow[]): OldRow[][] {
  return [...Map.groupBy(rows, ({ topic }) => topic).values()].flatMap((own) => {
    const runs: OldRow[][] = [];
    let bytes = Number.POSITIVE_INFINITY;
    for (const row of own) {
      bytes += row.data.length;
      if (bytes > segmentBytesMax) {
        runs.push([]);
        bytes = row.data.length;
      }
      runs.at(-1)?.push(row);
    }
    return runs;
  });
}
