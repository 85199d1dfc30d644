/**
 * Readers of a keyed topic on several nodes, over an engine that delays, loses and repeats announcements, forgets removals and
 * loses its memory: whatever a reader met, and wherever it was cut, it folds what it is given into what the engine holds.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import pino from "pino";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { Counters } from "../../src/metrics.ts";
import { BrokerUnavailable, KeyAbsent } from "../../src/topic/broker.ts";
import { Hub } from "../../src/topic/hub.ts";
import { removalOf } from "../../src/topic/key.ts";
import { formatPlace, type Message, type Place, type Since } from "../../src/topic/message.ts";
import type { Gap, Replayed, Subscriber, Subscription } from "../../src/topic/subscription.ts";
import { describeState, fold } from "../engine/contract/keyed-model.ts";
import { LiveVisitors } from "../support/live-visitors.ts";
import { Random, seed } from "../support/random.ts";
import { noFaults, UnreliableEngine, type UnreliableNode } from "../support/unreliable-broker.ts";

setDefaultTimeout(120_000);

const topic = "keyed";
const keys = Array.from({ length: 12 }, (_, index) => `k${index}`);
const limits: EngineLimits = {
  historyMessages: 1000,
  historyAgeSeconds: 30,
  historyBytesMax: Number.MAX_SAFE_INTEGER,
  retain: [],
  keyed: [topic],
  keysMax: 8,
  feeds: [],
  positionAgeSeconds: 1_000_000,
  positionBytesMax: Number.MAX_SAFE_INTEGER,
  idempotencyBytesMax: Number.MAX_SAFE_INTEGER,
};

interface Node {
  readonly broker: UnreliableNode;
  readonly hub: Hub<LiveVisitors<Reader>>;
}

class World {
  readonly random: Random;
  readonly nodes: readonly Node[];
  readonly engine: UnreliableEngine;
  readonly readers: readonly Reader[];
  readonly tally = { published: 0, gaps: 0, cut: 0, resumed: 0, skipped: 0 };
  readonly #tasks: (() => void)[] = [];
  #now = 1_800_000_000_000;
  isQuiet = false;

  constructor(seed: number) {
    const random = new Random(seed);
    this.random = random;
    const faults = random.pick([noFaults, { lost: 0.2, twice: 0.2, lagging: 0, shortPage: 0.5 }]);
    const later = (task: () => void): void => void this.#tasks.push(task);
    this.engine = new UnreliableEngine({ limits, random, faults, now: () => this.#now, later });
    this.nodes = [0, 1].map(() => {
      const broker = this.engine.node();
      const log = pino({ level: "silent" });
      const live = (): LiveVisitors<Reader> => new LiveVisitors();
      const isKeyed = (): boolean => true;
      const hub = new Hub({ broker, live, isKeyed, limits, lingerSeconds: 0, counters: new Counters(), log });
      return { broker, hub };
    });
    this.readers = [0, 1, 2, 3].map(() => new Reader(this));
  }

  async run(): Promise<void> {
    for (let step = 0; step < 400; step++) {
      await this.#something();
      for (let tick = this.random.below(6); tick > 0; tick--) await undefined;
    }
    this.engine.faults = noFaults;
    this.isQuiet = true;
    await this.#rest();
    for (const reader of this.readers) void reader.come();
    await this.#rest();
    for (const { broker } of this.nodes) broker.reconnect(); // It compares positions, as it does by the clock.
    await this.#rest();
    const held = new Map<string, string>();
    fold(
      held,
      (await this.engine.memory.history(topic, { kind: "all" }, { messagesMax: 99, bytesMax: 1e6 }))
        ?.messages ?? [],
    );
    for (const reader of this.readers)
      expect([reader.isLive, reader.shown]).toEqual([true, describeState(held)]);
  }

  async close(): Promise<void> {
    for (const { hub } of this.nodes) hub.close();
    await this.engine.close();
  }

  async #something(): Promise<void> {
    const what = this.random.below(1000);
    if (what < 500) this.#runTask();
    else if (what < 750) void this.#publish();
    else if (what < 930) this.random.pick(this.readers).act();
    else if (what < 960) this.#now += this.random.below(12_000);
    else if (what < 980) this.random.pick(this.nodes).broker.reconnect();
    else if (what < 983) await this.engine.loseEverything();
  }

  #runTask(): void {
    if (this.#tasks.length > 0) this.random.take(this.#tasks)();
  }

  async #publish(): Promise<void> {
    const key = this.random.pick(keys);
    const draft = this.random.chance(0.3)
      ? removalOf(key)
      : {
          data: String(++this.tally.published),
          contentType: "text/plain",
          attributes: { partitionkey: key },
        };
    try {
      await this.random.pick(this.nodes).hub.publish(topic, { drafts: [draft] });
    } catch (error) {
      const isExpected = error instanceof KeyAbsent || (error as Error).name === "TopicFull";
      if (!isExpected && !(error instanceof BrokerUnavailable)) throw error;
    }
  }

  async #rest(): Promise<void> {
    for (let step = 0; step < 20_000; step++) {
      for (let tick = 0; tick < 30; tick++) await undefined;
      if (this.#tasks.length === 0) {
        let moved = false;
        for (const reader of this.readers) moved = reader.takeMore() || moved;
        if (!moved) return;
      } else this.#runTask();
    }
    throw new Error("it does not come to rest");
  }
}

/** A client that stores its place and its state, and comes back with them. */
class Reader implements Subscriber<LiveVisitors<Reader>> {
  isLive = false;
  readonly #world: World;
  #state = new Map<string, string>();
  #place: Place | undefined;
  #subscription: Subscription<LiveVisitors<Reader>> | undefined;
  #isComing = false;
  #isWaiting = false;

