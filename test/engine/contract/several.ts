/** Publications of several messages: one step each, all of it or nothing. */
import { describe, expect, test } from "bun:test";
import {
  type Appended,
  type Broker,
  IdempotencyConflict,
  StreamTakenOver,
  TopicEnded,
} from "../../../src/topic/broker.ts";
import { previousOffset } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five } from "./engine.ts";
import {
  after,
  all,
  endTopic,
  failureOf,
  newTopic,
  numbered,
  offsetsBetween,
  once,
  post,
  publish,
  text,
} from "./messages.ts";

const publishAll = (broker: Broker, topic: string, words: readonly string[]): Promise<Appended> =>
  publish(broker, topic, { drafts: words.map(text) });

export function describeSeveral<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNodes, withTopics, listen, read, can } = contract;
  describe("a publication of several messages", () => {
    test(
      "appends them in their order, each after the one before, and gives the position of the last",
      withTopics(async (broker) => {
        const topic = newTopic();
        const before = await post(broker, topic, text("before"));
        const { message, end } = await publishAll(broker, topic, numbered(20));
        expect(end).toBeUndefined();
        expect(message).toEqual({ epoch: before.epoch, offset: 21 });
        expect((await post(broker, topic, text("after"))).offset).toBe(22);
        const { messages } = await read(broker, topic, after(before), message);
        expect(messages.map(({ data }) => data)).toEqual([...numbered(20), "after"]);
        expect(messages.map(previousOffset)).toEqual(messages.map(({ offset }) => offset - 1));
      }),
    );

    test(
      "is announced message by message, and the end after them",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const announced = listen(other);
        await other.subscribe(topic);
        const { message, end } = await one.publish(topic, { drafts: numbered(5).map(text), end: true });
        expect([message?.offset, end?.offset]).toEqual([5, 6]);
        if (can.announcesAll) {
          await announced.upTo(topic, end);
          const offsets = announced.entriesOf(topic).map(({ offset }) => offset);
          expect(offsets).toEqual([1, 2, 3, 4, 5, 6]);
        }
        const { messages, end: found } = await read(other, topic, all, end);
        expect(messages.map(({ data }) => data)).toEqual(numbered(5));
        expect(found).toMatchObject({ ...end, isEnd: true });
      }),
    );

    test(
      "is not interleaved with others, whichever of many at once comes first",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const words = numbered(12).map((publisher) => numbered(10).map((word) => `${publisher}: ${word}`));
        const appended = await Promise.all(
          words.map((mine, index) => publishAll(index % 2 ? one : other, topic, mine)),
        );
        const lasts = appended.map(({ message }) => message?.offset ?? 0);
        expect(lasts.toSorted((left, right) => left - right)).toEqual(
          offsetsBetween(0, 12).map((nth) => nth * 10),
        );
        const last = appended.find(({ message }) => message?.offset === 120)?.message;
        const { messages } = await read(one, topic, all, last);
        for (const [index, mine] of words.entries()) {
          const stop = lasts[index] ?? 0;
          expect(messages.slice(stop - 10, stop).map(({ data }) => data)).toEqual(mine);
        }
      }),
    );

    test(
      "in the same turn as others has its own answer, also where those are refused",
      withTopics(async (broker) => {
        const [topic, ended] = [newTopic(), newTopic()];
        const end = await endTopic(broker, ended);
        await post(broker, topic, text("earlier"), once);
        const taken = { ...once, key: "taken" };
        await broker.takeStream(topic, taken, "w2");
        const step = { once: taken, writer: "w1", items: 1, digest: "1 item" };
        const calls = [
          publishAll(broker, topic, ["1", "2"]),
          post(broker, topic, text("not the earlier"), once),
          publishAll(broker, topic, ["3"]),
          publishAll(broker, ended, ["late", "later"]),
          publish(broker, topic, { drafts: [text("of an earlier writer")], step }),
          post(broker, topic, text("earlier"), once),
          publishAll(broker, topic, ["4", "5"]),
        ];
        const answers = await Promise.all(calls.map((call) => call.catch((error) => error)));
        const { epoch } = answers[0].message;
        expect(answers).toEqual([
          { message: { epoch, offset: 3 } },
          expect.any(IdempotencyConflict),
          { message: { epoch, offset: 4 } },
          expect.any(TopicEnded),
          expect.any(StreamTakenOver),
          { epoch, offset: 1 },
          { message: { epoch, offset: 6 } },
        ]);
        expect(answers[3].end).toMatchObject(end);
        const { messages } = await read(broker, topic, all, answers[6].message);
        expect(messages.map(({ data }) => data)).toEqual(["earlier", "1", "2", "3", "4", "5"]);
      }),
    );

    test(
      "of many in one turn is whole and in order, more than an engine takes in one step",
      withTopics(async (broker) => {
        const topics = [newTopic(), newTopic(), newTopic()];
        const words = numbered(400);
        const appended = await Promise.all(
          words.map((word, nth) => publishAll(broker, topics[nth % 3] ?? "", [word, `${word} again`])),
        );
        for (const [index, topic] of topics.entries()) {
          const mine = words.filter((_, nth) => nth % 3 === index);
          const { message: last } = appended.filter((_, nth) => nth % 3 === index).at(-1) ?? {};
          expect(last?.offset).toBe(2 * mine.length);
          const { messages } = await read(broker, topic, all, last);
          expect(messages.map(({ data }) => data)).toEqual(mine.flatMap((word) => [word, `${word} again`]));
        }
      }),
    );

    test(
      "appends nothing to a topic that has ended",
      withTopics(async (broker) => {
        const topic = newTopic();
        const first = await post(broker, topic, text("first"));
        const end = await endTopic(broker, topic);
        expect(await failureOf(publishAll(broker, topic, numbered(3)))).toBeInstanceOf(TopicEnded);
        const { messages, position } = await read(broker, topic, all, end);
        expect(messages.map(({ offset }) => offset)).toEqual([first.offset]);
        expect(position).toEqual(end);
      }),
    );

    test(
      "that is repeated with its key gets its first answer, and another one is a conflict",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const drafts = numbered(3).map(text);
        const first = await one.publish(topic, { drafts, once });
        expect(await other.publish(topic, { drafts, once })).toEqual(first);
        const conflict = await failureOf(publish(other, topic, { drafts: drafts.slice(1), once }));
        expect(conflict).toBeInstanceOf(IdempotencyConflict);
        expect((await post(other, topic, text("last"))).offset).toBe(4);
      }),
    );

    test(
      "that is larger than what is kept leaves the last of it",
      withTopics(async (broker) => {
        const topic = newTopic();
        const { message } = await publishAll(broker, topic, numbered(8));
        const { messages, from } = await read(broker, topic, all, message);
        expect(messages.map(({ data }) => data)).toEqual(numbered(8).slice(3));
        expect(from.offset).toBe(3);
      }, five),
    );

    test(
      "is one step of a stream: its record has the first and the last of them",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await post(one, topic, text("before"));
        await one.takeStream(topic, once, "w1");
        const step = (items: number) => ({ once, writer: "w1", items, digest: `${items} items` });
        const { message } = await one.publish(topic, { drafts: numbered(4).map(text), step: step(4) });
        const { message: last, end } = await one.publish(topic, {
          drafts: [text("#5"), text("#6")],
          end: true,
          step: step(6),
        });
        const record = await other.takeStream(topic, once, "w2");
        expect(record).toMatchObject({ items: 6, digest: "6 items" });
        expect(message?.offset).toBe(5);
        expect([record.first?.offset, record.last, record.end]).toEqual([2, last, end]);
        expect([last?.offset, end?.offset]).toEqual([7, 8]);
      }),
    );

    test(
      "of a writer that is not the stream's any more appends nothing, and its record stays where it was",
      withNodes(async (one, other) => {
        const topic = newTopic();
        await one.takeStream(topic, once, "w1");
        const step = { once, writer: "w1", items: 2, digest: "2 items" };
        await one.publish(topic, { drafts: [text("#1"), text("#2")], step });
        await other.takeStream(topic, once, "w2");
        const late = publish(one, topic, { drafts: numbered(3).map(text), step: { ...step, items: 5 } });
        expect(await failureOf(late)).toBeInstanceOf(StreamTakenOver);
        expect(await other.takeStream(topic, once, "w3")).toMatchObject({ items: 2, digest: "2 items" });
        expect((await post(one, topic, text("last"))).offset).toBe(3);
      }),
    );
  });
}
