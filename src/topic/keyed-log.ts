/** A keyed topic's log: the last message of each key, in the order of offsets. No I/O, no clock. */
import type { History, KeyState, Page } from "./broker.ts";
import type { Draft } from "./draft.ts";
import { EntryLog, firstIndex } from "./entry-log.ts";
import { isRemoval, keyOf } from "./key.ts";
import { keyedStart } from "./keyed-start.ts";
import { type Message, type Place, type Position, retainedBytes, type Since } from "./message.ts";

/** Memory of an entry beside its message: its places in four arrays, and in the table of keys. Measured: 100 bytes of heap. */
const entryBytes = 100;

/** A log's share of a limit on history for one message. Data that several topics share counts in each. */
export const keyedBytes = (draft: Draft): number => entryBytes + retainedBytes(draft);

/** What an append has changed. */
export interface KeyedChange {
  /** Bytes of values; below 0 where a value was replaced by less. */
  readonly valueBytes: number;
  /** The same of removals. */
  readonly removalBytes: number;
}

export class KeyedLog extends EntryLog {
  /** The removals that are kept, which retention drops. */
  readonly removals: Removals;
  /** Bytes of the values, by `keyedBytes`. */
  valueBytes = 0;
  /** By offset. The place of what was replaced is empty, and is cut out when half of all are. */
  #messages: (Message | undefined)[] = [];
  /** At the same index, also of what was replaced. */
  #offsets: number[] = [];
  /** When it was received, by the clock at that moment, in milliseconds since 1970. */
  #receivedTimes: number[] = [];
  /** By `keyedBytes`, which takes longer to find than an append. */
  #bytes: number[] = [];
  /** The index of each key's last message. */
  readonly #indexes = new Map<string, number>();

  /**
   * @param last the position that the log continues after
   * @param removalsMax removals that are kept at most
   */
  constructor(topic: string, last: Position, removalsMax: number) {
    super(topic, last);
    this.removals = new Removals(this, removalsMax);
  }

  /** Values and removals. */
  get length(): number {
    return this.#indexes.size;
  }

  get valueCount(): number {
    return this.#indexes.size - this.removals.length;
  }

  /** The value of a key. */
  value(key: string): Message | undefined {
    const message = this.#messageOf(key);
    return message && !isRemoval(message) ? message : undefined;
  }

  /** Where a key's value is, and what it takes; undefined where it has none. */
  held(key: string): { readonly offset: number; readonly bytes: number } | undefined {
    const index = this.#indexes.get(key);
    const message = index === undefined ? undefined : this.#messages[index];
    if (index === undefined || !message || isRemoval(message)) return undefined;
    return { offset: message.offset, bytes: this.#bytes[index] ?? 0 };
  }

  state(key: string): KeyState {
    return { value: this.value(key), position: this.last, floor: this.removals.floor };
  }

  /**
   * Puts a value or a removal in the place of what its key had.
   * @param message the one that follows the last
   * @param receivedTime milliseconds since 1970, by the clock; `message.time` is later where the clock was set back
   */
  append(message: Message, receivedTime: number): KeyedChange {
    this.requireNext(message);
    // Times that decrease could not be searched.
    if (receivedTime < (this.#receivedTimes.at(-1) ?? receivedTime)) this.clampReceivedTimes(receivedTime);
    const key = keyOf(message);
    const valueBytes = this.valueBytes;
    const removalBytes = this.removals.bytes;
    this.#takeOut(key);
    const bytes = keyedBytes(message);
    this.#indexes.set(key, this.#messages.length);
    this.#messages.push(message);
    this.#offsets.push(message.offset);
    this.#receivedTimes.push(receivedTime);
    this.#bytes.push(bytes);
    this.lastOffset = message.offset;
    if (isRemoval(message)) this.removals.add(message.offset, bytes);
    else this.valueBytes += bytes;
    return { valueBytes: this.valueBytes - valueBytes, removalBytes: this.removals.bytes - removalBytes };
  }

  /**
   * Reads what follows `since`: a snapshot, which begins at the oldest value and needs no removal, or the keys that changed.
   * @param knownSinceTime a time before it reaches into a past that the engine may not know, and is a gap
   */
  read(since: Since, page: Page, knownSinceTime: number): History {
    const position = { epoch: this.epoch, offset: this.lastOffset };
    const { floor, forgottenTime } = this.removals;
    const past = {
      ...{ position, lastMessageOffset: this.lastMessageOffset, floor, forgottenTime, knownSinceTime },
      beforeLast: (count: number) => this.#beforeLast(count),
      beforeTime: (time: number) => this.#beforeTime(time),
    };
    const { complete, from } = keyedStart(past, since);
    const { messages, isLast } = this.#page(from, page);
    const read = { epoch: this.epoch, offset: messages.at(-1)?.offset ?? from.offset, base: from.base };
    // Its last offsets may be those of messages that were replaced, and a reader that has seen the end stays there.
    const through = isLast
      ? { epoch: this.epoch, offset: Math.max(this.lastMessageOffset, from.offset) }
      : read;
    const history = { complete, isTrimmed: false, from, messages, through, position };
    return this.end ? { ...history, end: this.end } : history;
  }

  /** The clock was set back to `now`: what was received later counts as received now, or it would be kept for too long. */
  clampReceivedTimes(now: number): void {
    this.#receivedTimes = this.#receivedTimes.map((time) => Math.min(time, now));
  }

  receivedTime(offset: number): number {
    return this.#receivedTimes[this.#indexAfter(offset - 1)] ?? 0;
  }

  /** Forgets the removal at an offset. @returns its bytes; 0 where the key has a later message */
  forget(offset: number): number {
    const message = this.#messages[this.#indexAfter(offset - 1)];
    return message?.offset === offset ? this.#takeOut(keyOf(message)) : 0;
  }

  /** Whether a removal is the last message of its key. */
  holds(offset: number): boolean {
    return this.#messages[this.#indexAfter(offset - 1)]?.offset === offset;
  }

  #beforeTime(time: number): number {
    const first = this.#offsets[this.#search((index) => (this.#receivedTimes[index] ?? 0) >= time)];
    return first === undefined ? this.lastMessageOffset : first - 1;
  }

  #beforeLast(count: number): number {
    let left = count;
    for (let index = this.#messages.length - 1; index >= 0; index--) {
      const message = this.#messages[index];
      if (!message || isRemoval(message)) continue;
      if (--left === 0) return message.offset - 1;
    }
    return 0;
  }

  #page(
    { offset, base = 0 }: Place,
    { messagesMax, bytesMax }: Page,
  ): { messages: Message[]; isLast: boolean } {
    const messages: Message[] = [];
    let bytes = 0;
    for (let index = this.#indexAfter(offset); index < this.#messages.length; index++) {
      const message = this.#messages[index];
      if (!message || (message.offset <= base && isRemoval(message))) continue;
      if (messages.length >= messagesMax || bytes >= bytesMax) return { messages, isLast: false };
      messages.push(message);
      bytes += retainedBytes(message);
    }
    return { messages, isLast: true };
  }

