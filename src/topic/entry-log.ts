/** What the logs of plain and of keyed topics share: where they are, and that each entry follows the one before it. */
import { type End, type Message, type Position, previousOffset, type TopicPosition } from "./message.ts";

export abstract class EntryLog {
  readonly epoch: string;
  /** The offset of the last entry, kept or not; 0 before the first. */
  lastOffset: number;
  /** Set once the topic has ended. Never dropped. */
  end: End | undefined;

  /** @param last the position that the log continues after */
  constructor(
    readonly topic: string,
    last: Position,
  ) {
    this.epoch = last.epoch;
    this.lastOffset = last.offset;
  }

  get last(): TopicPosition {
    const { epoch, lastOffset: offset, end } = this;
    return end ? { epoch, offset, end } : { epoch, offset };
  }

  /** @param end it follows the last message */
  close(end: End): void {
    this.requireNext(end);
    this.lastOffset = end.offset;
    this.end = end;
  }

  protected get lastMessageOffset(): number {
    return this.end ? previousOffset(this.end) : this.lastOffset;
  }

  /** A hole would make every later position a lie. */
  protected requireNext(entry: Message | End): void {
    if (!this.end && entry.epoch === this.epoch && previousOffset(entry) === this.lastOffset) return;
    throw new Error(
      `the log of ${this.topic} ends at ${this.epoch}-${this.lastOffset}, not at what ${entry.epoch}-${entry.offset} follows`,
    );
  }
}

/** The first index from `low` on for which it holds, and then for all after it; `high` where it holds for none. */
export function firstIndex(low: number, high: number, holds: (index: number) => boolean): number {
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
