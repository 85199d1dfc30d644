/** One topic's bounded log: messages of one epoch, each following the one before it, the oldest dropped first. No I/O, no clock. */
import type { History, Page } from "./broker.ts";
import { EntryLog, firstIndex } from "./entry-log.ts";
import {
  type Message,
  type Position,
  previousOffset,
  retainedBytes,
  type Since,
  textBytes,
} from "./message.ts";

/** Memory of a topic beside its name and messages: its log, and its places among others. Measured: 480 bytes of heap, 600 resident. */
const topicOverheadBytes = 600;

/** A topic's share of a limit, beside that of its messages. */
export const topicBytes = (name: string): number => topicOverheadBytes + textBytes(name);

/** Shared, because JavaScriptCore takes 70 bytes for each empty array. Never changed. */
const noMessages: (Message | undefined)[] = [];

export class TopicLog extends EntryLog {
  /** When the last dropped message was received, in milliseconds since 1970; `-Infinity` where none was dropped. */
  droppedTime = Number.NEGATIVE_INFINITY;
  /** The kept messages begin at `#head`. The places before it are empty and are cut off when they are many. */
  #messages = noMessages;
  #head = 0;
  /**
   * When each of `#messages` was received, by the clock at that moment, in milliseconds since 1970. Undefined while each
   * was received at its `time`, which is so unless the clock was set back.
   */
  #receivedTimes: number[] | undefined;

  /** The number of kept messages. */
  get length(): number {
    return this.#messages.length - this.#head;
  }

  get first(): Message | undefined {
    return this.#messages[this.#head];
  }

  /** The offset that the kept messages follow; that of the last message where none is kept. */
  get beginning(): number {
    return this.first ? previousOffset(this.first) : this.lastMessageOffset;
  }

  /**
   * @param message the one that follows the last: a hole would make every later position a lie
   * @param receivedTime milliseconds since 1970, by the clock; `message.time` is later where the clock was set back
   * @returns the bytes that it takes
   */
  append(message: Message, receivedTime = message.time): number {
    this.requireNext(message);
    if (receivedTime !== message.time) this.#receivedTimes ??= this.#messages.map((kept) => kept?.time ?? 0);
    this.#receivedTimes?.push(receivedTime);
    if (this.#messages === noMessages) this.#messages = [];
    this.#messages.push(message);
    this.lastOffset = message.offset;
    return retainedBytes(message) - (message.shared?.hold() ?? 0);
  }

  /** The kept message that directly follows an offset. */
  next(offset: number): Message | undefined {
    const message = this.#messages[this.#indexAfter(offset)];
    return message && previousOffset(message) === offset ? message : undefined;
  }

  /**
   * Reads what follows `since`.
   * @param knownSinceTime a time before it reaches into a past that the engine may not know, and is a gap
   */
  read(since: Since, page: Page, knownSinceTime: number): History {
    let index = this.#head;
    let complete = true;
    if (since.kind === "position") {
      const { epoch, offset } = since.position;
      const after = this.#indexAfter(offset);
      complete = epoch === this.epoch && this.#follows(after, offset);
      // An offset that was skipped is of another past. A reader there already has what comes before it.
      const isSkipped = epoch === this.epoch && offset >= this.beginning && offset < this.lastMessageOffset;
      if (complete || isSkipped) index = after;
    } else if (since.kind === "time") {
      complete = this.droppedTime < since.time && knownSinceTime <= since.time;
      index = this.#indexSince(since.time);
    } else if (since.kind === "last") {
      index = Math.max(this.#head, this.#messages.length - since.count);
    } else if (since.kind === "unknown") {
      complete = false;
    }
    const isTrimmed = this.beginning > 0;
    const from = this.#from(since, index, complete);
    const history = { complete, isTrimmed, from, messages: this.#page(index, page) };
    const position = { epoch: this.epoch, offset: this.lastOffset };
    return this.end ? { ...history, position, end: this.end } : { ...history, position };
  }

  /** @returns the bytes that dropping the oldest message freed; 0 where none is kept */
  dropFirst(): number {
    const message = this.first;
    if (!message) return 0;
    this.droppedTime = this.#receivedTime(this.#head);
    this.#messages[this.#head++] = undefined;
    if (this.length === 0) {
      this.#messages = noMessages;
      this.#receivedTimes = undefined;
      this.#head = 0;
    } else if (this.#head >= 32 && this.#head * 2 > this.#messages.length) {
      this.#messages = this.#messages.slice(this.#head);
      this.#receivedTimes = this.#receivedTimes?.slice(this.#head);
      this.#head = 0;
    }
    return retainedBytes(message) - (message.shared?.release() ?? 0);
  }

  /** @returns the bytes freed */
  dropBeyond(countMax: number): number {
    let bytes = 0;
    while (this.length > countMax) bytes += this.dropFirst();
    return bytes;
  }

  /** Drops what was received before `time`. @returns the bytes freed */
  dropBefore(time: number): number {
    let bytes = 0;
    while (this.length > 0 && this.#receivedTime(this.#head) < time) bytes += this.dropFirst();
    return bytes;
  }

  /**
   * The clock was set back to `now`: what was received later than that counts as received now. Otherwise its age would be
   * negative, and it would be kept until the clock reached the wrong time again.
   */
  clampReceivedTimes(now: number): void {
    this.droppedTime = Math.min(this.droppedTime, now);
    this.#receivedTimes = this.#messages.map((_, index) => Math.min(this.#receivedTime(index), now));
  }

  /** What the message at `index` follows. Before the end where there is none, unless the reader has seen the end. */
  #from(since: Since, index: number, complete: boolean): Position {
    if (complete && since.kind === "position") return since.position;
    const first = this.#messages[index];
    return { epoch: this.epoch, offset: first ? previousOffset(first) : this.lastMessageOffset };
  }

  #page(start: number, { messagesMax, bytesMax }: Page): Message[] {
    const messages: Message[] = [];
    let bytes = 0;
    for (let index = start; messages.length < messagesMax && bytes < bytesMax; index++) {
      const message = this.#messages[index];
      if (!message) break;
      messages.push(message);
      bytes += retainedBytes(message);
    }
    return messages;
  }

  /** Whether a reader at `offset` lacks exactly the messages from `index` on. */
  #follows(index: number, offset: number): boolean {
    const message = this.#messages[index];
    if (message) return offset === previousOffset(message);
    return offset === this.lastMessageOffset || offset === this.lastOffset;
  }

  /** The index of the first kept message after an offset; the length of `#messages` where there is none. */
  #indexAfter(offset: number): number {
    // Offsets mostly grow by one, and then the index is known without a search.
    const guess = this.#messages.length - (this.lastMessageOffset - offset);
    const message = this.#messages[guess];
    if (message && previousOffset(message) === offset) return guess;
    return this.#search(({ offset: later }) => later > offset);
  }

  /** The index of the first kept message received at `time` or later. */
  #indexSince(time: number): number {
    return this.#search((_, index) => this.#receivedTime(index) >= time);
  }

  #receivedTime(index: number): number {
    return this.#receivedTimes?.[index] ?? this.#messages[index]?.time ?? 0;
  }

  /** The first index for which it holds, and then for all after it. */
  #search(holds: (message: Message, index: number) => boolean): number {
    return firstIndex(this.#head, this.#messages.length, (index) => {
      const message = this.#messages[index];
      return message !== undefined && holds(message, index);
    });
  }
}
