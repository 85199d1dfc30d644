/**
 * Entries as bytes: one form from the publication to the batch, the segment and the reader. Numbers are little-endian.
 *
 *   0  uint32  length of the whole entry
 *   4  uint8   kind
 *   5  uint8   1 for the last entry of its operation, else 0
 *   6  uint16  length of the content type
 *   8  uint32  length of the attributes
 *  12  uint64  number of the topic
 *  20  uint64  offset
 *  28  uint64  time
 *  36  uint64  when it was received, by the clock
 *  44  content type, attributes in JSON (none where their length is 0), data: the rest
 */
import type { Attributes } from "../../topic/attributes.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Message } from "../../topic/message.ts";

export const entryKinds = {
  /** An operation that wrote nothing, or was refused. */
  void: 0,
  text: 1,
  binary: 2,
  end: 3,
  /** The topic was used: its position lives for its age from then on. */
  use: 4,
  /** A `StoredRecord` of an idempotency key, in JSON. */
  record: 5,
  /** A message of a topic that keeps none. */
  passed: 6,
  /** On the way to the Worker: it writes nothing of them. */
  subscribe: 7,
  takeStream: 8,
} as const;

export type EntryKind = (typeof entryKinds)[keyof typeof entryKinds];

const headerBytes = 44;

const placed: ReadonlySet<number> = new Set([
  ...[entryKinds.text, entryKinds.binary, entryKinds.passed],
  ...[entryKinds.end, entryKinds.use],
]);

/** Whether entries of a kind belong to a topic. Others are passed over. */
export const hasPlace = (kind: number): boolean => placed.has(kind);

/** SQLite takes 10^9 bytes in a row. */
const entryBytesMax = 900_000_000;

const high = 2 ** 32;
/** A `TextDecoder` takes ten times as long for a few bytes. */
const textOf = (bytes: Uint8Array): string => Buffer.prototype.toString.call(bytes);

/** A run of entries: a batch, a segment, a part of one, or a page of history. */
export class Entries {
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array<ArrayBuffer>) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  lengthAt(at: number): number {
    return this.#view.getUint32(at, true);
  }

  kindAt(at: number): number {
    return this.#view.getUint8(at + 4);
  }

  setKindAt(at: number, kind: EntryKind): void {
    this.#view.setUint8(at + 4, kind);
  }

  isLastAt(at: number): boolean {
    return this.#view.getUint8(at + 5) === 1;
  }

  topicAt(at: number): number {
    return this.#numberAt(at + 12);
  }

  offsetAt(at: number): number {
    return this.#numberAt(at + 20);
  }

  timeAt(at: number): number {
    return this.#numberAt(at + 28);
  }

  receivedAt(at: number): number {
    return this.#numberAt(at + 36);
  }

  /** Gives an entry its place. */
  placeAt(at: number, { topic, offset, time, received }: EntryPlace): void {
    this.#setNumberAt(at + 12, topic);
    this.#setNumberAt(at + 20, offset);
    this.#setNumberAt(at + 28, time);
    this.#setNumberAt(at + 36, received);
  }

  setReceivedAt(at: number, received: number): void {
    this.#setNumberAt(at + 36, received);
  }

  /** The bytes of content type, attributes and data. */
  bodyBytesAt(at: number): number {
    return this.lengthAt(at) - headerBytes;
  }

  dataAt(at: number): Uint8Array<ArrayBuffer> {
    const start = at + headerBytes + this.#view.getUint16(at + 6, true) + this.#view.getUint32(at + 8, true);
    return this.bytes.subarray(start, at + this.lengthAt(at));
  }

  /** @returns undefined where there are none */
  attributesAt(at: number): Attributes | undefined {
    const start = at + headerBytes + this.#view.getUint16(at + 6, true);
    const end = start + this.#view.getUint32(at + 8, true);
    return end > start ? JSON.parse(textOf(this.bytes.subarray(start, end))) : undefined;
  }

  /** What it carries, with its data as it is. */
  draftAt(at: number): Draft {
    const start = at + headerBytes;
    return {
      contentType: textOf(this.bytes.subarray(start, start + this.#view.getUint16(at + 6, true))),
      attributes: this.attributesAt(at),
      data: this.dataAt(at),
    };
  }

  messageAt(at: number, topic: string, epoch: string): Message {
    const contentTypeEnd = at + headerBytes + this.#view.getUint16(at + 6, true);
    const attributesEnd = contentTypeEnd + this.#view.getUint32(at + 8, true);
    const data = this.bytes.subarray(attributesEnd, at + this.lengthAt(at));
    return {
      topic,
      epoch,
      offset: this.offsetAt(at),
      time: this.timeAt(at),
      data: this.kindAt(at) === entryKinds.text ? textOf(data) : data.slice(),
      contentType: textOf(this.bytes.subarray(at + headerBytes, contentTypeEnd)),
      ...(attributesEnd > contentTypeEnd && {
        attributes: JSON.parse(textOf(this.bytes.subarray(contentTypeEnd, attributesEnd))),
      }),
    };
  }

  /** The places of all entries. @throws an error where the lengths do not lead to the end */
  *places(): Generator<number> {
    for (let at = 0; at < this.bytes.length; at = this.after(at)) yield at;
  }

  /** The place after an entry. @throws an error where its length cannot be right */
  after(at: number): number {
    const left = this.bytes.length - at;
    const length = left < headerBytes ? 0 : this.lengthAt(at);
    if (length < headerBytes || length > left) throw new Error(`an entry at byte ${at} has no end`);
    return at + length;
  }

  #numberAt(at: number): number {
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * high;
  }

  #setNumberAt(at: number, value: number): void {
    this.#view.setUint32(at, value % high, true);
    this.#view.setUint32(at + 4, Math.floor(value / high), true);
  }
}

