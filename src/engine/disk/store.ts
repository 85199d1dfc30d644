/** The topics in SQLite: appending, reading and retention. It blocks its thread, so it lives in the Worker. No timer, no clock. */
import { Database } from "bun:sqlite";
import { closeSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  type Appended,
  IdempotencyConflict,
  type Once,
  type Page,
  type Publication,
  type StreamStep,
  StreamTakenOver,
  TopicEnded,
} from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Position, Since, TopicPosition } from "../../topic/message.ts";
import { limitsOf, type TopicLimits } from "../../topic/retention.ts";
import {
  fingerprintOf,
  publicationDigest,
  recordAfter,
  recordOf,
  recordTaken,
  repeatedAnswer,
  requireWriter,
} from "../idempotency.ts";
import { databaseName, type FileRow, fileRowOf, identityOf, makeDurable, witnessText } from "./directory.ts";
import { KeyTable } from "./key-table.ts";
import { MessageTable } from "./message-table.ts";
import {
  type DiskUsage,
  type HistoryColumns,
  type Moment,
  noOutcomes,
  type Opening,
  type OperationColumns,
  type OutcomeColumns,
  outcomes,
  pushOutcome,
  type StoredTopic,
} from "./protocol.ts";
import { codeOf } from "./schema.ts";
import { isIdle, type Topic, TopicTable } from "./topic-table.ts";

/** Messages that a topic may have on disk beyond its limit, so that they are deleted together. No reader sees them. */
const surplusMax = 32;

/** Messages, positions or keys that one slice of retention deletes. A slice takes 1 to 5 ms. */
const sliceRows = 500;

/** Pages that incremental vacuum gives back in one slice. */
const slicePages = 256;

/** A clock that is adjusted goes back by less. Ageing need not follow such small steps. */
const clockStepMilliseconds = 1000;

/** After a checkpoint the WAL is cut to this size. It is larger only while a reader holds it. */
const walBytesKept = 64 * 1024 * 1024;

/** The file that is open is no longer the one at its path, so what is written to it is lost. */
export class FileGone extends Error {}

export class Store {
  readonly #path: string;
  readonly #opening: Opening;
  readonly #database: Database;
  readonly #file: FileRow;
  readonly #topics: TopicTable;
  readonly #messages: MessageTable;
  readonly #keys: KeyTable;
  #evictedPositions = 0;
  #commits: number;
  #witnessed = 0;
  /** The transactions at the last sweep, and those that were moved from the write-ahead log when nothing was written. */
  #commitsSwept = 0;
  #commitsMoved = 0;
  readonly #witness: number;
  #latestTime: number;
  #isWriting = false;
  /** Topics that the transaction changed. */
  readonly #changed = new Set<Topic>();
  /** The place in the set of subscribed topics from which the next sweep goes on. */
  #subscribedIterator: Iterator<string> | undefined;
  readonly subscribed: Set<string>;

