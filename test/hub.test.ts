/** The hub without a server: who gets which message, in which step, and who is told of a gap. */
import { afterEach, describe, expect, jest, setDefaultTimeout, setSystemTime, test } from "bun:test";
import pino from "pino";
import type { EngineLimits } from "../src/engine/engine.ts";
import { MemoryBroker } from "../src/engine/memory/broker.ts";
import { Counters } from "../src/metrics.ts";
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  BrokerUnavailable,
  type History,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../src/topic/broker.ts";
import { Hub } from "../src/topic/hub.ts";
import {
  type End,
  formatId,
  type Message,
  type Position,
  type Since,
  type TopicPosition,
} from "../src/topic/message.ts";
import type { HistoryLimits } from "../src/topic/retention.ts";
import type { Gap, Subscriber, Subscription } from "../src/topic/subscription.ts";
import { endTopic, post, text } from "./contract/messages.ts";
import { LiveVisitors } from "./support/live-visitors.ts";

setDefaultTimeout(120_000);

const limits: EngineLimits = {
  historyMessages: 1000,
  historyAgeSeconds: 3600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  positionAgeSeconds: 3600,
  positionBytesMax: 64 * 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
};

const open: Stage[] = [];
afterEach(async () => {
  for (const stage of open.splice(0)) await stage.close();
});

describe("a subscriber from now on", () => {
  test("is live at once, and gets what is published from then on", async () => {
    const stage = openStage();
    await stage.publish(2);
    const { subscription, told } = await stage.come();
    expect(told).toEqual(["live"]);
    expect(subscription.resumed).toBe(false);
    await stage.publish(2);
    expect(told).toEqual(["live", "message 3", "message 4"]);
  });

  test("continues from where the topic stands when it begins, not when it was prepared", async () => {
    const stage = openStage();
    const subscription = await stage.hub.open("news", undefined, "");
    await stage.publish(2);
    expect(subscription.from.offset).toBe(2);
    const visitor = new Visitor(subscription);
    await stage.publish(1);
    expect(visitor.told).toEqual(["live", "message 3"]);
  });
});