export interface EntryPlace {
  readonly topic: number;
  readonly offset: number;
  /** In milliseconds since 1970, as is the next. It never decreases within a topic. */
  readonly time: number;
  readonly received: number;
}

/** What an entry carries beside its place. */
export interface EntryBody extends Pick<Draft, "data" | "contentType"> {
  readonly kind: EntryKind;
  /** In JSON; undefined for none. */
  readonly attributes?: string | undefined;
}

export const bodyOf = ({ data, contentType, attributes }: Draft): EntryBody => ({
  ...{ kind: typeof data === "string" ? entryKinds.text : entryKinds.binary, contentType, data },
  attributes: attributes && JSON.stringify(attributes),
});

/** Writes entries one after the other into a buffer that grows. */
export class EntryWriter {
  #bytes: Buffer<ArrayBuffer>;
  #view: DataView;
  length = 0;

  /** @param memory used before: new memory costs page faults */
  constructor(memory = new ArrayBuffer(4096)) {
    this.#bytes = Buffer.from(memory);
    this.#view = new DataView(memory);
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  /** What was written. Valid until more is. */
  get entries(): Entries {
    return new Entries(this.#bytes.subarray(0, this.length));
  }

  /**
   * @param isLast whether it is the last entry of its operation
   * @returns its place
   * @throws {RangeError} for an entry that is larger than a row can be
   */
  write({ kind, contentType, attributes, data }: EntryBody, isLast: boolean): number {
    const at = this.length;
    this.#require(headerBytes + bytesFor(contentType) + bytesFor(attributes ?? "") + bytesFor(data));
    const contentTypeBytes = this.#bytes.write(contentType, at + headerBytes);
    let end = at + headerBytes + contentTypeBytes;
    const attributesBytes = attributes === undefined ? 0 : this.#bytes.write(attributes, end);
    end += attributesBytes;
    if (typeof data === "string") end += this.#bytes.write(data, end);
    else {
      this.#bytes.set(data, end);
      end += data.length;
    }
    this.#bytes.fill(0, at, at + headerBytes);
    this.#view.setUint32(at, end - at, true);
    this.#view.setUint8(at + 4, kind);
    this.#view.setUint8(at + 5, isLast ? 1 : 0);
    this.#view.setUint16(at + 6, contentTypeBytes, true);
    this.#view.setUint32(at + 8, attributesBytes, true);
    this.length = end;
    return at;
  }

  /** Copies entries as they are. @returns the place of the first */
  copy(bytes: Uint8Array<ArrayBuffer>): number {
    const at = this.length;
    this.#require(bytes.length);
    this.#bytes.set(bytes, at);
    this.length = at + bytes.length;
    return at;
  }

  setKindAt(at: number, kind: EntryKind): void {
    this.#view.setUint8(at + 4, kind);
  }

  setTopicAt(at: number, topic: number): void {
    this.#view.setUint32(at + 12, topic, true);
  }

  #require(bytes: number): void {
    const needed = this.length + bytes;
    if (bytes > entryBytesMax) throw new RangeError("the message is larger than a row can be");
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.length);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

/** At least the bytes of a text in UTF-8: to count those of a short one costs more than room for all it could have. */
function bytesFor(data: Draft["data"]): number {
  if (typeof data !== "string") return data.length;
  return data.length < 16_384 ? 3 * data.length : Buffer.byteLength(data);
}

/**
 * Frees the memory of bytes that nobody uses any more. Garbage collection would free that of many reads at once, long after,
 * and the allocator gives so much back to the system: each read then paid for new pages, which was more than half of its time.
 */
export function freeMemory({ buffer }: Uint8Array<ArrayBuffer>): void {
  buffer.transfer(0);
}

/** CRC-32 of words that spaces separate, and of the bytes after them. Never 0: rows that schema 1 wrote have that. */
export function checksumOf(words: readonly (string | number)[], bytes?: Uint8Array): number {
  const ofWords = Bun.hash.crc32(words.join(" "));
  const checksum = bytes ? Bun.hash.crc32(bytes, ofWords) : ofWords;
  return checksum === 0 ? 2 : checksum;
}
