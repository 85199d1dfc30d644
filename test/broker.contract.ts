/**
 * What `broker.ts` demands of every engine, seen through the interface alone: an engine's own test file is a few lines that
 * load this. It asks for no inner access and no clock of its own; what only some engines can be made to do is an ability,
 * and the tests that need an absent one are shown as skipped.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { MemoryBrokerLimits } from "../src/engine/memory.ts";
import {
  type Broker,
  type BrokerListener,
  BrokerUnavailable,
  type History,
  IdempotencyConflict,
  idempotencySeconds,
  type Page,
} from "../src/topic/broker.ts";
import type { Draft } from "../src/topic/draft.ts";
import { formatId, type Message, type Position, retainedBytes, type Since } from "../src/topic/message.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(20_000);

/** An engine that one test has to itself. */
export interface Engine {
  /** Opens a node on it that can be used at once. */
  node(): Promise<Broker>;
  /** Closes its nodes too. */
  close(): Promise<void>;
}

export interface Abilities<Kind extends Engine> {
  /** False where announcements are lost even while nothing is wrong. */
  readonly announcesAll: boolean;
  /** False where a node is also told of topics that it is not subscribed to. */
  readonly announcesOnlySubscribed: boolean;
  /** Whether `node` may be called more than once. */
  readonly manyNodes: boolean;
  /** Makes the engine forget every topic, while its nodes stay connected. */
  readonly loseEverything?: (engine: Kind) => Promise<void>;
  /** Lets time pass on the engine. */
  readonly advance?: (engine: Kind, seconds: number) => Promise<void>;
  /** Takes the engine away from a node, and gives it back. */
  readonly cutOff?: (engine: Kind, node: Broker) => Promise<void>;
  readonly reconnect?: (engine: Kind, node: Broker) => Promise<void>;
}

const generous: MemoryBrokerLimits = {
  historyMessages: 1000,
  historyAgeSeconds: 3600,
  historyBytesMax: 64 * 1024 * 1024,
  positionAgeSeconds: 7200,
};
const five: MemoryBrokerLimits = { ...generous, historyMessages: 5 };
const none: MemoryBrokerLimits = { ...generous, historyMessages: 0 };

const wholePage: Page = { messagesMax: 1000, bytesMax: 16 * 1024 * 1024 };