  constructor(opening: Opening, moment: Moment) {
    this.#opening = opening;
    this.subscribed = new Set(opening.subscribed);
    this.#path = join(opening.directory, databaseName);
    this.#database = new Database(this.#path, { create: false, readwrite: true });
    makeDurable(this.#database);
    this.#database.run(`PRAGMA journal_size_limit = ${walBytesKept}`);
    this.#database.run("PRAGMA cache_size = -32000");
    const file = fileRowOf(this.#database);
    if (!file) throw new Error(`${this.#path} was not prepared`);
    this.#file = file;
    this.#requireFile();
    const state = this.#get<{ commits: number; latest_time: number; topics: number; idle: number }>(
      "SELECT commits, latest_time, topics, idle FROM state",
    );
    if (!state) throw new Error(`${this.#path} has no state`);
    this.#commits = state.commits;
    this.#latestTime = state.latest_time;
    this.#topics = new TopicTable(this.#database, state.topics, state.idle);
    this.#messages = new MessageTable(this.#database);
    this.#keys = new KeyTable(this.#database, opening.limits.idempotencyBytesMax, moment);
    this.#witness = openSync(join(opening.directory, file.witness), "r+");
  }

  get sinceTime(): number {
    return this.#file.since_time;
  }

  close(): void {
    closeSync(this.#witness);
    this.#database.close();
  }

  /**
   * Applies the operations in one transaction. When it returns, it is durable.
   * @throws an error of SQLite or `FileGone`: nothing was done, or it is unknown
   */
  commit(operations: OperationColumns, moment: Moment): OutcomeColumns {
    const results = noOutcomes();
    try {
      this.#noticeTime(moment.now);
      for (const [index, kind] of operations.kinds.entries()) {
        const topic = operations.topics[index] ?? "";
        if (kind === "publish") this.#publish(operations, index, moment, results);
        else if (kind === "takeStream") this.#takeStream(operations, index, moment, results);
        else if (kind === "subscribe") this.#subscribe(topic, moment.now, results);
        else this.#unsubscribe(topic, moment.now, results);
      }
      if (this.#isWriting) {
        this.#dropOldest(Math.max(2 * operations.kinds.length, 16), moment.now);
        this.#keys.save(moment);
        this.#end(moment.now);
      }
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    this.#requireFile(); // SQLite goes on writing into a file that was removed.
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
    return { complete, from, position, end, ...columns };
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
    try {
      this.#noticeTime(now);
      isBehind = this.#dropOldest(sliceRows, now);
      isBehind = this.#expireKeys(moment) || isBehind;
      isBehind = this.#expirePositions(now) || isBehind;
      this.#refreshSubscribed(now);
      if (this.#isWriting) this.#end(now);
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    this.#topics.keepChanges();
    this.#requireFile();
    this.#writeWitness();
    isBehind = this.#giveSpaceBack() || isBehind;
    if (!isBehind) this.#checkpointIfIdle();
    return isBehind;
  }

  /** Writes a transaction to find out whether that works again. */
  probe(now: number): void {
    try {
      this.#begin();
      this.#end(now);
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    this.#requireFile();
  }

  usage(): DiskUsage {
    const evictedPositions = this.#evictedPositions;
    this.#evictedPositions = 0;
    const { used, pages, pageBytes } = this.#pages();
    return {
      topics: this.#topics.count,
      historyBytes: used * pageBytes,
      fileBytes: pages * pageBytes,
      walBytes: statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0,
      evictedPositions,
      evictedKeys: this.#keys.takeEvictedCount(),
    };
  }

  #publish(operations: OperationColumns, index: number, moment: Moment, results: OutcomeColumns): void {
    const name = operations.topics[index] ?? "";
    const publication = publicationAt(operations, index);
    const { once, step } = publication;
    try {
      if (once) this.#publishOnce(name, publication, once, moment, results);
      else if (step) this.#publishStep(name, publication, step, moment, results);
      else this.#done(this.#append(name, publication, moment.now), results);
    } catch (error) {
      pushFailure(results, error);
    }
  }

  #publishOnce(
    name: string,
    publication: Publication,
    once: Once,
    moment: Moment,
    results: OutcomeColumns,
  ): void {
    const fingerprint = fingerprintOf(name, once);
    const digest = publicationDigest(publication);
    const earlier = this.#keys.get(fingerprint, moment);
    if (earlier) {
      const { message, end } = repeatedAnswer(earlier, digest);
      pushOutcome(results, outcomes.repeated, { position: message, end });
      return;
    }
    const step = this.#append(name, publication, moment.now);
    this.#keys.put(recordOf(fingerprint, digest, step.appended), once.publisher);
    this.#done(step, results);
  }

  #publishStep(
    name: string,
    publication: Publication,
    step: StreamStep,
    moment: Moment,
    results: OutcomeColumns,
  ): void {
    const fingerprint = fingerprintOf(name, step.once);
    const earlier = this.#keys.get(fingerprint, moment);
    requireWriter(earlier, step);
    const appending = this.#append(name, publication, moment.now);
    this.#keys.put(recordAfter(fingerprint, earlier, step, appending.appended), step.once.publisher);
    this.#done(appending, results);
  }

  #done({ appended, time }: Appending, results: OutcomeColumns): void {
    pushOutcome(results, outcomes.done, { position: appended.message, end: appended.end, time });
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
    const fingerprint = fingerprintOf(topics[index] ?? "", once);
    try {
      const record = recordTaken(fingerprint, this.#keys.get(fingerprint, moment), writer);
      this.#begin();
      this.#keys.put(record, once.publisher);
      pushOutcome(results, outcomes.done, { record });
    } catch (error) {
      pushFailure(results, error);
    }
  }

  /** @throws {TopicEnded} */
  #append(name: string, { draft, end = false }: Publication, now: number): Appending {
    const known = this.#known(name, now);
    if (known?.ended) throw new TopicEnded(name, this.#positionOf(known));
    this.#begin();
    const topic = known ?? this.#knownOrNew(name, now);
    const time = Math.max(now, topic.time); // A clock that was set back must not make a topic's time decrease.
    if (draft) this.#appendMessage(topic, draft, time, now);
    const message = draft && this.#positionOf(topic);
    if (end) topic.ended = 1;
    topic.time = time;
    topic.used = now;
    this.#changed.add(topic);
    return { appended: { ...(message && { message }), ...(end && { end: this.#positionOf(topic) }) }, time };
  }

  #appendMessage(topic: Topic, { data, contentType, attributes }: Draft, time: number, now: number): void {
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
      this.#begin(); // The epoch is on disk before its first subscriber knows of it.
      topic = this.#knownOrNew(name, now);
    }
    this.subscribed.add(name);
    const position = this.#topicPositionOf(topic);
    pushOutcome(results, outcomes.done, { position, end: position.end, time: topic.time });
  }

  #unsubscribe(name: string, now: number, results: OutcomeColumns): void {
    const topic = this.subscribed.has(name) ? this.#known(name, now) : undefined;
    this.subscribed.delete(name);
    if (topic) this.#use(topic, now);
    pushOutcome(results, outcomes.done, {});
  }

  #use(topic: Topic, now: number): void {
    this.#begin();
    topic.used = now;
    this.#changed.add(topic);
  }

  #begin(): void {
    if (this.#isWriting) return;
    this.#database.run("BEGIN IMMEDIATE");
    this.#isWriting = true;
  }

  /** Writes the topics that changed, and commits. */
  #end(now: number): void {
    for (const topic of this.#changed) {
      this.#trim(topic);
      this.#topics.save(topic);
    }
    this.#changed.clear();
    this.#database
      .query("UPDATE state SET commits = ?, latest_time = ?, topics = ?, idle = ?")
      .run(this.#commits + 1, now, this.#topics.count, this.#topics.idleCount);
    this.#database.run("COMMIT");
    this.#isWriting = false;
    this.#commits++;
    this.#topics.keepChanges();
  }

  #rollBack(): void {
    const wasWriting = this.#isWriting;
    this.#isWriting = false;
    this.#changed.clear();
    this.#topics.forgetChanges();
    this.#keys.forgetChanges();
    if (wasWriting && this.#database.inTransaction) this.#database.run("ROLLBACK");
  }

  /** Deletes what exceeds `--history-messages` by a number that is worth it. */
  #trim(topic: Topic): void {
    const { messages } = this.#limitsOf(topic);
    const surplus = topic.last - topic.dropped - messages;
    if (surplus <= Math.min(surplusMax, messages)) return;
    this.#dropUpTo(topic, topic.last - messages);
  }

  #dropUpTo(topic: Topic, offset: number): void {
    topic.droppedTime = this.#messages.receivedTime(topic, offset);
    this.#messages.deleteOf(topic, offset);
    topic.dropped = offset;
  }

  /**
   * Drops the oldest messages of all topics while they are too old or the file is too large.
   * @returns whether there may be more to drop
   */
  #dropOldest(rowsMax: number, now: number): boolean {
    const { historyAgeSeconds, historyBytesMax, retained } = this.#opening.limits;
    const { used, pageBytes } = this.#pages();
    const isTooLarge = used * pageBytes > historyBytesMax;
    // Messages of topics with a shorter age are in between: readers do not see them, and they take space until then.
    const ageSecondsMax = Math.max(historyAgeSeconds, ...retained.map(({ ageSeconds }) => ageSeconds));
    const oldest = now - ageSecondsMax * 1000;
    const [front] = this.#messages.oldest(1);
    if (!front || (!isTooLarge && front.received >= oldest)) return false;
    this.#begin();
    const rows = this.#messages.oldest(rowsMax);
    const kept = isTooLarge ? -1 : rows.findIndex(({ received }) => received >= oldest);
    const dropped = kept === -1 ? rows : rows.slice(0, kept);
    this.#messages.deleteUpTo(dropped.at(-1)?.seq ?? 0);
    for (const row of dropped) {
      const topic = this.#topics.byId(row.topic);
      if (!topic || row.offset <= topic.dropped) continue;
      topic.dropped = row.offset;
      topic.droppedTime = row.received;
      this.#changed.add(topic);
    }
    return dropped.length === rowsMax;
  }

