/**
 * The engine on this machine's disk: SQLite in a Worker. A message is answered and announced after its fsync.
 *
 * All operations that come while a batch is being committed are the next one (group commit): the more there is to do, the more
 * share an fsync. Reads go to the Worker at once.
 */
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  BrokerUnavailable,
  firstOf,
  type History,
  type KeyState,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../../topic/broker.ts";
import type { Position, Since, TopicPosition } from "../../topic/message.ts";
import { type Clock, systemClock } from "../clock.ts";
import type { EngineDeps, EngineLimits, EngineSize } from "../engine.ts";
import { fedAt } from "../fed-entry.ts";
import {
  BatchQueue,
  type FedEntries,
  type Operation,
  type Outcome,
  type PublishOperation,
} from "./batch-queue.ts";
import { OwnedDirectory } from "./directory.ts";
import { Gathering, gatheringMillisecondsMax } from "./gathering.ts";
import { endOf, historyOf, keyStateOf } from "./messages.ts";
import { DiskMeter } from "./meter.ts";
import type { Failure, WorkerAnswer, WorkerQuestion } from "./protocol.ts";
import { settleMilliseconds, WorkerLink } from "./worker-link.ts";

const tickMilliseconds = 250;
const sweepMilliseconds = 1000;

export interface DiskBrokerOptions extends Pick<EngineDeps, "log" | "workerUrl"> {
  readonly directory: string;
  readonly limits: EngineLimits;
  readonly clock?: Clock;
  readonly evicted?: EngineDeps["evicted"];
}

export class DiskBroker implements Broker, EngineSize {
  readonly traits: BrokerTraits = { isShared: false, isInProcess: false, comparisonSeconds: undefined };
  readonly meter = new DiskMeter();
  readonly #options: DiskBrokerOptions;
  readonly #owned: OwnedDirectory;
  readonly #link: WorkerLink;
  #isOpened = false;
  #wasOpened = false;
  #failure: Failure | undefined;
  #sinceTime: number;
  #listener: BrokerListener | undefined;
  readonly #subscribed = new Set<string>();
  readonly #queue = new BatchQueue();
  readonly #gathering = new Gathering();
  /** Ends the gathering where nobody comes any more. */
  #gatheringTimer: Timer | undefined;
  /** The id of the commit in progress, and that of the sweep or 0. */
  #commitId = 0;
  #sweepId = 0;
  /** When the answer to the sweep in progress is late. */
  #sweepDeadline = Number.POSITIVE_INFINITY;
  #isFlushing = false;
  #isClosed = false;
  readonly #timers: Timer[];

