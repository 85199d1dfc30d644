/** What a keyed topic is, written down without its engine's means: the list of everything that was ever published to it. */
import type { Message } from "../../../src/topic/message.ts";

interface Published {
  readonly offset: number;
  readonly key: string;
  /** Undefined for a removal. */
  readonly value: string | undefined;
  /** Seconds on the test's clock. */
  readonly time: number;
}

export class KeyedModel {
  readonly #published: Published[] = [];
  /** By key, the last of them, in their order. */
  readonly #latest = new Map<string, Published>();

  add(published: Published): void {
    this.#published.push(published);
    this.#latest.delete(published.key);
    this.#latest.set(published.key, published);
  }

  /** The last thing that was published for a key. */
  lastOf(key: string): Published | undefined {
    return this.#latest.get(key);
  }

  valueOf(key: string): string | undefined {
    return this.lastOf(key)?.value;
  }

  /** The present values by key, in the order of the keys. */
  state(): string {
    return describeState(new Map([...this.#latest].map(([key, { value }]) => [key, value])));
  }

  get valueCount(): number {
    return [...this.#latest.values()].filter(({ value }) => value !== undefined).length;
  }

  /**
   * Whether the engine may have forgotten a removal that a reader lacks.
   * @param place what the reader has, or where its snapshot began
   * @param forgottenTime removals before it are too old
   * @param removalsMax the older ones of more than so many may be forgotten
   */
  mayLack(place: number, forgottenTime: number, removalsMax: number): boolean {
    const removals = this.#published.filter(({ value }) => value === undefined);
    return removals.some(
      ({ offset, time }, index) =>
        offset > place && (time <= forgottenTime || index < removals.length - removalsMax),
    );
  }
}

/** Folds what a reader is given: a later message of a key replaces the earlier one, and a removal takes it away. */
export function fold(state: Map<string, string>, messages: readonly Message[]): void {
  for (const { attributes, data } of messages) {
    const key = String(attributes?.partitionkey);
    if (attributes?.type === "longwire.removed") state.delete(key);
    else state.set(key, String(data));
  }
}

export const describeState = (state: ReadonlyMap<string, string | undefined>): string =>
  [...state]
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(" ");