describe("a subscriber that comes back", () => {
  test("is replayed exactly what it missed and is live in the same step", async () => {
    const stage = openStage();
    const [, second] = await stage.publish(5);
    const subscription = await stage.hub.open("news", after(second), "second");
    expect(subscription).toMatchObject({ from: second, gap: undefined, resumed: true });
    const { told } = new Visitor(subscription);
    expect(told).toEqual(["replay 3", "replay 4", "replay 5", "live"]);
    await stage.publish(1);
    expect(told.at(-1)).toBe("message 6");
  });

  test("gets what is published between its opening and its beginning once", async () => {
    const stage = openStage();
    const [first] = await stage.publish(2);
    const subscription = await stage.hub.open("news", after(first), "first");
    await stage.publish(2);
    const { told } = new Visitor(subscription);
    await stage.publish(1);
    expect(told).toEqual(["replay 2", "replay 3", "replay 4", "live", "message 5"]);
  });

  test("gets what is published in the very step in which it is given the last one", async () => {
    const stage = openStage();
    const [first] = await stage.publish(2);
    const subscription = await stage.hub.open("news", after(first), "first");
    const visitor = new Visitor(subscription, {
      on: (event) => {
        if (event === "replay 2" || event === "live") void stage.publish(1);
      },
    });
    await settled();
    expect(visitor.told).toEqual(["replay 2", "replay 3", "live", "message 4"]);
  });

  test("is told where it continues from, never ahead of what it was sent", async () => {
    const stage = openStage();
    const positions = await stage.publish(300);
    for (const position of positions) {
      const subscription = await stage.hub.open("news", after(position), formatId(position));
      expect(subscription.from).toEqual(position);
      subscription.close();
    }
    const everything = await stage.hub.open("news", { kind: "all" }, "all");
    expect(everything.from.offset).toBe(0);
    everything.close();
  });

  test("is replayed as much as it takes, and no more until it takes more", async () => {
    const stage = openStage();
    const [first] = await stage.publish(6);
    const { subscription, told, visitor } = await stage.come(after(first), { takes: 2 });
    expect(told).toEqual(["replay 2", "replay 3"]);
    await stage.publish(1);
    await settled();
    expect(told).toEqual(["replay 2", "replay 3"]);
    visitor.takes = 2;
    subscription.advance();
    expect(told).toEqual(["replay 2", "replay 3", "replay 4", "replay 5"]);
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    expect(told.slice(4)).toEqual(["replay 6", "replay 7", "live"]);
  });

  test("is replayed thousands of messages in pages, without a hole where they join", async () => {
    const stage = openStage({ broker: { historyMessages: 5000 }, hub: { historyMessages: 10 } });
    await stage.publish(3000);
    const { told } = await stage.come({ kind: "all" });
    await settled(1000);
    expect(told).toEqual([...replays(1, 3000), "live"]);
  });

  test("may be live already, with no message missed, also when no history is kept", async () => {
    const stage = openStage({ broker: { historyMessages: 0 }, hub: { historyMessages: 0 } });
    const [, second] = await stage.publish(2);
    const { subscription, told } = await stage.come(after(second));
    expect(subscription.gap).toBeUndefined();
    await stage.publish(1);
    expect(told).toEqual(["live", "message 3"]);
  });

  test("a thousand at once are served from the node's own log", async () => {
    const stage = openStage();
    await stage.come();
    const [first] = await stage.publish(101);
    stage.broker.asked.length = 0;
    const visits = await Promise.all(Array.from({ length: 1000 }, () => stage.come(after(first))));
    for (const { told } of visits) expect(told).toEqual([...replays(2, 101), "live"]);
    expect(stage.broker.asked).toEqual([]);
  });

  test("a thousand at once on a node that did not hear the topic share one subscription to it", async () => {
    const stage = openStage();
    const [first] = await stage.publish(11);
    const visits = await Promise.all(Array.from({ length: 1000 }, () => stage.come(after(first))));
    for (const { told } of visits) expect(told).toEqual([...replays(2, 11), "live"]);
    expect(stage.broker.asked.filter((asked) => asked === "subscribe")).toHaveLength(1);
  });

  test("with an id ahead of what the node heard makes the node catch up, and is told of no gap", async () => {
    const stage = openStage();
    const live = await stage.come();
    await stage.publish(2);
    stage.broker.losing = true;
    const [, , fifth] = await stage.publish(3);
    stage.broker.losing = false;
    const { subscription, told } = await stage.come(after(fifth));
    expect(subscription.gap).toBeUndefined();
    expect(live.told).toEqual(["live", ...messages(1, 5)]);
    await stage.publish(1);
    expect(told).toEqual(["live", "message 6"]);
    expect(live.told.at(-1)).toBe("message 6");
  });
});

