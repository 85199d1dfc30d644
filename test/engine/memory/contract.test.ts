/** The engine in memory: the contract of every engine, and what it does by its own clock. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Clock } from "../../../src/engine/clock.ts";
import type { EngineLimits, Evicted } from "../../../src/engine/engine.ts";
import { MemoryBroker } from "../../../src/engine/memory/broker.ts";
import { KeyAbsent, type Page } from "../../../src/topic/broker.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { topicBytes } from "../../../src/topic/log.ts";
import { type Position, retainedBytes, type Since } from "../../../src/topic/message.ts";
import { heldHeapBytes } from "../../support/heap.ts";
import { describeBrokerContract } from "../contract/contract.ts";
import { post } from "../contract/messages.ts";

setDefaultTimeout(120_000);

/** A clock that only a test moves, from now on. */
class TestClock implements Clock {
  time = Date.now();
  #elapsedMilliseconds = 0;

  now(): number {
    return this.time;
  }

  monotonic(): number {
    return this.#elapsedMilliseconds;
  }

  pass(seconds: number): void {
    this.time += seconds * 1000;
    this.#elapsedMilliseconds += seconds * 1000;
  }

  set(time: number): void {
    this.time = time;
  }
}

const limits: EngineLimits = {
  historyMessages: 100,
  historyAgeSeconds: 600,
  historyBytesMax: 1024 * 1024,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
  positionAgeSeconds: 3600,
  positionBytesMax: 1024 * 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
};

describeBrokerContract(
  "the engine in memory",
  async (limits) => {
    // It moves by itself too, as far as tests need that see it move.
    let aheadMilliseconds = 0;
    let passedMilliseconds = 0;
    const clock: Clock = {
      now: () => Date.now() + aheadMilliseconds,
      monotonic: () => performance.now() + passedMilliseconds,
    };
    const broker = new MemoryBroker(limits, { clock, presence: limits });
    return {
      broker,
      node: async () => broker,
      close: () => broker.close(),
      pass: (seconds: number) => {
        aheadMilliseconds += seconds * 1000;
        passedMilliseconds += seconds * 1000;
        broker.sweep();
      },
      setClock: (aheadSeconds: number) => {
        aheadMilliseconds = aheadSeconds * 1000;
      },
    };
  },
  {
    announcesAll: true,
    announcesOnlySubscribed: false,
    keepsKeys: true,
    keepsFeeds: true,
    manyNodes: false,
    presenceOf: ({ broker }) => broker,
    advance: async (engine, seconds) => engine.pass(seconds),
    setClock: async (engine, aheadSeconds) => engine.setClock(aheadSeconds),
  },
);