  constructor(world: World) {
    this.#world = world;
  }

  get shown(): string {
    return describeState(this.#state);
  }

  act(): void {
    if (!this.#subscription) void this.come();
    else if (this.#world.random.chance(0.2)) this.#cut();
    else this.takeMore();
  }

  async come(): Promise<void> {
    if (this.#subscription || this.#isComing) return;
    this.#isComing = true;
    const since: Since = this.#place ? { kind: "position", position: this.#place } : { kind: "all" };
    const requested = this.#place ? formatPlace(this.#place) : "all";
    try {
      const subscription = await this.#world.random.pick(this.#world.nodes).hub.open(topic, since, requested);
      this.#subscription = subscription;
      if (!subscription.gap) this.#place = subscription.from;
      if (this.#place && subscription.resumed) this.#world.tally.resumed++;
      subscription.begin(this);
      subscription.advance();
    } catch (error) {
      if (!(error instanceof BrokerUnavailable)) throw error;
    } finally {
      this.#isComing = false;
    }
  }

  takeMore(): boolean {
    if (!this.#isWaiting || !this.#subscription) return false;
    this.#isWaiting = false;
    this.#subscription.advance();
    return true;
  }

  replay(message: Message, base: number | undefined): boolean {
    this.#receive(message, base);
    if (this.#mishap(0.05)) this.#cut();
    this.#isWaiting = this.#subscription !== undefined && !this.#world.random.chance(0.5);
    return this.#subscription !== undefined && !this.#isWaiting;
  }

  deliver(message: Message): void {
    this.#receive(message, undefined);
    if (this.#mishap(0.02)) this.#cut();
  }

  gap({ from }: Gap): void {
    this.#world.tally.gaps++;
    this.#state = new Map();
    this.#place = from;
  }

  replayed({ at, isWhole }: Replayed): void {
    const { epoch, offset } = this.#place ?? { epoch: "", offset: 0 };
    expect([isWhole, at.epoch, at.offset >= offset]).toEqual([true, epoch, true]);
    if (at.offset > offset) this.#world.tally.skipped++;
    this.#place = at;
  }

  live(subscription: Subscription<LiveVisitors<Reader>>): void {
    this.isLive = true;
    subscription.live.add(subscription, this);
  }

  end(): void {
    throw new Error("the topic does not end");
  }

  fail(error: unknown): void {
    if (!(error instanceof BrokerUnavailable)) throw error;
    this.#cut();
  }

  #receive(message: Message, base: number | undefined): void {
    const { epoch, offset } = message;
    expect([epoch, offset > (this.#place?.offset ?? 0)]).toEqual([this.#place?.epoch ?? "", true]);
    this.#place = { epoch, offset, base };
    fold(this.#state, [message]);
  }

  #mishap(probability: number): boolean {
    return !this.#world.isQuiet && this.#world.random.chance(probability);
  }

  #cut(): void {
    this.#world.tally.cut++;
    this.#subscription?.close();
    this.#subscription = undefined;
    this.isLive = false;
    this.#isWaiting = false;
  }
}

/** `LONGWIRE_SEED=7 bun test test/topic/keyed.property.test.ts` replays one. */
const seeds = process.env.LONGWIRE_SEED ? [seed] : Array.from({ length: 60 }, (_, index) => index + 1);

test("every reader folds what it is given into what the engine holds", async () => {
  const total = { published: 0, gaps: 0, cut: 0, resumed: 0, skipped: 0 };
  for (const seed of seeds) {
    const world = new World(seed);
    try {
      await world.run();
    } catch (error) {
      throw new Error(`LONGWIRE_SEED=${seed}`, { cause: error });
    } finally {
      await world.close();
    }
    for (const name in total) total[name as keyof typeof total] += world.tally[name as keyof typeof total];
  }
  if (seeds.length > 1) for (const count of Object.values(total)) expect(count).toBeGreaterThan(20);
});
