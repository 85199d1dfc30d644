/** What an engine on this machine keeps of a publication with an idempotency key, and what it does at a repetition. */
import {
  type Appended,
  firstOf,
  IdempotencyConflict,
  type Once,
  type Publication,
  type StreamRecord,
  type StreamStep,
  StreamTakenOver,
} from "../topic/broker.ts";
import { fingerprintOf, publicationDigest } from "../topic/digest.ts";

/** Plain data, so that an engine may store it. A single publication has one item, or none where it only ended the topic. */
export interface PublicationRecord extends StreamRecord {
  /** By `fingerprintOf`. */
  readonly fingerprint: string;
  /** The request that may continue the stream; undefined for a publication that is no stream. */
  readonly writer?: string | undefined;
}

/** Where an engine keeps its records. */
export interface Records {
  get(fingerprint: string): PublicationRecord | undefined;
  put(record: PublicationRecord, publisher: string): void;
}

/** By what a repetition of a publication is recognized, and what its record is made of. Plain data. */
export interface RecordKey {
  /** By `fingerprintOf`. */
  readonly fingerprint: string;
  readonly publisher: string;
  readonly digest: string;
  /** The number of messages. */
  readonly messages: number;
  /** For a step of a stream. */
  readonly step?: Pick<StreamStep, "writer" | "items" | "first">;
}

/** @returns undefined for a publication that may be repeated */
export function recordKeyOf(topic: string, publication: Publication): RecordKey | undefined {
  const { step, drafts, once = step?.once } = publication;
  if (!once) return undefined;
  return {
    fingerprint: fingerprintOf(topic, once),
    publisher: once.publisher,
    digest: step?.digest ?? publicationDigest(publication),
    messages: drafts.length,
    ...(step && {
      step: { writer: step.writer, items: step.items, ...(step.first && { first: step.first }) },
    }),
  };
}

/**
 * Appends a publication, unless it is a repetition, and keeps its record.
 * @returns what `append` returns, or else the positions of the first time
 * @throws {IdempotencyConflict}
 * @throws {StreamTakenOver}
 */
export function publishRecorded<Result extends Appended>(
  key: RecordKey | undefined,
  records: Records,
  append: () => Result,
): Result | Appended {
  if (!key) return append();
  const { fingerprint, publisher, digest, messages, step } = key;
  const earlier = records.get(fingerprint);
  // A stream whose record the engine has forgotten goes on.
  if (step && earlier && earlier.writer !== step.writer) throw new StreamTakenOver();
  if (!step && earlier) return repeatedAnswer(earlier, digest);
  const appended = append();
  const { message, end } = appended;
  const first = earlier?.first ?? step?.first ?? (message && firstOf(message, messages));
  const last = message ?? earlier?.last;
  const items = step?.items ?? messages;
  records.put({ fingerprint, digest, items, writer: step?.writer, first, last, end }, publisher);
  return appended;
}

function repeatedAnswer({ digest: earlier, writer, last, end }: PublicationRecord, digest: string): Appended {
  if (writer !== undefined || earlier !== digest) throw new IdempotencyConflict();
  return { message: last, end };
}

/**
 * Makes a writer the only one that may continue a stream, which begins if it has no record.
 * @throws {IdempotencyConflict} if a publication that is no stream had the key
 */
export function takeRecordedStream(
  topic: string,
  once: Once,
  writer: string,
  records: Records,
): PublicationRecord {
  const fingerprint = fingerprintOf(topic, once);
  const earlier = records.get(fingerprint);
  if (earlier && earlier.writer === undefined) throw new IdempotencyConflict();
  const record = { items: 0, digest: "", ...earlier, fingerprint, writer };
  records.put(record, once.publisher);
  return record;
}
