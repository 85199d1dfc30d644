/** The topics in SQLite. It blocks its thread, so it lives in the Worker. No timer, no clock. */
import type { Page } from "../../topic/broker.ts";
import type { Since, TopicPosition } from "../../topic/message.ts";
import { BatchWriter } from "./batch-writer.ts";
import { DataFile } from "./data-file.ts";
import { DiskLog } from "./disk-log.ts";
import { DiskRetention, sliceRows } from "./disk-retention.ts";
import { KeyTable } from "./key-table.ts";
import { KeyedReader } from "./keyed-reader.ts";
import { KeyedTable } from "./keyed-table.ts";
import { KeyedWriter } from "./keyed-writer.ts";
import { Merger } from "./merger.ts";
import { OldMessages } from "./old-messages.ts";
import type { Outcomes } from "./outcomes.ts";
import type {
  Batch,
  DiskUsage,
  Moment,
  StoredHistory,
  StoredKeyState,
  StoredTopic,
  StoreOptions,
} from "./protocol.ts";
import { recover } from "./recovery.ts";
import { SegmentTable } from "./segment-table.ts";
import { TopicReader } from "./topic-reader.ts";
import { TopicTable } from "./topic-table.ts";

/** A clock that is adjusted goes back by less. Ageing need not follow such small steps. */
const clockStepMilliseconds = 1000;

/** Segments that a slice of merging drops at least, so that the file stays within `--history-bytes` while it grows. */
const droppedPerMerge = 64;

export class Store {
  readonly #file: DataFile;
  readonly #topics: TopicTable;
  readonly #segments: SegmentTable;
  readonly #old: OldMessages;
  readonly #keys: KeyTable;
  readonly #keyed: KeyedTable;
  readonly #merger: Merger;
  readonly #reader: TopicReader;
  readonly #writer: BatchWriter;
  readonly #retention: DiskRetention;
  #latestTime: number;
  readonly subscribed: Set<string>;

