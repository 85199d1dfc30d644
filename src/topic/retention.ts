/** Limits history: by count and age in each log, and by bytes in all logs together, the coldest log first. */
import { topicBytes } from "./log.ts";
import { matchesTopic } from "./message.ts";

export interface HistoryLimits {
  /** Messages of one topic; 0 keeps none. */
  readonly historyMessages: number;
  /** Age of one topic's messages. */
  readonly historyAgeSeconds: number;
  /** Bytes of all topics with messages together, by `topicBytes` and `retainedBytes`. */
  readonly historyBytesMax: number;
  /** Other numbers and ages for the topics that match. The first match counts. */
  readonly retain: readonly RetainedTopics[];
}

/** How much is kept of each topic that matches a pattern. */
export interface RetainedTopics extends TopicLimits {
  /** A topic's name, or a prefix that ends in `*`. */
  readonly pattern: string;
}

/** How much is kept of one topic. */
export interface TopicLimits {
  /** 0 keeps none. */
  readonly messages: number;
  readonly ageSeconds: number;
}

/** The limits of a topic. */
export function limitsOf(limits: HistoryLimits, topic: string): TopicLimits {
  const { historyMessages: messages, historyAgeSeconds: ageSeconds } = limits;
  return retainedOf(limits, topic) ?? { messages, ageSeconds };
}

/** Numbers and ages of a topic's own; undefined for one that has the general ones. */
const retainedOf = ({ retain }: HistoryLimits, topic: string): RetainedTopics | undefined =>
  retain.find(({ pattern }) => matchesTopic([pattern], topic));

/** A clock that is adjusted goes back by less. Ageing need not follow such small steps. */
const clockStepMilliseconds = 1000;

/** What retention drops from, the oldest first: the messages of a topic, or the removals of a keyed one. */
export interface Droppable {
  readonly topic: string;
  /** How many of them are kept. */
  readonly length: number;
  /** How many may be kept, where that is not a matter of history. */
  readonly countMax?: number;
  /** @returns the bytes that this freed; so do the others */
  dropFirst(): number;
  dropBeyond(countMax: number): number;
  /** @param time milliseconds since 1970 */
  dropBefore(time: number): number;
  /** The clock was set back: what was received later than `now` counts as received now. */
  clampReceivedTimes(now: number): void;
}

/** A log that keeps something, in a list ordered by the last append. */
interface ListPlace {
  readonly log: Droppable;
  readonly list: PlaceList;
  /** Counts the appends to all logs. */
  appended: number;
  colder: ListPlace | undefined;
  warmer: ListPlace | undefined;
}

/** The logs with the same limits, the one without an append for the longest first. */
class PlaceList {
  coldest: ListPlace | undefined;
  warmest: ListPlace | undefined;

  constructor(readonly limits: TopicLimits) {}

  add(place: ListPlace): void {
    place.colder = this.warmest;
    place.warmer = undefined;
    if (this.warmest) this.warmest.warmer = place;
    else this.coldest = place;
    this.warmest = place;
  }

  remove(place: ListPlace): void {
    if (place.colder) place.colder.warmer = place.warmer;
    else this.coldest = place.warmer;
    if (place.warmer) place.warmer.colder = place.colder;
    else this.warmest = place.colder;
  }
}

export class Retention {
  /** Bytes kept in all logs. */
  bytes = 0;
  readonly #limits: HistoryLimits;
  readonly #emptied: (log: Droppable) => void;
  /** A linked list: a Set that repeatedly loses its first entry steps over the lost ones at each read. */
  readonly #places = new Map<Droppable, ListPlace>();
  /** By what is kept of their logs. A log that ages faster must not wait for the others. */
  readonly #lists: ReadonlyMap<RetainedTopics | undefined, PlaceList>;
  #appends = 0;
  /** The latest time that was seen, in milliseconds since 1970. */
  #latestTime = 0;

