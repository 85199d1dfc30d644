/** From one message to the live readers of its topic, without connections. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Server } from "bun";
import { bufferLimits } from "../../src/delivery/buffer-limits.ts";
import { forms } from "../../src/delivery/forms.ts";
import type { TopicReaders } from "../../src/delivery/topic-readers.ts";
import { nextTurn } from "../../src/next-turn.ts";
import { stepItemsMax } from "../../src/settings/limits.ts";
import { messageOf, ReaderStage } from "../support/topic-readers.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const kilobyte = "x".repeat(1000);

describe("the live readers of a topic", () => {
  test("get each message in the encoding of their form, which is made once", () => {
    const stage = new ReaderStage();
    const topic = stage.topic();
    const frames: unknown[] = [];
    for (const form of [forms.program, forms.eventStream, forms.poll, forms.eventStream]) {
      const reader = stage.reader([topic], form);
      reader.deliver = (_message, frame) => frames.push(frame) > 0;
    }
    topic.deliver(messageOf("x"));
    const [data, event, otherEvent, cloudEvent] = frames;
    expect(data).toBe("x");
    expect(new TextDecoder().decode(event as Uint8Array)).toBe("data: x\nid: a-1\n\n");
    expect(event).toBe(otherEvent);
    expect(JSON.parse(cloudEvent as string)).toMatchObject({ id: "a-1", data: "x" });
  });

  test("are ended if they throw, and the others get the message", () => {
    const stage = new ReaderStage();
    const topic = stage.topic();
    const [faulty, healthy] = [stage.reader([topic]), stage.reader([topic])];
    faulty.deliver = () => {
      throw new Error("a fault");
    };
    topic.deliver(messageOf("x"));
    expect(faulty.calls).toEqual(["fail: Error: a fault"]);
    expect(healthy.received).toEqual(["x"]);
  });

  test("enter and leave further topics while they are open", () => {
    const stage = new ReaderStage();
    const [one, other] = [stage.topic(), stage.topic()];
    const reader = stage.reader([one], forms.raw);
    const sent = (topic: TopicReaders, data: string): void => topic.deliver(messageOf(data));
    expect(reader.calls).toEqual(["enter"]);
    const subscription = reader.join(other);
    subscription.close();
    expect(reader.calls).toEqual(["enter", "enter", "exit"]);

    const direct = stage.reader([one]);
    sent(other, "before");
    const joined = direct.join(other);
    sent(other, "meanwhile");
    joined.close();
    sent(other, "after");
    sent(one, "still");
    expect(direct.received).toEqual(["meanwhile", "still"]);
  });
});

describe("a reader that holds too much", () => {
  test("is cut in place of the next message, and the rest of them get it", async () => {
    const stage = new ReaderStage({ bufferedBytesMax: 2000 });
    const topic = stage.topic();
    const [slow, quick] = [stage.reader([topic]), stage.reader([topic])];
    slow.keeps = (bytes) => bytes;
    for (const number of [1, 2, 3, 4, 5, 6]) topic.deliver(messageOf(String(number).repeat(600)));
    // Before the sixth it holds 3,000 bytes, and without the fifth 2,400.
    expect(slow.received.map((text) => text[0])).toEqual(["1", "2", "3", "4", "5"]);
    expect(quick.received).toHaveLength(6);
    await until(() => slow.calls.includes("abandon"), "its end");
    expect(stage.counters.cut.slow).toBe(1);
  });

  test("is not cut while another of its topics allows it", () => {
    const stage = new ReaderStage({ bufferedBytesMax: 2000 });
    const [large, small] = [stage.topic(), stage.topic()];
    const reader = stage.reader([large, small]);
    large.deliver(messageOf("x".repeat(5000)));
    reader.unsentBytes = 5000;
    small.deliver(messageOf("x"));
    expect(reader.received).toHaveLength(2);
    reader.unsentBytes = 7100;
    small.deliver(messageOf("x"));
    expect(reader.received).toHaveLength(2);
  });
});

test("many that hold too much leave in one step and are ended in slices, between which others are served", async () => {
  const stage = new ReaderStage({ bufferedBytesMax: 2000 });
  const topic = stage.topic();
  const readers = Array.from({ length: 200 }, () => stage.reader([topic]));
  topic.deliver(messageOf("x"));
  for (const reader of readers) {
    reader.unsentBytes = 5000;
    reader.abandon = () => {
      const end = performance.now() + 1;
      while (performance.now() < end); // As long as closing a socket takes.
      reader.calls.push("abandon");
    };
  }
  topic.deliver(messageOf("y"));
  topic.deliver(messageOf("z"));
  expect(readers.every(({ received }) => received.length === 1)).toBe(true);
  const ended = (): number => readers.filter(({ calls }) => calls.includes("abandon")).length;
  const seen = new Set<number>();
  while (ended() < 200) {
    await nextTurn();
    seen.add(ended());
  }
  expect(seen.size).toBeGreaterThan(200 / 10);
});

describe("when all copies of a message do not fit into memory", () => {
  test("each reader gets it in a later turn, and those that hold most are cut first", async () => {
    const stage = new ReaderStage({ bufferedBytesTotalMax: 100_000 });
    const topic = stage.topic();
    const readers = Array.from({ length: 120 }, () => stage.reader([topic]));
    for (const reader of readers.slice(0, 10)) reader.unsentBytes = 900;
    topic.deliver(messageOf(kilobyte));
    expect(readers.filter(({ received }) => received.length > 0)).toEqual([]);
    await until(() => readers.slice(10).every(({ received }) => received.length === 1), "the message");
    expect(stage.counters.cut.buffered_total).toBeLessThanOrEqual(10);
  });

  test("a reader from which a message is held back is cut when its topic goes on elsewhere", async () => {
    const stage = new ReaderStage({ bufferedBytesTotalMax: 1000 });
    const topic = stage.topic();
    const early = stage.reader([topic], forms.raw);
    topic.deliver(messageOf(kilobyte));
    const late = stage.reader([topic], forms.raw); // Its replay has given it that message.
    expect(topic.detach()).toEqual(late.subscriptions);
    expect(early.calls).toEqual(["enter", "leave", "exit"]);
    expect(late.calls).toEqual(["enter", "exit"]);
    await nextTurn();
    expect(early.received).toEqual([]);
  });
});

test("native topics are looked up at no server that has lost its last socket", () => {
  const stage = new ReaderStage();
  const asked: string[] = [];
  const serverOf = (name: string, pendingWebSockets: number) =>
    ({ pendingWebSockets, subscriberCount: () => asked.push(name) && 0 }) as unknown as Server<unknown>;
  stage.delivery.native.addServer(serverOf("replaced and empty", 0));
  stage.delivery.native.addServer(serverOf("replaced", 1));
  stage.delivery.native.addServer(serverOf("current", 1));
  const topic = stage.topic();
  stage.reader([topic], forms.raw);
  topic.deliver(messageOf("x"));
  expect(asked).toEqual(["replaced", "current"]);
});

test("publishing is not slowed down below 2 MiB a second by readers that lag", () => {
  for (const bufferedBytesMax of [4 * KiB, 2 * MiB, 1024 * MiB]) {
    const limits = bufferLimits({ bufferedBytesMax, bufferedBytesTotalMax: 0, messageBytesMax: 1024 });
    expect(limits.checkEveryBytes / (limits.laggingMilliseconds / 1000)).toBe(2 * MiB);
  }
});

test("several messages of one step cut no reader that does not lag, however much they grow in its form", () => {
  for (const [form, text] of [
    [forms.poll, "\u0001"],
    [forms.eventStream, "\n"],
  ] as const) {
    const limits = { bufferedBytesMax: 2 * MiB, bufferedBytesTotalMax: 0, messageBytesMax: MiB };
    const { laggingBytes, stepBytesMax } = bufferLimits(limits);
    const stage = new ReaderStage({ bufferedBytesMax: 2 * MiB });
    const topic = stage.topic();
    const reader = stage.reader([topic], form);
    reader.keeps = (bytes) => bytes;
    reader.unsentBytes = laggingBytes;
    const count = Math.min(stepItemsMax, Math.floor(stepBytesMax / 4000));
    for (let number = 0; number < count; number++) topic.deliver(messageOf(text.repeat(4000)));
    expect(stage.counters.cut.slow).toBe(0);
    expect(reader.received).toHaveLength(count);
  }
});

describe("publishers wait", () => {
  test("for a turn after each part of the limit that readers were given at once", async () => {
    const stage = new ReaderStage({ bufferedBytesMax: 8000 });
    const topic = stage.topic();
    stage.reader([topic]);
    topic.deliver(messageOf("x".repeat(900)));
    expect(topic.room).toBeUndefined();
    topic.deliver(messageOf("x".repeat(200))); // An eighth of 8,000 bytes.
    expect(topic.room).toBeDefined();
    expect(topic.isFull).toBe(false);
    await topic.room;
    expect(topic.room).toBeUndefined();
  });

  for (const form of [forms.program, forms.eventStream])
    test(`for a reader that lags, until it has taken something: ${form.encoding}`, async () => {
      const stage = new ReaderStage({ bufferedBytesMax: 8 * MiB }); // 0.5 s for each MiB.
      const topic = stage.topic();
      const reader = stage.reader([topic], form);
      reader.keeps = (bytes) => bytes;
      const published = (async () => {
        for (let number = 0; number < 20; number++) {
          topic.deliver(messageOf("x".repeat(MiB)));
          await topic.room;
        }
      })();
      while (reader.received.length < 20) {
        expect(reader.unsentBytes).toBeLessThan(7 * MiB);
        await nextTurn();
        reader.unsentBytes = Math.max(0, reader.unsentBytes - MiB);
      }
      await published;
      expect(stage.counters.cut.slow).toBe(0);
    });

  test("for a reader that lags on purpose only where they publish more than 2 MiB a second", async () => {
    const stage = new ReaderStage({ bufferedBytesMax: 8 * MiB });
    const [topic, busy] = [stage.topic(), stage.topic()];
    const reader = stage.reader([topic]);
    reader.unsentBytes = 6 * MiB;
    stage.reader([busy]);
    let waits = 0;
    for (let number = 0; number < 20; number++) {
      busy.deliver(messageOf("x".repeat(MiB)));
      topic.deliver(messageOf("x".repeat(MiB / 32)));
      if (topic.room) waits++;
    }
    expect(waits).toBe(0);
    topic.deliver(messageOf("x".repeat(MiB)));
    for (let turns = 0; topic.room && turns < 3; turns++) await nextTurn();
    expect(topic.room).toBeUndefined();
    expect(stage.counters.cut.slow).toBe(0);
  });

  for (const form of [forms.program, forms.eventStream])
    test(`for a reader that began to lag within a turn, which is known in that turn: ${form.encoding}`, async () => {
      const stage = new ReaderStage({ bufferedBytesMax: 8 * MiB });
      const topic = stage.topic();
      const reader = stage.reader([topic], form);
      reader.keeps = (bytes) => bytes;
      const known: boolean[] = [];
      for (let number = 0; number < 7; number++) {
        topic.deliver(messageOf("x".repeat(MiB - 100))); // As an event it has some bytes more.
        known.push(topic.isLagging);
      }
      // At the seventh it holds almost 6 MiB, of which the last message does not count.
      expect(known).toEqual([false, false, false, false, false, false, true]);
      reader.unsentBytes = 0;
      await topic.room;
      expect(topic.isLagging).toBe(false);
    });

  test("for one that takes nothing no longer than until it is cut", async () => {
    const stage = new ReaderStage({ bufferedBytesMax: 512 * KiB });
    const topic = stage.topic();
    const reader = stage.reader([topic]);
    reader.keeps = (bytes) => bytes;
    while (!reader.calls.includes("leave")) {
      topic.deliver(messageOf("x".repeat(64 * KiB)));
      await topic.room;
    }
    expect(reader.received).toHaveLength(10); // The limit, the last message, and the one that was too much for it.
  });

  test("until the readers of a topic were given what waits for them", async () => {
    const stage = new ReaderStage({ bufferedBytesTotalMax: 16_000 });
    const topic = stage.topic();
    const readers = Array.from({ length: 20 }, () => stage.reader([topic]));
    topic.deliver(messageOf(kilobyte));
    expect(topic.isFull).toBe(true);
    await topic.room;
    expect(readers.every(({ received }) => received.length === 1)).toBe(true);
    expect(topic.isFull).toBe(false);
  });
});