  /** @throws an error of SQLite, `FileGone` or `DamagedData` */
  constructor({ directory, limits, subscribed }: StoreOptions, moment: Moment) {
    this.subscribed = new Set(subscribed);
    const file = new DataFile(directory);
    using opened = new DisposableStack();
    opened.defer(() => file.close()); // Damage is met again at each try, and would hold two files each time.
    this.#file = file;
    const { database } = file;
    this.#latestTime = file.latestTime;
    const keyed = new KeyedTable(database, limits.keyed);
    const topics = new TopicTable(database, file.counts, keyed);
    const segments = new SegmentTable(database);
    const old = new OldMessages(database);
    const keys = new KeyTable(database, limits.idempotencyBytesMax, moment);
    [this.#topics, this.#segments, this.#old, this.#keys, this.#keyed] = [topics, segments, old, keys, keyed];
    this.#merger = new Merger({ file, topics, segments, old, keys, limits });
    const log = new DiskLog(segments, old, () => this.#merger.unmerged);
    const { generation, sinceTime } = file;
    this.#reader = new TopicReader({
      ...{ topics, log, limits, generation, sinceTime },
      keyed: new KeyedReader(keyed, limits, sinceTime),
      subscribed: this.subscribed,
    });
    this.#writer = new BatchWriter({
      ...{ file, topics, segments, old, keys, reader: this.#reader },
      keyed: new KeyedWriter(keyed, limits),
      feeds: limits.feeds,
      subscribed: this.subscribed,
    });
    this.#retention = new DiskRetention({
      ...{ file, topics, segments, keyed, limits },
      subscribed: this.subscribed,
    });
    recover({ file, topics, keys, into: this.#merger.filling }, moment);
    opened.move();
  }

  get sinceTime(): number {
    return this.#file.sinceTime;
  }

  /** How many topics begin a new epoch at their next use, because the setting of keyed topics was changed. */
  get formerCount(): number {
    return this.#keyed.formerCount;
  }

  get isAlone(): boolean {
    return this.#file.isAlone;
  }

  close(): void {
    this.#file.close();
  }

  /**
   * Applies the operations in one transaction. When it returns, it is durable.
   * @throws an error of SQLite, `FileGone` or `DamagedData`: nothing was done, or it is unknown
   */
  commit(batch: Batch, moment: Moment): Outcomes {
    this.#noticeTime(moment.now);
    while (this.#merger.isLate) this.mergeSlice(moment.now);
    const { outcomes, entries, seq } = this.#transaction(moment.now, () => this.#writer.write(batch, moment));
    if (seq > 0) this.#merger.filling.add(seq, entries, moment.now, (id) => this.#topics.byId(id));
    this.#keys.keepChanges(moment);
    this.#topics.forgetSurplus();
    this.#file.require();
    return outcomes;
  }

  /** @param now by the clock */
  isMergeDue(now: number): boolean {
    return this.#merger.isDue(now);
  }

  /** Merges a slice of what was committed, and drops what is too much then. */
  mergeSlice(now: number): void {
    const merged = this.#transaction(now, () => {
      this.#file.begin();
      const committed = this.#merger.slice();
      if (!this.#old.areLeft) this.#retention.dropOldest(droppedPerMerge, now);
      return committed;
    });
    merged();
  }

  /** The position of a topic that exists, where nothing can be written. */
  existing(name: string, now: number): TopicPosition | undefined {
    return this.#reader.position(name, now);
  }

  history(name: string, since: Since, page: Page, now: number): StoredHistory | undefined {
    this.#noticeTime(now);
    return this.#reader.history(name, since, page, now);
  }

  value(name: string, key: string, now: number): StoredKeyState | undefined {
    this.#noticeTime(now);
    return this.#reader.value(name, key, now);
  }

  positions(names: readonly string[], now: number): (TopicPosition | undefined)[] {
    return names.map((name) => this.existing(name, now));
  }

  inspect(names: readonly string[], now: number): (StoredTopic | undefined)[] {
    this.#noticeTime(now);
    return names.map((name) => this.#reader.inspect(name, now));
  }

  /**
   * Forgets a slice of what became too old, moves a slice of what an older version wrote, and gives space back.
   * @returns whether there is more to do
   */
  sweep(moment: Moment): boolean {
    const { now } = moment;
    this.#noticeTime(now);
    let isBehind = this.#transaction(now, () => this.#forget(moment));
    if (this.#old.areLeft) isBehind = this.#moveSlice(now) || isBehind;
    if (this.#merger.isDue(now) || this.#mustDropUnmerged()) {
      this.mergeSlice(now);
      isBehind = true;
    }
    this.#topics.forgetSurplus();
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
      unmergedBytes: this.#merger.bytes,
      evictedPositions: this.#retention.takeEvictedCount(),
      evictedKeys: this.#keys.takeEvictedCount(),
      damage: this.#topics.damage,
    };
  }

  #forget(moment: Moment): boolean {
    const { now } = moment;
    // Before what was migrated is moved, newer segments would be the oldest.
    let isBehind = !this.#old.areLeft && this.#retention.dropOldest(sliceRows, now) === sliceRows;
    isBehind = this.#expireKeys(moment) || isBehind;
    isBehind = this.#retention.forgetKeyed(sliceRows, now) || isBehind;
    isBehind = this.#retention.expirePositions(now) || isBehind;
    this.#retention.refreshSubscribed(now);
    return isBehind;
  }

  #moveSlice(now: number): boolean {
    const moved = this.#transaction(now, () => {
      this.#file.begin();
      return this.#old.moveSlice(this.#topics, this.#segments);
    });
    moved();
    return this.#old.areLeft;
  }

  /** Retention drops segments and positions, and what it has to drop is not merged. */
  #mustDropUnmerged(): boolean {
    if (this.#merger.bytes === 0 || this.#old.areLeft) return false;
    const { surplusBytes, surplusPositions } = this.#retention;
    return surplusPositions > 0 || (surplusBytes > 0 && this.#segments.oldest(1).length === 0);
  }

  #expireKeys(moment: Moment): boolean {
    const expired = this.#keys.expire(moment, sliceRows);
    if (!expired) return false;
    this.#file.begin();
    this.#keys.deleteUpTo(expired.seq);
    return expired.count === sliceRows;
  }

  /** Commits what `work` writes, or undoes it: in memory, too. */
  #transaction<Result>(now: number, work: () => Result): Result {
    try {
      const result = work();
      if (this.#file.isWriting) this.#file.commit(now, this.#topics);
      this.#topics.keepChanges();
      this.#keyed.keepChanges();
      return result;
    } catch (error) {
      this.#topics.forgetChanges();
      this.#keyed.forgetChanges();
      this.#keys.forgetChanges();
      this.#file.rollBack();
      throw error;
    }
  }

  /** If the clock was set back, ages are counted from the new time on: a clock that was ahead must not stop ageing. */
  #noticeTime(now: number): void {
    if (now < this.#latestTime - clockStepMilliseconds) this.#setClockBack(now);
    this.#latestTime = now;
  }

  /** Everything is merged first, so that what is not merged came after the step. */
  #setClockBack(now: number): void {
    while (this.#merger.bytes > 0) this.mergeSlice(now);
    this.#transaction(now, () => {
      this.#file.begin();
      this.#segments.clockWasSetBack(now);
      this.#keyed.clockWasSetBack(now);
      this.#file.database.query("UPDATE topic SET dropped_time = ?1 WHERE dropped_time > ?1").run(now);
      this.#file.database.query("UPDATE topic SET used = ?1 WHERE used > ?1").run(now);
    });
    this.#topics.forgetCached();
  }
}
