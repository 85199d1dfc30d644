/** How much of the past is kept: by count and age in each log, and by bytes in all logs together, coldest first. */
import type { TopicLog } from "./log.ts";

export interface HistoryLimits {
  /** A topic's; 0 keeps no message at all. */
  readonly historyMessages: number;
  /** A topic's. */
  readonly historyAgeSeconds: number;
  /** All topics' together, by `retainedBytes`. */
  readonly historyBytesMax: number;
}

/** A log that keeps something, between the one last appended to before it and the one after. */
interface Place {
  readonly log: TopicLog;
  colder: Place | undefined;
  warmer: Place | undefined;
}

export class Retention {
  /** Bytes kept in all logs. */
  bytes = 0;
  readonly #limits: HistoryLimits;
  readonly #emptied: (log: TopicLog) => void;
  /** Linked, because a Set that loses its first entry again and again steps over all it lost each time it is read. */
  readonly #places = new Map<TopicLog, Place>();
  #coldest: Place | undefined;
  #warmest: Place | undefined;

  /** @param emptied told of each log whose last message was dropped; coldest first, like the dropping */
  constructor(limits: HistoryLimits, emptied: (log: TopicLog) => void = () => undefined) {
    this.#limits = limits;
    this.#emptied = emptied;
  }

  /** Holds the limits after `log` was appended to. @param addedBytes by `retainedBytes` @param now milliseconds */
  appended(log: TopicLog, addedBytes: number, now: number): void {
    this.bytes += addedBytes;
    this.#makeWarmest(log);
    this.bytes -= log.dropBeyond(this.#limits.historyMessages);
    this.#dropAged(log, now);
    if (log.length === 0) this.#empty(log);
    this.#dropColdest();
  }

  /** Drops what became too old. Only the logs nobody appends to are looked for; the others see to it as they grow. */
  sweep(now: number): void {
    while (this.#coldest) {
      const { log } = this.#coldest;
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
    if (this.#takeOut(log)) this.bytes -= log.bytes;
  }

  #dropAged(log: TopicLog, now: number): void {
    this.bytes -= log.dropBefore(now - this.#limits.historyAgeSeconds * 1000);
  }

  #dropColdest(): void {
    while (this.#coldest && this.bytes > this.#limits.historyBytesMax) {
      const { log } = this.#coldest;
      this.bytes -= log.dropFirst();
      if (log.length === 0) this.#empty(log);
    }
  }

  #empty(log: TopicLog): void {
    this.#takeOut(log);
    this.#emptied(log);
  }

  #makeWarmest(log: TopicLog): void {
    if (this.#warmest?.log === log) return;
    this.#takeOut(log);
    const place: Place = { log, colder: this.#warmest, warmer: undefined };
    this.#places.set(log, place);
    if (this.#warmest) this.#warmest.warmer = place;
    else this.#coldest = place;
    this.#warmest = place;
  }

  /** @returns whether it was in */
  #takeOut(log: TopicLog): boolean {
    const place = this.#places.get(log);
    if (!place) return false;
    this.#places.delete(log);
    if (place.colder) place.colder.warmer = place.warmer;
    else this.#coldest = place.warmer;
    if (place.warmer) place.warmer.colder = place.colder;
    else this.#warmest = place.colder;
    return true;
  }
}