export function describeBrokerContract<Kind extends Engine>(
  name: string,
  openEngine: (limits: MemoryBrokerLimits) => Promise<Kind>,
  can: Abilities<Kind>,
): void {
  const withNode =
    (run: (broker: Broker, engine: Kind) => Promise<void>, limits = generous): (() => Promise<void>) =>
    async () => {
      const engine = await openEngine(limits);
      try {
        await run(await engine.node(), engine);
      } finally {
        await engine.close();
      }
    };

  /** Two nodes where the engine has them, else the same one twice. */
  const withNodes = (run: (one: Broker, other: Broker) => Promise<void>): (() => Promise<void>) =>
    withNode(async (one, engine) => run(one, can.manyNodes ? await engine.node() : one));

  describe(name, () => {
    describe("publishing", () => {
      test(
        "counts a topic's messages 1, 2, 3 … in one epoch",
        withNode(async (broker) => {
          const positions = await publishOneByOne(broker, newTopic(), 5);
          expect(positions.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5]);
          expect(new Set(positions.map(({ epoch }) => epoch)).size).toBe(1);
          expect(positions[0]?.epoch).toMatch(/^[0-9a-z]{1,64}$/);
        }),
      );

      test(
        "appends calls made without waiting in the order of the calls",
        withNode(async (broker) => {
          const topic = newTopic();
          const words = numbered(50);
          const positions = await Promise.all(words.map((word) => broker.publish(topic, text(word))));
          expect(positions.map(({ offset }) => offset)).toEqual(words.map((_, index) => index + 1));
          const { messages } = await read(broker, topic, all, positions[49]);
          expect(messages.map(({ data }) => data)).toEqual(words);
        }),
      );

      test(
        "keeps the order of each of many concurrent publishers, and leaves no hole",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const publishers = numbered(8).map((publisher, index) => ({
            broker: index % 2 === 0 ? one : other,
            words: numbered(25).map((word) => `${publisher}: ${word}`),
          }));
          const offsets = await Promise.all(
            publishers.map(async ({ broker, words }) => {
              const mine: number[] = [];
              for (const word of words) mine.push((await broker.publish(topic, text(word))).offset);
              return mine;
            }),
          );
          expect(offsets.flat().toSorted((left, right) => left - right)).toEqual(offsetsBetween(0, 200));
          const last = { epoch: await epochOf(one, topic), offset: 200 };
          const { messages } = await read(one, topic, all, last);
          for (const [index, { words }] of publishers.entries()) {
            expect(offsets[index]?.map((offset) => messages[offset - 1]?.data)).toEqual(words);
          }
        }),
      );

      test(
        "keeps topics apart",
        withNode(async (broker) => {
          const [one, other] = [newTopic(), newTopic()];
          await publishOneByOne(broker, one, 3);
          const position = await broker.publish(other, text("first"));
          expect(position.offset).toBe(1);
          const { messages } = await read(broker, other, all, position);
          expect(messages.map(({ topic, data }) => [topic, data])).toEqual([[other, "first"]]);
        }),
      );

      test(
        "gives messages times in milliseconds that never run backwards",
        withNodes(async (one, other) => {
          const topic = newTopic();
          for (const broker of [one, other, one, other]) await publishOneByOne(broker, topic, 3);
          const last = { epoch: await epochOf(one, topic), offset: 12 };
          const times = (await read(one, topic, all, last)).messages.map(({ time }) => time);
          expect(times).toEqual(times.toSorted((left, right) => left - right));
          expect(times.every(Number.isSafeInteger)).toBe(true);
          expect(times[0]).toBeGreaterThan(Date.UTC(2020));
        }),
      );

      const drafts: Record<string, Draft> = {
        "every byte": bytes(Uint8Array.from({ length: 256 }, (_, byte) => byte)),
        "no bytes": bytes(new Uint8Array()),
        "bytes that are no UTF-8": bytes(Uint8Array.of(0xff, 0xfe, 0xc3, 0x28, 0xed, 0xa0, 0x80)),
        "bytes that are text": bytes(new TextEncoder().encode("text")),
        "a MiB of bytes": bytes(
          Uint8Array.from({ length: 1024 * 1024 }, (_, index) => index * 7 + (index >> 8)),
        ),
        "no text": text(""),
        "text with a byte order mark, line ends and NUL": text("\ufeffone\r\ntwo\rthree\n\0\u2028\u0085 \t"),
        "text beyond the basic plane": text("长连接 🔌 \u{10ffff}\uffff\ufffd e\u0301"),
        "text that looks like a number": text("007"),
        "JSON as it was written": { data: '{"a" : 1.0,\n"a":1e400}', contentType: "application/cloud+json" },
        "a content type with parameters": { data: "x", contentType: 'Text/Plain; charset=UTF-8; x="ü;,"' },
      };
      for (const [what, draft] of Object.entries(drafts)) {
        test(
          `announces and keeps ${what} as it was published`,
          withNodes(async (one, other) => {
            const topic = newTopic();
            const ear = listen(other);
            await other.subscribe(topic);
            const position = await one.publish(topic, draft);
            const { messages } = await read(other, topic, all, position);
            expect(messages.map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
            if (!can.announcesAll) return;
            await ear.upTo(topic, position);
            expect(ear.of(topic).map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
          }),
        );
      }
    });

    describe("a key", () => {
      const once = { key: "key", publisher: "publisher" };

      test(
        "publishes once, and answers every repetition with the first position",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const first = await one.publish(topic, text("same"), once);
          await one.publish(topic, text("another"));
          expect(await one.publish(topic, text("same"), once)).toEqual(first);
          expect(await other.publish(topic, text("same"), once)).toEqual(first);
          const last = await other.publish(topic, text("last"));
          expect(last.offset).toBe(3);
        }),
      );

      test(
        "publishes once where repetitions do not wait for each other",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const positions = await Promise.all(
            [one, other, one, other].map((broker) => broker.publish(topic, text("same"), once)),
          );
          expect(positions.map(({ offset }) => offset)).toEqual([1, 1, 1, 1]);
          expect((await one.publish(topic, text("last"))).offset).toBe(2);
        }),
      );

      test(
        "is a conflict with another message, and nothing is appended",
        withNode(async (broker) => {
          const topic = newTopic();
          const first = await broker.publish(topic, text("one"), once);
          await expect(broker.publish(topic, text("other"), once)).rejects.toBeInstanceOf(
            IdempotencyConflict,
          );
          expect(await broker.publish(topic, text("one"), once)).toEqual(first);
          expect((await broker.publish(topic, text("last"))).offset).toBe(2);
        }),
      );

      test(
        "belongs to its publisher and its topic, whatever characters they have",
        withNode(async (broker) => {
          const [topic, other] = [newTopic(), newTopic()];
          const publications: [string, { key: string; publisher: string }][] = [
            [topic, { key: "c", publisher: "a:b" }],
            [topic, { key: "b:c", publisher: "a" }],
            [topic, { key: 'c","', publisher: "a" }],
            [topic, { key: "", publisher: "a" }],
            [topic, { key: "a", publisher: "" }],
            [other, { key: "c", publisher: "a:b" }],
          ];
          for (const [index, [topic, once]] of publications.entries()) {
            await broker.publish(topic, text(String(index)), once);
          }
          expect((await broker.publish(topic, text("last"))).offset).toBe(6);
          expect((await broker.publish(other, text("last"))).offset).toBe(2);
        }),
      );

      const { advance } = can;
      test.skipIf(!advance)(
        `is remembered for ${idempotencySeconds} s, also by topics that lost their messages, and not for longer`,
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const first = await broker.publish(topic, text("same"), once);
          for (const word of numbered(6)) await broker.publish(topic, text(word));
          await advance?.(engine, idempotencySeconds - 10);
          expect(await broker.publish(topic, text("same"), once)).toEqual(first);
          await advance?.(engine, 11);
          expect((await broker.publish(topic, text("other"), once)).offset).toBe(8);
        }, five),
      );
    });

    describe("history", () => {
      test(
        "after a position is every message behind it",
        withNode(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 4);
          const last = positions[3];
          for (const [index, position] of positions.entries()) {
            expectHistory(await read(broker, topic, after(position), last), {
              complete: true,
              from: position,
              offsets: offsetsBetween(index + 1, 4),
              position: last,
            });
          }
        }),
      );

      test(
        "after offset 0, and of all, is everything from the first message",
        withNode(async (broker) => {
          const topic = newTopic();
          const last = (await publishOneByOne(broker, topic, 3))[2];
          const beginning = { epoch: last?.epoch ?? "", offset: 0 };
          for (const since of [after(beginning), all]) {
            expectHistory(await read(broker, topic, since, last), {
              complete: true,
              from: beginning,
              offsets: [1, 2, 3],
              position: last,
            });
          }
        }),
      );

      const foreign: Record<string, (last: Position) => Since> = {
        "an offset that is still to come": ({ epoch, offset }) => after({ epoch, offset: offset + 1 }),
        "an offset far ahead": ({ epoch }) => after({ epoch, offset: Number.MAX_SAFE_INTEGER }),
        "another epoch": ({ epoch, offset }) => after({ epoch: `${epoch}0`, offset }),
        "the beginning of another epoch": () => after({ epoch: "0", offset: 0 }),
        "an id that is unknown": () => ({ kind: "unknown" }),
      };
      for (const [what, sinceOf] of Object.entries(foreign)) {
        test(
          `after ${what} is a gap and everything retained`,
          withNode(async (broker) => {
            const topic = newTopic();
            const positions = await publishOneByOne(broker, topic, 7);
            const last = positions[6] as Position;
            expectHistory(await read(broker, topic, sinceOf(last), last), {
              complete: false,
              from: positions[1],
              offsets: [3, 4, 5, 6, 7],
              position: last,
            });
          }, five),
        );
      }

      test(
        "is a gap exactly where a message behind the position was dropped",
        withNode(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 8);
          for (const [index, position] of positions.entries()) {
            const offset = Math.max(index + 1, 3);
            expectHistory(await read(broker, topic, after(position), positions[7]), {
              complete: index + 1 >= 3,
              from: { ...position, offset },
              offsets: offsetsBetween(offset, 8),
              position: positions[7],
            });
          }
        }, five),
      );

      test(
        "of all is no gap, whatever was dropped",
        withNode(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 8);
          expectHistory(await read(broker, topic, all, positions[7]), {
            complete: true,
            from: positions[2],
            offsets: [4, 5, 6, 7, 8],
            position: positions[7],
          });
        }, five),
      );

      test(
        "turned off keeps no message, and still tells who missed nothing from who missed something",
        withNode(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 3);
          const last = positions[2] as Position;
          const nothing = { from: last, offsets: [], position: last };
          expectHistory(await read(broker, topic, after(last), last), { complete: true, ...nothing });
          expectHistory(await read(broker, topic, all, last), { complete: true, ...nothing });
          expectHistory(await read(broker, topic, after(positions[1] as Position), last), {
            complete: false,
            ...nothing,
          });
          expect(await broker.positions([topic])).toEqual([{ position: last, retained: 0 }]);
        }, none),
      );

      test(
        "since a time has what was published at that time and later",
        withNode(async (broker) => {
          const topic = newTopic();
          const early = await broker.publish(topic, text("early"));
          const { late, messages } = await publishUntilTimePasses(broker, topic, early);
          const since = await read(broker, topic, { kind: "time", time: late.time }, late);
          expect(since.complete).toBe(true);
          expect(since.from).toEqual({ epoch: late.epoch, offset: late.offset - 1 });
          expect(since.messages.map(formatId)).toEqual([formatId(late)]);
          const before = await read(broker, topic, { kind: "time", time: late.time - 1 }, late);
          expect(before.complete).toBe(true);
          expect(before.messages.map(formatId)).toEqual(
            messages.filter(({ time }) => time >= late.time - 1).map(formatId),
          );
          const ever = await read(broker, topic, { kind: "time", time: 0 }, late);
          expectHistory(ever, {
            complete: true,
            from: { epoch: early.epoch, offset: 0 },
            offsets: offsetsBetween(0, late.offset),
            position: { epoch: late.epoch, offset: late.offset },
          });
        }),
      );

      test(
        "since a time to come is nothing, and no gap",
        withNode(async (broker) => {
          const topic = newTopic();
          const last = (await publishOneByOne(broker, topic, 7))[6];
          const time = Date.now() + 365 * 24 * 3600 * 1000;
          expectHistory(await read(broker, topic, { kind: "time", time }, last), {
            complete: true,
            from: last,
            offsets: [],
            position: last,
          });
        }, five),
      );

      test(
        "since a time before a dropped message is a gap and everything retained",
        withNode(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 7);
          expectHistory(await read(broker, topic, { kind: "time", time: 0 }, positions[6]), {
            complete: false,
            from: positions[1],
            offsets: [3, 4, 5, 6, 7],
            position: positions[6],
          });
        }, five),
      );

      const pages: Record<string, Page> = {
        "one message": { messagesMax: 1, bytesMax: 1024 },
        "three messages": { messagesMax: 3, bytesMax: 1024 * 1024 },
        "fewer bytes than a message has": { messagesMax: 100, bytesMax: 1 },
        "the bytes of two messages": { messagesMax: 100, bytesMax: 2 * retainedBytes(text("123")) },
      };
      for (const [what, page] of Object.entries(pages)) {
        test(
          `by pages of ${what} joins without a hole, and says where there is more`,
          withNode(async (broker) => {
            const topic = newTopic();
            const last = (await publishOneByOne(broker, topic, 10))[9] as Position;
            let since: Since = all;
            let offset = 0;
            while (offset < last.offset) {
              const history: History = await read(broker, topic, since, last, page);
              const { messages } = history;
              expect(history.from).toEqual({ epoch: last.epoch, offset });
              expect(messages.length).toBeWithin(1, page.messagesMax + 1);
              expect(messages.map((message) => message.offset)).toEqual(
                offsetsBetween(offset, offset + messages.length),
              );
              const allButLast = messages.slice(0, -1).reduce((sum, draft) => sum + retainedBytes(draft), 0);
              expect(allButLast).toBeLessThan(page.bytesMax);
              offset += messages.length;
              since = after({ epoch: last.epoch, offset });
            }
            expect((await read(broker, topic, since, last, page)).messages).toEqual([]);
          }),
        );
      }
    });

    describe("looking", () => {
      test(
        "creates nothing",
        withNode(async (broker) => {
          const topic = newTopic();
          const sinces: Since[] = [all, after({ epoch: "0", offset: 0 }), { kind: "time", time: 0 }];
          for (const since of [...sinces, { kind: "unknown" } as const, ...sinces]) {
            expect(await broker.history(topic, since, wholePage)).toBeUndefined();
            expect(await broker.positions([topic])).toEqual([undefined]);
          }
        }),
      );

      test(
        "at positions answers in the order asked, with nothing for what does not exist",
        withNode(async (broker) => {
          const [empty, full, absent] = [newTopic(), newTopic(), newTopic()];
          const beginning = await broker.subscribe(empty);
          const last = (await publishOneByOne(broker, full, 7))[6] as Position;
          await read(broker, full, all, last);
          await until(
            async () => (await broker.positions([full]))[0]?.position.offset === 7,
            "the position to arrive",
          );
          expect(await broker.positions([])).toEqual([]);
          const [first, second, third, fourth] = await broker.positions([absent, full, empty, full]);
          expect([first, third]).toEqual([undefined, { position: beginning, retained: 0 }]);
          for (const state of [second, fourth]) {
            expect(state?.position.epoch).toBe(last.epoch);
            expect(state?.retained).toBeLessThanOrEqual(5);
          }
        }, five),
      );
    });

    describe("subscribing", () => {
      test(
        "brings a topic into being, before its first message",
        withNode(async (broker) => {
          const topic = newTopic();
          const position = await broker.subscribe(topic);
          expect(position.offset).toBe(0);
          expect(await broker.positions([topic])).toEqual([{ position, retained: 0 }]);
          expectHistory(await read(broker, topic, after(position), position), {
            complete: true,
            from: position,
            offsets: [],
            position,
          });
          expect(await broker.publish(topic, text("first"))).toEqual({ epoch: position.epoch, offset: 1 });
        }),
      );

      test(
        "resolves with where the topic stands, also when repeated",
        withNode(async (broker) => {
          const topic = newTopic();
          const last = (await publishOneByOne(broker, topic, 3))[2] as Position;
          expect(await broker.subscribe(topic)).toEqual(last);
          expect(await broker.subscribe(topic)).toEqual(last);
        }),
      );

      test.skipIf(!can.announcesAll)(
        "has every later message announced in order on every node, whoever publishes it",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const listening = [...new Set([one, other])].map((broker) => ({ broker, ear: listen(broker) }));
          for (const { broker } of listening) await broker.subscribe(topic);
          const positions = [
            ...(await publishOneByOne(one, topic, 10)),
            ...(await publishOneByOne(other, topic, 10)),
          ];
          for (const { ear } of listening) {
            await ear.upTo(topic, positions.at(-1));
            expect(ear.of(topic).map(({ offset }) => offset)).toEqual(offsetsBetween(0, 20));
          }
        }),
      );

      test.skipIf(!can.announcesAll)(
        "while others publish misses nothing behind the position that it resolves with",
        withNodes(async (one, other) => {
          const ear = listen(other);
          for (let round = 0; round < 20; round++) {
            const topic = newTopic();
            const before = numbered(round).map((word) => one.publish(topic, text(word)));
            const subscribed = other.subscribe(topic);
            const since = numbered(10).map((word) => one.publish(topic, text(word)));
            const position = await subscribed;
            const last = (await Promise.all([...before, ...since])).at(-1) as Position;
            // A slow engine may subscribe behind the last of them, and then none need be announced.
            if (last.offset > position.offset) await ear.upTo(topic, last);
            const announced = new Set(ear.of(topic).map(formatId));
            const missed = offsetsBetween(position.offset, last.offset)
              .map((offset) => formatId({ epoch: last.epoch, offset }))
              .filter((id) => !announced.has(id));
            expect(missed).toEqual([]);
          }
        }),
      );

      test(
        "announces messages for the first time in the order of their offsets only",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const ear = listen(other);
          await other.subscribe(topic);
          let last = await one.publish(topic, text("first"));
          await until(async () => {
            last = (await publishOneByOne(one, topic, 20)).at(-1) as Position;
            return ear.of(topic).length > 20;
          }, "announcements");
          await read(other, topic, all, last);
          const offsets = ear.of(topic).map(({ offset }) => offset);
          expect(offsets).toEqual(offsets.toSorted((left, right) => left - right));
        }),
      );

      test(
        "has what was not announced told by positions and kept in history",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const ear = listen(other);
          const heard = await other.subscribe(topic);
          const last = (await publishOneByOne(one, topic, 30)).at(-1) as Position;
          await until(
            async () => (await other.positions([topic]))[0]?.position.offset === last.offset,
            "the position to tell of the last message",
          );
          const { complete, messages } = await read(other, topic, after(heard), last);
          expect(complete).toBe(true);
          const known = new Map([...messages, ...ear.of(topic)].map((message) => [message.offset, message]));
          expect([...known.values()].map(({ data }) => data)).toEqual(numbered(30));
        }),
      );

      test.skipIf(!can.announcesOnlySubscribed)(
        "ends with one `unsubscribe`, however often it was repeated",
        withNode(async (broker) => {
          const [left, kept] = [newTopic(), newTopic()];
          const ear = listen(broker);
          await broker.subscribe(left);
          await broker.subscribe(left);
          await broker.subscribe(kept);
          broker.unsubscribe(left);
          await until(async () => {
            await broker.publish(left, text("unheard"));
            await broker.publish(kept, text("heard"));
            return ear.of(kept).length > 10;
          }, "announcements on the topic that was kept");
          expect(ear.of(left)).toEqual([]);
        }),
      );

      test(
        "begins again behind an `unsubscribe` that was not waited for",
        withNode(async (broker) => {
          const topic = newTopic();
          const ear = listen(broker);
          for (let round = 0; round < 5; round++) {
            await broker.subscribe(topic);
            broker.unsubscribe(topic);
          }
          await broker.subscribe(topic);
          await until(async () => {
            await broker.publish(topic, text("heard"));
            return ear.of(topic).length > 10;
          }, "announcements");
          expect(ear.of(topic).every(({ data }) => data === "heard")).toBe(true);
        }),
      );

      test(
        "may be ended where it never began",
        withNode(async (broker) => {
          const topic = newTopic();
          broker.unsubscribe(topic);
          expect(await broker.positions([topic])).toEqual([undefined]);
          expect((await broker.subscribe(topic)).offset).toBe(0);
        }),
      );

      test.skipIf(!can.manyNodes || !can.announcesOnlySubscribed)(
        "on one node is no matter of another",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const [ear, otherEar] = [listen(one), listen(other)];
          await one.subscribe(topic);
          await other.subscribe(topic);
          other.unsubscribe(topic);
          await until(async () => {
            await other.publish(topic, text("heard"));
            return ear.of(topic).length > 10;
          }, "announcements on the node that still listens");
          expect(otherEar.of(topic)).toEqual([]);
        }),
      );
    });

    describe("an engine that lost its memory", () => {
      const { loseEverything } = can;

      test.skipIf(!loseEverything)(
        "begins other epochs, never used before, each from offset 1",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const epochs = [];
          for (let round = 0; round < 10; round++) {
            const position = await broker.publish(topic, text(String(round)));
            expect(position.offset).toBe(1);
            epochs.push(position.epoch);
            await loseEverything?.(engine);
          }
          expect(new Set(epochs).size).toBe(10);
        }),
      );

      test.skipIf(!loseEverything)(
        "no longer knows its topics",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          await broker.subscribe(topic);
          await publishOneByOne(broker, topic, 3);
          await loseEverything?.(engine);
          expect(await broker.positions([topic])).toEqual([undefined]);
          expect(await broker.history(topic, all, wholePage)).toBeUndefined();
        }),
      );

      test.skipIf(!loseEverything)(
        "tells of a gap after every id from before, also where the offsets are the same",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const lost = await publishOneByOne(broker, topic, 3);
          await loseEverything?.(engine);
          const last = (await publishOneByOne(broker, topic, 3))[2] as Position;
          for (const position of [{ ...(lost[0] as Position), offset: 0 }, ...lost]) {
            expectHistory(await read(broker, topic, after(position), last), {
              complete: false,
              from: { epoch: last.epoch, offset: 0 },
              offsets: [1, 2, 3],
              position: last,
            });
          }
        }),
      );

      test.skipIf(!loseEverything)(
        "goes on announcing to those who were subscribed",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const ear = listen(broker);
          const before = await broker.subscribe(topic);
          await broker.publish(topic, text("before"));
          await loseEverything?.(engine);
          let after = before;
          await until(async () => {
            after = await broker.publish(topic, text("after"));
            return ear.of(topic).some(({ data }) => data === "after");
          }, "an announcement in the new epoch");
          expect(after.epoch).not.toBe(before.epoch);
          const announced = ear.of(topic).filter(({ data }) => data === "after");
          expect(new Set(announced.map(({ epoch }) => epoch))).toEqual(new Set([after.epoch]));
        }),
      );

      test.skipIf(!loseEverything)(
        "brings a topic into being again for who subscribes again",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const before = await broker.subscribe(topic);
          await loseEverything?.(engine);
          const again = await broker.subscribe(topic);
          expect(again.offset).toBe(0);
          expect(again.epoch).not.toBe(before.epoch);
          expect(await broker.positions([topic])).toEqual([{ position: again, retained: 0 }]);
        }),
      );
    });

    describe("an engine that is away", () => {
      const { cutOff, reconnect } = can;

      test.skipIf(!cutOff || !reconnect)(
        "refuses with BrokerUnavailable, and says when it is back; a repeated key then publishes once",
        withNode(async (broker, engine) => {
          const topic = newTopic();
          const ear = listen(broker);
          expect(broker.available).toBe(true);
          await broker.subscribe(topic);
          const known = await broker.publish(topic, text("before"));

          await cutOff?.(engine, broker);
          expect(broker.available).toBe(false);
          const once = { key: "key", publisher: "publisher" };
          const asked = [
            broker.publish(topic, text("unknown"), once),
            broker.subscribe(topic),
            broker.history(topic, all, wholePage),
            broker.positions([topic]),
          ];
          for (const { status, ...outcome } of await Promise.allSettled(asked)) {
            expect(status).toBe("rejected");
            expect("reason" in outcome && outcome.reason).toBeInstanceOf(BrokerUnavailable);
          }
          expect(ear.reconnections).toBe(0);

          await reconnect?.(engine, broker);
          await until(() => broker.available && ear.reconnections > 0, "the engine to be back");
          const repeated = await broker.publish(topic, text("unknown"), once);
          expect(repeated).toEqual({ epoch: known.epoch, offset: known.offset + 1 });
          const { messages } = await read(broker, topic, all, repeated);
          expect(messages.map(({ data }) => data)).toEqual(["before", "unknown"]);
        }),
      );
    });

    describe("a closed node", () => {
      test.skipIf(!can.manyNodes)(
        "is told nothing any more",
        withNodes(async (one, other) => {
          const topic = newTopic();
          const [ear, otherEar] = [listen(one), listen(other)];
          await one.subscribe(topic);
          await other.subscribe(topic);
          await other.close();
          await until(async () => {
            await one.publish(topic, text("after"));
            return ear.of(topic).length > 10;
          }, "announcements on the other node");
          expect(otherEar.of(topic)).toEqual([]);
        }),
      );
    });
  });
}