  /** @returns whether there may be more to expire */
  #expirePositions(now: number): boolean {
    const { positionAgeSeconds, positionBytesMax } = this.#opening.limits;
    // Rows that this sweep changes are not yet saved, and a topic must not be both saved and deleted.
    const expired = this.#topics
      .idleUntil(now - positionAgeSeconds * 1000, sliceRows)
      .filter((topic) => !this.#changed.has(topic));
    const surplus = Math.ceil(this.#topics.idleCount - positionBytesMax / positionBytes);
    const evicted =
      surplus > 0 && expired.length === 0
        ? this.#topics
            .idleUntil(now, Math.min(surplus, sliceRows))
            .filter((topic) => !this.#changed.has(topic))
        : [];
    for (const topic of [...expired, ...evicted]) {
      this.#begin();
      if (this.subscribed.has(topic.name)) this.#use(topic, now);
      else this.#topics.delete(topic);
    }
    this.#evictedPositions += evicted.filter(({ name }) => !this.subscribed.has(name)).length;
    return expired.length + evicted.length === sliceRows;
  }

  /** A quiet topic's position must not be found expired after a restart, when its subscribers have not come back yet. */
  #refreshSubscribed(now: number): void {
    const latestUse = now - this.#opening.limits.positionAgeSeconds * 500;
    this.#subscribedIterator ??= this.subscribed.values();
    for (let count = 0; count < sliceRows; count++) {
      const { done, value } = this.#subscribedIterator.next();
      if (done) {
        this.#subscribedIterator = undefined;
        return;
      }
      const topic = this.#topics.byName(value);
      if (topic && isIdle(topic) && topic.used < latestUse) this.#use(topic, now);
    }
  }

  #expireKeys(moment: Moment): boolean {
    const expired = this.#keys.expire(moment, sliceRows);
    if (!expired) return false;
    this.#begin();
    this.#keys.deleteUpTo(expired.seq);
    return expired.count === sliceRows;
  }

