/**
 * The Worker of the engine on disk: an fsync takes 0.4 to 7 ms, and would hold up every connection on the main thread.
 * It answers one request after the other. A store that failed is closed and opened again, once its log is on the disk again.
 */
import { FileGone } from "./data-file.ts";
import { identityOf, messageOf, rewriteLog } from "./directory.ts";
import { Entries, entryKinds } from "./entry.ts";
import { noOutcomes, type Outcomes, outcomes } from "./outcomes.ts";
import {
  type Batch,
  emptyUsage,
  type Failure,
  type Moment,
  type StoreOptions,
  type WorkerAnswer,
  type WorkerRequest,
} from "./protocol.ts";
import { isFull, releaseReserve, requireReserve } from "./reserve.ts";
import { codeOf, DamagedData } from "./schema.ts";
import { Store } from "./store.ts";

declare const self: Worker;

/** Pause between two slices of retention, in which others are served. */
const betweenSlicesMilliseconds = 5;

let opening: StoreOptions | undefined;
let store: Store | undefined;
let failure: Failure | undefined;
let nextSlice: Timer | undefined;

/** Whether parts of the write-ahead log may not be on the disk: after a failed sync, maybe of an earlier process. */
let isLogInDoubt = true;

/** Reads wait while there is something to commit: a crowd of readers must not hold up publishers. */
const reads: { readonly request: WorkerRequest; readonly sinceMilliseconds: number }[] = [];

/** The node has given up a read that waited for so long. */
const readWaitMilliseconds = 2500;

/** Reads are served for so long, then what has come meanwhile is committed. */
const readSliceMilliseconds = 5;

self.onmessage = ({ data: request }: MessageEvent<WorkerRequest>) => {
  if (!isRead(request)) {
    reply(request);
    if (request.kind === "commit") mergeSlice(request.now);
    return;
  }
  reads.push({ request, sinceMilliseconds: performance.now() });
  if (reads.length === 1) setImmediate(serveReads);
};

const isRead = ({ kind }: WorkerRequest): boolean =>
  kind === "history" || kind === "value" || kind === "positions" || kind === "inspect";

function serveReads(): void {
  const end = performance.now() + readSliceMilliseconds;
  while (reads.length > 0 && performance.now() < end) {
    const { request, sinceMilliseconds } = reads.shift() ?? {};
    if (
      request &&
      sinceMilliseconds !== undefined &&
      performance.now() < sinceMilliseconds + readWaitMilliseconds
    )
      reply(request);
  }
  if (reads.length > 0) setImmediate(serveReads);
}

function reply(request: WorkerRequest): void {
  const answer = answerTo(request);
  self.postMessage(answer, transferredOf(answer));
}

/** The memory of messages becomes the node's, and is not copied. */
function transferredOf(answer: WorkerAnswer): ArrayBuffer[] {
  if (answer.kind === "committed") return [answer.memory];
  return answer.kind === "history" && answer.history ? [answer.history.entries.buffer] : [];
}

function answerTo(request: WorkerRequest): WorkerAnswer {
  const { id } = request;
  try {
    switch (request.kind) {
      case "open":
        opening = request;
        return open(id, request);
      case "commit":
        return commit(id, request.batch, request);
      case "history": {
        const { topic, since, page, now } = request;
        return { id, kind: "history", history: opened(request).history(topic, since, page, now) };
      }
      case "value":
        return {
          id,
          kind: "value",
          state: opened(request).value(request.topic, request.key, request.now),
        };
      case "positions":
        return {
          id,
          kind: "positions",
          positions: opened(request).positions(request.topics, request.now),
        };
      case "inspect":
        return { id, kind: "inspected", topics: opened(request).inspect(request.topics, request.now) };
      case "sweep":
        return sweep(id, request);
      case "close":
        clearTimeout(nextSlice);
        reads.length = 0; // They would open the files again.
        store?.close();
        store = undefined;
        return { id, kind: "closed" };
    }
  } catch (error) {
    return { id, kind: "refused", failure: failed(error) };
  }
}

function open(id: number, request: StoreOptions & Moment): WorkerAnswer {
  const { sinceTime, formerCount: formerTopics } = openedForWriting(request);
  const usage = opened(request).usage();
  try {
    requireReserve(request.directory);
    failure = undefined;
  } catch (error) {
    failure = failed(error);
  }
  return { id, kind: "opened", sinceTime, usage, formerTopics, failure };
}

function opened(moment: Moment): Store {
  if (!opening) throw new Error("the Worker was asked before it was told to open a directory");
  store ??= new Store(opening, moment);
  return store;
}

/** Until the log is on the disk again, a store that failed serves reads: it shows only what was synced before. */
function openedForWriting(moment: Moment): Store {
  if (opening && isLogInDoubt) {
    try {
      rewriteLog(opening.directory);
    } catch (error) {
      throw new Error(`disk I/O error: the write-ahead log cannot be written again: ${messageOf(error)}`);
    }
    isLogInDoubt = false;
    discard();
  }
  return opened(moment);
}

