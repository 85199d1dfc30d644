/** Subscribing: the position it resolves with, and what is announced after it. */
import { describe, expect, test } from "bun:test";
import { formatId, type Position } from "../../../src/topic/message.ts";
import { type Contract, type Engine, testIf } from "./engine.ts";
import {
  after,
  expectHistory,
  newTopic,
  numbered,
  offsetsBetween,
  post,
  publishOneByOne,
  text,
} from "./messages.ts";

export function describeSubscribing<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics, withNodes, can, listen, read } = contract;
  describe("subscribing", () => {
    test(
      "creates a topic before its first message",
      withTopics(async (broker) => {
        const topic = newTopic();
        const position = await broker.subscribe(topic);
        expect(position.offset).toBe(0);
        expect(await broker.inspect([topic])).toEqual([{ position, retained: 0, subscribers: 0 }]);
        expectHistory(await read(broker, topic, after(position), position), {
          complete: true,
          from: position,
          offsets: [],
          position,
        });
        expect(await post(broker, topic, text("first"))).toEqual({ epoch: position.epoch, offset: 1 });
      }),
    );

    test(
      "resolves with the position of the topic, also when repeated",
      withTopics(async (broker) => {
        const topic = newTopic();
        const last = (await publishOneByOne(broker, topic, 3))[2] as Position;
        expect(await broker.subscribe(topic)).toEqual(last);
        expect(await broker.subscribe(topic)).toEqual(last);
      }),
    );

    testIf(can.announcesAll)(
      "announces every later message in order on every node, from any publisher",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const listening = [...new Set([one, other])].map((broker) => ({ broker, announced: listen(broker) }));
        for (const { broker } of listening) await broker.subscribe(topic);
        const positions = [
          ...(await publishOneByOne(one, topic, 10)),
          ...(await publishOneByOne(other, topic, 10)),
        ];
        for (const { announced } of listening) {
          await announced.upTo(topic, positions.at(-1));
          expect(announced.of(topic).map(({ offset }) => offset)).toEqual(offsetsBetween(0, 20));
        }
      }),
    );

    testIf(can.announcesAll)(
      "while others publish misses nothing after the position that it resolves with",
      withNodes(async (one, other) => {
        const announced = listen(other);
        for (let round = 0; round < 20; round++) {
          const topic = newTopic();
          const before = numbered(round).map((word) => post(one, topic, text(word)));
          const subscribed = other.subscribe(topic);
          const since = numbered(10).map((word) => post(one, topic, text(word)));
          const position = await subscribed;
          const last = (await Promise.all([...before, ...since])).at(-1) as Position;
          // A slow engine may subscribe after the last of them, and then none has to be announced.
          if (last.offset > position.offset) await announced.upTo(topic, last);
          const ids = new Set(announced.of(topic).map(formatId));
          const missed = offsetsBetween(position.offset, last.offset)
            .map((offset) => formatId({ epoch: last.epoch, offset }))
            .filter((id) => !ids.has(id));
          expect(missed).toEqual([]);
        }
      }),
    );
  });
}