  /** @returns a topic whose position is known */
  #known(name: string, now: number): Topic | undefined {
    const topic = this.#topics.byName(name);
    return topic && this.#isExpired(topic, now) ? undefined : topic;
  }

  #knownOrNew(name: string, now: number): Topic {
    const topic = this.#topics.byName(name);
    if (topic && !this.#isExpired(topic, now)) return topic;
    if (topic) {
      this.#messages.deleteOf(topic, topic.last);
      this.#changed.delete(topic);
      this.#topics.delete(topic);
    }
    return this.#topics.create(name, now);
  }

  #isExpired(topic: Topic, now: number): boolean {
    return (
      topic.used + this.#opening.limits.positionAgeSeconds * 1000 <= now &&
      !this.subscribed.has(topic.name) &&
      this.#firstVisible(topic, now) > topic.last
    );
  }

  /** Of the topic's end, where it has ended. */
  #positionOf({ id, last, ended }: Topic): Position {
    return { epoch: this.#file.generation + id.toString(36), offset: last + ended };
  }

  #topicPositionOf(topic: Topic): TopicPosition {
    const position = this.#positionOf(topic);
    if (!topic.ended) return position;
    return { ...position, end: { topic: topic.name, ...position, time: topic.time, isEnd: true } };
  }

  #limitsOf({ name }: Topic): TopicLimits {
    return limitsOf(this.#opening.limits, name);
  }

  /** The offset of the first message that readers see; one more than the last where there is none. */
  #firstVisible(topic: Topic, now: number): number {
    const { messages, ageSeconds } = this.#limitsOf(topic);
    const first = Math.max(topic.dropped, topic.last - messages) + 1;
    return this.#messages.firstSince(topic, first, now - ageSeconds * 1000);
  }

  /** When the last message that readers do not see was received. */
  #droppedTime(topic: Topic, firstVisible: number): number {
    if (firstVisible - 1 > topic.dropped) return this.#messages.receivedTime(topic, firstVisible - 1);
    return topic.droppedTime ?? Number.NEGATIVE_INFINITY;
  }

  /** If the clock was set back, ages are counted from the new time on: a clock that was ahead must not stop ageing. */
  #noticeTime(now: number): void {
    if (now < this.#latestTime - clockStepMilliseconds) this.#setClockBack(now);
    this.#latestTime = now;
  }

  #setClockBack(now: number): void {
    try {
      this.#begin();
      this.#messages.clockWasSetBack(now);
      this.#database.query("UPDATE topic SET dropped_time = ?1 WHERE dropped_time > ?1").run(now);
      this.#database.query("UPDATE topic SET used = ?1 WHERE used > ?1").run(now);
      this.#topics.forgetCached();
      this.#end(now);
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  #pages(): { pages: number; used: number; pageBytes: number } {
    const number = (name: string): number =>
      Number(Object.values(this.#get<Record<string, number>>(`PRAGMA ${name}`) ?? {})[0]);
    const pages = number("page_count");
    return { pages, used: pages - number("freelist_count"), pageBytes: number("page_size") };
  }

  /** Keeps some free pages for what comes. @returns whether there is more to give back */
  #giveSpaceBack(): boolean {
    const { pages, used } = this.#pages();
    const surplus = pages - used - Math.max(slicePages, pages / 16);
    if (surplus <= 0) return false;
    this.#database.query(`PRAGMA incremental_vacuum(${Math.min(Math.ceil(surplus), slicePages)})`).all();
    return surplus > slicePages;
  }

  /** SQLite moves the write-ahead log into the file while there are writes. If none follow, the file would not shrink. */
  #checkpointIfIdle(): void {
    if (this.#commits === this.#commitsSwept && this.#commits !== this.#commitsMoved) {
      this.#database.query("PRAGMA wal_checkpoint(PASSIVE)").all();
      this.#commitsMoved = this.#commits;
    }
    this.#commitsSwept = this.#commits;
  }

  /** The number of a transaction that is durable already. */
  #writeWitness(): void {
    if (this.#witnessed === this.#commits) return;
    writeSync(this.#witness, witnessText(this.#file.token, this.#commits), 0);
    this.#witnessed = this.#commits;
  }

  /** @throws {FileGone} */
  #requireFile(): void {
    let inode: string;
    try {
      ({ inode } = identityOf(this.#path));
    } catch (error) {
      throw new FileGone(`${this.#path} was removed or cannot be reached: ${String(error)}`);
    }
    if (inode !== this.#file.inode)
      throw new FileGone(`${this.#path} was replaced by another file: restart Longwire to use that one`);
  }

  #get<Row>(sql: string): Row | undefined {
    return (this.#database.query(sql).get() as Row | null) ?? undefined;
  }
}

/** Bytes on disk of a topic without messages: its row and its places in two indexes. Measured with names of 20 characters. */
const positionBytes = 200;

/** What was appended, and the time of the last of it. */
interface Appending {
  readonly appended: Appended;
  readonly time: number;
}

function publicationAt(operations: OperationColumns, index: number): Publication {
  const data = operations.data[index];
  const attributes = operations.attributes[index];
  const once = operations.onces[index];
  const step = operations.steps[index];
  const draft = data !== undefined && {
    data,
    contentType: operations.contentTypes[index] ?? "",
    ...(typeof attributes === "string" && { attributes: JSON.parse(attributes) }),
  };
  return {
    end: operations.ends[index] ?? false,
    ...(draft && { draft }),
    ...(once && { once }),
    ...(step && { step }),
  };
}

/** @throws an error that is no answer to one publication */
function pushFailure(results: OutcomeColumns, error: unknown): void {
  if (error instanceof IdempotencyConflict) pushOutcome(results, outcomes.conflict, {});
  else if (error instanceof StreamTakenOver) pushOutcome(results, outcomes.takenOver, {});
  else if (error instanceof TopicEnded) pushOutcome(results, outcomes.ended, { end: error.end });
  else if (codeOf(error) === "SQLITE_TOOBIG" || error instanceof RangeError)
    pushOutcome(results, outcomes.tooLarge, {});
  else throw error;
}
