/** From the operations of a batch to its row: each entry gets its place in its topic. */
import { TopicEnded } from "../../topic/broker.ts";
import { type Feed, feedsOf } from "../../topic/feed.ts";
import type { Position } from "../../topic/message.ts";
import { fedAt } from "../fed-entry.ts";
import { publishRecorded, type Records, takeRecordedStream } from "../publication-record.ts";
import type { DataFile } from "./data-file.ts";
import { bodyOf, Entries, type EntryBody, type EntryKind, EntryWriter, entryKinds } from "./entry.ts";
import type { KeyTable } from "./key-table.ts";
import type { KeyedState } from "./keyed-row.ts";
import { type KeyedWriter, keyedDraftAt } from "./keyed-writer.ts";
import type { OldMessages } from "./old-messages.ts";
import { type FedOutcomes, noOutcomes, type Outcomes, setFailure } from "./outcomes.ts";
import type { Batch, Moment } from "./protocol.ts";
import type { SegmentTable } from "./segment-table.ts";
import type { TopicReader } from "./topic-reader.ts";
import type { DiskTopic, TopicTable } from "./topic-table.ts";

export interface BatchWriterDeps {
  readonly file: DataFile;
  readonly topics: TopicTable;
  readonly segments: SegmentTable;
  readonly old: OldMessages;
  readonly keys: KeyTable;
  readonly keyed: KeyedWriter;
  readonly feeds: readonly Feed[];
  readonly reader: TopicReader;
  readonly subscribed: Set<string>;
}

export interface WrittenBatch {
  readonly outcomes: Outcomes;
  readonly entries: Entries;
  /** 0 where nothing was written. */
  readonly seq: number;
}

/** A batch on its way. */
interface Writing {
  readonly batch: Batch;
  readonly entries: Entries;
  readonly outcomes: Outcomes;
  readonly moment: Moment;
  /** Whether an entry has a place, so that the batch is kept. */
  isKept: boolean;
  /** Keyed topics that it changes. Their entries are not in its row. */
  readonly keyed: Set<DiskTopic>;
  /** What it appends to feeds, each entry with its place. */
  fed: EntryWriter | undefined;
}

export class BatchWriter {
  readonly #deps: BatchWriterDeps;

  constructor(deps: BatchWriterDeps) {
    this.#deps = deps;
  }

  /** In a transaction of the caller's, which begins here if there is something to write. */
  write(batch: Batch, moment: Moment): WrittenBatch {
    const entries = new Entries(batch.entries);
    const outcomes = noOutcomes(batch.operations);
    const writing: Writing = {
      ...{ batch, entries, moment, outcomes },
      ...{ isKept: false, keyed: new Set<DiskTopic>(), fed: undefined },
    };
    let index = 0;
    for (let at = 0; at < batch.entries.length; index++) at = this.#operation(writing, index, at);
    return { outcomes: writing.outcomes, ...this.#append(writing) };
  }

  #append({ entries: given, isKept, keyed, fed, moment }: Writing): Omit<WrittenBatch, "outcomes"> {
    for (const topic of keyed) this.#deps.topics.save(topic);
    const entries = keyed.size > 0 ? withoutVoid(given) : given;
    const records = [...this.#deps.keys.changed];
    if (!isKept && records.length === 0) return { entries, seq: 0 };
    this.#deps.file.begin();
    const all = records.length > 0 || fed ? withOthers(entries, fed, records, moment.now) : entries;
    return { entries: all, seq: this.#deps.file.appendBatch(all.bytes, moment.now) };
  }

  /** @returns where the next operation begins */
  #operation(writing: Writing, index: number, at: number): number {
    const { entries, batch, outcomes } = writing;
    let last = at;
    while (!entries.isLastAt(last)) last = entries.after(last);
    const name = batch.names[entries.topicAt(at)] ?? "";
    const run = { at, last, name };
    const kind = entries.kindAt(at);
    try {
      if (kind === entryKinds.subscribe) this.#subscribe(writing, index, run);
      else if (kind === entryKinds.use) this.#unsubscribe(writing, run);
      else if (kind === entryKinds.takeStream) this.#takeStream(writing, index, run);
      else if (kind !== entryKinds.void) this.#publish(writing, index, run);
    } catch (error) {
      setFailure(outcomes, index, error);
      setVoid(entries, run);
    }
    return entries.after(last);
  }

  #publish(writing: Writing, index: number, run: Run): void {
    const { batch, outcomes, moment } = writing;
    const appended = publishRecorded(batch.keys.get(index), this.#records(moment), () =>
      this.#appendRun(writing, index, run),
    );
    if ("time" in appended) {
      outcomes.offsets[index] = (appended.end ?? appended.message)?.offset ?? 0;
      outcomes.times[index] = appended.time;
    } else {
      outcomes.others.set(index, { position: appended.message, end: appended.end });
      setVoid(writing.entries, run);
    }
  }

