/** Keyed topics: the last message of each key, removals, conditions, and readers whose fold is the topic's state. */
import { describe, expect, test } from "bun:test";
import {
  type Appended,
  type Broker,
  type Condition,
  ConditionFailed,
  type History,
  IdempotencyConflict,
  KeyAbsent,
  type KeyState,
  type Once,
  TopicEnded,
  TopicFull,
} from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { removalOf } from "../../../src/topic/key.ts";
import type { Place, Position, Since } from "../../../src/topic/message.ts";
import { Random } from "../../support/random.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { describeState, fold, KeyedModel } from "./keyed-model.ts";
import { after, all, endTopic, failureOf, once, publicPart, publish, wholePage } from "./messages.ts";

/** It matches the pattern of `generous`. */
const newKeyedTopic = (): string => `keyed/${crypto.randomUUID()}`;

const valueDraft = (key: string, data: string): Draft => ({
  data,
  contentType: "text/plain",
  attributes: { partitionkey: key },
});

async function positionOf(publishing: Promise<Appended>): Promise<Position> {
  const { message } = await publishing;
  if (!message) throw new Error("the publication has no message");
  return message;
}

interface Options {
  readonly condition?: Condition;
  readonly once?: Once;
}

const set = (
  broker: Broker,
  topic: string,
  key: string,
  data: string,
  options: Options = {},
): Promise<Position> => positionOf(publish(broker, topic, { drafts: [valueDraft(key, data)], ...options }));

const remove = (broker: Broker, topic: string, key: string, options: Options = {}): Promise<Position> =>
  positionOf(publish(broker, topic, { drafts: [removalOf(key)], ...options }));

async function readPage(broker: Broker, topic: string, since: Since, page = wholePage): Promise<History> {
  const history = await broker.history(topic, since, page);
  if (!history) throw new Error(`the engine does not have ${topic}`);
  return history;
}

async function keyState(broker: Broker, topic: string, key: string): Promise<KeyState> {
  const state = await broker.value?.(topic, key);
  if (!state) throw new Error(`the engine does not have ${topic}`);
  return state;
}

/** Key and data of each message, and `-` for a removal. */
const shown = ({ messages }: History): string[] =>
  messages.map(({ attributes, data }) =>
    attributes?.type === "longwire.removed"
      ? `-${attributes.partitionkey}`
      : `${attributes?.partitionkey}=${data}`,
  );

const at = (...positions: Position[]): Condition => ({ kind: "at", positions });
const absent: Condition = { kind: "absent" };
const present: Condition = { kind: "present" };

