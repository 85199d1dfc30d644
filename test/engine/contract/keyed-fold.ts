/** A keyed topic under random changes, beside its model: what a reader folds is the topic's state, wherever it was cut. */
import { describe, expect } from "bun:test";
import {
  type Broker,
  type Condition,
  ConditionFailed,
  KeyAbsent,
  TopicFull,
} from "../../../src/topic/broker.ts";
import type { Place, Position } from "../../../src/topic/message.ts";
import { Random } from "../../support/random.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { describeState, fold, KeyedModel } from "./keyed-model.ts";
import { absent, at, newKeyedTopic, present, readPage, remove, set } from "./keyed-topic.ts";
import { after, all } from "./messages.ts";

export function describeKeyedFold<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can } = contract;
  describe("a keyed topic under random changes", () => {
    for (const seed of [1, 2, 3].slice(0, can.randomSeeds))
      testIf(can.advance)(
        `is what every reader folds, from any place where it was cut (seed ${seed})`,
        withNode(async (broker, engine) => {
          const trial = new Trial(broker, seed, {
            advance: async (seconds) => can.advance?.(engine, seconds),
            reopen: async (node) => (await can.reopen?.(engine, node)) ?? node,
          });
          await trial.run();
        }, limits),
      );
  });
}

const keyedLimits = { historyAgeSeconds: 60, positionAgeSeconds: 100_000, keysMax: 12 };
const limits = { ...generous, ...keyedLimits };
const steps = 600;
const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);

interface FoldingReader {
  place: Place | undefined;
  readonly state: Map<string, string>;
}

/** What a trial does to its engine. */
interface Means {
  advance(seconds: number): Promise<void>;
  /** @returns the node that goes on */
  reopen(node: Broker): Promise<Broker>;
}

/** Publishes, removes, lets time pass and reads at random, and compares with the model after each step. */
class Trial {
  #broker: Broker;
  readonly #random: Random;
  readonly #means: Means;
  readonly #topic = newKeyedTopic();
  readonly #model = new KeyedModel();
  readonly #readers: FoldingReader[] = [];
  #now = 0;
  #last: Position = { epoch: "", offset: 0 };

  constructor(broker: Broker, seed: number, means: Means) {
    this.#broker = broker;
    this.#random = new Random(seed);
    this.#means = means;
  }

  async run(): Promise<void> {
    this.#published(await set(this.#broker, this.#topic, "k0", "first"), "k0", "first");
    for (let step = 0; step < steps; step++) await this.#step(`v${step}`);
    for (const reader of this.#readers) {
      for (
        let pages = 0;
        reader.place?.offset !== this.#last.offset || reader.place.base !== undefined;
        pages++
      ) {
        expect(pages).toBeLessThan(200);
        await this.#readOn(reader);
      }
    }
  }

  async #step(value: string): Promise<void> {
    const what = this.#random.between(0, 99);
    const reader = this.#readers[this.#random.between(0, Math.max(0, this.#readers.length - 1))];
    const key = this.#random.pick(keys);
    if (what < 35) await this.#change(key, value);
    else if (what < 50) await this.#change(key, undefined);
    else if (what < 55) {
      const seconds = this.#random.between(1, 25);
      this.#now += seconds;
      await this.#means.advance(seconds);
    } else if (what < 60 && this.#readers.length < 10)
      this.#readers.push({ place: undefined, state: new Map() });
    // A client without the base, such as one that stored the id of a message.
    else if (what < 62 && reader?.place)
      reader.place = { epoch: reader.place.epoch, offset: reader.place.offset };
    else if (what < 63 && this.#random.chance(0.3)) this.#broker = await this.#means.reopen(this.#broker);
    else if (reader) await this.#readOn(reader);
  }

  async #change(key: string, value: string | undefined): Promise<void> {
    const before = this.#model.lastOf(key);
    const offset = before?.value === undefined ? undefined : before.offset;
    const [condition, isMet] = conditionOf(this.#random, this.#last, offset);
    const options = condition ? { condition } : {};
    try {
      const position = await (value === undefined
        ? remove(this.#broker, this.#topic, key, options)
        : set(this.#broker, this.#topic, key, value, options));
      expect([isMet, position.offset]).toEqual([true, this.#last.offset + 1]);
      this.#published(position, key, value);
    } catch (error) {
      if (error instanceof ConditionFailed) expect(isMet).toBe(false);
      else if (error instanceof KeyAbsent) expect([value, offset]).toEqual([undefined, undefined]);
      else if (error instanceof TopicFull)
        expect([this.#model.valueCount, offset]).toEqual([keyedLimits.keysMax, undefined]);
      else throw error;
    }
  }

  #published(position: Position, key: string, value: string | undefined): void {
    this.#last = position;
    this.#model.add({ offset: position.offset, key, value, time: this.#now });
  }

  async #readOn(reader: FoldingReader): Promise<void> {
    const { place, state } = reader;
    const page = { messagesMax: this.#random.between(1, 5), bytesMax: 100_000 };
    const history = await readPage(this.#broker, this.#topic, place ? after(place) : all, page);
    if (!history.complete) {
      // Time goes on while the test runs, so that a removal may be forgotten a little early.
      const forgottenTime = this.#now + 10 - keyedLimits.historyAgeSeconds;
      const from = Math.max(place?.offset ?? 0, place?.base ?? 0);
      expect(this.#model.mayLack(from, forgottenTime, keyedLimits.keysMax)).toBe(true);
      state.clear();
    }
    fold(state, history.messages);
    reader.place = history.through;
    const isDone = history.through?.offset === history.position.offset && history.through.base === undefined;
    if (isDone) expect(describeState(state)).toBe(this.#model.state());
  }
}

/** A condition, and whether a key whose value is at an offset meets it. */
function conditionOf(
  random: Random,
  last: Position,
  offset: number | undefined,
): [Condition | undefined, boolean] {
  const what = random.between(0, 9);
  if (what < 6) return [undefined, true];
  if (what === 6) return [absent, offset === undefined];
  if (what === 7) return [present, offset !== undefined];
  const named = what === 8 && offset !== undefined ? offset : random.between(0, last.offset + 1);
  return [at({ epoch: last.epoch, offset: named }), named === offset];
}