describe("a gap", () => {
  test("is told first, then everything retained, where what follows was dropped", async () => {
    const stage = openStage({ broker: { historyMessages: 3 } });
    const [first] = await stage.publish(6);
    const subscription = await stage.hub.open("news", after(first), "first");
    expect(subscription).toMatchObject({ from: { offset: 3 }, gap: { requested: "first" }, resumed: false });
    const { told } = new Visitor(subscription);
    expect(told).toEqual(["gap after first, from 3", ...replays(4, 6), "live"]);
  });

  test("is told to who comes with an id of another epoch, or one that is none", async () => {
    const stage = openStage();
    await stage.publish(2);
    const foreign = await stage.come(after({ epoch: "elsewhere", offset: 1 }));
    expect(foreign.told).toEqual(["gap after elsewhere-1, from 0", "replay 1", "replay 2", "live"]);
    const strange = await stage.come({ kind: "unknown" }, {}, "what is this");
    expect(strange.told).toEqual(["gap after what is this, from 0", "replay 1", "replay 2", "live"]);
  });

  test("of an id ahead of the topic leaves no such id to store, even when the topic reaches it before the beginning", async () => {
    const stage = openStage();
    const [first] = await stage.publish(1);
    const ahead = { epoch: String(first?.epoch), offset: 3 };
    const subscription = await stage.hub.open("news", after(ahead), formatId(ahead));
    await stage.publish(4);
    expect(subscription.openId).toBe("0-0");
    subscription.close();
  });

  test("is told in the middle of a replay that trimming has overtaken", async () => {
    const stage = openStage({ broker: { historyMessages: 3 }, hub: { historyMessages: 2 } });
    await stage.publish(3);
    const { subscription, told, visitor } = await stage.come({ kind: "all" }, { takes: 3 });
    await stage.publish(10);
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    await settled();
    expect(told).toEqual([...replays(1, 3), "gap after 3, from 10", ...replays(11, 13), "live"]);
  });

  test("is not told because the node itself no longer has what its engine still has", async () => {
    const stage = openStage({ hub: { historyMessages: 1 } });
    await stage.publish(3);
    const { subscription, told, visitor } = await stage.come({ kind: "all" }, { takes: 1 });
    await stage.publish(10);
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    await settled();
    expect(told).toEqual([...replays(1, 13), "live"]);
  });

  test("is told to everyone live when the engine lost the topic, and they go on in the new epoch", async () => {
    const stage = openStage();
    const one = await stage.come();
    const other = await stage.come();
    await stage.publish(2);
    const slow = await stage.come({ kind: "all" }, { takes: 1 });
    await stage.broker.loseEverything();
    await stage.publish(2);
    await settled();
    const expected = [
      "live",
      "message 1",
      "message 2",
      "gap after 2, from 0",
      "live",
      "message 1",
      "message 2",
    ];
    expect(one.told).toEqual(expected);
    expect(other.told).toEqual(expected);
    slow.visitor.takes = Number.POSITIVE_INFINITY;
    slow.subscription.advance();
    await settled();
    expect(slow.told).toEqual([...replays(1, 2), "gap after 2, from 0", ...replays(1, 2), "live"]);
  });

  test("is told when a lost topic is found out about by comparing positions, before anything is published", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    await stage.publish(2);
    await stage.broker.loseEverything();
    stage.broker.listener?.missed();
    await settled();
    expect(told).toEqual(["live", "message 1", "message 2", "gap after 2, from 0", "live"]);
    await stage.publish(1);
    expect(told.at(-1)).toBe("message 1");
  });

  test("is told to who returns from a lost past, though the node has later offsets of the new one", async () => {
    const stage = openStage();
    await stage.come();
    const [, second] = await stage.publish(3);
    await stage.broker.loseEverything();
    await stage.publish(3);
    await settled();
    const { told } = await stage.come(after(second));
    expect(told).toEqual(["gap after 2, from 0", ...replays(1, 3), "live"]);
  });

  test("is told where the first announcement of a new past follows on from the lost one by its offset", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    await stage.publish(2);
    await stage.broker.loseEverything();
    stage.broker.losing = true;
    await stage.publish(2);
    stage.broker.losing = false;
    await stage.publish(1);
    await settled();
    const before = ["live", ...messages(1, 2)];
    expect(told).toEqual([...before, "gap after 2, from 0", "live", ...messages(1, 3)]);
  });

  test("is told to who is live where missed messages were dropped before the node could read them", async () => {
    const stage = openStage({ broker: { historyMessages: 2 } });
    const { told } = await stage.come();
    stage.broker.losing = true;
    await stage.publish(5);
    stage.broker.losing = false;
    await stage.publish(1);
    await settled();
    expect(told).toEqual(["live", "gap after 0, from 4", "live", "message 5", "message 6"]);
  });
});

describe("the end of a topic", () => {
  test("is told after every message, to who is live, who replays and who comes later", async () => {
    const stage = openStage();
    const [first] = await stage.publish(3);
    const live = await stage.come();
    const replaying = await stage.come(after(first), { takes: 1 });
    await stage.hub.publish("news", { draft: text("last"), end: true });
    await settled();
    replaying.visitor.takes = 9;
    replaying.subscription.advance();
    await settled();
    const late = await stage.come();
    const seen = await stage.come({ kind: "all" });
    await settled();
    expect(live.told).toEqual(["live", "message 4", "end 5"]);
    expect(replaying.told).toEqual([...replays(2, 4), "end 5"]);
    expect(late.told).toEqual(["end 5"]);
    expect(seen.told).toEqual([...replays(1, 4), "end 5"]);
    expect(stage.hub.subscriberCount("news")).toBe(0);
  });

  test("of which the announcement was lost is found by comparing positions", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    stage.broker.losing = true;
    await stage.publish(1);
    await endTopic(stage.hub, "news");
    stage.broker.listener?.missed();
    await settled();
    expect(told).toEqual(["live", "message 1", "end 2"]);
  });

  test("is forgotten with the engine's memory: the topic begins anew", async () => {
    const stage = openStage({ lingerSeconds: 30 });
    const { told } = await stage.come();
    await stage.publish(1);
    await endTopic(stage.hub, "news");
    expect(told).toEqual(["live", "message 1", "end 2"]);
    await stage.broker.loseEverything();
    stage.broker.listener?.missed();
    await settled();
    expect(stage.broker.asked.length).toBeLessThan(20); // It must not ask for ever.
    const { told: again } = await stage.come();
    await stage.publish(1);
    expect(again).toEqual(["live", "message 1"]);
  });
});