  /** @throws {DataDirectoryError} where the directory cannot be used */
  constructor(options: DiskBrokerOptions) {
    this.#options = options;
    const { clock = systemClock, directory, limits, log, workerUrl } = options;
    this.#sinceTime = clock.now();
    this.#owned = new OwnedDirectory(directory, clock.now());
    this.#report();
    this.#link = new WorkerLink({
      ...{ clock, log, workerUrl },
      opening: () => ({ directory, limits, subscribed: [...this.#subscribed] }),
      opened: (answer) => this.#opened(answer),
      lost: (reason) => this.#lost(reason),
      answered: (answer) => this.#answered(answer),
      isAwaited: () => !this.#queue.isEmpty,
    });
    this.#timers = [
      setInterval(() => this.#sweep(), sweepMilliseconds).unref(),
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
    const { position: message, end } = await this.#enqueue({ kind: "publish", topic, publication });
    return { ...(message && { message }), ...(end && { end }) };
  }

  async takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    if (this.#failure) throw this.#unavailable();
    const { record } = await this.#enqueue({ kind: "takeStream", topic, once, writer });
    if (!record) throw new Error("a stream that was taken has a record");
    return record;
  }

  async subscribe(topic: string): Promise<TopicPosition> {
    if (this.#failure?.isGone) throw this.#unavailable();
    this.#subscribed.add(topic);
    const { position, end, time = 0 } = await this.#enqueue({ kind: "subscribe", topic });
    if (!position) throw new Error("a subscribed topic has a position");
    return end ? { ...position, end: endOf(topic, end, time) } : position;
  }

  unsubscribe(topic: string): void {
    if (!this.#subscribed.delete(topic)) return;
    // It waits for the next commit or sweep: nobody waits for it.
    this.#queue.addUnawaited({ kind: "unsubscribe", topic });
  }

  async history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const answer = await this.#read({ kind: "history", topic, since, page });
    return answer.kind === "history" && answer.history ? historyOf(topic, answer.history) : undefined;
  }

  async value(topic: string, key: string): Promise<KeyState | undefined> {
    const answer = await this.#read({ kind: "value", topic, key });
    return answer.kind === "value" && answer.state ? keyStateOf(topic, answer.state) : undefined;
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
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#link.close();
    this.#queue.rejectAll(new BrokerUnavailable("the server has stopped"));
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

  #opened({ sinceTime, usage, formerTopics, failure }: Extract<WorkerAnswer, { kind: "opened" }>): void {
    this.meter.usage = usage;
    if (formerTopics > 0 && !this.#wasOpened)
      this.#options.log.warn(
        { topics: formerTopics },
        "topics begin a new epoch: --keyed was changed, and what they had is deleted",
      );
    this.#isOpened = true;
    this.#sinceTime = sinceTime;
    if (failure) this.#failed(failure);
    else if (this.#wasOpened) this.#recovered();
    this.#wasOpened = true;
    this.#flush();
  }

  /** What was in progress may have been committed. */
  #lost(reason: string): void {
    this.#isOpened = false;
    this.#failed({ reason, isGone: true });
    this.#queue.rejectAll(this.#unavailable());
    this.#endSweep();
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

  #enqueue(operation: Operation): Promise<Outcome> {
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    const outcome = this.#queue.add(operation, performance.now() + settleMilliseconds);
    this.#flushSoon();
    return outcome;
  }

  /**
   * After the event loop has read its sockets: what has arrived by then shares the commit. An answer of the Worker comes before
   * they are read, and the first immediate as well.
   */
  #flushSoon(): void {
    if (this.#isFlushing || this.#queue.isCommitting || this.#queue.waiting === 0 || !this.#isOpened) return;
    this.#isFlushing = true;
    setImmediate(() =>
      setImmediate(() => {
        this.#isFlushing = false;
        this.#flushUnlessGathering();
      }),
    );
  }

  /** Whoever comes meanwhile looks again. */
  #flushUnlessGathering(): void {
    if (!this.#gathering.isGoingOn(this.#queue.waiting, performance.now())) this.#flush();
    else this.#gatheringTimer ??= setTimeout(() => this.#flush(), gatheringMillisecondsMax);
  }

  #flush(): void {
    clearTimeout(this.#gatheringTimer);
    this.#gatheringTimer = undefined;
    if (this.#queue.isCommitting || !this.#isOpened || this.#isClosed) return;
    const batch = this.#queue.begin();
    if (batch) this.#commitId = this.#link.send({ kind: "commit", batch }, [batch.entries.buffer]);
  }

  async #read(question: WorkerQuestion): Promise<WorkerAnswer> {
    if (this.#failure?.isGone) throw this.#unavailable();
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    return await this.#link.ask(question);
  }

  #sweep(): void {
    if (!this.#isOpened || this.#sweepId !== 0) return;
    this.#flushSoon(); // Unsubscriptions that nothing else took along.
    this.#sweepId = this.#link.send({ kind: "sweep" });
    this.#sweepDeadline = performance.now() + settleMilliseconds;
  }

  #answered(answer: WorkerAnswer): void {
    if (answer.kind === "committed") this.#committed(answer);
    else if (answer.kind === "swept") this.#swept(answer);
    else if (answer.kind === "refused") {
      if (answer.id === this.#sweepId) this.#endSweep();
      this.#options.log.error({ reason: answer.failure.reason }, "the disk could not be read");
      if (answer.failure.isGone) this.#failed(answer.failure);
    }
  }

  #committed(answer: Extract<WorkerAnswer, { kind: "committed" }>): void {
    const { id, outcomes, memory, milliseconds, failure } = answer;
    if (id !== this.#commitId) return;
    this.#queue.reuse(memory);
    if (failure) this.#failed(failure);
    else this.#recovered();
    const answered = this.#queue.end(outcomes, {
      unavailable: () => this.#unavailable(),
      announce: (operation, outcome) => this.#announce(operation, outcome),
    });
    this.meter.committed(answered, milliseconds, failure !== undefined);
    this.#gathering.begin({ answered, waiting: this.#queue.waiting, milliseconds }, performance.now());
    this.#flushSoon();
  }

  #announce(operation: PublishOperation, outcome: Outcome): void {
    const { topic, publication } = operation;
    const { drafts } = publication;
    const { position, end, time = 0, fed } = outcome;
    const { epoch, offset } = position ? firstOf(position, drafts.length) : { epoch: "", offset: 0 };
    for (const [index, draft] of drafts.entries())
      this.#listener?.announced({ topic, epoch, offset: offset + index, time, ...draft });
    if (end) this.#listener?.announced(endOf(topic, end, time));
    if (fed && fed.length > 0) this.#announceFed(operation, outcome, fed);
  }

  #announceFed(
    { topic, publication: { drafts } }: PublishOperation,
    { position, end }: Outcome,
    feeds: readonly FedEntries[],
  ): void {
    const entries = end ? [...drafts, undefined] : drafts;
    const first = firstOf((end ?? position) as Position, entries.length);
    const fed = entries.map((entry, index) =>
      fedAt(entry, topic, { ...first, offset: first.offset + index }),
    );
    for (const { topic: feed, epoch, offset: last, time } of feeds) {
      const { offset } = firstOf({ epoch, offset: last }, fed.length);
      for (const [index, draft] of fed.entries())
        this.#listener?.announced({ topic: feed, epoch, offset: offset + index, time, ...draft });
    }
  }

  #swept({ id, usage, failure }: Extract<WorkerAnswer, { kind: "swept" }>): void {
    if (id === this.#sweepId) this.#endSweep();
    if (usage.damage !== undefined && usage.damage !== this.meter.usage.damage)
      this.#options.log.error({ reason: usage.damage }, "a topic cannot be used");
    this.meter.usage = usage;
    const { evicted } = this.#options;
    if (usage.evictedKeys > 0) evicted?.("idempotency_keys", usage.evictedKeys);
    if (usage.evictedPositions > 0) evicted?.("positions", usage.evictedPositions);
    if (failure) this.#failed(failure);
    else this.#recovered();
  }

  /** Settles what has waited too long. What the Worker has may still be committed, and is announced if it is. */
  #giveUp(now: number): void {
    this.#link.giveUpLate(now);
    const late = this.#queue.takeLate(now);
    if (late.length === 0 && now < this.#sweepDeadline) return;
    this.#failed({ reason: `the disk has not answered for ${settleMilliseconds / 1000} s`, isGone: true });
    for (const { reject } of late) reject(this.#unavailable());
  }

  #endSweep(): void {
    this.#sweepId = 0;
    this.#sweepDeadline = Number.POSITIVE_INFINITY;
  }
}
