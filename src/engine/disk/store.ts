/** The topics in SQLite: appending and reading. It blocks its thread, so it lives in the Worker. No timer, no clock. */
import { type Appended, type Page, type Publication, TopicEnded } from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Position, Since, TopicPosition } from "../../topic/message.ts";
import { limitsOf, type TopicLimits } from "../../topic/retention.ts";
import { publishRecorded, type Records, takeRecordedStream } from "../publication-record.ts";
import { publicationAt } from "./columns.ts";
import { DataFile } from "./data-file.ts";
import { DiskRetention, sliceRows } from "./disk-retention.ts";
import { KeyTable } from "./key-table.ts";
import { MessageTable } from "./message-table.ts";
import {
  isTooLarge,
  noOutcomes,
  type OutcomeColumns,
  outcomes,
  pushFailure,
  pushOutcome,
} from "./outcomes.ts";
import type {
  DiskUsage,
  HistoryColumns,
  Moment,
  OperationColumns,
  StoredTopic,
  StoreOptions,
} from "./protocol.ts";
import { type DiskTopic, TopicTable } from "./topic-table.ts";

/** A clock that is adjusted goes back by less. Ageing need not follow such small steps. */
const clockStepMilliseconds = 1000;

export class Store {
  readonly #opening: StoreOptions;
  readonly #file: DataFile;
  readonly #topics: TopicTable;
  readonly #messages: MessageTable;
  readonly #keys: KeyTable;
  readonly #retention: DiskRetention;
  #latestTime: number;
  /** Topics that the transaction changed. */
  readonly #changed = new Set<DiskTopic>();
  readonly subscribed: Set<string>;