/** What a node was told. */
class Ear implements BrokerListener {
  reconnections = 0;
  readonly #firstTold = new Map<string, Message>();
  #told = Promise.withResolvers<void>();

  announced(message: Message): void {
    const id = `${message.topic} ${formatId(message)}`;
    if (!this.#firstTold.has(id)) this.#firstTold.set(id, message);
    this.#told.resolve();
    this.#told = Promise.withResolvers();
  }

  reconnected(): void {
    this.reconnections++;
  }

  /** Each message of a topic once, as it was first announced. */
  of(topic: string): Message[] {
    return [...this.#firstTold.values()].filter((message) => message.topic === topic);
  }

  async upTo(topic: string, position: Position | undefined): Promise<void> {
    const id = `${topic} ${position && formatId(position)}`;
    while (!this.#firstTold.has(id)) await within(this.#told.promise, `the announcement of ${id}`);
  }
}

function listen(broker: Broker): Ear {
  const ear = new Ear();
  broker.listen(ear);
  return ear;
}

/** One that no other test uses, and no earlier run did. */
const newTopic = (): string => `contract/${crypto.randomUUID()}`;

const all: Since = { kind: "all" };
const after = (position: Position): Since => ({ kind: "position", position });

const text = (data: string): Draft => ({ data, contentType: "text/plain" });
const bytes = (data: Uint8Array<ArrayBuffer>): Draft => ({ data, contentType: "application/octet-stream" });

const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `#${index + 1}`);

/** The offsets of the messages that come after `from`, up to `to`. */
const offsetsBetween = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, index) => from + index + 1);

