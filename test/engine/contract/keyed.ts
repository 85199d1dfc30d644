/** Keyed topics: the last message of each key, removals, conditions and bounds. */
import { describe, expect, test } from "bun:test";
import {
  type Condition,
  ConditionFailed,
  IdempotencyConflict,
  KeyAbsent,
  TopicEnded,
  TopicFull,
} from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { describeKeyedFold } from "./keyed-fold.ts";
import { describeKeyedReaders } from "./keyed-readers.ts";
import {
  absent,
  at,
  keyState,
  newKeyedTopic,
  positionOf,
  present,
  readPage,
  remove,
  set,
  shown,
  valueDraft,
} from "./keyed-topic.ts";
import { after, all, endTopic, failureOf, once, publicPart, publish } from "./messages.ts";

export function describeKeyed<Kind extends Engine>(contract: Contract<Kind>): void {
  if (!contract.can.keepsKeys) return;
  describe("keyed topics", () => {
    describeValues(contract);
    describeKeys(contract);
    describeChanges(contract);
    describeConditions(contract);
    describeBounds(contract);
    describeKeyedReaders(contract);
    describeKeyedFold(contract);
  });
}

function describeValues<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a keyed topic", () => {
    test(
      "has the last message of each key, in the order in which they were published",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        await set(broker, topic, "a", "1");
        const second = await set(broker, topic, "b", "2");
        await set(broker, topic, "c", "3");
        await set(broker, topic, "a", "4");
        const last = await remove(broker, topic, "c");
        const history = await readPage(broker, topic, all);
        expect(shown(history)).toEqual(["b=2", "a=4"]);
        const { complete, from, through, position, isTrimmed } = history;
        expect({ complete, from, through, position, isTrimmed }).toEqual({
          complete: true,
          from: { epoch: last.epoch, offset: 0, base: last.offset },
          through: last,
          position: last,
          isTrimmed: false,
        });
        expect(history.messages[0]).toMatchObject(second);
        expect((await broker.inspect([topic]))[0]?.retained).toBe(2);
      }),
    );

    test(
      "gives a value as it was published",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const draft: Draft = {
          data: new Uint8Array([0, 255, 10]),
          contentType: "image/png",
          attributes: { partitionkey: "图 1", type: "thumbnail", sequence: 7 },
        };
        const position = await positionOf(publish(broker, topic, { drafts: [draft] }));
        const { value, position: at } = await keyState(broker, topic, "图 1");
        expect(value && publicPart(value)).toMatchObject({ topic, ...position, ...draft });
        expect(at).toEqual(position);
        expect((await keyState(broker, topic, "other")).value).toBeUndefined();
        expect(await broker.value(newKeyedTopic(), "a")).toBeUndefined();
      }),
    );
  });
}

function describeKeys<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics, withNodes, can, listen } = contract;
  describe("the keys of a topic", () => {
    test(
      "compares keys by their bytes",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const keys = [
          "é",
          "e\u0301",
          "E",
          "e",
          " e",
          "e ",
          "-",
          "0",
          "\u{1f600}",
          "__proto__",
          "constructor",
        ];
        for (const key of keys) await set(broker, topic, key, `value of ${key}`);
        for (const key of keys)
          expect((await keyState(broker, topic, key)).value?.data).toBe(`value of ${key}`);
        expect((await broker.inspect([topic]))[0]?.retained).toBe(keys.length);
      }),
    );

    test(
      "announces values and removals to each node, in order",
      withNodes(async (one, other) => {
        const topic = newKeyedTopic();
        const announced = listen(other);
        await other.subscribe(topic);
        await set(one, topic, "a", "1");
        await set(one, topic, "a", "2");
        const last = await remove(one, topic, "a");
        if (!can.announcesAll) return;
        await announced.upTo(topic, last);
        expect(
          announced
            .of(topic)
            .map(({ attributes, data }) => [attributes?.type, attributes?.partitionkey, data]),
        ).toEqual([
          [undefined, "a", "1"],
          [undefined, "a", "2"],
          ["longwire.removed", "a", ""],
        ]);
      }),
    );
  });
}

function describeChanges<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a change of a keyed topic", () => {
    test(
      "appends nothing for the removal of a key without a value",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const first = await set(broker, topic, "a", "1");
        expect(await failureOf(remove(broker, topic, "b"))).toMatchObject({
          position: first,
          name: "KeyAbsent",
        });
        const removed = await remove(broker, topic, "a");
        expect(removed.offset).toBe(first.offset + 1);
        expect(await failureOf(remove(broker, topic, "a"))).toBeInstanceOf(KeyAbsent);
        expect(await broker.positions([topic])).toEqual([removed]);
      }),
    );

    test(
      "takes several values in one step, of which the last of a key counts",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const drafts = [valueDraft("a", "1"), valueDraft("b", "2"), valueDraft("a", "3")];
        const last = await positionOf(publish(broker, topic, { drafts }));
        expect(last.offset).toBe(3);
        expect(shown(await readPage(broker, topic, all))).toEqual(["b=2", "a=3"]);
      }),
    );

    test(
      "ends: a reader gets the values and then the end, and nothing is published or removed",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const first = await set(broker, topic, "a", "1");
        await set(broker, topic, "b", "2");
        const removed = await remove(broker, topic, "b");
        const end = await endTopic(broker, topic);
        const history = await readPage(broker, topic, all);
        expect(shown(history)).toEqual(["a=1"]);
        expect(history).toMatchObject({ through: removed, end, position: end });
        expect(await readPage(broker, topic, after(end))).toMatchObject({
          complete: true,
          messages: [],
          through: end,
        });
        const refused = [set(broker, topic, "a", "3", { condition: absent }), remove(broker, topic, "a")];
        for (const refusal of refused) expect(await failureOf(refusal)).toBeInstanceOf(TopicEnded);
        expect((await keyState(broker, topic, "a")).value).toMatchObject(first);
      }),
    );
  });
}