describe("announcements", () => {
  test("made while the node subscribes are delivered, each once", async () => {
    const stage = openStage();
    await stage.publish(1);
    const release = stage.broker.holdAnswers();
    const coming = stage.come();
    await stage.publish(3);
    release();
    const { told } = await coming;
    await settled();
    await stage.publish(1);
    // It stands where `subscribe` found the topic, or further, and misses nothing from there.
    const delivered = told.filter((event) => event.startsWith("message"));
    expect(told[0]).toBe("live");
    expect(delivered).toEqual(messages(6 - delivered.length, 5));
  });

  test("of more messages than are kept while the node subscribes are made up for by the engine", async () => {
    const stage = openStage();
    const release = stage.broker.holdAnswers();
    const beginning = stage.hub.open("news", undefined, "");
    await stage.publish(500);
    release();
    const visitor = new Visitor(await beginning);
    await settled(100);
    await stage.publish(1);
    expect(visitor.told).toEqual(["live", ...messages(1, 501)]);
  });

  test("made twice or late are delivered once and in order", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    const release = stage.broker.holdAnnouncements();
    await stage.publish(3);
    const [first, second, third] = release.messages;
    for (const message of [first, first, third, second, first, third, second]) {
      if (message) stage.broker.listener?.announced(message);
    }
    await settled();
    expect(told).toEqual(["live", ...messages(1, 3)]);
  });

  test("that were missed are made up for when the next one comes", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    await stage.publish(1);
    stage.broker.losing = true;
    await stage.publish(300);
    stage.broker.losing = false;
    await stage.publish(2);
    await settled(100);
    expect(told).toEqual(["live", ...messages(1, 303)]);
  });

  test("that were missed are made up for when the engine is back", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    stage.broker.losing = true;
    await stage.publish(2);
    stage.broker.listener?.missed();
    await settled();
    expect(told).toEqual(["live", ...messages(1, 2)]);
  });

  test("that were missed without a disconnect are made up for by comparing positions now and again", async () => {
    jest.useFakeTimers();
    try {
      const stage = openStage({ traits: { comparisonSeconds: 2 } });
      const { told } = await stage.come();
      stage.broker.losing = true;
      await stage.publish(2);
      await settled();
      expect(told).toEqual(["live"]);
      jest.advanceTimersByTime(5000);
      await settled();
      expect(told).toEqual(["live", ...messages(1, 2)]);
    } finally {
      jest.useRealTimers();
    }
  });

  for (let ticks = 0; ticks < 8; ticks++) {
    test(`that show a hole ${ticks} microtasks after another hole was filled are not overlooked`, async () => {
      const stage = openStage();
      const { told } = await stage.come();
      const release = stage.broker.holdAnnouncements();
      await stage.publish(4);
      const [, second, , fourth] = release.messages as [Message, Message, Message, Message];
      const two = {
        complete: true,
        isTrimmed: false,
        from: { ...second, offset: 0 },
        messages: release.messages.slice(0, 2),
      };
      const answer = Promise.withResolvers<History>();
      stage.broker.nextHistory = answer.promise;
      stage.broker.listener?.announced(second);
      await settled();
      answer.resolve({ ...two, position: { epoch: second.epoch, offset: 2 } });
      for (let tick = 0; tick < ticks; tick++) await undefined;
      stage.broker.listener?.announced(fourth);
      await settled();
      expect(told).toEqual(["live", ...messages(1, 4)]);
    });
  }
});

