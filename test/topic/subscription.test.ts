/** A subscription without a server: who gets which message, in which step, and who is told of a gap. */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { History } from "../../src/topic/broker.ts";
import { formatId, type Message, type Position } from "../../src/topic/message.ts";
import { endTopic, text } from "../engine/contract/messages.ts";
import { after, closeStages, messages, openStage, replays, settled, Visitor } from "../support/hub-stage.ts";

setDefaultTimeout(120_000);
afterEach(closeStages);

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
    await stage.hub.publish("news", { drafts: [text("last")], end: true });
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
