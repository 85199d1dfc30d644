/** A topic ends: the end is the last entry of its log, for as long as its position lives. */
import { describe, expect, test } from "bun:test";
import { type Broker, IdempotencyConflict, TopicEnded } from "../../../src/topic/broker.ts";
import type { Position, TopicPosition } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five, none, testIf } from "./engine.ts";
import {
  after,
  all,
  endTopic,
  failureOf,
  newTopic,
  numbered,
  once,
  post,
  publish,
  publishOneByOne,
  text,
} from "./messages.ts";

export function describeEnd<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, withNodes, can, listen, read, readPage, until } = contract;
  describe("the end of a topic", () => {
    test(
      "follows the last message with an id of its own, and is announced after it",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const announced = listen(other);
        await other.subscribe(topic);
        const [first] = await publishOneByOne(one, topic, 1);
        const appended = await one.publish(topic, { drafts: [text("last")], end: true });
        expect(appended).toEqual({
          message: { epoch: first?.epoch ?? "", offset: 2 },
          end: { epoch: first?.epoch ?? "", offset: 3 },
        });
        if (!can.announcesAll) return;
        await announced.upTo(topic, appended.end);
        const entries = announced.entriesOf(topic);
        expect(entries.map(({ offset, isEnd }) => [offset, isEnd ?? false])).toEqual([
          [1, false],
          [2, false],
          [3, true],
        ]);
        expect(entries[2]?.time).toBeGreaterThanOrEqual(entries[1]?.time ?? Number.POSITIVE_INFINITY);
      }),
    );

    test(
      "can be all that a topic has",
      withTopics(async (broker) => {
        const topic = newTopic();
        const end = await endTopic(broker, topic);
        expect(end.offset).toBe(1);
        const history = await read(broker, topic, all, end);
        expect(history).toMatchObject({ complete: true, messages: [], position: end, end });
        expect(history.from).toEqual({ epoch: end.epoch, offset: 0 });
      }),
    );

    test(
      "shares its epoch with no other topic, however many end in one turn",
      withNode(async (broker) => {
        const epochs: string[] = [];
        for (const count of [1, 1100, ...Array.from({ length: 40 }, () => 1)]) {
          const ends = Array.from({ length: count }, () => endTopic(broker, newTopic()));
          epochs.push(...(await Promise.all(ends)).map(({ epoch }) => epoch));
        }
        expect(new Set(epochs).size).toBe(epochs.length);
      }),
    );

    test(
      "is reported by subscribe, history, positions and inspect",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await publishOneByOne(one, topic, 2);
        const end = await endTopic(one, topic);
        await read(other, topic, all, end);
        expect(await other.subscribe(topic)).toMatchObject({ ...end, end: { ...end, topic, isEnd: true } });
        // A node that lags may show a position before what `subscribe` said.
        let position: TopicPosition | undefined;
        await until(async () => {
          position = await positionOf(other, topic);
          return position?.offset === end.offset;
        }, "the position to reach the end");
        expect(position).toMatchObject({ ...end, end });
        const [state] = await other.inspect([topic]);
        expect(state).toMatchObject({ position: { ...end, end }, retained: 2 });
      }),
    );

    test(
      "refuses what is published later, with its position",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const end = await endTopic(one, topic);
        for (const publication of [
          { drafts: [text("late")] },
          { drafts: [text("late")], end: true },
          { drafts: [], end: true },
        ]) {
          const failure = await failureOf(publish(other, topic, publication));
          expect(failure).toBeInstanceOf(TopicEnded);
          expect((failure as TopicEnded).end).toMatchObject(end);
        }
        expect((await read(other, topic, all, end)).position).toEqual(end);
      }),
    );

    test(
      "is refused or kept whole, whichever of many that end and publish at once comes first",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const outcomes = await Promise.allSettled(
          numbered(40).map((word, index) =>
            publish(index % 2 ? one : other, topic, { drafts: [text(word)], end: index % 10 === 7 }),
          ),
        );
        const ends = outcomes.flatMap((outcome) =>
          outcome.status === "fulfilled" && outcome.value.end ? [outcome.value.end] : [],
        );
        expect(ends).toHaveLength(1);
        const [end] = ends as [Position];
        for (const outcome of outcomes) {
          if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(TopicEnded);
          else expect(outcome.value.message?.offset).toBeLessThan(end.offset);
        }
        const history = await read(one, topic, all, end);
        expect(history.messages.at(-1)?.offset).toBe(end.offset - 1);
        expect(history.end).toMatchObject(end);
      }),
    );

    test(
      "is repeated by the key of the publication that ended the topic, and by no other",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const publication = { drafts: [text("last")], end: true, once };
        const first = await one.publish(topic, publication);
        expect(await other.publish(topic, publication)).toEqual(first);
        const without = publish(other, topic, { drafts: [text("last")], once });
        expect(await failureOf(without)).toBeInstanceOf(IdempotencyConflict);
        const bare = publish(other, topic, { drafts: [], end: true, once });
        expect(await failureOf(bare)).toBeInstanceOf(IdempotencyConflict);
        const newKey = publish(other, topic, { ...publication, once: { ...once, key: "new" } });
        expect(await failureOf(newKey)).toBeInstanceOf(TopicEnded);
      }),
    );

    test(
      "leaves no key with a publication that it refused",
      withTopics(async (broker) => {
        const topic = newTopic();
        const end = await endTopic(broker, topic);
        for (let round = 0; round < 2; round++) {
          const failure = await failureOf(publish(broker, topic, { drafts: [text("late")], once }));
          expect((failure as TopicEnded).end).toMatchObject(end);
        }
      }),
    );

    test(
      "is met by readers from everywhere, those that have seen it too",
      withTopics(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 3);
        const end = await endTopic(broker, topic);
        for (const [since, offsets] of [
          [all, [1, 2, 3]],
          [{ kind: "last", count: 2 }, [2, 3]],
          [{ kind: "last", count: 9 }, [1, 2, 3]],
          [after(positions[1] as Position), [3]],
          [after(positions[2] as Position), []],
          [after(end), []],
        ] as const) {
          const history = await read(broker, topic, since, end);
          expect(history).toMatchObject({ complete: true, position: end, end });
          expect(history.messages.map(({ offset }) => offset)).toEqual([...offsets]);
        }
        expect((await read(broker, topic, after(positions[2] as Position), end)).from).toEqual(
          positions[2] as Position,
        );
        expect((await read(broker, topic, after(end), end)).from).toEqual(end);
      }),
    );

    test(
      "is on every page",
      withTopics(async (broker) => {
        const topic = newTopic();
        await publishOneByOne(broker, topic, 3);
        const end = await endTopic(broker, topic);
        const page = { messagesMax: 2, bytesMax: 1024 * 1024 };
        const first = await readPage(broker, topic, all, end, page);
        expect(first).toMatchObject({ position: end, end });
        expect(first.messages.length).toBeWithin(1, 3);
      }),
    );

    test(
      "counts neither in the number of messages nor in what a reader is told is gone",
      withTopics(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 7);
        const end = await endTopic(broker, topic);
        const history = await read(broker, topic, after(positions[0] as Position), end);
        expect(history).toMatchObject({ complete: false, from: { offset: 2 }, position: end, end });
        expect(history.messages.map(({ offset }) => offset)).toEqual([3, 4, 5, 6, 7]);
      }, five),
    );

    test(
      "outlives all messages: a gap leads to before it, so that a reader meets it",
      withTopics(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 3);
        const end = await endTopic(broker, topic);
        expect(await read(broker, topic, after(positions[0] as Position), end)).toMatchObject({
          complete: false,
          from: { epoch: end.epoch, offset: 3 },
          messages: [],
          position: end,
          end,
        });
        expect(await read(broker, topic, after(positions[2] as Position), end)).toMatchObject({
          complete: true,
          messages: [],
        });
        expect((await read(broker, topic, all, end)).from).toEqual({ epoch: end.epoch, offset: 3 });
      }, none),
    );

    const { advance } = can;
    testIf(advance)(
      "lives as long as the position, and then the name begins anew",
      withTopics(async (broker, engine) => {
        const topic = newTopic();
        const end = await endTopic(broker, topic);
        await advance?.(engine, none.positionAgeSeconds - 60);
        // A node that lags may show the position before the end.
        await until(
          async () => (await positionOf(broker, topic))?.end?.offset === end.offset,
          "the end to be shown",
        );
        await advance?.(engine, 120);
        await until(async () => !(await positionOf(broker, topic)), "the position to be forgotten");
        const first = await post(broker, topic, text("anew"));
        expect(first.epoch).not.toBe(end.epoch);
        expect(first.offset).toBe(1);
      }, none),
    );
  });
}

const positionOf = async (broker: Broker, topic: string) => (await broker.positions([topic]))[0];