describe("a subscriber that leaves", () => {
  const moments = ["replay 1", "replay 2", "replay 3", "live", "gap after 0, from 1"] as const;
  for (const moment of moments) {
    test(`at "${moment}" is told nothing more, and its topic is left`, async () => {
      const trimmed = moment.startsWith("gap");
      const stage = openStage({ broker: { historyMessages: trimmed ? 2 : 100 } });
      const { epoch } = await stage.broker.subscribe("news");
      stage.broker.unsubscribe("news");
      await stage.publish(3);
      const { told } = await stage.come(after({ epoch, offset: 0 }), {
        on: (event, visitor) => {
          if (event === moment) visitor.close();
        },
      });
      await stage.publish(2);
      await settled();
      expect(told.at(-1)).toBe(moment);
      expect(stage.hub.subscriberCount("news")).toBe(0);
      expect(stage.broker.asked.at(-1)).toBe("unsubscribe");
    });
  }

  test("before it began was never there", async () => {
    const stage = openStage();
    await stage.publish(2);
    const subscription = await stage.hub.open("news", { kind: "all" }, "all");
    subscription.close();
    subscription.close();
    const { told } = new Visitor(subscription);
    await stage.publish(1);
    expect(told).toEqual([]);
    expect(stage.hub.subscriberCount("news")).toBe(0);
  });

  test("while the engine is being read is told nothing more", async () => {
    const stage = openStage({ hub: { historyMessages: 0 } });
    await stage.publish(200);
    const { told, subscription, visitor } = await stage.come({ kind: "all" }, { takes: 1 });
    const release = stage.broker.holdAnswers();
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    expect(stage.broker.asked.at(-1)).toBe("history");
    visitor.close();
    release();
    await settled();
    expect(told).toEqual(replays(1, 128));
  });

  test("as the last one ends the node's own subscription, and one that comes later begins another", async () => {
    const stage = openStage();
    const one = await stage.come();
    const other = await stage.come();
    one.visitor.close();
    expect(stage.broker.asked).toEqual(["subscribe"]);
    other.visitor.close();
    expect(stage.broker.asked).toEqual(["subscribe", "unsubscribe"]);
    await stage.publish(2);
    const third = await stage.come();
    await stage.publish(1);
    expect([one.told, other.told, third.told]).toEqual([["live"], ["live"], ["live", "message 3"]]);
  });

  test("leaves nothing to the next one that the engine still owed it", async () => {
    const stage = openStage();
    const first = await stage.come();
    const release = stage.broker.holdAnnouncements();
    await stage.publish(2);
    const [, second] = release.messages as [Message, Message];
    const answer = Promise.withResolvers<History>();
    stage.broker.nextHistory = answer.promise;
    stage.broker.listener?.announced(second); // A hole: the engine is asked for what is missing, and takes its time.
    first.visitor.close();
    const { told } = await stage.come();
    const from = { epoch: second.epoch, offset: 0 };
    answer.resolve({ complete: true, isTrimmed: false, from, messages: release.messages, position: second });
    await settled();
    expect(first.told).toEqual(["live"]);
    expect(told).toEqual(["live"]);
  });
});

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