function commit(id: number, batch: Batch, moment: Moment): WorkerAnswer {
  const began = performance.now();
  const memory = batch.entries.buffer;
  try {
    const current = openedForWriting(moment);
    requireReserve(opening?.directory ?? "");
    const outcomes = current.commit(batch, moment);
    failure = undefined;
    return { id, kind: "committed", outcomes, memory, milliseconds: performance.now() - began };
  } catch (error) {
    failure = failed(error);
    const outcomes = withoutWriting(batch, moment);
    return { id, kind: "committed", outcomes, memory, milliseconds: performance.now() - began, failure };
  }
}

/** Subscribers of topics that exist need no write. */
function withoutWriting(batch: Batch, moment: Moment): Outcomes {
  const results = noOutcomes(batch.operations);
  const entries = new Entries(batch.entries);
  let index = 0;
  for (const at of entries.places()) {
    const isSubscription = entries.kindAt(at) === entryKinds.subscribe && !failure?.isGone;
    const name = batch.names[entries.topicAt(at)] ?? "";
    if (!isSubscription || !subscribeWithoutWriting(results, index, name, moment))
      results.codes[index] = outcomes.failed;
    if (entries.isLastAt(at)) index++;
  }
  return results;
}

/** @returns whether the topic exists and can be read */
function subscribeWithoutWriting(
  { others }: Outcomes,
  index: number,
  name: string,
  { now }: Moment,
): boolean {
  try {
    const position = store?.existing(name, now);
    if (!position) return false;
    store?.subscribed.add(name);
    others.set(index, { position, end: position.end, time: position.end?.time });
    return true;
  } catch (error) {
    others.set(index, { reason: messageOf(error) });
    return false;
  }
}

/** In the time in which the node handles the answer. */
function mergeSlice(now: number): void {
  try {
    if (!isLogInDoubt && store?.isMergeDue(now)) store.mergeSlice(now);
  } catch (error) {
    failure = failed(error);
  }
}

function sweep(id: number, moment: Moment): WorkerAnswer {
  try {
    const current = openedForWriting(moment);
    if (current.sweep(moment)) sweepOn(moment);
    requireReserve(opening?.directory ?? "");
    if (failure) current.probe(moment.now);
    if (current.isAlone) discard(); // There is room for other programs again.
    failure = undefined;
  } catch (error) {
    failure = failed(error);
  }
  const usage = store?.usage() ?? emptyUsage;
  return failure ? { id, kind: "swept", usage, failure } : { id, kind: "swept", usage };
}

/** Goes on in slices while there is a backlog, between the requests of others. The next sweep takes over. */
function sweepOn(moment: Moment): void {
  const began = performance.now();
  clearTimeout(nextSlice);
  nextSlice = setTimeout(() => {
    const passed = performance.now() - began;
    const { now, monotonic } = moment;
    try {
      const later = { now: now + passed, monotonic: monotonic + passed };
      if (!isLogInDoubt && store?.sweep({ now: Math.floor(later.now), monotonic: later.monotonic }))
        sweepOn(later);
    } catch (error) {
      failure = failed(error);
    }
  }, betweenSlicesMilliseconds);
}

/** Errors after which the file is as it was, and SQLite can go on with it. */
const harmless = ["SQLITE_BUSY", "SQLITE_READONLY"];

function failed(error: unknown): Failure {
  const code = codeOf(error);
  const isGone = error instanceof FileGone || !isReachable();
  if (isFull(error)) {
    if (opening) releaseReserve(opening.directory);
  } else if (code.startsWith("SQLITE_IOERR")) {
    isLogInDoubt = true;
  } else if (
    !isGone &&
    !isLogInDoubt &&
    !(error instanceof DamagedData) &&
    !harmless.some((known) => code.startsWith(known))
  ) {
    discard();
  }
  return { reason: reasonOf(error, code, isGone), isGone };
}

function reasonOf(error: unknown, code: string, isGone: boolean): string {
  const message = code === "" ? messageOf(error) : `${messageOf(error)} (${code})`;
  return isGone && !(error instanceof FileGone)
    ? `${opening?.directory} was removed or cannot be reached: ${message}`
    : message;
}

function isReachable(): boolean {
  try {
    return opening !== undefined && identityOf(opening.directory) !== undefined;
  } catch {
    return false; // The reason is in the error that led here.
  }
}

/** SQLite does not say what a file is like after an error. Opening it again finds out. */
function discard(): void {
  const broken = store;
  if (!broken) return;
  if (opening) opening = { ...opening, subscribed: [...broken.subscribed] };
  store = undefined;
  try {
    broken.close();
  } catch (error) {
    console.error("longwire: a data file that failed could not be closed:", error);
  }
}
