/**
 * The engine on this machine's disk: SQLite in a Worker. A message is answered and announced after its fsync.
 *
 * All operations that come while a transaction is being committed are the next transaction (group commit): the more there
 * is to do, the more share an fsync. Reads go to the Worker at once.
 */
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  BrokerUnavailable,
  type History,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Since, TopicPosition } from "../../topic/message.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { EngineDeps, EngineLimits, EngineSize } from "../engine.ts";
import { columnsOf, endOf, entriesOf, historyOf } from "./columns.ts";
import { CommitQueue, type PendingCommit } from "./commit-queue.ts";
import { OwnedDirectory } from "./directory.ts";
import { DiskMeter } from "./meter.ts";
import { failureAt, type Outcome, type OutcomeColumns, outcomeAt, outcomes } from "./outcomes.ts";
import type { Failure, Operation, WorkerAnswer, WorkerQuestion } from "./protocol.ts";

/** The contract allows 3 s; the clock below ticks in between. */
const settleMilliseconds = 2500;
const tickMilliseconds = 250;

/** Reads that the Worker has not answered. */
const readsMax = 20_000;

const closeMilliseconds = 1000;
const restartMilliseconds = 500;

export interface DiskBrokerOptions extends Pick<EngineDeps, "log" | "workerUrl"> {
  readonly directory: string;
  readonly limits: EngineLimits;
  readonly clock?: Clock;
  readonly evicted?: EngineDeps["evicted"];
}

/** Bun's Worker can be left out of what keeps a process alive. */
type DiskWorker = Worker & { ref(): void; unref(): void };

interface PendingRead extends PromiseWithResolvers<WorkerAnswer> {
  readonly deadline: number;
}

export class DiskBroker implements Broker, EngineSize {
  readonly traits: BrokerTraits = { isShared: false, isInProcess: false, comparisonSeconds: undefined };
  readonly meter = new DiskMeter();
  readonly #options: DiskBrokerOptions;
  readonly #clock: Clock;
  readonly #owned: OwnedDirectory;
  #worker: DiskWorker | undefined;
  #isOpened = false;
  #wasOpened = false;
  #failure: Failure | undefined;
  #sinceTime: number;
  #listener: BrokerListener | undefined;
  readonly #subscribed = new Set<string>();
  readonly #queue = new CommitQueue();
  /** The id of the request with the transaction in progress. */
  #batchId = 0;
  readonly #reads = new Map<number, PendingRead>();
  #lastId = 0;
  #sweepId = 0;
  /** When the answer to the sweep in progress is late. */
  #sweepDeadline = Number.POSITIVE_INFINITY;
  #isFlushing = false;
  #isClosed = false;
  #restart: Timer | undefined;
  readonly #timers: Timer[];

