/** A channel without a server: announcements in order, missed ones made up for, and recent messages. */
import { afterEach, describe, expect, jest, setDefaultTimeout, setSystemTime, test } from "bun:test";
import { BrokerUnavailable, type History } from "../../src/topic/broker.ts";
import type { Message, Position } from "../../src/topic/message.ts";
import { after, closeStages, messages, openStage, replays, settled, Visitor } from "../support/hub-stage.ts";

setDefaultTimeout(120_000);
afterEach(closeStages);

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
    // The stack may name a few logs and engines that nobody has any more, and JavaScriptCore keeps all that it names, so there
    // are many of both.
    const { visitor } = await stage.come();
    for (let pasts = 0; pasts < 20; pasts++) {
      await stage.publish(10);
      await stage.broker.loseEverything();
      stage.broker.listener.missed();
      await settled();
    }
    expect(await collected()).toBeGreaterThan(100);
    visitor.close();
    announced.length = 0;
    for (let topics = 0; topics < 20; topics++) {
      const topic = `left/${topics}`;
      const { visitor: other } = await stage.come(undefined, undefined, undefined, topic);
      await stage.publish(10, topic);
      other.close();
      await stage.broker.loseEverything();
    }
    expect(await collected()).toBeGreaterThan(100);
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