  #messageOf(key: string): Message | undefined {
    const index = this.#indexes.get(key);
    return index === undefined ? undefined : this.#messages[index];
  }

  /** @returns the bytes that this freed */
  #takeOut(key: string): number {
    const index = this.#indexes.get(key);
    const message = index === undefined ? undefined : this.#messages[index];
    if (index === undefined || !message) return 0;
    this.#indexes.delete(key);
    this.#messages[index] = undefined;
    const bytes = this.#bytes[index] ?? 0;
    if (isRemoval(message)) this.removals.takenOut(bytes);
    else this.valueBytes -= bytes;
    if (this.#messages.length >= 64 && this.#messages.length > 2 * this.#indexes.size) this.#closeUp();
    return bytes;
  }

  /** Cuts out the empty places. */
  #closeUp(): void {
    const isKept = (_: number, index: number): boolean => this.#messages[index] !== undefined;
    this.#offsets = this.#offsets.filter(isKept);
    this.#receivedTimes = this.#receivedTimes.filter(isKept);
    this.#bytes = this.#bytes.filter(isKept);
    this.#messages = this.#messages.filter((message) => message !== undefined);
    for (const [index, message] of this.#messages.entries())
      if (message) this.#indexes.set(keyOf(message), index);
  }

  /** The index of the first place after an offset. */
  #indexAfter(offset: number): number {
    return this.#search((index) => (this.#offsets[index] ?? 0) > offset);
  }

  /** The first index for which it holds, and then for all after it. */
  #search(holds: (index: number) => boolean): number {
    return firstIndex(0, this.#messages.length, holds);
  }
}

/** The kept removals of a log, the oldest dropped first. A forgotten one raises the floor. */
export class Removals {
  /** The offset of the newest removal that is forgotten. */
  floor = 0;
  /** When it was received, in milliseconds since 1970; `-Infinity` where none is forgotten. */
  forgottenTime = Number.NEGATIVE_INFINITY;
  length = 0;
  bytes = 0;
  /** From `#head` on, in their order; also of those whose key has a value again. */
  #offsets: number[] = [];
  #head = 0;

  constructor(
    readonly log: KeyedLog,
    /** A keyed topic has its own bound. */
    readonly countMax: number,
  ) {}

  get topic(): string {
    return this.log.topic;
  }

  add(offset: number, bytes: number): void {
    this.#offsets.push(offset);
    this.length++;
    this.bytes += bytes;
    // A key that is set and removed again and again must not let the list grow.
    if (this.#offsets.length >= 64 && this.#offsets.length > 2 * this.length) {
      this.#offsets = this.#offsets.slice(this.#head).filter((kept) => this.log.holds(kept));
      this.#head = 0;
    }
  }

  /** One of them was taken out of the log. */
  takenOut(bytes: number): void {
    this.length--;
    this.bytes -= bytes;
    if (this.length > 0) return;
    // An idle topic must not hold the list of all that it had.
    this.#offsets = [];
    this.#head = 0;
  }

  /** Forgets the oldest. @returns the bytes freed */
  dropFirst(): number {
    const offset = this.#first();
    if (offset === undefined) return 0;
    this.floor = offset;
    this.forgottenTime = this.log.receivedTime(offset);
    this.#head++;
    return this.log.forget(offset);
  }

  /** @returns the bytes freed */
  dropBeyond(countMax: number): number {
    let bytes = 0;
    while (this.length > countMax) bytes += this.dropFirst();
    return bytes;
  }

  /** Forgets what was received before `time`. @returns the bytes freed */
  dropBefore(time: number): number {
    let bytes = 0;
    for (
      let first = this.#first();
      first !== undefined && this.log.receivedTime(first) < time;
      first = this.#first()
    )
      bytes += this.dropFirst();
    return bytes;
  }

  clampReceivedTimes(now: number): void {
    this.forgottenTime = Math.min(this.forgottenTime, now);
    this.log.clampReceivedTimes(now);
  }

  /** The offset of the oldest. */
  #first(): number | undefined {
    if (this.length === 0) return undefined;
    while (this.#head < this.#offsets.length && !this.log.holds(this.#offsets[this.#head] as number))
      this.#head++;
    return this.#offsets[this.#head];
  }
}
