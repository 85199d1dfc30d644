/** A topic's messages in their order, wherever they are: in segments, in the table of schema 1, or not merged yet. */
import type { Page } from "../../topic/broker.ts";
import { messageBytes } from "../../topic/message.ts";
import { type Entries, EntryWriter } from "./entry.ts";
import type { OldMessages } from "./old-messages.ts";
import { DamagedData } from "./schema.ts";
import type { Piece, SegmentTable } from "./segment-table.ts";
import type { DiskTopic } from "./topic-table.ts";
import type { Unmerged } from "./unmerged.ts";

/** A page of history is cut off after this time, so that cold reads from a slow disk do not hold up publishers. */
const readMillisecondsMax = 20;

/** Memory that is kept for the next page: new memory costs page faults, which took more of a read than the reading. */
const reusedBytesMax = 1024 * 1024;

export class DiskLog {
  readonly #segments: SegmentTable;
  readonly #old: OldMessages;
  readonly #unmerged: () => readonly Unmerged[];
  #page = new EntryWriter();

  /** @param unmerged the tables in memory, the newer one first */
  constructor(segments: SegmentTable, old: OldMessages, unmerged: () => readonly Unmerged[]) {
    this.#segments = segments;
    this.#old = old;
    this.#unmerged = unmerged;
  }

  /** The messages from an offset on, as entries one after the other. They are valid until the next page. @throws {DamagedData} */
  page(topic: DiskTopic, start: number, { messagesMax, bytesMax }: Page): Entries {
    const page = this.#emptyPage();
    const end = performance.now() + readMillisecondsMax;
    let bytes = 0;
    let messages = 0;
    let offset = start;
    let isFull = messagesMax <= 0;
    while (offset <= topic.last && !isFull) {
      const { entries, places, release } = this.pieceAt(topic, offset).read(offset);
      let [runStart, runEnd] = [0, 0]; // Entries that follow each other are copied at once.
      for (const at of places) {
        requirePlace(topic, entries, at, offset++);
        if (at !== runEnd) {
          page.copy(entries.bytes.subarray(runStart, runEnd));
          runStart = at;
        }
        runEnd = at + entries.lengthAt(at);
        bytes += messageBytes + entries.bodyBytesAt(at);
        isFull = ++messages >= messagesMax || bytes >= bytesMax;
        if (isFull) break;
      }
      page.copy(entries.bytes.subarray(runStart, runEnd));
      release?.();
      isFull ||= performance.now() > end;
    }
    return page.entries;
  }

  #emptyPage(): EntryWriter {
    if (this.#page.capacity > reusedBytesMax) this.#page = new EntryWriter();
    this.#page.length = 0;
    return this.#page;
  }

  /** The offset of the first message from `first` on that was received at `time` or later; one after the last if none was. */
  firstSince(topic: DiskTopic, first: number, time: number): number {
    let low = first;
    let high = topic.last + 1;
    // The oldest is the likely one.
    for (let probe = first; low < high; probe = Math.floor((low + high) / 2)) {
      const piece = this.pieceAt(topic, probe);
      if (piece.received >= time) high = Math.max(low, piece.first);
      else if (piece.receivedLast < time) low = piece.last + 1;
      else return Math.max(low, firstWithin(piece, time));
    }
    return low;
  }

  /** When a message that is kept was received. @throws {DamagedData} */
  receivedTime(topic: DiskTopic, offset: number): number {
    const piece = this.pieceAt(topic, offset);
    if (offset === piece.first) return piece.received;
    if (offset === piece.last) return piece.receivedLast;
    const { entries, places } = piece.read(offset);
    for (const at of places) return Math.min(entries.receivedAt(at), piece.receivedLast);
    throw new DamagedData(`the topic "${topic.name}" lacks its message ${offset}`);
  }

  /** @throws {DamagedData} where there is no such message */
  pieceAt(topic: DiskTopic, offset: number): Piece {
    const piece =
      this.#unmergedAt(topic, offset) ??
      this.#segments.pieceAt(topic, offset) ??
      this.#old.pieceAt(topic, offset);
    if (!piece) throw new DamagedData(`the topic "${topic.name}" lacks its message ${offset}`);
    return piece;
  }

  #unmergedAt(topic: DiskTopic, offset: number): Piece | undefined {
    for (const table of this.#unmerged()) {
      const own = table.topics.get(topic.id);
      if (!own || own.places.length === 0 || offset < own.first || offset >= own.first + own.places.length)
        continue;
      const { entries } = table;
      const { places, first } = own;
      return {
        ...{ first, last: first + places.length - 1 },
        received: entries.receivedAt(places[0] ?? 0),
        receivedLast: entries.receivedAt(places.at(-1) ?? 0),
        read: (from) => ({ entries, places: placesFrom(places, from - first) }),
      };
    }
    return undefined;
  }
}

function* placesFrom(places: readonly number[], index: number): Generator<number> {
  for (let next = index; next < places.length; next++) yield places[next] ?? 0;
}

/** The clock is adjusted in small steps, by which times go back: the last of the earlier ones counts. */
function firstWithin(piece: Piece, time: number): number {
  const { entries, places } = piece.read(piece.first);
  let offset = piece.first;
  for (const at of places) {
    if (Math.min(entries.receivedAt(at), piece.receivedLast) >= time) return offset;
    offset++;
  }
  return offset;
}

function requirePlace(topic: DiskTopic, entries: Entries, at: number, offset: number): void {
  if (entries.topicAt(at) !== topic.id || entries.offsetAt(at) !== offset)
    throw new DamagedData(`an entry of topic "${topic.name}" is not its message ${offset}`);
}