const publicPart = ({ time: _, ...rest }: Message): Omit<Message, "time"> => rest;

async function publishOneByOne(broker: Broker, topic: string, count: number): Promise<Position[]> {
  const positions: Position[] = [];
  for (const word of numbered(count)) positions.push(await broker.publish(topic, text(word)));
  return positions;
}

async function epochOf(broker: Broker, topic: string): Promise<string> {
  return (await broker.positions([topic]))[0]?.position.epoch ?? "";
}

/** Publishes until the engine's clock gives a message a later time than the first one has. */
async function publishUntilTimePasses(
  broker: Broker,
  topic: string,
  first: Position,
): Promise<{ late: Message; messages: readonly Message[] }> {
  let messages = (await read(broker, topic, all, first)).messages;
  await until(async () => {
    ({ messages } = await read(broker, topic, all, await broker.publish(topic, text("late"))));
    return messages.at(-1)?.time !== messages[0]?.time;
  }, "the engine's clock to move on");
  return { late: messages.at(-1) as Message, messages };
}

/** Reads once `reached` is known where the engine reads: an engine may read at a place that is a little behind. */
async function read(
  broker: Broker,
  topic: string,
  since: Since,
  reached: Position | undefined,
  page = wholePage,
): Promise<History> {
  let history: History | undefined;
  await until(
    async () => {
      history = await broker.history(topic, since, page);
      const position = history?.position;
      return position?.epoch === reached?.epoch && (position?.offset ?? 0) >= (reached?.offset ?? 0);
    },
    `history to reach ${reached && formatId(reached)}`,
  );
  if (!history) throw new Error("it cannot have reached a position and not exist");
  return history;
}

interface ExpectedHistory {
  readonly complete: boolean;
  readonly from: Position | undefined;
  readonly offsets: readonly number[];
  readonly position: Position | undefined;
}

function expectHistory(history: History, { complete, from, offsets, position }: ExpectedHistory): void {
  const epoch = from?.epoch ?? "";
  expect<unknown>({ ...history, messages: history.messages.map(formatId) }).toEqual({
    complete,
    from,
    messages: offsets.map((offset) => formatId({ epoch, offset })),
    position,
  });
}
