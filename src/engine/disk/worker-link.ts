/** The Worker: it is started, asked, given up where its answer is late, and started again where it ends. */
import type { Logger } from "../../log.ts";
import { BrokerUnavailable } from "../../topic/broker.ts";
import type { Clock } from "../clock.ts";
import type { StoreOptions, WorkerAnswer, WorkerQuestion } from "./protocol.ts";

/** The contract allows 3 s; what is late is looked for in between. */
export const settleMilliseconds = 2500;

/** Questions that the Worker has not answered. */
const questionsMax = 20_000;

const restartMilliseconds = 500;

/** The contract allows 1 s to settle what is in flight. */
const closeMilliseconds = 1000;

/** Bun's Worker can be left out of what keeps a process alive. */
type DiskWorker = Worker & { ref(): void; unref(): void };

interface Asked extends PromiseWithResolvers<WorkerAnswer> {
  readonly deadline: number;
}

export interface WorkerLinkDeps {
  readonly workerUrl: URL;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the Worker opens. */
  opening(): StoreOptions;
  opened(answer: Extract<WorkerAnswer, { kind: "opened" }>): void;
  /** It has ended, or cannot open the directory. What was sent may have been done. */
  lost(reason: string): void;
  /** The answer to what was sent. */
  answered(answer: WorkerAnswer): void;
  /** Whether it owes an answer to what was sent. */
  isAwaited(): boolean;
}

export class WorkerLink {
  readonly #deps: WorkerLinkDeps;
  #worker: DiskWorker | undefined;
  readonly #asked = new Map<number, Asked>();
  #lastId = 0;
  #restart: Timer | undefined;
  #isClosed = false;

  constructor(deps: WorkerLinkDeps) {
    this.#deps = deps;
    this.#start();
  }

  /**
   * Sends something whose answer comes by `answered`.
   * @param transferred memory that becomes the Worker's, and is not copied
   * @returns the answer's id
   */
  send(question: WorkerQuestion, transferred: ArrayBuffer[] = []): number {
    const id = ++this.#lastId;
    const { clock } = this.#deps;
    this.#worker?.ref(); // A program that waits for its publication must not end before.
    const moment = { now: clock.now(), monotonic: clock.monotonic() };
    this.#worker?.postMessage({ ...question, ...moment, id }, transferred);
    return id;
  }

  /** @throws {BrokerUnavailable} */
  async ask(question: WorkerQuestion): Promise<WorkerAnswer> {
    if (this.#asked.size >= questionsMax) throw new BrokerUnavailable("too many reads wait for the disk");
    return await this.#ask(question, performance.now() + settleMilliseconds);
  }

  /** Reads that are late are only too many: the Worker serves them last. */
  giveUpLate(now: number): void {
    for (const [id, { deadline, reject }] of this.#asked) {
      if (deadline > now) continue;
      this.#asked.delete(id);
      reject(new BrokerUnavailable("the disk has too much to read"));
    }
  }

  /** Ends the Worker when it has answered what it was asked before and closed its files, or after a second. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#restart);
    if (this.#worker) await this.#filesClosed(this.#worker);
    this.#rejectAll(new BrokerUnavailable("the server has stopped"));
    this.#worker?.terminate();
  }

  async #filesClosed(worker: DiskWorker): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const timer = setTimeout(resolve, closeMilliseconds);
    worker.addEventListener("close", resolve);
    this.#ask({ kind: "close" }, Number.POSITIVE_INFINITY).then(resolve, resolve); // A refusal is logged.
    await promise;
    clearTimeout(timer);
  }

  #ask(question: WorkerQuestion, deadline: number): Promise<WorkerAnswer> {
    const asked = { deadline, ...Promise.withResolvers<WorkerAnswer>() };
    this.#asked.set(this.send(question), asked);
    return asked.promise;
  }

  #start(): void {
    const worker = new Worker(this.#deps.workerUrl) as DiskWorker;
    this.#worker = worker;
    worker.unref();
    worker.onmessage = ({ data }: MessageEvent<WorkerAnswer>) => this.#answered(data);
    worker.onerror = (event) => this.#ended(worker, event.message);
    worker.addEventListener("close", () => this.#ended(worker, "its Worker ended"));
    this.#open();
  }

  #open(): void {
    this.#ask({ kind: "open", ...this.#deps.opening() }, Number.POSITIVE_INFINITY).then(
      (answer) => {
        if (answer.kind === "opened") this.#deps.opened(answer);
      },
      (error: BrokerUnavailable) => {
        if (this.#isClosed || !this.#worker) return;
        this.#deps.lost(error.reason);
        this.#restart = setTimeout(() => this.#open(), restartMilliseconds);
      },
    );
  }

  #ended(worker: DiskWorker, reason: string): void {
    if (this.#isClosed || worker !== this.#worker) return;
    this.#worker = undefined;
    const words = `the disk's Worker ended: ${reason}`;
    this.#deps.lost(words);
    this.#rejectAll(new BrokerUnavailable(words));
    worker.terminate();
    this.#restart = setTimeout(() => this.#start(), restartMilliseconds);
  }

  #answered(answer: WorkerAnswer): void {
    const asked = this.#asked.get(answer.id);
    if (!asked) {
      this.#deps.answered(answer);
    } else {
      this.#asked.delete(answer.id);
      if (answer.kind === "refused") {
        this.#deps.answered(answer);
        asked.reject(new BrokerUnavailable(answer.failure.reason));
      } else asked.resolve(answer);
    }
    if (this.#asked.size === 0 && !this.#deps.isAwaited()) this.#worker?.unref();
  }

  #rejectAll(error: Error): void {
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
  }
}
