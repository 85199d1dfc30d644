/** Seeded random numbers: the same seed gives the same choices. */

/** The seed of a test's random choices. One that `bun run fuzz` tries, or that is replayed, is given. */
export const seed = Number(process.env.LONGWIRE_SEED ?? 1);

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** @returns 0 or more, less than 1 (mulberry32) */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** @returns a whole number, 0 or more, less than `limit` */
  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  /** @returns a whole number from `least` to `most`, both possible */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<Item>(items: readonly [Item, ...Item[]] | readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }

  /** Random numbers of their own, which the first of these chooses. */
  branch(): Random {
    return new Random(this.below(2 ** 31));
  }

  /** Removes a random item from a list. */
  take<Item>(items: Item[]): Item {
    const [item] = items.splice(this.below(items.length), 1);
    if (item === undefined) throw new Error("there is nothing to take");
    return item;
  }
}
