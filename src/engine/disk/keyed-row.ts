/** The rows of `keyed` and `keyed_topic`: what they have, and their checksums. */
import { checksumOf } from "./entry.ts";

/** What a keyed topic has beside its position. Immutable: each change makes another one. */
export interface KeyedState {
  /** The offset of the newest removal that is forgotten, and when it was received; 0 and null where there is none. */
  readonly floor: number;
  readonly forgottenTime: number | null;
  readonly values: number;
  readonly removals: number;
  /** By `rowBytes`. */
  readonly valueBytes: number;
  /** Of all rows, modulo 2^32: by `offsetTerm` and `keyTerm`. */
  readonly offsetSum: number;
  readonly keySum: number;
}

/** The topic of a row. */
export interface KeyedTopic {
  readonly id: number;
  readonly name: string;
}

/** The last entry of a key, beside its bytes. */
export interface KeyedRow {
  readonly key: string;
  readonly offset: number;
  readonly removed: 0 | 1;
  /** By the clock, in milliseconds since 1970. It never decreases within a topic. */
  readonly received: number;
}

/** A row that is kept. */
export interface KeptRow extends KeyedRow {
  readonly id: number;
  /** Of its entry. */
  readonly bytes: number;
}

/** A row of `keyed`. */
export interface StoredRow extends KeyedRow {
  readonly id: number;
  readonly topic: number;
  readonly checksum: number;
  readonly entry: Uint8Array<ArrayBuffer>;
}

/** A row of `keyed_topic`. */
export interface KeyedTopicRow {
  readonly topic: number;
  readonly floor: number;
  readonly forgotten_time: number | null;
  readonly value_count: number;
  readonly removal_count: number;
  readonly value_bytes: number;
  readonly offset_sum: number;
  readonly key_sum: number;
  readonly checksum: number;
}

export const emptyKeyedState: KeyedState = {
  ...{ floor: 0, forgottenTime: null, values: 0, removals: 0, valueBytes: 0, offsetSum: 0, keySum: 0 },
};

/** Bytes on disk of a row beside its entry and its key: its other columns and its places in two indexes. */
const rowOverheadBytes = 100;

/** What a value takes of `--history-bytes`. The key is in the entry, in the row and in an index. */
export const rowBytes = (key: string, entryBytes: number): number =>
  rowOverheadBytes + 2 * Buffer.byteLength(key) + entryBytes;

/** A sum with something put in and something taken out. All are less than 2^32, or offsets. */
export const sumOf = (sum: number, added: number, taken: number): number =>
  (sum + (added % 2 ** 32) + 2 ** 32 - (taken % 2 ** 32)) % 2 ** 32;

/** What a row adds to the sum of each index: all that the index has of it. */
export const offsetTerm = ({ id, offset }: Pick<KeptRow, "id" | "offset">): number => offset + id;
export const keyTerm = ({ id, key }: Pick<KeptRow, "id" | "key">): number => Bun.hash.crc32(key) + id;

/** The greatest prime below 2^32. It divides no power of two, so that each flipped bit of a time changes the checksum. */
export const timeModulus = 2 ** 32 - 5;

/** The time is added, so that SQL can set it back in all rows at once without their entries. @param time 0 or more */
const withTime = (checksum: number, time: number): number => (checksum + time) % timeModulus;

export const keyedRowChecksum = (
  topic: number,
  { key, offset, removed, received }: KeyedRow,
  entry: Uint8Array,
): number => withTime(checksumOf([topic, offset, removed, key], entry), received);

export const keyedTopicChecksum = (topic: number, state: KeyedState): number => {
  const { floor, forgottenTime, values, removals, valueBytes, offsetSum, keySum } = state;
  const checksum = checksumOf([topic, floor, values, removals, valueBytes, offsetSum, keySum]);
  return withTime(checksum, forgottenTime ?? 0);
};

export const stateOfRow = (row: KeyedTopicRow): KeyedState => ({
  ...{ floor: row.floor, forgottenTime: row.forgotten_time },
  ...{ values: row.value_count, removals: row.removal_count, valueBytes: row.value_bytes },
  ...{ offsetSum: row.offset_sum, keySum: row.key_sum },
});

/** Whether a row is what was written. */
export const isSoundRow = (row: StoredRow): boolean =>
  row.checksum === keyedRowChecksum(row.topic, row, row.entry);

export const withoutEntry = ({ id, key, offset, removed, received, entry }: StoredRow): KeptRow => ({
  ...{ id, key, offset, removed, received },
  bytes: entry.length,
});
