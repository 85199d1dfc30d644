/** The record of a stream with an idempotency key: how far it has come, and who may continue it. */
import { describe, expect, test } from "bun:test";
import {
  type Appended,
  type Broker,
  IdempotencyConflict,
  idempotencySeconds,
  StreamTakenOver,
  TopicEnded,
} from "../../../src/topic/broker.ts";
import type { Position } from "../../../src/topic/message.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { all, endTopic, failureOf, newTopic, numbered, once, post, publish, text } from "./messages.ts";

/** Publishes the next item of a stream. Its digest is the text of all items. */
const item = (broker: Broker, topic: string, writer: string, items: number, end = false): Promise<Appended> =>
  publish(broker, topic, {
    drafts: [text(`#${items}`)],
    end,
    step: { once, writer, items, digest: numbered(items).join() },
  });

export function describeStream<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, withNodes, can, read } = contract;
  describe("a stream", () => {
    test(
      "is new where there is no record, and does not bring its topic into being",
      withTopics(async (broker) => {
        const topic = newTopic();
        expect(await broker.takeStream(topic, once, "w1")).toMatchObject({ items: 0, digest: "" });
        expect(await broker.positions([topic])).toEqual([undefined]);
      }),
    );

    test(
      "is taken over where it is, by every node",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await one.takeStream(topic, once, "w1");
        const appended: Appended[] = [];
        for (const items of [1, 2, 3]) appended.push(await item(one, topic, "w1", items));
        const record = await other.takeStream(topic, once, "w2");
        expect(record).toMatchObject({ items: 3, digest: "#1,#2,#3" });
        expect(record.first).toEqual(appended[0]?.message as Position);
        expect(record.last).toEqual(appended[2]?.message as Position);
        expect(record.end).toBeUndefined();
      }),
    );

    test(
      "belongs to its last writer alone: an earlier one is refused and appends nothing",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await one.takeStream(topic, once, "w1");
        await item(one, topic, "w1", 1);
        await other.takeStream(topic, once, "w2");
        expect(await failureOf(item(one, topic, "w1", 2))).toBeInstanceOf(StreamTakenOver);
        await item(other, topic, "w2", 2);
        expect(await failureOf(item(one, topic, "w1", 2))).toBeInstanceOf(StreamTakenOver);
        const end = publish(one, topic, {
          drafts: [],
          end: true,
          step: { once, writer: "w1", items: 1, digest: "#1" },
        });
        expect(await failureOf(end)).toBeInstanceOf(StreamTakenOver);
        const last = await item(other, topic, "w2", 3);
        const { messages } = await read(one, topic, all, last.message);
        expect(messages.map(({ data }) => data)).toEqual(["#1", "#2", "#3"]);
      }),
    );

    test(
      "is taken over by one of many at once, and no item is published twice",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const write = async (broker: Broker, writer: string): Promise<Position | undefined> => {
          let { items, last } = await broker.takeStream(topic, once, writer);
          try {
            while (items < 20) last = (await item(broker, topic, writer, ++items)).message;
            return last;
          } catch (error) {
            if (error instanceof StreamTakenOver) return undefined;
            throw error;
          }
        };
        const writers = ["w1", "w2", "w3", "w4"].map((writer, index) =>
          write(index % 2 ? one : other, writer),
        );
        const last = (await Promise.all(writers)).find((position) => position);
        expect(last).toBeDefined();
        const { messages } = await read(one, topic, all, last);
        expect(messages.map(({ data }) => data)).toEqual(numbered(20));
      }),
    );

    test(
      "is another one for another key, publisher or topic",
      withTopics(async (broker) => {
        const topic = newTopic();
        await broker.takeStream(topic, once, "w1");
        await item(broker, topic, "w1", 1);
        expect((await broker.takeStream(topic, { ...once, key: "other" }, "w2")).items).toBe(0);
        expect((await broker.takeStream(topic, { ...once, publisher: "other" }, "w2")).items).toBe(0);
        expect((await broker.takeStream(newTopic(), once, "w2")).items).toBe(0);
        await item(broker, topic, "w1", 2);
      }),
    );

    test(
      "shares its keys with single publications, which are a conflict",
      withTopics(async (broker) => {
        const topic = newTopic();
        await post(broker, topic, text("single"), once);
        expect(await failureOf(broker.takeStream(topic, once, "w1"))).toBeInstanceOf(IdempotencyConflict);
        const other = { ...once, key: "stream" };
        await broker.takeStream(topic, other, "w1");
        expect(await failureOf(post(broker, topic, text("single"), other))).toBeInstanceOf(
          IdempotencyConflict,
        );
        expect((await post(broker, topic, text("last"))).offset).toBe(2);
      }),
    );

    test(
      "that has ended its topic is known by its record",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await one.takeStream(topic, once, "w1");
        const first = await item(one, topic, "w1", 1);
        const { end, message } = await one.publish(topic, {
          drafts: [],
          end: true,
          step: { once, writer: "w1", items: 1, digest: "#1" },
        });
        expect(message).toBeUndefined();
        expect(end?.offset).toBe(2);
        const record = await other.takeStream(topic, once, "w2");
        expect(record).toMatchObject({ items: 1, digest: "#1" });
        expect([record.first, record.last, record.end]).toEqual([first.message, first.message, end]);
      }),
    );

    test(
      "is refused by a topic that someone else has ended, and its record stays where it was",
      withTopics(async (broker) => {
        const topic = newTopic();
        await broker.takeStream(topic, once, "w1");
        await item(broker, topic, "w1", 1);
        await endTopic(broker, topic);
        expect(await failureOf(item(broker, topic, "w1", 2))).toBeInstanceOf(TopicEnded);
        const record = await broker.takeStream(topic, once, "w2");
        expect(record).toMatchObject({ items: 1, digest: "#1" });
        expect(record.end).toBeUndefined();
      }),
    );

    test(
      "continues where its record was forgotten, which then has the first position that the writer gives",
      withNode(
        async (broker) => {
          const topic = newTopic();
          await broker.takeStream(topic, once, "w1");
          const { message: first } = await item(broker, topic, "w1", 1);
          if (!first) throw new Error("no position");
          // The same publisher's keys push the record out.
          for (const key of numbered(300)) await post(broker, topic, text(key), { ...once, key });
          const step = { once, writer: "w1", items: 2, digest: "#1,#2", first };
          const { message: last } = await broker.publish(topic, { drafts: [text("#2")], step });
          const record = await broker.takeStream(topic, once, "w2");
          expect(record).toMatchObject({ items: 2, digest: "#1,#2", first });
          expect(record.last).toEqual(last as Position);
        },
        { ...generous, idempotencyBytesMax: 64 * 1024 },
      ),
    );

    const { advance } = can;
    testIf(advance)(
      `is remembered for ${idempotencySeconds} s after its last item`,
      withTopics(async (broker, engine) => {
        const topic = newTopic();
        await broker.takeStream(topic, once, "w1");
        for (const items of [1, 2, 3]) {
          await advance?.(engine, idempotencySeconds - 10);
          await item(broker, topic, "w1", items);
        }
        await advance?.(engine, idempotencySeconds - 10);
        expect((await broker.takeStream(topic, once, "w2")).items).toBe(3);
        await advance?.(engine, idempotencySeconds + 10);
        expect((await broker.takeStream(topic, once, "w3")).items).toBe(0);
      }),
    );
  });
}
