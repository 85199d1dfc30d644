/** Limits history: by count and age in each log, and by bytes in all logs together, the coldest log first. */
import type { TopicLog } from "./log.ts";

export interface HistoryLimits {
  /** Messages of one topic; 0 keeps none. */
  readonly historyMessages: number;
  /** Age of one topic's messages. */
  readonly historyAgeSeconds: number;
  /** Bytes of all topics together, by `retainedBytes`. */
  readonly historyBytesMax: number;
}

/** A clock that is adjusted goes back by less. Ageing need not follow such small steps. */
const clockStepMilliseconds = 1000;

/** A log that keeps a message, in a list ordered by the last append. */
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
  /** A linked list: a Set that repeatedly loses its first entry steps over the lost ones at each read. */
  readonly #places = new Map<TopicLog, Place>();
  #coldest: Place | undefined;
  #warmest: Place | undefined;
  /** The latest time that was seen, in milliseconds since 1970. */
  #latestTime = 0;

  /** @param emptied called for each log whose last message was dropped */
  constructor(limits: HistoryLimits, emptied: (log: TopicLog) => void = () => undefined) {
    this.#limits = limits;
    this.#emptied = emptied;
  }

  /**
   * Applies the limits after an append to `log`.
   * @param addedBytes by `retainedBytes`
   * @param now milliseconds since 1970
   */
  appended(log: TopicLog, addedBytes: number, now: number): void {
    this.#noticeTime(now);
    this.bytes += addedBytes;
    this.#makeWarmest(log);
    this.bytes -= log.dropBeyond(this.#limits.historyMessages);
    this.#dropAged(log, now);
    if (log.length === 0) this.#empty(log);
    this.#dropColdest();
  }

  /** Drops what became too old in the logs without recent appends. The others are trimmed at each append. */
  sweep(now: number): void {
    this.#noticeTime(now);
    while (this.#coldest) {
      const { log } = this.#coldest;
      this.#dropAged(log, now);
      if (log.length > 0) return;
      this.#empty(log);
    }
  }

  /** Drops what became too old in one log, before it is read. */
  refresh(log: TopicLog, now: number): void {
    this.#noticeTime(now);
    if (log.length === 0) return;
    this.#dropAged(log, now);
    if (log.length === 0) this.#empty(log);
  }

  /** Removes a log and its messages. */
  forget(log: TopicLog): void {
    if (this.#takeOut(log)) this.bytes -= log.bytes;
  }

  /** If the clock was set back, ages are counted from the new time on: a clock that was ahead must not stop ageing. */
  #noticeTime(now: number): void {
    if (now >= this.#latestTime) {
      this.#latestTime = now;
    } else if (this.#latestTime - now > clockStepMilliseconds) {
      this.#latestTime = now;
      for (const log of this.#places.keys()) log.clampReceivedTimes(now);
    }
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