  /** @throws {TopicEnded} */
  #appendRun(writing: Writing, index: number, run: Run) {
    const { entries, moment, outcomes } = writing;
    const { reader } = this.#deps;
    const known = reader.known(run.name, moment.now);
    if (known?.ended) throw new TopicEnded(run.name, reader.positionOf(known));
    const topic = known ?? this.#create(run.name, moment.now);
    outcomes.epochs[entries.topicAt(run.at)] = reader.epochOf(topic);
    if (topic.keyed) return this.#appendKeyed(writing, index, run, topic, topic.keyed);
    this.#feed(writing, index, run, topic);
    this.#use(topic, moment.now);
    let message: Position | undefined;
    const keepsNone = reader.limitsOf(topic).messages === 0;
    for (let at = run.at; at <= run.last; at = entries.after(at)) {
      if (entries.kindAt(at) !== entryKinds.end) {
        message = this.#appendMessage(topic, entries, at, keepsNone, moment.now);
        continue;
      }
      topic.ended = 1;
      placeAfter(topic, entries, at, moment.now);
    }
    writing.isKept = true;
    return {
      ...(message && { message }),
      ...(topic.ended && { end: reader.positionOf(topic) }),
      time: topic.time,
    };
  }

  /** @throws {ConditionFailed} @throws {KeyAbsent} @throws {TopicFull} */
  #appendKeyed(writing: Writing, index: number, run: Run, topic: DiskTopic, state: KeyedState) {
    const { batch, entries, moment, keyed } = writing;
    const { reader, topics, file, keyed: writer } = this.#deps;
    const places = [...placesOf(entries, run)];
    const ends = entries.kindAt(run.last) === entryKinds.end;
    const drafts = (ends ? places.slice(0, -1) : places).map((at) => keyedDraftAt(entries, at));
    const found = writer.require(topic, state, reader.positionOf(topic), drafts, batch.conditions.get(index));
    this.#feed(writing, index, run, topic);
    file.begin();
    topics.changes(topic);
    keyed.add(topic);
    topic.time = Math.max(moment.now, topic.time);
    topic.used = Math.max(moment.now, topic.used); // When what follows is received: it does not decrease.
    let message: Position | undefined;
    for (const draft of drafts) {
      topic.last++;
      message = reader.positionOf(topic);
      topic.keyed = writer.append(topic, topic.keyed ?? state, entries, draft, found);
    }
    if (ends) topic.ended = 1;
    setVoid(entries, run);
    return { ...(message && { message }), ...(ends && { end: reader.positionOf(topic) }), time: topic.time };
  }

  #appendMessage(topic: DiskTopic, entries: Entries, at: number, keepsNone: boolean, now: number): Position {
    topic.last++;
    if (keepsNone) {
      entries.setKindAt(at, entryKinds.passed);
      topic.dropped = topic.last;
      topic.droppedTime = now;
    }
    placeAfter(topic, entries, at, now);
    return this.#deps.reader.positionOf(topic);
  }

  /** A topic to which something is appended now. */
  #use(topic: DiskTopic, now: number): void {
    this.#deps.file.begin();
    this.#deps.topics.changes(topic);
    topic.time = Math.max(now, topic.time); // A clock that was set back must not make a topic's time decrease.
    topic.used = now;
  }

  /**
   * Appends what is about to be appended to a topic to its feeds. It is made here, because the ids are known only here.
   * @throws {DamagedData} of a feed, before anything is changed
   */
  #feed(writing: Writing, index: number, run: Run, origin: DiskTopic): void {
    const names = feedsOf(this.#deps.feeds, run.name);
    if (names.length === 0) return;
    const { entries, outcomes, moment } = writing;
    const { reader } = this.#deps;
    const feeds = names.map((name) => this.#feedTopic(name, moment.now));
    writing.fed ??= new EntryWriter();
    const epoch = reader.epochOf(origin);
    let offset = origin.last;
    for (const at of placesOf(entries, run)) {
      const body = fedBodyAt(entries, at, run.name, { epoch, offset: ++offset });
      for (const feed of feeds) this.#appendFed(writing.fed, body, feed, moment.now);
    }
    writing.isKept = true;
    for (const feed of feeds) this.#fedOf(outcomes, feed).offsets[index] = feed.last;
  }

  #appendFed(fed: EntryWriter, body: EntryBody, feed: DiskTopic, now: number): void {
    const keepsNone = this.#deps.reader.limitsOf(feed).messages === 0;
    const at = fed.write(body, true);
    this.#use(feed, now);
    this.#appendMessage(feed, fed.entries, at, keepsNone, now);
  }

  #fedOf({ fed, codes }: Outcomes, feed: DiskTopic): FedOutcomes {
    const { name: topic, time } = feed;
    const known = fed.find((outcomes) => outcomes.topic === topic);
    if (known) return known;
    const epoch = this.#deps.reader.epochOf(feed);
    const outcomes = { topic, epoch, time, offsets: new Float64Array(codes.length) };
    fed.push(outcomes);
    return outcomes;
  }

  /** A topic that had ended before it was made a feed begins anew: nothing follows an end. */
  #feedTopic(name: string, now: number): DiskTopic {
    const known = this.#deps.reader.known(name, now);
    return known && !known.ended ? known : this.#create(name, now);
  }

  #takeStream({ batch, outcomes, entries, moment }: Writing, index: number, run: Run): void {
    const takeover = batch.takeovers.get(index);
    if (!takeover) throw new Error("a stream that is taken over has a key and a writer");
    const record = takeRecordedStream(run.name, takeover.once, takeover.writer, this.#records(moment));
    outcomes.others.set(index, { record });
    setVoid(entries, run);
  }

  /** The entry stays as it is: if the commit fails, a topic that exists can still be subscribed to. */
  #subscribe({ outcomes, moment }: Writing, index: number, run: Run): void {
    const { reader, subscribed } = this.#deps;
    // The epoch is on disk before its first subscriber knows of it.
    const topic = reader.known(run.name, moment.now) ?? this.#create(run.name, moment.now);
    subscribed.add(run.name);
    const position = reader.topicPositionOf(topic);
    outcomes.others.set(index, { position, end: position.end, time: topic.time });
  }

  #unsubscribe(writing: Writing, run: Run): void {
    const { entries, moment } = writing;
    const { reader, topics, subscribed } = this.#deps;
    const topic = subscribed.has(run.name) ? reader.known(run.name, moment.now) : undefined;
    subscribed.delete(run.name);
    if (!topic) {
      setVoid(entries, run);
      return;
    }
    topics.changes(topic);
    topic.used = moment.now;
    if (topic.keyed) {
      this.#deps.file.begin();
      writing.keyed.add(topic);
      setVoid(entries, run);
      return;
    }
    placeAfter(topic, entries, run.at, moment.now);
    writing.isKept = true;
  }

  /** A topic that is expired begins anew, as one that is of another kind now. */
  #create(name: string, now: number): DiskTopic {
    const { topics, segments, old, file } = this.#deps;
    file.begin();
    const expired = topics.byName(name);
    if (expired) {
      segments.deleteOf(expired, expired.last);
      old.deleteOf(expired, expired.last);
      topics.delete(expired);
    }
    return topics.create(name, now);
  }

  #records(moment: Moment): Records {
    return {
      get: (fingerprint) => this.#deps.keys.get(fingerprint, moment),
      put: (record, publisher) => this.#deps.keys.put(record, publisher),
    };
  }
}

