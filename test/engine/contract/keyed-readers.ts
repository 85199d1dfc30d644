/** Readers of keyed topics: resumes, gaps, snapshots in pages, and what is forgotten meanwhile. */
import { describe, expect, test } from "bun:test";
import type { Place, Position, Since } from "../../../src/topic/message.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { newKeyedTopic, readPage, remove, set, shown } from "./keyed-topic.ts";
import { after, all, wholePage } from "./messages.ts";

export function describeKeyedReaders<Kind extends Engine>(contract: Contract<Kind>): void {
  describeResumes(contract);
  describeSnapshots(contract);
  describeForgotten(contract);
}

function describeResumes<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a reader of a keyed topic that returns", () => {
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
  });
}

function describeSnapshots<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a snapshot of a keyed topic", () => {
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
  });
}

function describeForgotten<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can } = contract;
  describe("what a keyed topic forgets", () => {
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
  });
}
