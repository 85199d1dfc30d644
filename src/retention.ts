/** How much of the past is kept: by count and age in each log, and by bytes in all logs together, coldest first. */
import type { TopicLog } from "./topic-log.ts";

export interface HistoryLimits {
  /** A topic's; 0 keeps no message at all. */
  readonly historyMessages: number;
  /** A topic's. */
  readonly historyAgeSeconds: number;
  /** All topics' together, by `retainedBytes`. */
  readonly historyBytesMax: number;
}

export class Retention {
  /** Bytes kept in all logs. */
  bytes = 0;
  readonly #limits: HistoryLimits;
  readonly #emptied: (log: TopicLog) => void;
  /** The logs that keep something, the one appended to longest ago first. */
  readonly #logs = new Set<TopicLog>();

  /** @param emptied told of each log whose last message was dropped; coldest first, like the dropping */
  constructor(limits: HistoryLimits, emptied: (log: TopicLog) => void = () => undefined) {
    this.#limits = limits;
    this.#emptied = emptied;
  }

  /** Holds the limits after `log` was appended to. @param addedBytes by `retainedBytes` @param now milliseconds */
  appended(log: TopicLog, addedBytes: number, now: number): void {
    this.bytes += addedBytes;
    this.#logs.delete(log);
    this.#logs.add(log);
    this.bytes -= log.dropBeyond(this.#limits.historyMessages);
    this.#dropAged(log, now);
    if (log.length === 0) this.#empty(log);
    if (this.bytes > this.#limits.historyBytesMax) this.#dropColdest();
  }

  /** Drops what became too old. Only the logs nobody appends to are looked for; the others see to it as they grow. */
  sweep(now: number): void {
    for (const log of this.#logs) {
      this.#dropAged(log, now);
      if (log.length > 0) return;
      this.#empty(log);
    }
  }

  /** Drops what became too old in one log, before it is read. */
  refresh(log: TopicLog, now: number): void {
    if (log.length === 0) return;
    this.#dropAged(log, now);
    if (log.length === 0) this.#empty(log);
  }

  /** Takes a log out with all it keeps. */
  forget(log: TopicLog): void {
    if (this.#logs.delete(log)) this.bytes -= log.bytes;
  }

  #dropAged(log: TopicLog, now: number): void {
    this.bytes -= log.dropBefore(now - this.#limits.historyAgeSeconds * 1000);
  }

  #dropColdest(): void {
    for (const log of this.#logs) {
      while (this.bytes > this.#limits.historyBytesMax && log.length > 0) this.bytes -= log.dropFirst();
      if (log.length > 0) return;
      this.#empty(log);
    }
  }

  #empty(log: TopicLog): void {
    this.#logs.delete(log);
    this.#emptied(log);
  }
}