  /** @throws {DataDirectoryError} where the directory cannot be used */
  constructor(options: DiskBrokerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#sinceTime = this.#clock.now();
    this.#owned = new OwnedDirectory(options.directory, this.#clock.now());
    this.#report();
    this.#start();
    this.#timers = [
      setInterval(() => this.#sweep(), 1000).unref(),
      setInterval(() => this.#giveUp(performance.now()), tickMilliseconds).unref(),
    ];
  }

  get state(): BrokerState {
    const reason = this.#failure?.reason ?? (this.#isOpened ? undefined : "the data is being opened");
    const available = this.#isOpened && !this.#failure?.isGone;
    return { available, ...(reason !== undefined && { reason }), sinceTime: this.#sinceTime };
  }

  get topicCount(): number {
    return this.meter.usage.topics;
  }

  /** The pages that are in use. */
  get historyBytes(): number {
    return this.meter.usage.historyBytes;
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  async publish(topic: string, publication: Publication): Promise<Appended> {
    if (this.#failure) throw this.#unavailable();
    const { position: message, end } = await this.#enqueue(
      { kind: "publish", topic, publication },
      publication.drafts.reduce((sum, draft) => sum + bytesOf(draft), 0),
    );
    return { ...(message && { message }), ...(end && { end }) };
  }

  async takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    if (this.#failure) throw this.#unavailable();
    const { record } = await this.#enqueue({ kind: "takeStream", topic, once, writer }, 0);
    if (!record) throw new Error("a stream that was taken has a record");
    return record;
  }

  async subscribe(topic: string): Promise<TopicPosition> {
    if (this.#failure?.isGone) throw this.#unavailable();
    this.#subscribed.add(topic);
    const { position, end, time = 0 } = await this.#enqueue({ kind: "subscribe", topic }, 0);
    if (!position) throw new Error("a subscribed topic has a position");
    return end ? { ...position, end: endOf(topic, end, time) } : position;
  }

  unsubscribe(topic: string): void {
    if (!this.#subscribed.delete(topic)) return;
    // It waits for the next transaction or sweep: nobody waits for it.
    this.#queue.addUnawaited({ kind: "unsubscribe", topic });
  }

  async history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const answer = await this.#read({ kind: "history", topic, since, page });
    return answer.kind === "history" && answer.history ? historyOf(topic, answer.history) : undefined;
  }

  async positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    if (topics.length === 0) return [];
    const answer = await this.#read({ kind: "positions", topics });
    return answer.kind === "positions" ? answer.positions : [];
  }

  async inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    const answer = await this.#read({ kind: "inspect", topics });
    if (answer.kind !== "inspected") return [];
    return answer.topics.map(
      (state, index) =>
        state && { ...state, subscribers: this.#listener?.subscriberCount(topics[index] ?? "") ?? 0 },
    );
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#flush();
    const closed = this.#isOpened ? this.#ask({ kind: "close" }) : Promise.resolve();
    this.#isClosed = true;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, closeMilliseconds);
    await Promise.race([closed.catch(() => undefined), late.promise]);
    clearTimeout(timer);
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#restart);
    this.#rejectAll(new BrokerUnavailable("the server has stopped"));
    this.#worker?.terminate();
    this.#owned[Symbol.dispose]();
    this.#listener = undefined;
  }

  #report(): void {
    const { directory, log } = this.#options;
    const { isNew, newEpochsBecause: reason, networkFilesystem } = this.#owned.report;
    log.info({ directory, isNew }, "topics are kept on disk");
    if (reason !== undefined)
      log.warn({ directory, reason }, "every topic begins a new epoch: messages may have been lost");
    if (networkFilesystem !== undefined)
      log.warn(
        { directory, networkFilesystem },
        "the data is on a network filesystem, whose locks and fsync may not hold",
      );
  }

  #start(): void {
    const worker = new Worker(this.#options.workerUrl) as DiskWorker;
    this.#worker = worker;
    worker.unref();
    worker.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => this.#answered(data);
    worker.onerror = (event) => this.#ended(worker, event.message);
    worker.addEventListener("close", () => this.#ended(worker, "its Worker ended"));
    this.#open();
  }

  #open(): void {
    const { directory, limits } = this.#options;
    this.#ask({ kind: "open", directory, limits, subscribed: [...this.#subscribed] }).then(
      (answer) => {
        if (answer.kind === "opened") this.#opened(answer.sinceTime, answer.failure);
      },
      (error: BrokerUnavailable) => {
        if (this.#isClosed) return;
        this.#failed({ reason: error.reason, isGone: true });
        if (this.#worker) this.#restart = setTimeout(() => this.#open(), restartMilliseconds);
      },
    );
  }

  #opened(sinceTime: number, failure: Failure | undefined): void {
    this.#isOpened = true;
    this.#sinceTime = sinceTime;
    if (failure) this.#failed(failure);
    else if (this.#wasOpened) this.#recovered();
    this.#wasOpened = true;
    this.#flush();
  }

  /** What was in progress may have been committed. */
  #ended(worker: DiskWorker, reason: string): void {
    if (this.#isClosed || worker !== this.#worker) return;
    this.#worker = undefined;
    this.#isOpened = false;
    this.#failed({ reason: `the disk's Worker ended: ${reason}`, isGone: true });
    this.#rejectAll(this.#unavailable());
    worker.terminate();
    this.#restart = setTimeout(() => this.#start(), restartMilliseconds);
  }

  #failed(failure: Failure): void {
    if (this.#failure?.reason !== failure.reason)
      this.#options.log.error(
        { reason: failure.reason },
        "the disk does not take messages: publishing is refused until it does",
      );
    this.#failure = failure;
  }

  #recovered(): void {
    if (!this.#failure) return;
    this.#failure = undefined;
    this.#options.log.info({}, "the disk takes messages again");
    this.#listener?.missed();
  }

  #unavailable(): BrokerUnavailable {
    return new BrokerUnavailable(this.state.reason ?? "the disk is away");
  }

  #enqueue(operation: Operation, bytes: number): Promise<Outcome> {
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    const outcome = this.#queue.add(operation, bytes, performance.now() + settleMilliseconds);
    this.#flushSoon();
    return outcome;
  }

  /** At the end of this turn of the event loop, so that all that came in it is one transaction. */
  #flushSoon(): void {
    if (this.#isFlushing || this.#queue.isCommitting || !this.#isOpened) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#queue.isCommitting || !this.#isOpened || this.#isClosed) return;
    const operations = this.#queue.begin();
    if (operations.length > 0)
      this.#batchId = this.#send({ kind: "commit", operations: columnsOf(operations) });
  }

