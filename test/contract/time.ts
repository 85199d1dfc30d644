/** History since a time. */
import { describe, expect, test } from "bun:test";
import { formatId } from "../../src/topic/message.ts";
import { type Contract, type Engine, five } from "./engine.ts";
import {
  expectHistory,
  newTopic,
  offsetsBetween,
  publishOneByOne,
  publishUntilTimePasses,
  read,
  text,
} from "./messages.ts";

export function describeTime<Kind extends Engine>({ withNode }: Contract<Kind>): void {
  describe("history", () => {
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
  });
}
