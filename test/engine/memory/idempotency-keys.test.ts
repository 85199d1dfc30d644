/** Idempotency keys, bounded in bytes, against a plain model. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { IdempotencyKeys } from "../../../src/engine/idempotency-keys.ts";
import type { PublicationRecord } from "../../../src/engine/publication-record.ts";
import type { Once } from "../../../src/topic/broker.ts";
import { fingerprintOf } from "../../../src/topic/digest.ts";
import { Random } from "../../support/random.ts";

setDefaultTimeout(120_000);

const position = (offset: number) => ({ items: 1, last: { epoch: "e", offset }, digest: "digest" });

type Kept = Omit<PublicationRecord, "fingerprint">;

/** Keys by topic, publisher and key, as an engine uses them. */
class Keys {
  readonly #keys: IdempotencyKeys;

  constructor(bytesMax: number, evicted: (key: PublicationRecord) => void) {
    this.#keys = new IdempotencyKeys(bytesMax, evicted);
  }

  get bytes(): number {
    return this.#keys.bytes;
  }

  get(topic: string, once: Once, beforeMilliseconds: number): PublicationRecord | undefined {
    return this.#keys.get(fingerprintOf(topic, once), beforeMilliseconds);
  }

  add(topic: string, once: Once, kept: Kept, nowMilliseconds: number): void {
    this.#keys.put({ ...kept, fingerprint: fingerprintOf(topic, once) }, once.publisher, nowMilliseconds);
  }

  expire(beforeMilliseconds: number): void {
    this.#keys.expire(beforeMilliseconds);
  }
}

describe("idempotency keys", () => {
  test("are found by topic, publisher and key together, until they expire", () => {
    const keys = new Keys(1024 * 1024, () => undefined);
    keys.add("news", { publisher: "ann", key: "1" }, position(7), 1000);
    expect(keys.get("news", { publisher: "ann", key: "1" }, 1000)?.last?.offset).toBe(7);
    for (const [topic, publisher, key] of [
      ["news", "ann", "2"],
      ["news", "bob", "1"],
      ["sport", "ann", "1"],
    ] as const) {
      expect(keys.get(topic, { publisher, key }, 0)).toBeUndefined();
    }
    expect(keys.get("news", { publisher: "ann", key: "1" }, 1001)).toBeUndefined();
    expect(keys.bytes).toBe(0);
  });

  test("of the publisher with the most are evicted, the oldest first, whoever adds the next one", () => {
    const evicted: number[] = [];
    const keys = new Keys(28_000, (key) => void evicted.push(key.last?.offset ?? 0));
    for (let number = 0; number < 20; number++)
      keys.add("news", { publisher: "flood", key: String(number) }, position(number), number * 1000);
    let others = 0;
    while (evicted.length < 5)
      keys.add("news", { publisher: `other ${others}`, key: "1" }, position(100 + others++), 20_000);
    for (let number = 0; number < 20; number++) {
      const found = keys.get("news", { publisher: "flood", key: String(number) }, 0);
      expect(found === undefined).toBe(number < evicted.length);
    }
    for (let other = 0; other < others; other++)
      expect(keys.get("news", { publisher: `other ${other}`, key: "1" }, 0)).toBeDefined();
    expect(evicted).toEqual(Array.from(evicted, (_, index) => index));
    expect(evicted.length).toBeGreaterThan(2);
  });

  test("agree with a plain model, whatever is added, looked up and expires", () => {
    for (let seed = 1; seed <= 50; seed++) agreeWithModel(seed);
  });

  test("cost the same at 40,000 publishers with one key each as at 100", () => {
    const cost = (publishers: number): number => {
      const keys = new Keys(publishers * 900, () => undefined); // Full of them: each that is added takes one away.
      for (let number = 0; number < publishers; number++)
        keys.add("news", { publisher: String(number), key: "1" }, position(number), number);
      const begun = process.cpuUsage();
      for (let number = 0; number < 5000; number++)
        keys.add("news", { publisher: `late ${number}`, key: "1" }, position(number), publishers + number);
      const { user, system } = process.cpuUsage(begun); // Another process cannot make it longer.
      return (user + system) / 1000;
    };
    cost(1000); // Compiled.
    // A search for the publisher with the most keys would make it a hundred times as much.
    expect(cost(40_000)).toBeLessThan(20 * cost(100) + 50);
  });
});

interface Added {
  readonly publisher: string;
  readonly key: string;
  readonly time: number;
}

function agreeWithModel(seed: number): void {
  const random = new Random(seed);
  const bytesMax = random.between(5, 40) * 1000;
  let evictions = 0;
  const keys = new Keys(bytesMax, () => void evictions++);
  let model: Added[] = [];
  for (let step = 0; step < 300; step++) {
    const action = random.below(10);
    if (action < 8) {
      const publisher = `publisher ${random.below(random.pick([2, 10]))}`;
      // Sometimes one that is there, often the newest: it is replaced.
      const mine = model.filter((kept) => kept.publisher === publisher);
      const again = random.chance(0.3) ? (random.chance(0.5) ? mine.at(-1) : mine[0]) : undefined;
      const added: Added = { publisher, key: again?.key ?? String(step), time: step };
      const before = evictions;
      keys.add("news", added, position(step), step);
      model = model.filter((kept) => kept !== again);
      model.push(added);
      for (let count = evictions - before; count > 0; count--) {
        // The model loses the oldest key of a publisher that holds the most.
        const held = new Map<string, number>();
        for (const { publisher } of model) held.set(publisher, (held.get(publisher) ?? 0) + 1);
        const most = Math.max(...held.values());
        const gone = model.find(
          ({ publisher, key }) => held.get(publisher) === most && !keys.get("news", { publisher, key }, 0),
        );
        if (!gone) throw new Error(`seed ${seed}: the evicted key was not of the publisher with the most`);
        expect(gone).toBe(model.find(({ publisher }) => publisher === gone.publisher) as Added);
        model = model.filter((added) => added !== gone);
      }
    } else if (action < 9) {
      const before = step - random.below(60);
      keys.expire(before);
      model = model.filter(({ time }) => time >= before);
    }
    expect(keys.bytes).toBeLessThanOrEqual(bytesMax);
  }
  for (const { publisher, key } of model) expect(keys.get("news", { publisher, key }, 0)).toBeDefined();
  keys.expire(Number.POSITIVE_INFINITY);
  expect(keys.bytes).toBe(0);
}