describe("the engine in memory, by its own clock", () => {
  const all: Since = { kind: "all" };
  const page: Page = { messagesMax: 1000, bytesMax: 16 * 1024 * 1024 };
  const text = (data: string) => ({ data, contentType: "text/plain" });

  async function open(
    given: Partial<EngineLimits>,
    run: (broker: MemoryBroker, clock: TestClock, evicted: Evicted[]) => Promise<void>,
  ) {
    const clock = new TestClock();
    const evicted: Evicted[] = [];
    const broker = new MemoryBroker(
      { ...limits, ...given },
      { clock, evicted: (what) => void evicted.push(what) },
    );
    try {
      await run(broker, clock, evicted);
    } finally {
      await broker.close();
    }
  }

  async function retained(broker: MemoryBroker, topic: string): Promise<unknown[] | undefined> {
    return (await broker.history(topic, all, page))?.messages.map(({ data }) => data);
  }

  async function positionOf(broker: MemoryBroker, topic: string): Promise<Position | undefined> {
    return (await broker.positions([topic]))[0];
  }

  test("a message is kept for the history's age, whether or not anything sweeps", () =>
    open({}, async (broker, clock) => {
      await post(broker, "news", text("one"));
      clock.pass(300);
      await post(broker, "news", text("two"));
      clock.pass(300);
      expect(await retained(broker, "news")).toEqual(["one", "two"]);
      clock.pass(1);
      expect(await broker.inspect(["news"])).toMatchObject([{ position: { offset: 2 }, retained: 1 }]);
      expect(await retained(broker, "news")).toEqual(["two"]);
      clock.pass(300);
      broker.sweep();
      expect(broker.historyBytes).toBe(0);
      expect(await retained(broker, "news")).toEqual([]);
    }));

  test("a span is a gap from the last dropped message's time back", () =>
    open({}, async (broker, clock) => {
      clock.pass(1);
      const droppedTime = clock.time;
      await post(broker, "news", text("one"));
      clock.pass(300);
      await post(broker, "news", text("two"));
      clock.pass(301);
      for (const [time, complete] of [
        [droppedTime - 1, false],
        [droppedTime, false],
        [droppedTime + 1, true],
      ] as const) {
        const history = await broker.history("news", { kind: "time", time }, page);
        expect(history?.complete).toBe(complete);
        expect(history?.messages.map(({ data }) => data)).toEqual(["two"]);
      }
    }));

  test("past the bytes of all topics together, the messages of the topic published to longest ago go first", () => {
    const messageBytes = retainedBytes(text("x"));
    const bytes = ["cold", "warm", "hot"].reduce((sum, topic) => sum + topicBytes(topic), 6 * messageBytes);
    return open({ historyBytesMax: bytes }, async (broker) => {
      for (const topic of ["cold", "cold", "warm", "warm", "hot", "hot"])
        await post(broker, topic, text("x"));
      await post(broker, "warm", text("x"));
      const counts = async (): Promise<(number | undefined)[]> =>
        (await broker.inspect(["cold", "warm", "hot"])).map((state) => state?.retained);
      expect(await counts()).toEqual([1, 3, 2]);
      await post(broker, "warm", text("x"));
      await post(broker, "warm", text("x"));
      expect(await counts()).toEqual([0, 5, 2]); // Without messages a topic is no part of the history.
      expect(broker.historyBytes).toBe(bytes - topicBytes("cold") + messageBytes);
    });
  });

  test("a message larger than the whole history is published and not kept, and costs no one theirs for good", () =>
    open({ historyBytesMax: 2000 }, async (broker) => {
      await post(broker, "small", text("x"));
      const position = await post(broker, "large", text("x".repeat(5000)));
      expect(await positionOf(broker, "large")).toEqual(position);
      expect(broker.historyBytes).toBe(0);
      await post(broker, "small", text("y"));
      expect(await retained(broker, "small")).toEqual(["y"]);
    }));

  test("a position outlives its messages, and ages from the last message on", () =>
    open({}, async (broker, clock) => {
      const position = await post(broker, "news", text("one"));
      clock.pass(601);
      broker.sweep();
      expect(await broker.history("news", { kind: "position", position }, page)).toMatchObject({
        complete: true,
        messages: [],
      });
      clock.pass(3600 - 601);
      broker.sweep();
      expect(await positionOf(broker, "news")).toBeUndefined();
      expect(broker.topicCount).toBe(0);
      expect((await post(broker, "news", text("again"))).epoch).not.toBe(position.epoch);
    }));

  test("with history off a position ages all the same", () =>
    open({ historyMessages: 0 }, async (broker, clock) => {
      const position = await post(broker, "news", text("one"));
      clock.pass(3599);
      broker.sweep();
      expect(await positionOf(broker, "news")).toEqual(position);
      clock.pass(1);
      broker.sweep();
      expect(broker.topicCount).toBe(0);
    }));

  test("a topic with a subscriber never expires, and ages from when the last one left", () =>
    open({}, async (broker, clock) => {
      const position = await post(broker, "news", text("one"));
      await broker.subscribe("news");
      await broker.subscribe("quiet");
      await broker.subscribe("ended");
      await broker.publish("ended", { drafts: [], end: true });
      for (let day = 0; day < 30; day++) {
        clock.pass(86_400);
        broker.sweep();
      }
      expect(await positionOf(broker, "news")).toEqual(position);
      expect((await positionOf(broker, "quiet"))?.offset).toBe(0);
      expect((await positionOf(broker, "ended"))?.offset).toBe(1);

      for (const topic of ["news", "quiet", "ended"]) broker.unsubscribe(topic);
      clock.pass(3599);
      broker.sweep();
      expect(broker.topicCount).toBe(3);
      clock.pass(1);
      broker.sweep();
      expect(broker.topicCount).toBe(0);
    }));

  test("a topic that is used again while it ages does not expire", () =>
    open({ historyMessages: 0 }, async (broker, clock) => {
      await post(broker, "published", text("one"));
      await post(broker, "subscribed", text("one"));
      await post(broker, "left", text("one"));
      clock.pass(3000);
      await post(broker, "published", text("two"));
      await broker.subscribe("subscribed");
      clock.pass(601);
      broker.sweep();
      expect((await positionOf(broker, "published"))?.offset).toBe(2);
      expect((await positionOf(broker, "subscribed"))?.offset).toBe(1);
      expect(await positionOf(broker, "left")).toBeUndefined();
    }));

  test("a position lives as long as a message, also where positions age sooner", () =>
    open({ positionAgeSeconds: 10 }, async (broker, clock) => {
      await broker.subscribe("news");
      broker.unsubscribe("news");
      const position = await post(broker, "news", text("one"));
      clock.pass(500);
      broker.sweep();
      expect(await positionOf(broker, "news")).toEqual(position);
      expect(await retained(broker, "news")).toEqual(["one"]);
      clock.pass(101);
      broker.sweep();
      expect(broker.topicCount).toBe(0);
    }));

  test("a clock that is set back makes no topic's time run backwards", () =>
    open({}, async (broker, clock) => {
      await post(broker, "news", text("one"));
      const { time } = clock;
      clock.set(time - 300_000);
      await post(broker, "news", text("two"));
      clock.pass(301);
      await post(broker, "news", text("three"));
      const history = await broker.history("news", all, page);
      expect(history?.messages.map((message) => message.time)).toEqual([time, time, time + 1000]);
    }));

  test("the longest idempotency keys cost no more memory than short ones", () =>
    open({ historyMessages: 0 }, async (broker) => {
      const heapBefore = heldHeapBytes();
      const keys = 5000;
      const topic = "t".repeat(200);
      for (let number = 0; number < keys; number++) {
        const key = `${number}`.padStart(255, "k");
        await post(broker, topic, text("x"), { key, publisher: "p".repeat(100) });
      }
      expect((heldHeapBytes() - heapBefore) / keys).toBeLessThan(640); // What a key is counted as.
      const again = { key: "7".padStart(255, "k"), publisher: "p".repeat(100) };
      expect(await post(broker, topic, text("x"), again)).toMatchObject({ offset: 8 });
      expect(await post(broker, topic, text("x"), { ...again, publisher: "q" })).toMatchObject({
        offset: keys + 1,
      });
    }));

  test("past the bytes of unused positions the longest unused are forgotten, and a client that returns is told a gap", () =>
    open({ historyMessages: 0, positionBytesMax: 6_000_000 }, async (broker, _, evicted) => {
      await post(broker, "published", text("once"));
      const oldest = await broker.subscribe("oldest");
      broker.unsubscribe("oldest");
      await broker.subscribe("subscribed");
      for (let number = 0; number < 10_000; number++) {
        const published = post(broker, `invented/${number}`, text("x"));
        if (number % 1000 === 0) await published;
      }
      expect(broker.topicCount).toBeWithin(9000, 10_002);
      expect(new Set(evicted)).toEqual(new Set(["positions"]));
      expect(evicted.length).toBe(10_003 - broker.topicCount);
      expect(await positionOf(broker, "published")).toBeUndefined();
      expect(await positionOf(broker, "oldest")).toBeUndefined();
      expect(await positionOf(broker, "subscribed")).toBeDefined();
      expect(await positionOf(broker, "invented/9999")).toBeDefined();
      await broker.subscribe("oldest");
      const history = await broker.history("oldest", { kind: "position", position: oldest }, page);
      expect(history).toMatchObject({ complete: false });
    }));

  test("many topics published to once give their memory back when they expire", async () => {
    const topics = 30_000;
    const historyBytesMax = 2 * 1024 * 1024; // For one topic in fifteen.
    await open({ historyBytesMax }, async (broker, clock) => {
      const heapBefore = heldHeapBytes();
      for (let number = 0; number < topics; number++) {
        const published = post(broker, `sensors/${number}`, { data: "21.5", contentType: "text/plain" });
        if (number % 1000 === 0) await published;
      }
      const heapFull = heldHeapBytes();
      expect(broker.topicCount).toBe(topics);
      expect(broker.historyBytes).toBeWithin(0.98 * historyBytesMax, historyBytesMax + 1);
      clock.pass(601);
      broker.sweep();
      expect(broker.historyBytes).toBe(0);
      expect(broker.topicCount).toBe(topics);
      clock.pass(3600 - 601);
      broker.sweep();
      expect(broker.topicCount).toBe(0);
      expect(heldHeapBytes() - heapBefore).toBeLessThan((heapFull - heapBefore) / 10);
    });
  });
});