export function describeKeyed<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics, withNode, withNodes, can, listen } = contract;
  if (!can.keepsKeys) return;

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
        expect(await broker.value?.(newKeyedTopic(), "a")).toBeUndefined();
      }),
    );

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
      "gives a reader that returns the keys that changed, and nothing twice",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        const places: Position[] = [];
        for (const [key, data] of ["a1", "b2", "c3", "a4"])
          places.push(await set(broker, topic, key ?? "", data ?? ""));
        places.push(await remove(broker, topic, "b"), await set(broker, topic, "d", "6"));
        const expected = [
          ["c=3", "a=4", "-b", "d=6"],
          ["c=3", "a=4", "-b", "d=6"],
          ["a=4", "-b", "d=6"],
          ["-b", "d=6"],
          ["d=6"],
          [],
        ];
        for (const [index, place] of places.entries()) {
          const history = await readPage(broker, topic, after(place));
          expect(shown(history)).toEqual(expected[index] as string[]);
          expect(history).toMatchObject({ complete: true, from: place, through: places.at(-1) as Position });
        }
      }),
    );

    test(
      "is a gap for a place of another epoch, one that it has not reached, and a strange one; a snapshot follows",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        await set(broker, topic, "a", "1");
        const last = await remove(broker, topic, "a");
        const value = await set(broker, topic, "b", "3");
        const from = { epoch: last.epoch, offset: 0, base: value.offset };
        const places: Place[] = [
          { epoch: "other", offset: 1 },
          { epoch: last.epoch, offset: 4 },
          { epoch: last.epoch, offset: 1, base: 4 },
          { epoch: "other", offset: 1, base: 2 },
        ];
        for (const since of [...places.map(after), { kind: "unknown" } as const]) {
          const history = await readPage(broker, topic, since);
          expect(history).toMatchObject({ complete: false, from });
          expect(shown(history)).toEqual(["b=3"]);
        }
      }),
    );

    test(
      "begins with the values that changed last where a reader asks for some",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        for (const [key, data] of ["a1", "b2", "c3", "a4"]) await set(broker, topic, key ?? "", data ?? "");
        await remove(broker, topic, "c");
        const last = (count: number): Since => ({ kind: "last", count });
        expect(shown(await readPage(broker, topic, last(1)))).toEqual(["a=4"]);
        expect(shown(await readPage(broker, topic, last(2)))).toEqual(["b=2", "a=4"]);
        expect(shown(await readPage(broker, topic, last(9)))).toEqual(["b=2", "a=4"]);
        expect((await readPage(broker, topic, last(1))).complete).toBe(true);
      }),
    );

    test(
      "gives a snapshot in pages, and what changes meanwhile once",
      withTopics(async (broker) => {
        const topic = newKeyedTopic();
        for (const key of ["a", "b", "c", "d"]) await set(broker, topic, key, "old");
        const first = await readPage(broker, topic, all, { ...wholePage, messagesMax: 2 });
        expect(shown(first)).toEqual(["a=old", "b=old"]);
        expect(first.through).toEqual({ epoch: first.position.epoch, offset: 2, base: 4 });
        await set(broker, topic, "a", "new");
        await remove(broker, topic, "c");
        await remove(broker, topic, "b");
        const second = await readPage(broker, topic, after(first.through as Place), {
          ...wholePage,
          messagesMax: 2,
        });
        expect(shown(second)).toEqual(["d=old", "a=new"]);
        const third = await readPage(broker, topic, after(second.through as Place));
        expect(shown(third)).toEqual(["-c", "-b"]);
        expect(third.through).toEqual(third.position);
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

    testIf(can.advance)(
      "keeps values for ever, and removals for the age of history: then a reader from before is told a gap",
      withNode(
        async (broker, engine) => {
          const topic = newKeyedTopic();
          const first = await set(broker, topic, "a", "1");
          await set(broker, topic, "b", "2");
          await can.advance?.(engine, 20);
          const removed = await remove(broker, topic, "a");
          await can.advance?.(engine, 20);
          expect(shown(await readPage(broker, topic, after(first)))).toEqual(["b=2", "-a"]);
          await can.advance?.(engine, 20);
          expect(await readPage(broker, topic, after(first))).toMatchObject({
            complete: false,
            from: { epoch: first.epoch, offset: 0, base: removed.offset },
          });
          expect(await readPage(broker, topic, after(removed))).toMatchObject({
            complete: true,
            messages: [],
          });
          await can.advance?.(engine, 200);
          expect(shown(await readPage(broker, topic, all))).toEqual(["b=2"]);
        },
        { ...generous, historyAgeSeconds: 30, positionAgeSeconds: 60 },
      ),
    );

    testIf(can.advance)(
      "lets a snapshot go on where a removal from before it is forgotten, and begins it again where a later one is",
      withNode(
        async (broker, engine) => {
          const topic = newKeyedTopic();
          for (const key of ["gone", "a", "b", "c"]) await set(broker, topic, key, "1");
          await remove(broker, topic, "gone");
          const page = { ...wholePage, messagesMax: 1 };
          const first = await readPage(broker, topic, all, page);
          await can.advance?.(engine, 20);
          await remove(broker, topic, "c");
          await can.advance?.(engine, 20);
          const second = await readPage(broker, topic, after(first.through as Place), page);
          expect(second.complete).toBe(true);
          expect(shown(second)).toEqual(["b=1"]);
          await can.advance?.(engine, 20);
          const third = await readPage(broker, topic, after(second.through as Place));
          expect(third.complete).toBe(false);
          expect(shown(third)).toEqual(["a=1", "b=1"]);
        },
        { ...generous, historyAgeSeconds: 30, positionAgeSeconds: 60 },
      ),
    );

    for (const seed of [1, 2, 3, 4, 5])
      testIf(can.advance)(
        `is what every reader's fold is, from any place where it was cut (seed ${seed})`,
        withNode(
          (broker, engine) => agreeWithModel(broker, (seconds) => can.advance?.(engine, seconds), seed),
          {
            ...generous,
            ...modelLimits,
          },
        ),
      );
  });
}

