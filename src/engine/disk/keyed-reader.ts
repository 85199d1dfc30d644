/** What readers see of a keyed topic: its values, and the removals that are not too old. It writes nothing. */
import type { Page } from "../../topic/broker.ts";
import { keyedStart } from "../../topic/keyed-start.ts";
import { messageBytes, type Place, type Position, type Since } from "../../topic/message.ts";
import { limitsOf } from "../../topic/retention.ts";
import { EntryWriter } from "./entry.ts";
import type { KeyedState } from "./keyed-row.ts";
import type { KeyedTable } from "./keyed-table.ts";
import type { StoredHistory, StoreOptions } from "./protocol.ts";
import type { DiskTopic } from "./topic-table.ts";

/** A page of history is cut off after this time, so that cold reads from a slow disk do not hold up publishers. */
const readMillisecondsMax = 20;

/** The newest removal that is forgotten. */
interface Forgotten {
  readonly floor: number;
  /** When it was received; `-Infinity` where none is. */
  readonly time: number;
}

export class KeyedReader {
  readonly #table: KeyedTable;
  readonly #limits: StoreOptions["limits"];
  readonly #sinceTime: number;

  constructor(table: KeyedTable, limits: StoreOptions["limits"], sinceTime: number) {
    this.#table = table;
    this.#limits = limits;
    this.#sinceTime = sinceTime;
  }

  /** Whether nothing but the position is left. Values do not age, except where all has ended. */
  isUnused(topic: DiskTopic, state: KeyedState, now: number): boolean {
    if (topic.ended || state.values + state.removals === 0) return true;
    return state.values === 0 && this.#forgotten(topic, state, now).floor >= topic.last;
  }

  /** The value of a key as an entry, and the offset of the newest removal that is forgotten. @throws {DamagedData} */
  value(
    topic: DiskTopic,
    state: KeyedState,
    key: string,
    now: number,
  ): { readonly value: Uint8Array<ArrayBuffer> | undefined; readonly floor: number } {
    const row = this.#table.findEntry(topic, key);
    return {
      value: row?.removed === 0 ? row.entry : undefined,
      floor: this.#forgotten(topic, state, now).floor,
    };
  }

  /** @param position of the topic. @throws {DamagedData} */
  history(
    topic: DiskTopic,
    state: KeyedState,
    position: Position,
    { since, page, now }: { readonly since: Since; readonly page: Page; readonly now: number },
  ): Omit<StoredHistory, "end"> {
    const forgotten = this.#forgotten(topic, state, now);
    const past = {
      ...{ position, lastMessageOffset: topic.last, knownSinceTime: this.#sinceTime },
      ...{ floor: forgotten.floor, forgottenTime: forgotten.time },
      beforeLast: (count: number) => (this.#table.valueFromEnd(topic, count) ?? 1) - 1,
      beforeTime: (time: number) => this.#beforeTime(topic, time),
    };
    const { complete, from } = keyedStart(past, since);
    const { entries, offset, isLast } = this.#table.reading(() => this.#page(topic, from, page));
    // Its last offsets may be those of entries that were replaced, and a reader that has seen the end stays there.
    const through = isLast
      ? { epoch: position.epoch, offset: Math.max(topic.last, from.offset) }
      : { epoch: position.epoch, offset, base: from.base };
    return { complete, isTrimmed: false, from, through, position, entries };
  }

  #beforeTime(topic: DiskTopic, time: number): number {
    const firsts = ([0, 1] as const).map(
      (removed) => this.#table.firstSince(topic, removed, time, topic.last) ?? topic.last + 1,
    );
    return Math.min(...firsts) - 1;
  }

  #page(
    topic: DiskTopic,
    { offset, base = 0 }: Place,
    { messagesMax, bytesMax }: Page,
  ): { readonly entries: Uint8Array<ArrayBuffer>; readonly offset: number; readonly isLast: boolean } {
    const began = performance.now();
    const writer = new EntryWriter();
    const outline = this.#table.outlineAfter(topic, offset, Math.max(offset, base), messagesMax + 1);
    let bytes = 0;
    let reached = offset;
    let count = 0;
    for (const next of outline) {
      const isLate = count > 0 && performance.now() - began > readMillisecondsMax;
      if (count >= messagesMax || bytes >= bytesMax || isLate)
        return { entries: writer.entries.bytes, offset: reached, isLast: false };
      const { entry } = this.#table.read(topic, next);
      writer.copy(entry);
      bytes += messageBytes + entry.length;
      reached = next.offset;
      count++;
    }
    return { entries: writer.entries.bytes, offset: reached, isLast: true };
  }

  /** Removals that are too old are forgotten for readers, though they are deleted later. */
  #forgotten(topic: DiskTopic, state: KeyedState, now: number): Forgotten {
    const kept = { floor: state.floor, time: state.forgottenTime ?? Number.NEGATIVE_INFINITY };
    if (state.removals === 0) return kept;
    const oldest = now - limitsOf(this.#limits, topic.name).ageSeconds * 1000;
    const first = this.#table.firstSince(topic, 1, oldest, topic.last) ?? topic.last + 1;
    const aged = this.#table.removalBefore(topic, first);
    return aged && aged.offset > kept.floor ? { floor: aged.offset, time: aged.received } : kept;
  }
}