test("what a keyed topic in memory refuses leaves a position that ages, and is bounded", async () => {
  const clock = new TestClock();
  const evicted: Evicted[] = [];
  const given = { ...limits, keyed: ["keyed/*"], positionBytesMax: 64 * 1024 };
  const broker = new MemoryBroker(given, { clock, evicted: (what) => void evicted.push(what) });
  const remove = (topic: string) => post(broker, topic, removalOf("a"));
  await expect(remove("keyed/first")).rejects.toThrow(KeyAbsent);
  clock.pass(given.positionAgeSeconds);
  broker.sweep();
  expect(broker.topicCount).toBe(0);
  for (let index = 0; index < 1000; index++)
    await expect(remove(`keyed/${index}`)).rejects.toThrow(KeyAbsent);
  expect(broker.topicCount).toBeLessThan(given.positionBytesMax / topicBytes("keyed/0"));
  expect(evicted).toContain("positions");
  await broker.close();
});

/** Publishes values of new keys, and takes them all away again. */
function setAndRemove(broker: MemoryBroker, topic: string, keys: number): void {
  for (let key = 0; key < keys; key++) {
    const attributes = { partitionkey: `k${key}` };
    broker.publish(topic, { drafts: [{ data: "x", contentType: "text/plain", attributes }], end: false });
  }
  for (let key = 0; key < keys; key++) broker.publish(topic, { drafts: [removalOf(`k${key}`)], end: false });
}

test("a keyed topic in memory gives its memory back when its removals are forgotten", async () => {
  const keysMax = 10_000;
  const clock = new TestClock();
  const broker = new MemoryBroker(
    { ...limits, keyed: ["keyed/*"], keysMax, historyBytesMax: 64 * 1024 * 1024 },
    { clock },
  );
  let heapBefore = 0;
  for (let number = 0; number < 3; number++) {
    setAndRemove(broker, `keyed/${number}`, keysMax);
    clock.pass(601);
    broker.sweep();
    if (number === 0) heapBefore = heldHeapBytes(); // What is compiled at first takes memory, too.
  }
  expect([broker.historyBytes, broker.topicCount]).toEqual([0, 3]);
  // With the list of its removals each has 100,000.
  expect(heldHeapBytes() - heapBefore).toBeLessThan(125_000);
  await broker.close();
});
