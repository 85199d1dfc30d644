/** Readers of presence: they resume as those of every keyed topic do, and nothing else gets who is here. */
import { describe, expect, test } from "bun:test";
import type { Feed } from "../../../src/topic/feed.ts";
import { presenceTopicOf } from "../../../src/topic/presence.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { keyState } from "./keyed-topic.ts";
import { after, all, post, text } from "./messages.ts";
import { gone, here, inRoom, newRoom } from "./room.ts";

export function describePresenceReaders<Kind extends Engine>(contract: Contract<Kind>): void {
  describeResumes(contract);
  describeOtherTopics(contract);
}

function describeResumes<Kind extends Engine>(contract: Contract<Kind>): void {
  const { can } = contract;
  const withRoom = inRoom(contract);
  describe("a reader of presence", () => {
    testIf(can.advance)(
      "gets a snapshot, and when it returns those who changed since: who has left, too",
      withRoom(async (room, pass) => {
        await room.say(here("ann"), here("bob"), here("eve"));
        await room.say(here("ann", { info: '{"n":1}', issued: 1 }), gone("bob"));
        await pass(generous.presenceGraceSeconds + 1);
        await room.entriesWith("-bob");
        await room.say(here("kim"));
        const changes = ["+eve true 0", '~ann {"n":1} 0', "-bob", "+kim true 0"];
        expect(await room.members()).toEqual(changes.filter((entry) => entry !== "-bob"));
        const { epoch } = await room.position();
        // By the offset that the reader has: the first three are the joins.
        const expected = [
          changes,
          changes,
          changes,
          changes.slice(1),
          changes.slice(2),
          changes.slice(3),
          [],
        ];
        for (const [offset, changed] of expected.entries()) {
          const history = await room.read(after({ epoch, offset }));
          expect(history.complete).toBe(true);
          expect(await room.members(after({ epoch, offset }))).toEqual(changed);
        }
        expect((await room.read(after({ epoch: "other", offset: 1 }))).complete).toBe(false);
      }),
    );

    testIf(can.advance)(
      "that returns from before a leaving that is forgotten is told a gap, and gets a snapshot",
      withRoom(
        async (room, pass) => {
          await room.say(here("ann"), here("bob"));
          const first = await room.position();
          await room.say(gone("ann"));
          await pass(11);
          await room.entriesWith("-ann");
          await pass(30);
          expect(await room.read(after(first))).toMatchObject({ complete: true });
          expect(await room.members(after(first))).toEqual(["-ann"]);
          const last = await room.position();
          await pass(40);
          expect(await room.read(after(first))).toMatchObject({ complete: false });
          expect(await room.members(after(first))).toEqual(["+bob true 0"]);
          expect(await room.read(after(last))).toMatchObject({ complete: true, messages: [] });
          await pass(200);
          // Whoever is here stays, however long ago they came.
          expect(await room.members()).toEqual(["+bob true 0"]);
        },
        { ...generous, presenceGraceSeconds: 10, historyAgeSeconds: 60, positionAgeSeconds: 90 },
      ),
    );

    test(
      "finds one member by its key, and how many there are",
      contract.withTopics(async (broker, engine) => {
        const register = contract.can.presenceOf?.(engine, broker);
        const topic = newRoom();
        const name = presenceTopicOf(topic);
        await register?.present(topic, [here("ann"), here("bob"), here("eve")]);
        const [state] = await broker.inspect([name]);
        expect(state).toMatchObject({ position: { offset: 3 }, retained: 3 });
        const { value, position } = await keyState(broker, name, "bob");
        expect(value).toMatchObject({ topic: name, offset: 2, attributes: { partitionkey: "bob" } });
        expect(position).toEqual((await broker.positions([name]))[0] ?? position);
        expect((await keyState(broker, name, "kim")).value).toBeUndefined();
      }),
    );
  });
}

const everything: readonly Feed[] = [{ pattern: "*", topic: "feeds/everything" }];

function describeOtherTopics<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, can, read } = contract;
  describe("a topic beside presence", () => {
    testIf(can.keepsFeeds)(
      "that is a feed of all others gets nothing of who is here",
      withNode(
        async (broker, engine) => {
          const topic = newRoom();
          await can.presenceOf?.(engine, broker).present(topic, [here("ann")]);
          await post(broker, topic, text("hello"));
          await can.presenceOf?.(engine, broker).present(topic, [here("bob"), gone("ann")]);
          const [position] = await broker.positions(["feeds/everything"]);
          expect(position?.offset).toBe(1);
          const { messages } = await read(broker, "feeds/everything", all, position);
          expect(messages.map(({ data, attributes }) => [data, attributes?.origin])).toEqual([
            ["hello", topic],
          ]);
        },
        { ...generous, feeds: everything },
      ),
    );

    test(
      "whose name looks like that of its members is an ordinary one",
      withTopics(async (broker, engine) => {
        const room = `room-${crypto.randomUUID()}`;
        const topic = `presence/${room}`;
        await can.presenceOf?.(engine, broker).present(room, [here("ann")]);
        const first = await post(broker, topic, text("hello"));
        const second = await post(broker, topic, text("hello"));
        const { messages } = await read(broker, topic, all, second);
        expect(messages.map(({ data, attributes }) => [data, attributes])).toEqual([
          ["hello", undefined],
          ["hello", undefined],
        ]);
        expect(first).toEqual({ ...second, offset: 1 });
      }),
    );

    test(
      "is asked for together with topics that have members, and the answers are in the order asked",
      withTopics(async (broker, engine) => {
        const [one, other, unknown] = [newRoom(), newRoom(), newRoom()];
        const register = can.presenceOf?.(engine, broker);
        await register?.present(one, [here("ann"), here("bob")]);
        await register?.present(other, [here("ann"), here("bob"), here("eve")]);
        for (const [topic, count] of [
          [one, 4],
          [other, 5],
        ] as const)
          for (let number = 0; number < count; number++) await post(broker, topic, text("x"));
        const offsets = new Map([
          ...[presenceTopicOf(one), one, unknown, other].map(
            (topic, index) => [topic, [2, 4, undefined, 5][index]] as const,
          ),
          ...[presenceTopicOf(unknown), presenceTopicOf(other)].map(
            (topic, index) => [topic, [undefined, 3][index]] as const,
          ),
        ]);
        for (let turn = 0; turn < offsets.size; turn++) {
          const names = [...offsets.keys()];
          const asked = [...names.slice(turn), ...names.slice(0, turn)];
          const expected = asked.map((name) => offsets.get(name));
          expect((await broker.positions(asked)).map((position) => position?.offset)).toEqual(expected);
          expect((await broker.inspect(asked)).map((state) => state?.retained)).toEqual(expected);
        }
        const ofMembers = await broker.positions([presenceTopicOf(other)]);
        expect(ofMembers.map((position) => position?.offset)).toEqual([3]);
        expect(await broker.positions([])).toEqual([]);
      }),
    );
  });
}