describe("a node's own history", () => {
  const aged = { historyAgeSeconds: 60 };
  afterEach(() => void setSystemTime());
  const pass = (seconds: number): void => void setSystemTime(Date.now() + seconds * 1000);

  test("is not handed out past its age, though nothing has swept or grown it", async () => {
    const stage = openStage({ broker: aged, hub: aged });
    await stage.come();
    const [first] = await stage.publish(3);
    pass(59);
    expect((await stage.come(after(first))).told).toEqual([...replays(2, 3), "live"]);
    pass(2);
    expect((await stage.come(after(first))).told).toEqual(["gap after 1, from 3", "live"]);
  });

  test("ages by the clock of this machine, though that of the engine is ahead", async () => {
    const stage = openStage({ hub: aged });
    await stage.come();
    const [position] = await stage.broker.positions(["news"]);
    const base = { topic: "news", epoch: position?.epoch ?? "", contentType: "text/plain", data: "x" };
    const time = Date.now() + 3_600_000;
    for (const offset of [1, 2]) stage.broker.listener?.announced({ ...base, offset, time });
    const first = { epoch: base.epoch, offset: 1 };
    expect((await stage.come(after(first))).told).toEqual(["replay 2", "live"]);
    pass(61);
    expect((await stage.come(after(first))).told[0]).toStartWith("gap"); // The engine of this test never had it.
  });

  test("lets go of its messages when their past is lost, and when the topic is left", async () => {
    const stage = openStage();
    const announced: WeakRef<Message>[] = [];
    const { listener } = stage.broker;
    if (!listener) throw new Error("the hub listens");
    stage.broker.listener = {
      missed: () => listener.missed(),
      subscriberCount: (topic) => listener.subscriberCount(topic),
      announced: (entry) => {
        if (!entry.isEnd) announced.push(new WeakRef(entry));
        listener.announced(entry);
      },
    };
    const collected = async (): Promise<number> => {
      await new Promise((resolve) => setImmediate(resolve)); // Until then a WeakRef holds on to what it was made for.
      Bun.gc(true);
      return announced.filter((reference) => reference.deref() === undefined).length;
    };
    const visitors = [(await stage.come()).visitor];
    await stage.publish(100);
    await stage.broker.loseEverything();
    stage.broker.listener.missed();
    await settled();
    expect(await collected()).toBeGreaterThan(90);
    await stage.publish(100);
    visitors.pop()?.close();
    await stage.broker.loseEverything();
    expect(await collected()).toBeGreaterThan(190);
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

describe("messages of which offsets were skipped", () => {
  const follow = (previous: Position, by: number): Message => ({
    topic: "news",
    epoch: previous.epoch,
    offset: previous.offset + by,
    ...(by > 1 && { previous: previous.offset }),
    time: 0,
    contentType: "text/plain",
    data: "x",
  });

  test("are delivered in order, and no loss is concluded from the jump", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    const [first] = await stage.publish(1);
    const second = follow(first as Position, 2 ** 32);
    stage.broker.listener?.announced(second);
    stage.broker.listener?.announced(follow(second, 1));
    expect(told).toEqual(["live", "message 1", `message ${2 ** 32 + 1}`, `message ${2 ** 32 + 2}`]);
    const { told: replayed } = await stage.come(after(first));
    expect(replayed).toEqual([`replay ${2 ** 32 + 1}`, `replay ${2 ** 32 + 2}`, "live"]);
    expect(stage.broker.asked).toEqual(["subscribe"]);
  });

  test("are missed where the announcement's predecessor was not delivered", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    const release = stage.broker.holdAnnouncements();
    await stage.publish(2);
    const [, second] = release.messages as [Message, Message];
    stage.broker.listener?.announced({ ...second, offset: second.offset + 5, previous: second.offset });
    await settled();
    expect(told).toEqual(["live", "message 1", "message 2"]);
  });
});

describe("a page that does not follow what was asked", () => {
  const faults: Record<string, (page: History) => History> = {
    "begins elsewhere": (page) => ({ ...page, from: { ...page.from, offset: page.from.offset + 1 } }),
    "has a hole": (page) => ({ ...page, messages: page.messages.toSpliced(1, 1) }),
    "is out of order": (page) => ({ ...page, messages: page.messages.toReversed() }),
    "mixes epochs": (page) => ({
      ...page,
      messages: page.messages.map((message, index) =>
        index === 1 ? { ...message, epoch: "other" } : message,
      ),
    }),
    "ends past the position": (page) => ({ ...page, position: page.from }),
  };
  for (const [what, falsify] of Object.entries(faults)) {
    test(`because it ${what} is logged, and fails the read instead of repeating it`, async () => {
      const stage = openStage();
      const [first] = await stage.publish(4);
      const truth = await stage.broker.history("news", after(first), {
        messagesMax: 128,
        bytesMax: 1024 * 1024,
      });
      stage.broker.nextHistory = Promise.resolve(falsify(truth as History));
      await expect(stage.hub.open("news", after(first), "first")).rejects.toBeInstanceOf(BrokerUnavailable);
      expect(stage.warnings).toEqual(["the engine answered a read with a fault"]);
      expect(stage.broker.asked).toEqual(["history", "subscribe", "unsubscribe"]);
    });
  }

  test("while the node catches up is not asked for again at each announcement", async () => {
    const stage = openStage();
    const { told } = await stage.come();
    const release = stage.broker.holdAnnouncements();
    await stage.publish(10);
    stage.broker.falsify = (page) => ({ ...page, messages: page.messages.toReversed() });
    for (const message of release.messages.slice(1)) {
      stage.broker.listener?.announced(message);
      await settled();
    }
    expect(stage.broker.asked.filter((asked) => asked === "history")).toHaveLength(1);
    stage.broker.falsify = undefined;
    stage.broker.listener?.missed();
    await settled();
    expect(told).toEqual(["live", ...messages(1, 10)]);
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
  test("a publication waits, and each one after it, in their order", async () => {
    const stage = openStage({ traits: { isInProcess: true, isShared: false } });
    const { subscription, told } = await stage.come();
    const { promise, resolve } = Promise.withResolvers<void>();
    subscription.live.room = promise;
    const published = [stage.publish(1), stage.publish(1)];
    await settled();
    expect(told).toEqual(["live"]);
    subscription.live.room = undefined;
    resolve();
    await Promise.all(published);
    expect(told).toEqual(["live", "message 1", "message 2"]);
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
});

describe("a live subscriber that falls back", () => {
  test("is replayed to from the last message it took, and is live again", async () => {
    const stage = openStage();
    const { subscription, told } = await stage.come();
    const [first] = await stage.publish(1);
    subscription.fallBack(first as Position);
    await stage.publish(3);
    expect(told).toEqual(["live", "message 1"]);
    subscription.advance();
    expect(told).toEqual(["live", "message 1", ...replays(2, 4), "live"]);
    await stage.publish(1);
    expect(told.at(-1)).toBe("message 5");
  });
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

interface Stage {
  readonly broker: StagedBroker;
  readonly hub: Hub<LiveVisitors<Visitor>>;
  readonly warnings: readonly string[];
  publish(count: number, topic?: string): Promise<Position[]>;
  come(
    since?: Since,
    manner?: Manner,
    requested?: string,
    topic?: string,
  ): Promise<{ subscription: Subscription<LiveVisitors<Visitor>>; visitor: Visitor; told: string[] }>;
  close(): Promise<void>;
}

function openStage(
  given: {
    broker?: Partial<EngineLimits>;
    hub?: Partial<HistoryLimits>;
    traits?: Partial<BrokerTraits>;
    lingerSeconds?: number;
  } = {},
): Stage {
  const far: BrokerTraits = { isShared: true, isInProcess: false, comparisonSeconds: undefined };
  const broker = new StagedBroker({ ...limits, ...given.broker }, { ...far, ...given.traits });
  const warnings: string[] = [];
  const log = pino(
    { level: "warn" },
    { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const hub = new Hub({
    broker,
    live: () => new LiveVisitors<Visitor>(),
    limits: { ...limits, ...given.hub },
    lingerSeconds: given.lingerSeconds ?? 0,
    counters: new Counters(),
    log,
  });
  const stage: Stage = {
    broker,
    hub,
    warnings,
    publish: async (count, topic = "news") => {
      const positions: Position[] = [];
      for (let number = 0; number < count; number++) {
        positions.push(await post(hub, topic, text("x")));
      }
      return positions;
    },
    come: async (
      since,
      manner,
      requested = since?.kind === "position" ? formatId(since.position) : "",
      topic = "news",
    ) => {
      const subscription = await hub.open(topic, since, requested);
      const visitor = new Visitor(subscription, manner);
      return { subscription, visitor, told: visitor.told };
    },
    close: async () => {
      hub.close();
      await broker.close();
    },
  };
  open.push(stage);
  return stage;
}

/** In memory, and made to do what an engine far away does by itself. */
class StagedBroker implements Broker {
  readonly asked: string[] = [];
  listener: BrokerListener | undefined;
  /** Nothing can be asked, or only history and positions cannot. */
  away = false;
  awayForReads = false;
  /** Announcements are lost. */
  losing = false;
  /** Topics whose history cannot be read. */
  failing: ReadonlySet<string> = new Set();
  /** Changes what `history` answers. */
  falsify: ((page: History) => History) | undefined;
  /** The number of topics in each call of `positions`. */
  readonly askedTopics: number[] = [];
  /** The most reads of history that were under way at once. */
  readsAtOnceMax = 0;
  #readsAtOnce = 0;
  /** What the next call of `history` answers with. */
  nextHistory: Promise<History> | undefined;
  #heldAnnouncements: Message[] | undefined;
  #answersMayGo: Promise<void> | undefined;
  #memory: MemoryBroker;

  constructor(
    readonly limits: EngineLimits,
    readonly traits: BrokerTraits,
  ) {
    this.#memory = this.#openMemory();
  }

  get state(): BrokerState {
    return this.#memory.state;
  }

  listen(listener: BrokerListener): void {
    this.listener = listener;
  }

  publish(topic: string, publication: Publication): Promise<Appended> {
    return this.#memory.publish(topic, publication);
  }

  takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    return this.#memory.takeStream(topic, once, writer);
  }

  subscribe(topic: string): Promise<TopicPosition> {
    return this.#ask("subscribe", () => this.#memory.subscribe(topic));
  }

  unsubscribe(topic: string): void {
    this.asked.push("unsubscribe");
    this.#memory.unsubscribe(topic);
  }

  history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const { nextHistory } = this;
    this.nextHistory = undefined;
    return nextHistory ?? this.#read(topic, since, page);
  }

  async #read(topic: string, since: Since, page: Page): Promise<History | undefined> {
    this.readsAtOnceMax = Math.max(this.readsAtOnceMax, ++this.#readsAtOnce);
    try {
      const isAway = this.awayForReads || this.failing.has(topic);
      const history = await this.#ask("history", () => this.#memory.history(topic, since, page), isAway);
      return history && this.falsify ? this.falsify(history) : history;
    } finally {
      this.#readsAtOnce--;
    }
  }

  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#ask("inspect", () => this.#memory.inspect(topics), this.awayForReads);
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    this.askedTopics.push(topics.length);
    return this.#ask("positions", () => this.#memory.positions(topics), this.awayForReads);
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  /** @returns what lets them go */
  holdAnswers(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#answersMayGo = promise;
    return () => {
      this.#answersMayGo = undefined;
      resolve();
    };
  }

  /** @returns what would have been announced */
  holdAnnouncements(): { readonly messages: readonly Message[] } {
    const messages: Message[] = [];
    this.#heldAnnouncements = messages;
    return { messages };
  }

  async loseEverything(): Promise<void> {
    await this.#memory.close();
    this.#memory = this.#openMemory();
  }

  #openMemory(): MemoryBroker {
    const memory = new MemoryBroker(this.limits);
    memory.listen({
      announced: (entry) => {
        if (this.#heldAnnouncements && !entry.isEnd) this.#heldAnnouncements.push(entry);
        else if (!this.losing) this.listener?.announced(entry);
      },
      missed: () => this.listener?.missed(),
      subscriberCount: () => 0,
    });
    return memory;
  }

  /** It is done when it is asked, and known when answers may go. */
  async #ask<Answer>(what: string, ask: () => Promise<Answer>, away = false): Promise<Answer> {
    this.asked.push(what);
    if (this.away || away) throw new BrokerUnavailable("the test has it away");
    const answer = await ask();
    await this.#answersMayGo;
    return answer;
  }
}

interface Manner {
  /** How many messages of a replay it takes before it has enough. */
  takes?: number;
  on?: (event: string, visitor: Visitor) => void;
}

/** A subscriber that writes down all it is told. */
class Visitor implements Subscriber<LiveVisitors<Visitor>> {
  readonly told: string[] = [];
  takes: number;
  readonly #on: (event: string, visitor: Visitor) => void;
  readonly #subscription: Subscription<LiveVisitors<Visitor>>;

  constructor(subscription: Subscription<LiveVisitors<Visitor>>, { takes, on }: Manner = {}) {
    this.takes = takes ?? Number.POSITIVE_INFINITY;
    this.#on = on ?? (() => undefined);
    this.#subscription = subscription;
    subscription.begin(this);
    subscription.advance();
  }

  close(): void {
    this.#subscription.close();
  }

  replay({ offset }: Message): boolean {
    this.takes--;
    this.#tell(`replay ${offset}`);
    return this.takes > 0;
  }

  deliver({ offset }: Message): void {
    this.#tell(`message ${offset}`);
  }

  /** Of ids in the epoch of this test only the offset is written down, since epochs are random. */
  gap({ requested, from }: Gap): void {
    this.#tell(`gap after ${requested.replace(/^\w{14,}-/, "")}, from ${from.offset}`);
  }

  live(subscription: Subscription<LiveVisitors<Visitor>>): void {
    subscription.live.add(subscription, this);
    this.#tell("live");
  }

  end({ offset }: End): void {
    this.#tell(`end ${offset}`);
  }

  fail(error: unknown): void {
    this.#tell(`fail ${error instanceof Error ? error.constructor.name : String(error)}`);
  }

  #tell(event: string): void {
    this.told.push(event);
    this.#on(event, this);
  }
}

const after = (position: Position | undefined): Since => {
  if (!position) throw new Error("there is no such position");
  return { kind: "position", position };
};

const events = (what: string, first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, index) => `${what} ${first + index}`);
const replays = (first: number, last: number): string[] => events("replay", first, last);
const messages = (first: number, last: number): string[] => events("message", first, last);

/** Runs everything that waits for promises only; there is nothing else here to wait for. */
async function settled(ticks = 50): Promise<void> {
  for (let tick = 0; tick < ticks; tick++) await undefined;
}