const modelLimits = { historyAgeSeconds: 60, positionAgeSeconds: 100_000, keysMax: 12 };
const modelSteps = 600;

interface FoldingReader {
  place: Place | undefined;
  readonly state: Map<string, string>;
}

/** Publishes, removes, lets time pass and reads at random, and compares with the model after each step. */
async function agreeWithModel(
  broker: Broker,
  advance: (seconds: number) => Promise<void> | undefined,
  seed: number,
): Promise<void> {
  const random = new Random(seed);
  const topic = newKeyedTopic();
  const model = new KeyedModel();
  const keys = Array.from({ length: 20 }, (_, index) => `k${index}`);
  const readers: FoldingReader[] = [];
  let now = 0;
  let last: Position = await set(broker, topic, "k0", "first");
  model.add({ offset: last.offset, key: "k0", value: "first", time: now });

  const change = async (key: string, value: string | undefined): Promise<void> => {
    const before = model.lastOf(key);
    const [condition, isMet] = conditionOf(
      random,
      last,
      before?.value === undefined ? undefined : before.offset,
    );
    const options = condition ? { condition } : {};
    const changing =
      value === undefined ? remove(broker, topic, key, options) : set(broker, topic, key, value, options);
    let position: Position;
    try {
      position = await changing;
    } catch (error) {
      if (error instanceof ConditionFailed) expect(isMet).toBe(false);
      else if (error instanceof KeyAbsent)
        expect([value, model.valueOf(key)]).toEqual([undefined, undefined]);
      else if (error instanceof TopicFull)
        expect([model.valueCount, before?.value]).toEqual([modelLimits.keysMax, undefined]);
      else throw error;
      return;
    }
    expect(isMet).toBe(true);
    expect(position.offset).toBe(last.offset + 1);
    last = position;
    model.add({ offset: position.offset, key, value, time: now });
  };

  const readOn = async (reader: FoldingReader): Promise<void> => {
    const { place } = reader;
    const page = { messagesMax: random.between(1, 5), bytesMax: 100_000 };
    const history = await readPage(broker, topic, place ? after(place) : all, page);
    if (!history.complete) {
      expect(
        model.mayLack(
          Math.max(place?.offset ?? 0, place?.base ?? 0),
          now + 10 - modelLimits.historyAgeSeconds,
          modelLimits.keysMax,
        ),
      ).toBe(true);
      reader.state.clear();
    }
    fold(reader.state, history.messages);
    reader.place = history.through;
    const isDone = history.through?.offset === history.position.offset && history.through.base === undefined;
    if (isDone) expect(describeState(reader.state)).toBe(model.state());
  };

  for (let step = 0; step < modelSteps; step++) {
    const what = random.between(0, 99);
    const reader = readers[random.between(0, Math.max(0, readers.length - 1))];
    const key = keys[random.between(0, keys.length - 1)] as string;
    if (what < 35) await change(key, `v${step}`);
    else if (what < 50) await change(key, undefined);
    else if (what < 55) {
      const seconds = random.between(1, 25);
      now += seconds;
      await advance(seconds);
    } else if (what < 60 && readers.length < 10) readers.push({ place: undefined, state: new Map() });
    // A client without the base, such as one that stored an id of a message.
    else if (what < 62 && reader?.place)
      reader.place = { epoch: reader.place.epoch, offset: reader.place.offset };
    else if (reader) await readOn(reader);
  }
  for (const reader of readers) {
    for (let pages = 0; reader.place?.offset !== last.offset || reader.place.base !== undefined; pages++) {
      expect(pages).toBeLessThan(200);
      await readOn(reader);
    }
  }
}

/** A condition, and whether a key whose value is at an offset meets it. */
function conditionOf(
  random: Random,
  last: Position,
  offset: number | undefined,
): [Condition | undefined, boolean] {
  const what = random.between(0, 9);
  if (what < 6) return [undefined, true];
  if (what === 6) return [absent, offset === undefined];
  if (what === 7) return [present, offset !== undefined];
  const named = what === 8 && offset !== undefined ? offset : random.between(0, last.offset + 1);
  return [at({ epoch: last.epoch, offset: named }), named === offset];
}
