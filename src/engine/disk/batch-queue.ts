/**
 * Operations that wait for the disk: one batch is being committed, and the next ones are filled. A publication becomes an entry
 * here, once: the Worker gives it its place and writes it as it is. No clock, no Worker.
 */
import { BrokerUnavailable, type Condition, type Publication } from "../../topic/broker.ts";
import type { Position } from "../../topic/message.ts";
import { recordKeyOf } from "../publication-record.ts";
import { bodyOf, EntryWriter, entryKinds } from "./entry.ts";
import { failureAt, type OtherOutcome, type Outcomes } from "./outcomes.ts";
import type { Batch, Takeover } from "./protocol.ts";

/** Bounds of all of them. Past one of them publishing is refused at once. */
const operationsMax = 20_000;
const bytesMax = 64 * 1024 * 1024;

/** Bounds of one batch, so that a commit does not take seconds. */
const batchOperationsMax = 8192;
const batchBytesMax = 8 * 1024 * 1024;

/** Memory that is kept for the next batch. */
const reusedBytesMax = 1024 * 1024;

export interface PublishOperation {
  readonly kind: "publish";
  readonly topic: string;
  readonly publication: Publication;
}

export type Operation =
  | PublishOperation
  | ({ readonly kind: "takeStream"; readonly topic: string } & Takeover)
  /** Brings the topic into being. */
  | { readonly kind: "subscribe"; readonly topic: string }
  | { readonly kind: "unsubscribe"; readonly topic: string };

/** How an operation came out. */
export interface Outcome extends OtherOutcome {
  /** Whether it appended entries, which are to be announced. */
  readonly isNew: boolean;
  /** What it appended to feeds: to each an entry for each of its own. */
  readonly fed?: readonly FedEntries[];
}

/** The position is that of the last entry. */
export interface FedEntries extends Position {
  readonly topic: string;
  readonly time: number;
}

export interface PendingOperation extends PromiseWithResolvers<Outcome> {
  readonly operation: Operation;
  /** When it has waited too long. */
  readonly deadline: number;
  /** The places of its entries, and that of its topic's name. */
  readonly at: number;
  readonly name: number;
  readonly bytes: number;
}

/** What the broker does with the outcomes of a batch. */
interface Settlement {
  /** Why an operation was not done. */
  unavailable(): BrokerUnavailable;
  /** Called before it is settled. */
  announce(operation: PublishOperation, outcome: Outcome): void;
}

const nothing = { contentType: "", data: "" };

/** A batch that is filled. */
class OpenBatch {
  readonly pending: PendingOperation[] = [];
  readonly #writer: EntryWriter;
  readonly #names = new Map<string, number>();
  readonly #keys: Map<number, NonNullable<ReturnType<typeof recordKeyOf>>> = new Map();
  readonly #takeovers = new Map<number, Takeover>();
  readonly #conditions = new Map<number, Condition>();

  constructor(memory: ArrayBuffer | undefined) {
    this.#writer = new EntryWriter(memory);
  }

  get bytes(): number {
    return this.#writer.length;
  }

  get isFull(): boolean {
    return this.pending.length >= batchOperationsMax || this.bytes >= batchBytesMax;
  }

  /** @throws {RangeError} for a message that is larger than a row can be */
  add(operation: Operation, deadline: number): PendingOperation {
    const name = this.#nameOf(operation.topic);
    const at = this.#writer.length;
    this.#write(operation);
    this.#writer.setTopicAt(at, name);
    const bytes = this.#writer.length - at;
    const pending = { operation, deadline, at, name, bytes, ...Promise.withResolvers<Outcome>() };
    this.pending.push(pending);
    return pending;
  }

  /** What the Worker gets. */
  get batch(): Batch {
    return {
      entries: this.#writer.entries.bytes,
      operations: this.pending.length,
      names: [...this.#names.keys()],
      keys: this.#keys,
      takeovers: this.#takeovers,
      conditions: this.#conditions,
    };
  }

  /** Nobody waits for it any more, and it is not to be done. */
  revoke({ at, bytes }: PendingOperation): void {
    const { entries } = this.#writer;
    for (let next = at; next < at + bytes; next = entries.after(next))
      entries.setKindAt(next, entryKinds.void);
  }

  #nameOf(topic: string): number {
    const known = this.#names.get(topic);
    if (known !== undefined) return known;
    this.#names.set(topic, this.#names.size);
    return this.#names.size - 1;
  }

  #write(operation: Operation): void {
    const index = this.pending.length;
    if (operation.kind === "publish") {
      const { topic, publication } = operation;
      const key = recordKeyOf(topic, publication);
      if (key) this.#keys.set(index, key);
      if (publication.condition) this.#conditions.set(index, publication.condition);
      this.#writePublication(publication);
    } else if (operation.kind === "takeStream") {
      const { once, writer } = operation;
      this.#takeovers.set(index, { once, writer });
      this.#writer.write({ kind: entryKinds.takeStream, ...nothing }, true);
    } else if (operation.kind === "subscribe") {
      this.#writer.write({ kind: entryKinds.subscribe, ...nothing }, true);
    } else {
      this.#writer.write({ kind: entryKinds.use, ...nothing }, true);
    }
  }

  #writePublication({ drafts, end = false }: Publication): void {
    const start = this.#writer.length;
    try {
      for (const [index, draft] of drafts.entries())
        this.#writer.write(bodyOf(draft), !end && index === drafts.length - 1);
      if (end) this.#writer.write({ kind: entryKinds.end, ...nothing }, true);
      else if (drafts.length === 0) this.#writer.write({ kind: entryKinds.void, ...nothing }, true);
    } catch (error) {
      this.#writer.length = start;
      throw error;
    }
  }
}