  #send(request: WorkerQuestion): number {
    const id = ++this.#lastId;
    const moment = { now: this.#clock.now(), monotonic: this.#clock.monotonic() };
    this.#worker?.ref(); // A program that waits for its publication must not end before.
    this.#worker?.postMessage({ ...request, ...moment, id });
    return id;
  }

  #ask(request: WorkerQuestion): Promise<WorkerAnswer> {
    const deadline =
      request.kind === "open" ? Number.POSITIVE_INFINITY : performance.now() + settleMilliseconds;
    const reading = { deadline, ...Promise.withResolvers<WorkerAnswer>() };
    this.#reads.set(this.#send(request), reading);
    return reading.promise;
  }

  async #read(request: WorkerQuestion): Promise<WorkerAnswer> {
    if (this.#failure?.isGone) throw this.#unavailable();
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    if (this.#reads.size >= readsMax) throw new BrokerUnavailable("too many reads wait for the disk");
    return await this.#ask(request);
  }

  #sweep(): void {
    if (!this.#isOpened || this.#sweepId !== 0) return;
    this.#flushSoon(); // Unsubscriptions that nothing else took along.
    this.#sweepId = this.#send({ kind: "sweep" });
    this.#sweepDeadline = performance.now() + settleMilliseconds;
  }

  #answered(answer: WorkerAnswer): void {
    if (answer.id === this.#sweepId) this.#endSweep();
    if (answer.kind === "committed") {
      this.#committed(answer);
    } else if (answer.kind === "swept") {
      this.#swept(answer);
    } else {
      const reading = this.#reads.get(answer.id);
      this.#reads.delete(answer.id);
      if (answer.kind === "opened") this.meter.usage = answer.usage;
      if (answer.kind !== "refused") {
        reading?.resolve(answer);
      } else {
        this.#options.log.error({ reason: answer.failure.reason }, "the disk could not be read");
        if (answer.failure.isGone) this.#failed(answer.failure);
        reading?.reject(new BrokerUnavailable(answer.failure.reason));
      }
    }
    if (this.#queue.isEmpty && this.#reads.size === 0) this.#worker?.unref();
  }

  #committed({ id, results, milliseconds, failure }: Extract<WorkerAnswer, { kind: "committed" }>): void {
    if (id !== this.#batchId) return;
    const batch = this.#queue.end();
    this.meter.committed(batch.length, milliseconds, failure !== undefined);
    if (failure) this.#failed(failure);
    else this.#recovered();
    for (const [index, pending] of batch.entries()) this.#settle(pending, results, index);
    this.#flush();
  }

  #settle({ operation, resolve, reject }: PendingCommit, results: OutcomeColumns, index: number): void {
    const settled = outcomeAt(results, index);
    const error = failureAt(results, index, operation.topic, settled, this.#unavailable());
    const isDone = results.outcomes[index] === outcomes.done;
    if (isDone && operation.kind === "publish")
      for (const entry of entriesOf(operation, settled)) this.#listener?.announced(entry);
    if (error) reject(error);
    else resolve(settled);
  }

  #swept({ usage, failure }: Extract<WorkerAnswer, { kind: "swept" }>): void {
    this.meter.usage = usage;
    const { evicted } = this.#options;
    if (usage.evictedKeys > 0) evicted?.("idempotency_keys", usage.evictedKeys);
    if (usage.evictedPositions > 0) evicted?.("positions", usage.evictedPositions);
    if (failure) this.#failed(failure);
    else this.#recovered();
  }

  /**
   * Settles what has waited too long. What the Worker has may still be committed, and is announced if it is.
   * Reads that are late are only too many: the Worker serves them last.
   */
  #giveUp(now: number): void {
    for (const [id, reading] of this.#reads) {
      if (reading.deadline > now) continue;
      this.#reads.delete(id);
      reading.reject(new BrokerUnavailable("the disk has too much to read"));
    }
    const late = this.#queue.takeLate(now);
    if (late.length === 0 && now < this.#sweepDeadline) return;
    this.#failed({ reason: `the disk has not answered for ${settleMilliseconds / 1000} s`, isGone: true });
    for (const { reject } of late) reject(this.#unavailable());
  }

  #rejectAll(error: Error): void {
    this.#queue.rejectAll(error);
    for (const { reject } of this.#reads.values()) reject(error);
    this.#reads.clear();
    this.#endSweep();
  }

  #endSweep(): void {
    this.#sweepId = 0;
    this.#sweepDeadline = Number.POSITIVE_INFINITY;
  }
}

const bytesOf = ({ data }: Draft): number => data.length * (typeof data === "string" ? 2 : 1);
