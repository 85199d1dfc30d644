/** Operations that wait for the disk: one transaction in progress, and those that are the next. No clock, no Worker. */
import { BrokerUnavailable } from "../../topic/broker.ts";
import type { Outcome } from "./outcomes.ts";
import type { Operation } from "./protocol.ts";

/** Bounds of all of them. Past one of them publishing is refused at once. */
const operationsMax = 20_000;
const bytesMax = 64 * 1024 * 1024;

/** Bounds of one transaction, so that it does not take seconds. */
const batchOperationsMax = 8192;
const batchBytesMax = 8 * 1024 * 1024;

export interface PendingCommit extends PromiseWithResolvers<Outcome> {
  readonly operation: Operation;
  readonly bytes: number;
  /** When it has waited too long. */
  readonly deadline: number;
}

export class CommitQueue {
  #waiting: PendingCommit[] = [];
  #batch: readonly PendingCommit[] = [];
  #bytes = 0;

  get isCommitting(): boolean {
    return this.#batch.length > 0;
  }

  get isEmpty(): boolean {
    return !this.isCommitting && this.#waiting.length === 0;
  }

  /** @throws {BrokerUnavailable} past the bounds */
  add(operation: Operation, bytes: number, deadline: number): Promise<Outcome> {
    if (
      this.#waiting.length + this.#batch.length >= operationsMax ||
      (this.#bytes > 0 && this.#bytes + bytes > bytesMax)
    )
      throw new BrokerUnavailable("too many publications wait for the disk");
    this.#bytes += bytes;
    return this.#push(operation, bytes, deadline);
  }

  /** Adds an operation that nobody waits for. */
  addUnawaited(operation: Operation): void {
    // A failure is that of the whole transaction, which the broker reports.
    this.#push(operation, 0, Number.POSITIVE_INFINITY).catch(() => undefined);
  }

  #push(operation: Operation, bytes: number, deadline: number): Promise<Outcome> {
    const pending = { operation, bytes, deadline, ...Promise.withResolvers<Outcome>() };
    this.#waiting.push(pending);
    return pending.promise;
  }

  /** Begins the next transaction. @returns its operations, of which there may be none */
  begin(): readonly Operation[] {
    let bytes = 0;
    const surplus = this.#waiting.findIndex((pending, index) => {
      bytes += pending.bytes;
      return index >= batchOperationsMax || (index > 0 && bytes > batchBytesMax);
    });
    this.#batch = this.#waiting.splice(0, surplus === -1 ? this.#waiting.length : surplus);
    return this.#batch.map(({ operation }) => operation);
  }

  /** Ends the transaction. @returns what it had, to be settled */
  end(): readonly PendingCommit[] {
    const batch = this.#batch;
    this.#batch = [];
    for (const { bytes } of batch) this.#bytes -= bytes;
    return batch;
  }

  /** @returns what has waited too long. It is no longer waited for, but it may still be committed */
  takeLate(now: number): readonly PendingCommit[] {
    const isLate = ({ deadline }: PendingCommit): boolean => deadline <= now;
    const late = this.#waiting.filter(isLate);
    for (const { bytes } of late) this.#bytes -= bytes;
    if (late.length > 0) this.#waiting = this.#waiting.filter((pending) => !isLate(pending));
    return [...this.#batch.filter(isLate), ...late];
  }

  rejectAll(error: Error): void {
    for (const { reject } of [...this.#batch, ...this.#waiting]) reject(error);
    this.#batch = [];
    this.#waiting = [];
    this.#bytes = 0;
  }
}