/** The entries of one operation: where the first and the last begin, and the name of their topic. */
interface Run {
  readonly at: number;
  readonly last: number;
  readonly name: string;
}

function* placesOf(entries: Entries, { at, last }: Run): Generator<number> {
  for (let next = at; next <= last; next = entries.after(next)) yield next;
}

/** Gives an entry the place that its topic has come to. */
function placeAfter({ id, last, ended, time }: DiskTopic, entries: Entries, at: number, now: number): void {
  entries.placeAt(at, { topic: id, offset: last + ended, time, received: now });
}

/** What a feed gets of an entry that is to have a position. */
function fedBodyAt(entries: Entries, at: number, origin: string, position: Position): EntryBody {
  const kind = entries.kindAt(at);
  const fed = fedAt(kind === entryKinds.end ? undefined : entries.draftAt(at), origin, position);
  // A notice is text, and a message is what it was: its data is not decoded.
  return typeof fed.data === "string" ? bodyOf(fed) : { ...bodyOf(fed), kind: kind as EntryKind };
}

function setVoid(entries: Entries, run: Run): void {
  for (const at of placesOf(entries, run)) entries.setKindAt(at, entryKinds.void);
}

function withoutVoid(entries: Entries): Entries {
  const writer = new EntryWriter();
  for (const at of entries.places())
    if (entries.kindAt(at) !== entryKinds.void)
      writer.copy(entries.bytes.subarray(at, at + entries.lengthAt(at)));
  return writer.entries;
}

/** The entries of feeds and the records of idempotency keys have no operation of their own. */
function withOthers(
  entries: Entries,
  fed: EntryWriter | undefined,
  records: readonly object[],
  received: number,
): Entries {
  const writer = new EntryWriter();
  writer.copy(entries.bytes);
  if (fed) writer.copy(fed.entries.bytes);
  for (const record of records) {
    const data = JSON.stringify(record);
    const at = writer.write({ kind: entryKinds.record, contentType: "", data }, true);
    writer.entries.setReceivedAt(at, received);
  }
  return writer.entries;
}