function describeConditions<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a condition on a key", () => {
    test(
      "appends only what meets its condition, and says where the key is",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const other = await set(broker, topic, "other", "0");
        const failed = async (condition: Condition): Promise<unknown> => {
          const error = await failureOf(set(broker, topic, "a", "never", { condition }));
          expect(error).toBeInstanceOf(ConditionFailed);
          return (error as ConditionFailed).current;
        };
        for (const condition of [present, at(other)]) expect(await failed(condition)).toBeUndefined();
        const first = await set(broker, topic, "a", "1", { condition: absent });
        for (const condition of [absent, at(other), at({ epoch: "other", offset: first.offset }), at()])
          expect(await failed(condition)).toEqual(first);
        const second = await set(broker, topic, "a", "2", { condition: present });
        expect(await failed(at(first))).toEqual(second);
        const third = await set(broker, topic, "a", "3", { condition: at(other, second) });
        expect(await failureOf(remove(broker, topic, "a", { condition: at(second) }))).toBeInstanceOf(
          ConditionFailed,
        );
        const removed = await remove(broker, topic, "a", { condition: at(third) });
        expect([first, second, third, removed].map(({ offset }) => offset)).toEqual([2, 3, 4, 5]);
        expect((await set(broker, topic, "a", "6", { condition: absent })).offset).toBe(6);
      }),
    );

    test(
      "answers a repetition with the first position, whatever its condition would be now",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const first = await set(broker, topic, "a", "1", { condition: absent, once });
        await set(broker, topic, "a", "2");
        expect(await set(broker, topic, "a", "1", { condition: absent, once })).toEqual(first);
        expect(await failureOf(set(broker, topic, "a", "1", { once }))).toBeInstanceOf(IdempotencyConflict);
        expect(await failureOf(remove(broker, topic, "a", { once }))).toBeInstanceOf(IdempotencyConflict);
        expect((await keyState(broker, topic, "a")).value?.data).toBe("2");
      }),
    );

    test(
      "decides a repetition anew where the first was refused",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        expect(await failureOf(remove(broker, topic, "a", { once }))).toBeInstanceOf(KeyAbsent);
        await set(broker, topic, "a", "1");
        const removed = await remove(broker, topic, "a", { once });
        await set(broker, topic, "a", "2");
        expect(await remove(broker, topic, "a", { once })).toEqual(removed);
        expect((await keyState(broker, topic, "a")).value?.data).toBe("2");
      }),
    );
  });
}

function describeBounds<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can } = contract;
  describe("the room of a keyed topic", () => {
    test(
      "refuses a new key past its bound, and goes on to replace and to remove",
      withNode(
        async (broker) => {
          const topic = newKeyedTopic();
          for (const key of ["a", "b", "c"]) await set(broker, topic, key, "1");
          expect(await failureOf(set(broker, topic, "d", "1"))).toBeInstanceOf(TopicFull);
          const two = { drafts: [valueDraft("a", "2"), valueDraft("d", "2")] };
          expect(await failureOf(publish(broker, topic, two))).toBeInstanceOf(TopicFull);
          await set(broker, topic, "a", "3");
          await remove(broker, topic, "b");
          await set(broker, topic, "d", "4");
          expect(shown(await readPage(broker, topic, all))).toEqual(["c=1", "a=3", "d=4"]);
        },
        { ...generous, keysMax: 3 },
      ),
    );

    testIf(!can.ignoresBytesMax)(
      "keeps its values when others fill the history, and refuses more than there is room for",
      withNode(
        async (broker) => {
          const topic = newKeyedTopic();
          const large = "x".repeat(10_000);
          for (const key of ["a", "b", "c"]) await set(broker, topic, key, large);
          for (let count = 0; count < 30; count++)
            await publish(broker, "plain", { drafts: [{ data: large, contentType: "text/plain" }] });
          expect((await broker.inspect([topic]))[0]?.retained).toBe(3);
          const more = "x".repeat(30_000);
          expect(await failureOf(set(broker, topic, "d", more))).toBeInstanceOf(TopicFull);
          expect(await failureOf(set(broker, topic, "a", more))).toBeInstanceOf(TopicFull);
          await set(broker, topic, "a", "small");
          await remove(broker, topic, "b");
          await set(broker, topic, "d", large);
          expect((await readPage(broker, topic, all)).messages.map(({ data }) => data.length)).toEqual([
            10_000, 5, 10_000,
          ]);
        },
        { ...generous, historyBytesMax: 48 * 1024 },
      ),
    );

    testIf(!can.ignoresBytesMax)(
      "counts of a key that is published twice at once the last value alone",
      withNode(
        async (broker) => {
          const topic = newKeyedTopic();
          await set(broker, topic, "a", "x".repeat(20_000));
          const twice = (first: number, last: number) => ({
            drafts: [valueDraft("a", "x".repeat(first)), valueDraft("a", "x".repeat(last))],
          });
          expect(await failureOf(publish(broker, topic, twice(1, 60_000)))).toBeInstanceOf(TopicFull);
          await publish(broker, topic, twice(40_000, 30_000));
          expect((await keyState(broker, topic, "a")).value?.data).toHaveLength(30_000);
        },
        { ...generous, historyBytesMax: 48 * 1024 },
      ),
    );
  });
}