  /** @param emptied called for each log whose last message was dropped */
  constructor(limits: HistoryLimits, emptied: (log: Droppable) => void = () => undefined) {
    this.#limits = limits;
    this.#emptied = emptied;
    const general = { messages: limits.historyMessages, ageSeconds: limits.historyAgeSeconds };
    this.#lists = new Map([...limits.retain, undefined].map((own) => [own, new PlaceList(own ?? general)]));
  }

  /**
   * Applies the limits after an append to `log`.
   * @param addedBytes as `TopicLog.append` returned them; below 0 where something was taken out of its middle
   * @param now milliseconds since 1970
   */
  appended(log: Droppable, addedBytes: number, now: number): void {
    this.#noticeTime(now);
    this.bytes += addedBytes;
    const { limits } = this.#makeWarmest(log).list;
    this.bytes -= log.dropBeyond(log.countMax ?? limits.messages);
    this.#dropAged(log, limits, now);
    if (log.length === 0) this.#empty(log);
    this.#dropColdest();
  }

  /** Counts what is never dropped: other messages make room for it. @param bytes below 0 where there is less of it */
  hold(bytes: number): void {
    this.bytes += bytes;
    this.#dropColdest();
  }

  /** Drops what became too old in the logs without recent appends. The others are trimmed at each append. */
  sweep(now: number): void {
    this.#noticeTime(now);
    for (const list of this.#lists.values()) this.#sweepList(list, now);
  }

  /** Drops what became too old in one log, before it is read. */
  refresh(log: Droppable, now: number): void {
    this.#noticeTime(now);
    const place = this.#places.get(log);
    if (!place) return;
    this.#dropAged(log, place.list.limits, now);
    if (log.length === 0) this.#empty(log);
  }

  /** Removes a log and its messages. */
  forget(log: Droppable): void {
    if (this.#takeOut(log)) this.bytes -= log.dropBeyond(0);
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

  #sweepList(list: PlaceList, now: number): void {
    while (list.coldest) {
      const { log } = list.coldest;
      this.#dropAged(log, list.limits, now);
      if (log.length > 0) return;
      this.#empty(log);
    }
  }

  #dropAged(log: Droppable, { ageSeconds }: TopicLimits, now: number): void {
    this.bytes -= log.dropBefore(now - ageSeconds * 1000);
  }

  #dropColdest(): void {
    while (this.bytes > this.#limits.historyBytesMax) {
      const log = this.#coldestLog();
      if (!log) return;
      this.bytes -= log.dropFirst();
      if (log.length === 0) this.#empty(log);
    }
  }

  /** The log without an append for the longest. */
  #coldestLog(): Droppable | undefined {
    let coldest: ListPlace | undefined;
    for (const list of this.#lists.values()) {
      const candidate = list.coldest;
      if (candidate && (!coldest || candidate.appended < coldest.appended)) coldest = candidate;
    }
    return coldest?.log;
  }

  #empty(log: Droppable): void {
    this.#takeOut(log);
    this.#emptied(log);
  }

  #makeWarmest(log: Droppable): ListPlace {
    const place = this.#places.get(log) ?? this.#newPlace(log);
    place.appended = ++this.#appends;
    if (place.list.warmest === place) return place;
    if (place.warmer) place.list.remove(place);
    place.list.add(place);
    return place;
  }

  #newPlace(log: Droppable): ListPlace {
    const list = this.#lists.get(retainedOf(this.#limits, log.topic));
    if (!list) throw new Error("every topic has a list");
    const place: ListPlace = { log, list, appended: 0, colder: undefined, warmer: undefined };
    this.#places.set(log, place);
    this.bytes += topicBytes(log.topic);
    return place;
  }

  /** @returns whether it was in */
  #takeOut(log: Droppable): boolean {
    const place = this.#places.get(log);
    if (!place) return false;
    this.#places.delete(log);
    this.bytes -= topicBytes(log.topic);
    place.list.remove(place);
    return true;
  }
}
