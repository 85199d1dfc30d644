/** History since a time. */
import { describe, expect, test } from "bun:test";
import { formatId } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five, generous, testIf } from "./engine.ts";
import {
  after,
  all,
  expectHistory,
  newTopic,
  offsetsBetween,
  post,
  publishOneByOne,
  text,
} from "./messages.ts";

export function describeTime<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, can, read, publishUntilTimePasses } = contract;
  describe("history", () => {
    test(
      "since a time has what was published at that time and later",
      withNode(async (broker) => {
        const topic = newTopic();
        const early = await post(broker, topic, text("early"));
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
          complete: false, // Nobody knows what was published before this engine's memory began.
          from: { epoch: early.epoch, offset: 0 },
          offsets: offsetsBetween(0, late.offset),
          position: { epoch: late.epoch, offset: late.offset },
        });
      }),
    );

    test(
      "since a time before the engine knew every topic is a gap, and from then on it is not",
      withNode(async (broker) => {
        const topic = newTopic();
        const last = await post(broker, topic, text("only"));
        const { sinceTime } = broker.state;
        for (const [time, complete] of [
          [sinceTime - 1, false],
          [sinceTime, true],
        ] as const) {
          expectHistory(await read(broker, topic, { kind: "time", time }, last), {
            complete,
            from: { epoch: last.epoch, offset: 0 },
            offsets: [1],
            position: last,
          });
        }
      }),
    );

    const { setClock, advance } = can;
    testIf(setClock && advance)(
      "ages though the clock was ahead for a while, and a span is counted by the right clock",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        await setClock?.(engine, 86_400);
        const ahead = await post(broker, topic, text("ahead"));
        await setClock?.(engine, 0);
        const back = await post(broker, topic, text("back"));
        await advance?.(engine, 1800);
        const last = await post(broker, topic, text("last"));
        const { messages } = await read(broker, topic, all, last);
        expect(messages.map(({ data }) => data)).toEqual(["ahead", "back", "last"]);
        const times = messages.map(({ time }) => time);
        expect(times).toEqual(times.toSorted((one, other) => one - other));
        const recent = await read(broker, topic, { kind: "time", time: Date.now() + 1_790_000 }, last);
        expectHistory(recent, { complete: true, from: back, offsets: [last.offset], position: last });
        await advance?.(engine, 1801);
        expectHistory(await read(broker, topic, after(ahead), last), {
          complete: false,
          from: back,
          offsets: [last.offset],
          position: last,
        });
      }),
    );

    testIf(advance)(
      "has a message for its whole age, also when older ones are dropped",
      withTopics(async (broker, engine) => {
        const topic = newTopic();
        const halfSeconds = generous.historyAgeSeconds / 2;
        const old = await post(broker, topic, text("old"));
        const oldTime = (await read(broker, topic, all, old)).messages[0]?.time ?? Number.NaN;
        await advance?.(engine, halfSeconds);
        await post(broker, topic, text("young"));
        await advance?.(engine, halfSeconds + 60);
        for (const data of ["new", "newer"]) {
          const last = await post(broker, topic, text(data));
          expect((await read(broker, topic, all, last)).messages[0]?.data).toBe("young");
          const since = async (time: number) =>
            (await read(broker, topic, { kind: "time", time }, last)).complete;
          expect([await since(oldTime), await since(oldTime + 1)]).toEqual([false, true]);
        }
      }),
    );

    test(
      "since a time to come is nothing, and no gap",
      withTopics(async (broker) => {
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
      withTopics(async (broker) => {
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

    test(
      "since the time of the last dropped message is a gap, and since the next millisecond it is not",
      withTopics(async (broker) => {
        const topic = newTopic();
        const [, second] = await publishOneByOne(broker, topic, 2);
        const time = (await read(broker, topic, all, second)).messages[1]?.time ?? Number.NaN;
        const last = (await publishOneByOne(broker, topic, 5))[4];
        expectHistory(await read(broker, topic, { kind: "time", time }, last), {
          complete: false,
          from: second,
          offsets: [3, 4, 5, 6, 7],
          position: last,
        });
        expect((await read(broker, topic, { kind: "time", time: time + 1 }, last)).complete).toBe(true);
      }, five),
    );
  });
}
