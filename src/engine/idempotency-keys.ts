/**
 * Records of publications by idempotency key, bounded in bytes. No clock: times are the caller's, on one clock that never goes back.
 *
 * When the bound is reached, the publisher that holds the most keys loses its oldest ones. So a publisher that floods the
 * server with keys loses its own, and never those of another that uses fewer.
 */
import type { PublicationRecord } from "./publication-record.ts";

/** Memory of one key: its record, its two digests and its place in a map. Measured: 480 bytes of heap, and room for gaps. */
const keyBytes = 640;

/** Memory of a publisher beside its name. Measured: 213 bytes of heap, and room for gaps. */
const publisherBytes = 256;

interface Key {
  readonly record: PublicationRecord;
  readonly publisher: PublisherKeys;
  readonly addedMilliseconds: number;
  /** Neighbours among the keys of the same publisher. Linked, since a Map that loses its first entries is slow to begin. */
  older: Key | undefined;
  newer: Key | undefined;
}

class PublisherKeys {
  count = 0;
  oldest: Key | undefined;
  #newest: Key | undefined;

  constructor(readonly name: string) {}

  add(key: Key): void {
    key.older = this.#newest;
    if (this.#newest) this.#newest.newer = key;
    else this.oldest = key;
    this.#newest = key;
    this.count++;
  }

  remove(key: Key): void {
    if (key.older) key.older.newer = key.newer;
    else this.oldest = key.newer;
    if (key.newer) key.newer.older = key.older;
    else this.#newest = key.older;
    this.count--;
  }
}

export class IdempotencyKeys {
  readonly #bytesMax: number;
  readonly #evicted: (key: PublicationRecord) => void;
  /** By `fingerprintOf`, the oldest first. */
  readonly #keys = new Map<string, Key>();
  readonly #publishers = new Map<string, PublisherKeys>();
  /** Publishers by the number of their keys, so that the one with the most is found at once. */
  readonly #byCount = new Map<number, Set<PublisherKeys>>();
  #countMax = 0;
  #bytes = 0;

  /** @param evicted called for each key that was removed before it expired */
  constructor(bytesMax: number, evicted: (key: PublicationRecord) => void) {
    this.#bytesMax = bytesMax;
    this.#evicted = evicted;
  }

  /** About the memory in use. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param beforeMilliseconds a key that was added before is forgotten */
  get(fingerprint: string, beforeMilliseconds: number): PublicationRecord | undefined {
    const key = this.#keys.get(fingerprint);
    if (!key || key.addedMilliseconds >= beforeMilliseconds) return key?.record;
    this.#remove(key);
    return undefined;
  }

  /** Adds a record, or replaces the one of the same fingerprint. Its age begins anew. */
  put(record: PublicationRecord, publisherName: string, nowMilliseconds: number): void {
    const replaced = this.#keys.get(record.fingerprint);
    if (replaced) this.#remove(replaced);
    const publisher = this.#publisher(publisherName);
    const key: Key = {
      record,
      publisher,
      addedMilliseconds: nowMilliseconds,
      older: undefined,
      newer: undefined,
    };
    this.#keys.set(record.fingerprint, key);
    this.#bytes += keyBytes;
    publisher.add(key);
    this.#recount(publisher, publisher.count - 1);
    while (this.#bytes > this.#bytesMax) this.#evict();
  }

  /** Removes the keys that were added before a time. */
  expire(beforeMilliseconds: number): void {
    for (const key of this.#keys.values()) {
      if (key.addedMilliseconds >= beforeMilliseconds) return;
      this.#remove(key);
    }
  }

  #evict(): void {
    for (const publisher of this.#byCount.get(this.#countMax) ?? []) {
      const { oldest } = publisher;
      if (!oldest) throw new Error("a publisher with keys has an oldest one");
      this.#remove(oldest);
      this.#evicted(oldest.record);
      return;
    }
    throw new Error("the bound of idempotency keys is smaller than one key");
  }

  #remove(key: Key): void {
    this.#keys.delete(key.record.fingerprint);
    this.#bytes -= keyBytes;
    const { publisher } = key;
    publisher.remove(key);
    this.#recount(publisher, publisher.count + 1);
    if (publisher.count > 0) return;
    this.#publishers.delete(publisher.name);
    this.#bytes -= bytesOf(publisher);
  }

  #publisher(name: string): PublisherKeys {
    let publisher = this.#publishers.get(name);
    if (!publisher) {
      publisher = new PublisherKeys(name);
      this.#publishers.set(name, publisher);
      this.#bytes += bytesOf(publisher);
    }
    return publisher;
  }

  /** Moves a publisher to the set of its new count. Counts change by one, so the highest is never searched for. */
  #recount(publisher: PublisherKeys, countBefore: number): void {
    const before = this.#byCount.get(countBefore);
    before?.delete(publisher);
    if (before?.size === 0) this.#byCount.delete(countBefore);
    const { count } = publisher;
    if (count > 0) {
      const after = this.#byCount.get(count);
      if (after) after.add(publisher);
      else this.#byCount.set(count, before?.size === 0 ? before.add(publisher) : new Set([publisher]));
    }
    if (count > this.#countMax) this.#countMax = count;
    else if (!this.#byCount.has(this.#countMax)) this.#countMax = count;
  }
}

const bytesOf = ({ name }: PublisherKeys): number => publisherBytes + 2 * name.length;
