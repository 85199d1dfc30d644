/** The hub without a server: how a node joins its channels to an engine, and what it does when that is away. */
import { afterEach, describe, expect, jest, setDefaultTimeout, test } from "bun:test";
import { BrokerUnavailable } from "../../src/topic/broker.ts";
import type { Message, Position } from "../../src/topic/message.ts";
import { Subscription } from "../../src/topic/subscription.ts";
import { post, text } from "../engine/contract/messages.ts";
import { after, closeStages, events, openStage, replays, settled } from "../support/hub-stage.ts";

setDefaultTimeout(120_000);
afterEach(closeStages);

describe("a crowd that returns", () => {
  test("with one id to a node that had nobody is served by one read", async () => {
    const stage = openStage();
    const [first] = await stage.publish(11);
    const visits = await Promise.all(Array.from({ length: 1000 }, () => stage.come(after(first))));
    for (const { told } of visits) expect(told).toEqual([...replays(2, 11), "live"]);
    expect(stage.broker.asked).toEqual(["subscribe", "history"]);
  });

  test("with many ids reads each of them once", async () => {
    const stage = openStage();
    const positions = await stage.publish(11);
    const visits = await Promise.all(
      Array.from({ length: 1000 }, (_, index) => stage.come(after(positions[index % 5]))),
    );
    for (const [index, { told }] of visits.entries())
      expect(told).toEqual([...replays(2 + (index % 5), 11), "live"]);
    expect(stage.broker.asked.filter((asked) => asked === "history")).toHaveLength(5);
  });

  test("is not given an answer that was read before the last message", async () => {
    const stage = openStage({ hub: { historyMessages: 0 } });
    await stage.come();
    const [first] = await stage.publish(200);
    const release = stage.broker.holdAnswers();
    const early = stage.come(after(first));
    await settled();
    await stage.publish(1);
    const late = stage.come(after(first));
    await settled();
    release();
    for (const { told } of [await early, await late]) {
      await settled(200);
      expect(told).toEqual([...replays(2, 201), "live"]);
    }
  });

  test("is not given an answer that was read before what its topic has delivered since", async () => {
    const stage = openStage({ hub: { historyMessages: 0 } });
    const live = await stage.come();
    const held = stage.broker.holdAnnouncements().messages;
    const [first] = await stage.publish(1);
    const release = stage.broker.holdAnswers();
    const early = stage.come(after(first)); // The engine has nothing after it yet.
    await settled();
    await stage.publish(1);
    stage.broker.listener?.announced(held[0] as Message);
    live.subscription.fallBack(first as Position);
    stage.broker.listener?.announced(held[1] as Message);
    live.subscription.advance();
    await settled();
    release();
    await settled();
    expect(live.told).toEqual(["live", "message 1", "replay 2", "live"]);
    expect((await early).told).toEqual(["replay 2", "live"]);
  });

  test("is served by a read of its own where an earlier one has been answered", async () => {
    const stage = openStage({ hub: { historyMessages: 0 } });
    const [first] = await stage.publish(2);
    const { visitor } = await stage.come(after(first));
    await stage.publish(1);
    const { told } = await stage.come(after(first));
    expect(told).toEqual([...replays(2, 3), "live"]);
    expect(stage.broker.asked).toEqual(["subscribe", "history", "history"]);
    visitor.close();
  });

  test("within the linger finds the topic subscribed, and its recent messages in the node's memory", async () => {
    const stage = openStage({ lingerSeconds: 30 });
    const { visitor } = await stage.come();
    const [first] = await stage.publish(3);
    visitor.close();
    expect(stage.hub.subscriberCount("news")).toBe(0);
    await stage.publish(2);
    const { told } = await stage.come(after(first));
    expect(told).toEqual([...replays(2, 5), "live"]);
    expect(stage.broker.asked).toEqual(["subscribe"]);
  });

  test("after the linger finds the topic left", async () => {
    jest.useFakeTimers();
    try {
      const stage = openStage({ lingerSeconds: 30 });
      const { visitor } = await stage.come();
      visitor.close();
      expect(stage.broker.asked).toEqual(["subscribe"]);
      jest.advanceTimersByTime(29_000);
      expect(stage.broker.asked).toEqual(["subscribe"]);
      jest.advanceTimersByTime(2000);
      expect(stage.broker.asked).toEqual(["subscribe", "unsubscribe"]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("before the linger is over keeps the topic for as long as it stays", async () => {
    jest.useFakeTimers();
    try {
      const stage = openStage({ lingerSeconds: 30 });
      (await stage.come()).visitor.close();
      jest.advanceTimersByTime(29_000);
      const { told } = await stage.come();
      jest.advanceTimersByTime(60_000);
      expect(stage.broker.asked).toEqual(["subscribe"]);
      await stage.publish(1);
      expect(told).toEqual(["live", "message 1"]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("leaves at once the topic that lingers longest where many linger", async () => {
    const stage = openStage({ lingerSeconds: 30 });
    for (let number = 0; number <= 10_000; number++)
      (await stage.hub.open(`topic/${number}`, undefined, "")).close();
    expect(stage.broker.asked.filter((asked) => asked === "unsubscribe")).toHaveLength(1);
  });
});

describe("an engine in this process", () => {
  const traits = { isInProcess: true };

  test("has no second copy: a replay has exactly the messages that the engine has", async () => {
    const stage = openStage({ broker: { historyMessages: 2 }, traits });
    const { visitor } = await stage.come();
    const [first] = await stage.publish(5);
    const { told } = await stage.come(after(first));
    expect(told).toEqual(["gap after 1, from 3", ...replays(4, 5), "live"]);
    visitor.close();
  });

  test("is left with the last subscriber", async () => {
    const stage = openStage({ lingerSeconds: 30, traits });
    const { visitor } = await stage.come();
    visitor.close();
    expect(stage.broker.asked).toEqual(["subscribe", "unsubscribe"]);
  });
});

describe("comparing positions", () => {
  test("asks in pieces of 1,000, and never twice at once", async () => {
    const stage = openStage();
    for (let number = 0; number < 2500; number++) await stage.hub.open(`topic/${number}`, undefined, "");
    stage.broker.asked.length = 0;
    const release = stage.broker.holdAnswers();
    for (let count = 0; count < 5; count++) stage.broker.listener?.missed();
    await settled();
    expect(stage.broker.askedTopics).toEqual([1000]);
    release();
    await settled(500);
    // What was asked for meanwhile is one more comparison.
    expect(stage.broker.askedTopics).toEqual([1000, 1000, 500, 1000, 1000, 500]);
  });

  test("is repeated if that was requested during one that failed", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    stage.broker.losing = true;
    await stage.publish(1);
    stage.broker.away = true;
    stage.broker.listener?.missed();
    stage.broker.away = false;
    stage.broker.listener?.missed(); // In the step of the engine's return, before the first one has failed.
    await settled();
    expect(told).toEqual(["live", "message 1"]);
  });

  test("catches up with many topics at once, and with all of them though some fail", async () => {
    const stage = openStage();
    const visits = [];
    for (let number = 0; number < 200; number++)
      visits.push(await stage.come(undefined, {}, "", `topic/${number}`));
    stage.broker.losing = true;
    for (let number = 0; number < 200; number++) await stage.publish(1, `topic/${number}`);
    stage.broker.failing = new Set(["topic/3", "topic/150"]);
    const release = stage.broker.holdAnswers();
    stage.broker.listener?.missed();
    await settled();
    release();
    await settled(1000);
    for (const [number, { told }] of visits.entries())
      expect(told).toEqual(number === 3 || number === 150 ? ["live"] : ["live", "message 1"]);
    expect(stage.broker.readsAtOnceMax).toBeWithin(32, 65);
  });
});

describe("while subscribers need time to take what they were given", () => {
  const nearby = { traits: { isInProcess: true, isShared: false } };

  /** Publishes to two topics, while who follows a topic has no room, and then has it. */
  async function publishesOnceThereIsRoom(
    stage: ReturnType<typeof openStage>,
    followed: string,
    topics: readonly [string, string],
  ): Promise<void> {
    const { subscription, told } = await stage.come(undefined, undefined, "", followed);
    const { promise, resolve } = Promise.withResolvers<void>();
    subscription.live.room = promise;
    const published = topics.map((topic) => stage.publish(1, topic));
    await settled();
    expect(told).toEqual(["live"]);
    subscription.live.room = undefined;
    resolve();
    await Promise.all(published);
    expect(told).toEqual(["live", "message 1", "message 2"]);
  }

  test("a publication waits, and each one after it, in their order", async () => {
    await publishesOnceThereIsRoom(openStage(nearby), "news", ["news", "news"]);
  });

  test("a publication to a topic that goes into their feed waits, too", async () => {
    const feeds = [
      { pattern: "chat/*", topic: "some" },
      { pattern: "*", topic: "all" },
    ];
    await publishesOnceThereIsRoom(openStage({ ...nearby, broker: { feeds } }), "all", ["chat/1", "news"]);
  });

  test("what another node publishes is read from the engine once there is room", async () => {
    const stage = openStage();
    const { subscription, told } = await stage.come();
    const { promise, resolve } = Promise.withResolvers<void>();
    Object.assign(subscription.live, { room: promise, isFull: true });
    for (let count = 0; count < 3; count++) await post(stage.broker, "news", text("x"));
    await settled();
    expect(told).toEqual(["live"]);
    Object.assign(subscription.live, { room: undefined, isFull: false });
    resolve();
    await settled();
    expect(told).toEqual(["live", ...events("message", 1, 3)]);
  });

  test("what was under way when a subscriber began to lag is read from the engine once it has taken something", async () => {
    for (const isShared of [false, true]) {
      const stage = openStage({ traits: { isShared } });
      const { subscription, told } = await stage.come();
      const { promise, resolve } = Promise.withResolvers<void>();
      Object.assign(subscription.live, { room: promise, isLagging: true });
      for (let count = 0; count < 3; count++) await post(stage.broker, "news", text("x"));
      await settled();
      // The node would fall behind the publishers at other nodes, who do not wait.
      expect(told).toEqual(isShared ? ["live", ...events("message", 1, 3)] : ["live"]);
      Object.assign(subscription.live, { room: undefined, isLagging: false });
      resolve();
      await settled();
      expect(told).toEqual(["live", ...events("message", 1, 3)]);
    }
  });
});

test("a subscription from now on to a topic that is announced here is there at once, and any other later", async () => {
  const stage = openStage();
  const [first] = await stage.publish(1);
  const coming = stage.hub.open("news", undefined, "");
  expect(coming).toBeInstanceOf(Promise);
  const live = await coming;
  const next = stage.hub.open("news", undefined, "");
  expect(next).toBeInstanceOf(Subscription);
  expect(stage.hub.open("news", after(first), "first")).toBeInstanceOf(Promise);
  expect(stage.hub.subscriberCount("news")).toBe(3);
  live.close();
  expect(stage.hub.subscriberCount("news")).toBe(2);
});

describe("an engine that is away", () => {
  test("lets no one come, and leaves nothing behind", async () => {
    const stage = openStage();
    stage.broker.away = true;
    await expect(stage.hub.open("news", undefined, "")).rejects.toBeInstanceOf(BrokerUnavailable);
    expect(stage.hub.subscriberCount("news")).toBe(0);
    stage.broker.away = false;
    const { told } = await stage.come();
    await stage.publish(1);
    expect(told).toEqual(["live", "message 1"]);
  });

  test("does not keep out who can be served from the node's own log", async () => {
    const stage = openStage();
    await stage.come();
    const [first] = await stage.publish(3);
    stage.broker.away = true;
    const { told } = await stage.come(after(first));
    expect(told).toEqual(["replay 2", "replay 3", "live"]);
  });

  test("in the middle of a replay fails it, behind what was given", async () => {
    const stage = openStage({ hub: { historyMessages: 1 } });
    await stage.publish(200);
    const { told, subscription, visitor } = await stage.come({ kind: "all" }, { takes: 1 });
    stage.broker.away = true;
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    await settled();
    expect(told).toEqual([...replays(1, 128), "fail BrokerUnavailable"]);
  });

  test("is not asked again once the node has stopped", async () => {
    jest.useFakeTimers();
    try {
      const stage = openStage();
      await stage.come();
      stage.broker.losing = true;
      await stage.publish(1);
      stage.broker.losing = false;
      stage.broker.awayForReads = true;
      await stage.publish(1);
      await settled();
      expect(stage.broker.asked).toEqual(["subscribe", "history"]);
      stage.hub.close();
      jest.advanceTimersByTime(60_000);
      await settled();
      expect(stage.broker.asked).toEqual(["subscribe", "history"]);
    } finally {
      jest.useRealTimers();
    }
  });

  test("while missed messages are made up for is asked again later", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    stage.broker.losing = true;
    await stage.publish(1);
    stage.broker.losing = false;
    stage.broker.awayForReads = true;
    await stage.publish(1);
    await settled();
    expect(told).toEqual(["live"]);
    expect(stage.warnings).toEqual(["could not catch up with the broker"]);
    stage.broker.awayForReads = false;
    stage.broker.listener?.missed();
    await settled();
    expect(told).toEqual(["live", "message 1", "message 2"]);
  });
});
