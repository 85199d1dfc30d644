/** One topic's bounded log: consecutive messages of one epoch, the oldest dropped first. No I/O, no clock. */
import { type Message, type Position, retainedBytes } from "./message.ts";

export class TopicLog {
  readonly epoch: string;
  /** The offset of the last message, kept or dropped; 0 before the first. */
  lastOffset: number;
  /** When the last dropped message was published, in milliseconds since 1970; never, where none was dropped. */
  droppedTime = Number.NEGATIVE_INFINITY;
  /** By `retainedBytes`. */
  bytes = 0;
  /** The kept messages begin at `#head`; what lies before it is empty until it is worth moving the rest. */
  #messages: (Message | undefined)[] = [];
  #head = 0;

  /** @param last the position it continues after */
  constructor(
    readonly topic: string,
    last: Position,
  ) {
    this.epoch = last.epoch;
    this.lastOffset = last.offset;
  }

  get last(): Position {
    return { epoch: this.epoch, offset: this.lastOffset };
  }

  /** How many messages are kept. */
  get length(): number {
    return this.#messages.length - this.#head;
  }

  /** The offset of the oldest kept message; one past the last where none is kept. */
  get firstOffset(): number {
    return this.lastOffset - this.length + 1;
  }

  get first(): Message | undefined {
    return this.#messages[this.#head];
  }

  /** @param message the next one: a hole would make every position behind it a lie */
  append(message: Message): void {
    if (message.epoch !== this.epoch || message.offset !== this.lastOffset + 1) {
      throw new Error(
        `the log of ${this.topic} ends at ${this.epoch}-${this.lastOffset}, not before ${message.offset}`,
      );
    }
    this.#messages.push(message);
    this.lastOffset = message.offset;
    this.bytes += retainedBytes(message);
  }

  get(offset: number): Message | undefined {
    const index = offset - this.firstOffset;
    return index < 0 ? undefined : this.#messages[this.#head + index];
  }

  /** @returns what dropping gave back, in bytes; 0 where nothing is kept */
  dropFirst(): number {
    const message = this.first;
    if (!message) return 0;
    this.#messages[this.#head++] = undefined;
    this.droppedTime = message.time;
    const bytes = retainedBytes(message);
    this.bytes -= bytes;
    if (this.length === 0) this.#rebase([]);
    else if (this.#head >= 32 && this.#head * 2 > this.#messages.length)
      this.#rebase(this.#messages.slice(this.#head));
    return bytes;
  }

  /** @returns bytes given back */
  dropBeyond(countMax: number): number {
    let bytes = 0;
    while (this.length > countMax) bytes += this.dropFirst();
    return bytes;
  }

  /** Drops what was published before `time`. @returns bytes given back */
  dropBefore(time: number): number {
    let bytes = 0;
    while (this.first && this.first.time < time) bytes += this.dropFirst();
    return bytes;
  }

  /** The offset after which come exactly the kept messages published at `time` or later. */
  offsetBefore(time: number): number {
    let low = this.firstOffset;
    let high = this.lastOffset + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const message = this.get(middle);
      if (message && message.time < time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #rebase(messages: (Message | undefined)[]): void {
    this.#messages = messages;
    this.#head = 0;
  }
}