  constructor(opening: StoreOptions, moment: Moment) {
    const { directory, limits } = opening;
    this.#opening = opening;
    this.subscribed = new Set(opening.subscribed);
    this.#file = new DataFile(directory);
    const { database } = this.#file;
    this.#latestTime = this.#file.latestTime;
    this.#topics = new TopicTable(database, this.#file.counts);
    this.#messages = new MessageTable(database);
    this.#keys = new KeyTable(database, limits.idempotencyBytesMax, moment);
    this.#retention = new DiskRetention({
      file: this.#file,
      topics: this.#topics,
      messages: this.#messages,
      limits,
      subscribed: this.subscribed,
      changed: this.#changed,
    });
  }

  get sinceTime(): number {
    return this.#file.sinceTime;
  }

  get isAlone(): boolean {
    return this.#file.isAlone;
  }

  close(): void {
    this.#file.close();
  }

  /**
   * Applies the operations in one transaction. When it returns, it is durable.
   * @throws an error of SQLite or `FileGone`: nothing was done, or it is unknown
   */
  commit(operations: OperationColumns, moment: Moment): OutcomeColumns {
    const results = noOutcomes();
    this.#transaction(moment.now, () => {
      this.#noticeTime(moment.now);
      let start = 0;
      for (const [index, kind] of operations.kinds.entries()) {
        const topic = operations.topics[index] ?? "";
        const publication = publicationAt(operations, index, start);
        start += publication.drafts.length;
        if (kind === "publish") this.#publish(topic, publication, moment, results);
        else if (kind === "takeStream") this.#takeStream(operations, index, moment, results);
        else if (kind === "subscribe") this.#subscribe(topic, moment.now, results);
        else this.#unsubscribe(topic, moment.now, results);
      }
      if (!this.#file.isWriting) return;
      this.#retention.dropOldest(Math.max(2 * operations.kinds.length, 16), moment.now);
      this.#keys.save(moment);
    });
    this.#file.require();
    this.#keys.keepChanges(moment);
    return results;
  }

  /** The position of a topic that exists, where nothing can be written. */
  existing(name: string, now: number): TopicPosition | undefined {
    const topic = this.#known(name, now);
    return topic && this.#topicPositionOf(topic);
  }

  history(name: string, since: Since, page: Page, now: number): HistoryColumns | undefined {
    this.#noticeTime(now);
    const topic = this.#known(name, now);
    if (!topic) return undefined;
    const { end, ...position } = this.#topicPositionOf(topic);
    const { epoch } = position;
    const first = this.#firstVisible(topic, now);
    let start = first;
    let complete = true;
    if (since.kind === "position") {
      const { offset } = since.position;
      complete = since.position.epoch === epoch && offset >= first - 1 && offset <= position.offset;
      if (complete) start = offset + 1;
    } else if (since.kind === "time") {
      complete = this.#droppedTime(topic, first) < since.time && this.sinceTime <= since.time;
      start = this.#messages.firstSince(topic, first, since.time);
    } else if (since.kind === "last") {
      start = Math.max(first, topic.last - since.count + 1);
    } else if (since.kind === "unknown") {
      complete = false;
    }
    const columns = this.#messages.page(topic, start, page);
    const from = { epoch, offset: start - 1 };
    // What came after a message that is older than the file's generation may have been lost with the file's end.
    const isTrimmed = from.offset > 0 || (columns.times[0] ?? now) < this.sinceTime;
    return { complete, isTrimmed, from, position, end, ...columns };
  }

  positions(names: readonly string[], now: number): (TopicPosition | undefined)[] {
    return names.map((name) => this.existing(name, now));
  }

  inspect(names: readonly string[], now: number): (StoredTopic | undefined)[] {
    this.#noticeTime(now);
    return names.map((name) => {
      const topic = this.#known(name, now);
      if (!topic) return undefined;
      return {
        position: this.#topicPositionOf(topic),
        retained: topic.last - this.#firstVisible(topic, now) + 1,
      };
    });
  }

  /**
   * Forgets a slice of what became too old, and gives space back.
   * @returns whether there is more to do
   */
  sweep(moment: Moment): boolean {
    const { now } = moment;
    let isBehind = false;
    this.#transaction(now, () => {
      this.#noticeTime(now);
      isBehind = this.#retention.dropOldest(sliceRows, now);
      isBehind = this.#expireKeys(moment) || isBehind;
      isBehind = this.#retention.expirePositions(now) || isBehind;
      this.#retention.refreshSubscribed(now);
    });
    this.#topics.keepChanges();
    this.#file.require();
    this.#file.writeWitness();
    isBehind = this.#file.giveSpaceBack() || isBehind;
    if (!isBehind) this.#file.checkpointIfIdle();
    return isBehind;
  }

  /** Writes a transaction to find out whether that works again. */
  probe(now: number): void {
    this.#transaction(now, () => this.#file.begin());
    this.#file.require();
  }

  usage(): DiskUsage {
    const { used, pages, pageBytes } = this.#file.pages();
    return {
      topics: this.#topics.count,
      historyBytes: used * pageBytes,
      fileBytes: pages * pageBytes,
      walBytes: this.#file.walBytes,
      evictedPositions: this.#retention.takeEvictedCount(),
      evictedKeys: this.#keys.takeEvictedCount(),
    };
  }

  #publish(name: string, publication: Publication, moment: Moment, results: OutcomeColumns): void {
    try {
      const done = publishRecorded(name, publication, this.#records(moment), () =>
        this.#append(name, publication, moment.now),
      );
      const outcome = "time" in done ? outcomes.done : outcomes.repeated;
      pushOutcome(results, outcome, { position: done.message, ...done });
    } catch (error) {
      // With several messages some may be written: the transaction undoes them.
      if (publication.drafts.length > 1 && isTooLarge(error)) throw error;
      pushFailure(results, error);
    }
  }

  #records(moment: Moment): Records {
    return {
      get: (fingerprint) => this.#keys.get(fingerprint, moment),
      put: (record, publisher) => this.#keys.put(record, publisher),
    };
  }

  #takeStream(
    { topics, onces, writers }: OperationColumns,
    index: number,
    moment: Moment,
    results: OutcomeColumns,
  ): void {
    const once = onces[index];
    const writer = writers[index];
    if (!once || writer === undefined) throw new Error("a stream has a key and a writer");
    try {
      const record = takeRecordedStream(topics[index] ?? "", once, writer, this.#records(moment));
      this.#file.begin();
      pushOutcome(results, outcomes.done, { record });
    } catch (error) {
      pushFailure(results, error);
    }
  }

  /** @throws {TopicEnded} */
  #append(name: string, { drafts, end = false }: Publication, now: number): AppendedNow {
    const known = this.#known(name, now);
    if (known?.ended) throw new TopicEnded(name, this.#positionOf(known));
    this.#file.begin();
    const topic = known ?? this.#knownOrNew(name, now);
    const time = Math.max(now, topic.time); // A clock that was set back must not make a topic's time decrease.
    for (const draft of drafts) this.#appendMessage(topic, draft, time, now);
    const message = drafts.length > 0 ? this.#positionOf(topic) : undefined;
    if (end) topic.ended = 1;
    topic.time = time;
    topic.used = now;
    this.#changed.add(topic);
    return { ...(message && { message }), ...(end && { end: this.#positionOf(topic) }), time };
  }

  #appendMessage(
    topic: DiskTopic,
    { data, contentType, attributes }: Draft,
    time: number,
    now: number,
  ): void {
    const offset = topic.last + 1;
    if (this.#limitsOf(topic).messages > 0) {
      const text = attributes === undefined ? null : JSON.stringify(attributes);
      this.#messages.insert(topic, { offset, time, content_type: contentType, attributes: text, data }, now);
    } else {
      topic.dropped = offset;
      topic.droppedTime = now;
    }
    topic.last = offset;
  }

  #subscribe(name: string, now: number, results: OutcomeColumns): void {
    let topic = this.#known(name, now);
    if (!topic) {
      this.#file.begin(); // The epoch is on disk before its first subscriber knows of it.
      topic = this.#knownOrNew(name, now);
    }
    this.subscribed.add(name);
    const position = this.#topicPositionOf(topic);
    pushOutcome(results, outcomes.done, { position, end: position.end, time: topic.time });
  }

  #unsubscribe(name: string, now: number, results: OutcomeColumns): void {
    const topic = this.subscribed.has(name) ? this.#known(name, now) : undefined;
    this.subscribed.delete(name);
    if (topic) this.#retention.use(topic, now);
    pushOutcome(results, outcomes.done, {});
  }

  /** Commits what `work` writes, or undoes it: in memory, too. */
  #transaction(now: number, work: () => void): void {
    try {
      work();
      if (this.#file.isWriting) this.#end(now);
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  /** Writes the topics that changed, and commits. */
  #end(now: number): void {
    for (const topic of this.#changed) {
      this.#retention.trim(topic);
      this.#topics.save(topic);
    }
    this.#changed.clear();
    this.#file.commit(now, this.#topics);
    this.#topics.keepChanges();
  }

  #rollBack(): void {
    this.#changed.clear();
    this.#topics.forgetChanges();
    this.#keys.forgetChanges();
    this.#file.rollBack();
  }

  #expireKeys(moment: Moment): boolean {
    const expired = this.#keys.expire(moment, sliceRows);
    if (!expired) return false;
    this.#file.begin();
    this.#keys.deleteUpTo(expired.seq);
    return expired.count === sliceRows;
  }

  /** @returns a topic whose position is known */
  #known(name: string, now: number): DiskTopic | undefined {
    const topic = this.#topics.byName(name);
    return topic && this.#isExpired(topic, now) ? undefined : topic;
  }

  #knownOrNew(name: string, now: number): DiskTopic {
    const topic = this.#topics.byName(name);
    if (topic && !this.#isExpired(topic, now)) return topic;
    if (topic) {
      this.#messages.deleteOf(topic, topic.last);
      this.#changed.delete(topic);
      this.#topics.delete(topic);
    }
    return this.#topics.create(name, now);
  }

  #isExpired(topic: DiskTopic, now: number): boolean {
    return (
      topic.used + this.#opening.limits.positionAgeSeconds * 1000 <= now &&
      !this.subscribed.has(topic.name) &&
      this.#firstVisible(topic, now) > topic.last
    );
  }

  /** That of the topic's end, where it has ended. */
  #positionOf({ id, last, ended }: DiskTopic): Position {
    return { epoch: this.#file.generation + id.toString(36), offset: last + ended };
  }

  #topicPositionOf(topic: DiskTopic): TopicPosition {
    const position = this.#positionOf(topic);
    if (!topic.ended) return position;
    return { ...position, end: { topic: topic.name, ...position, time: topic.time, isEnd: true } };
  }

  #limitsOf({ name }: DiskTopic): TopicLimits {
    return limitsOf(this.#opening.limits, name);
  }

  /** The offset of the first message that readers see; one more than the last where there is none. */
  #firstVisible(topic: DiskTopic, now: number): number {
    const { messages, ageSeconds } = this.#limitsOf(topic);
    const first = Math.max(topic.dropped, topic.last - messages) + 1;
    return this.#messages.firstSince(topic, first, now - ageSeconds * 1000);
  }

  /** When the last message that readers do not see was received. */
  #droppedTime(topic: DiskTopic, firstVisible: number): number {
    if (firstVisible - 1 > topic.dropped) return this.#messages.receivedTime(topic, firstVisible - 1);
    return topic.droppedTime ?? Number.NEGATIVE_INFINITY;
  }

  /** If the clock was set back, ages are counted from the new time on: a clock that was ahead must not stop ageing. */
  #noticeTime(now: number): void {
    if (now < this.#latestTime - clockStepMilliseconds) this.#setClockBack(now);
    this.#latestTime = now;
  }

  #setClockBack(now: number): void {
    this.#transaction(now, () => {
      this.#file.begin();
      this.#messages.clockWasSetBack(now);
      this.#file.database.query("UPDATE topic SET dropped_time = ?1 WHERE dropped_time > ?1").run(now);
      this.#file.database.query("UPDATE topic SET used = ?1 WHERE used > ?1").run(now);
      this.#topics.forgetCached();
    });
  }
}

/** What was appended, and the time of the last of it. */
interface AppendedNow extends Appended {
  readonly time: number;
}
