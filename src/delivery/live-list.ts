/** The live subscribers of one topic, in the order in which they became live. */
import type { Subscription } from "../topic/subscription.ts";

/** Like a Map, in two arrays: a Map takes 41 to 206 bytes for each of its entries, these 16 to 24. */
export class LiveList<Reader> {
  /** Undefined for a subscriber that has left. */
  #readers: (Reader | undefined)[] = [];
  /** At the same index. A subscription in it knows its index. */
  #subscriptions: Subscription[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @param subscription that is in no list */
  add(reader: Reader, subscription: Subscription): void {
    subscription.liveIndex = this.#readers.length;
    this.#readers.push(reader);
    this.#subscriptions.push(subscription);
    this.#size++;
  }

  /** @returns its reader, or undefined if it is not in this list */
  delete(subscription: Subscription): Reader | undefined {
    const index = subscription.liveIndex;
    if (this.#subscriptions[index] !== subscription) return undefined;
    const reader = this.#readers[index];
    subscription.liveIndex = -1;
    this.#readers[index] = undefined;
    this.#size--;
    if (this.#size === 0) this.clear();
    else if (this.#readers.length > 2 * this.#size) this.#closeUp();
    return reader;
  }

  /** Calls `act` for each subscriber. It may delete subscribers, which are then not visited. */
  visit(act: (reader: Reader) => void): void {
    const readers = this.#readers;
    const subscriptions = this.#subscriptions;
    for (let index = 0; index < readers.length; index++) {
      const reader = readers[index];
      if (reader !== undefined && isIn(subscriptions, index)) act(reader);
    }
  }

  /** The same for a walk that takes several turns of the event loop. Subscribers may also be added meanwhile. */
  *[Symbol.iterator](): Iterator<Reader> {
    const readers = this.#readers; // Not those of a later `#closeUp`, where an index means another subscriber.
    const subscriptions = this.#subscriptions;
    for (let index = 0; index < readers.length; index++) {
      const reader = readers[index];
      if (reader !== undefined && isIn(subscriptions, index)) yield reader;
    }
  }

  /** Deletes all. @returns their subscriptions */
  clear(): Subscription[] {
    const subscriptions = this.#size > 0 ? this.#subscriptions.filter(({ liveIndex }) => liveIndex >= 0) : [];
    for (const subscription of subscriptions) subscription.liveIndex = -1;
    this.#readers = [];
    this.#subscriptions = [];
    this.#size = 0;
    return subscriptions;
  }

  /** Takes out the places of those that have left. */
  #closeUp(): void {
    this.#subscriptions = this.#subscriptions.filter(({ liveIndex }) => liveIndex >= 0);
    this.#readers = this.#readers.filter((reader) => reader !== undefined);
    for (const [index, subscription] of this.#subscriptions.entries()) subscription.liveIndex = index;
  }
}

const isIn = (subscriptions: readonly Subscription[], index: number): boolean =>
  (subscriptions[index]?.liveIndex ?? -1) >= 0;