export class BatchQueue {
  /** Those that are filled. The last one takes operations. */
  #open: OpenBatch[] = [];
  #committing: readonly PendingOperation[] = [];
  #operations = 0;
  #bytes = 0;
  /** That of the batch that was committed last, for the next one. */
  #memory: ArrayBuffer | undefined;

  get isCommitting(): boolean {
    return this.#committing.length > 0;
  }

  get isEmpty(): boolean {
    return !this.isCommitting && this.#open.length === 0;
  }

  /** Operations that are not being committed. */
  get waiting(): number {
    return this.#operations - this.#committing.length;
  }

  /** @throws {BrokerUnavailable} past the bounds */
  add(operation: Operation, deadline: number): Promise<Outcome> {
    if (this.#operations >= operationsMax || this.#bytes > bytesMax)
      throw new BrokerUnavailable("too many publications wait for the disk");
    return this.#add(operation, deadline).promise;
  }

  /** Adds an operation that nobody waits for. */
  addUnawaited(operation: Operation): void {
    // The broker reports the failure of a batch, and a damaged topic is reported to whoever asks for it.
    this.#add(operation, Number.POSITIVE_INFINITY).promise.catch(() => undefined);
  }

  get #pending(): PendingOperation[] {
    return [...this.#committing, ...this.#open.flatMap(({ pending }) => pending)];
  }

  #add(operation: Operation, deadline: number): PendingOperation {
    let open = this.#open.at(-1);
    if (!open || open.isFull) {
      open = new OpenBatch(this.#memory);
      this.#memory = undefined;
      this.#open.push(open);
    }
    const pending = addTo(open, operation, deadline);
    this.#operations++;
    this.#bytes += pending.bytes;
    return pending;
  }

  /** Takes the memory of a batch for another one. */
  reuse(memory: ArrayBuffer): void {
    if (memory.byteLength <= reusedBytesMax) this.#memory = memory;
  }

  /** Begins the next commit. @returns undefined if there is nothing to commit */
  begin(): Batch | undefined {
    const next = this.#open.shift();
    if (!next || next.pending.length === 0) return undefined;
    this.#committing = next.pending;
    return next.batch;
  }

  /** Ends it, and settles its operations. @returns their number */
  end(outcomes: Outcomes, { unavailable, announce }: Settlement): number {
    const committed = this.#committing;
    this.#committing = [];
    this.#operations -= committed.length;
    for (const [index, { operation, name, bytes, resolve, reject }] of committed.entries()) {
      this.#bytes -= bytes;
      const error =
        outcomes.codes[index] === 0 ? undefined : failureAt(outcomes, index, operation.topic, unavailable());
      if (error) {
        reject(error);
        continue;
      }
      const outcome = outcomeAt(outcomes, index, operation, name);
      if (outcome.isNew && operation.kind === "publish") announce(operation, outcome);
      resolve(outcome);
    }
    return committed.length;
  }

  /** @returns what has waited too long. It is no longer waited for, but what is being committed may still be done */
  takeLate(now: number): readonly PendingOperation[] {
    const isLate = ({ deadline }: PendingOperation): boolean => deadline <= now;
    for (const open of this.#open)
      for (const pending of open.pending) if (isLate(pending)) open.revoke(pending);
    return this.#pending.filter(isLate);
  }

  rejectAll(error: Error): void {
    for (const { reject } of this.#pending) reject(error);
    this.#committing = [];
    this.#open = [];
    this.#operations = 0;
    this.#bytes = 0;
  }
}

function addTo(open: OpenBatch, operation: Operation, deadline: number): PendingOperation {
  try {
    return open.add(operation, deadline);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new BrokerUnavailable("the message is larger than the disk's file can hold");
  }
}

function outcomeAt(outcomes: Outcomes, index: number, operation: Operation, name: number): Outcome {
  const other = outcomes.others.get(index);
  if (other || operation.kind !== "publish") return { isNew: false, ...other };
  const epoch = outcomes.epochs[name] ?? "";
  const offset = outcomes.offsets[index] ?? 0;
  const { drafts, end = false } = operation.publication;
  return {
    isNew: offset > 0, // Not if it was revoked.
    position: drafts.length > 0 ? { epoch, offset: end ? offset - 1 : offset } : undefined,
    end: end ? { epoch, offset } : undefined,
    time: outcomes.times[index],
    ...(outcomes.fed.length > 0 && { fed: fedEntriesAt(outcomes, index) }),
  };
}

const fedEntriesAt = ({ fed }: Outcomes, index: number): FedEntries[] =>
  fed.flatMap(({ topic, epoch, time, offsets }) => {
    const offset = offsets[index] ?? 0;
    return offset > 0 ? [{ topic, epoch, offset, time }] : [];
  });
