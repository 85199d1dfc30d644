/** Presence: the members of a topic are a keyed topic, and what nodes say of them becomes its entries. */
import { describe, expect, test } from "bun:test";
import { faultOfKey } from "../../../src/topic/key.ts";
import { presencePerCallMax, presenceTopicOf } from "../../../src/topic/presence.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { publicPart } from "./messages.ts";
import { describePresenceFold } from "./presence-fold.ts";
import { describePresenceReaders } from "./presence-readers.ts";
import { gone, here, inRoom, newRoom, Room } from "./room.ts";

/** Time in which the grace of `generous` is over, whatever has passed already. */
const graceSeconds = generous.presenceGraceSeconds + 1;

export function describePresence<Kind extends Engine>(contract: Contract<Kind>): void {
  if (!contract.can.presenceOf) return;
  describe("presence", () => {
    describeStatements(contract);
    describeTokens(contract);
    describeGrace(contract);
    describeManyNodes(contract);
    describeBound(contract);
    describeText(contract);
    describePresenceReaders(contract);
    describePresenceFold(contract);
  });
}

function describeStatements<Kind extends Engine>(contract: Contract<Kind>): void {
  const withRoom = inRoom(contract);
  describe("what a node says", () => {
    test(
      "makes a member, which is announced and kept as a join with its info and since when it is here",
      withRoom(async (room) => {
        const since = Date.UTC(2027, 0, 2, 3, 4, 5, 678) / 1000;
        expect(await room.say(here("ann", { info: '{"name":"Ann"}', issued: 5, since }))).toEqual([]);
        const position = await room.position();
        expect(position.offset).toBe(1);
        const expected = {
          ...{ topic: `!presence/${room.topic}`, ...position, contentType: "application/json" },
          attributes: { type: "longwire.join", partitionkey: "ann" },
          data: '{"member":{"name":"Ann"},"since":"2027-01-02T03:04:05.678Z"}',
        };
        expect((await room.messages()).map(publicPart)).toMatchObject([expected]);
        expect((await room.read()).messages.map(publicPart)).toMatchObject([expected]);
      }),
    );

    test(
      "changes nothing when it is said again, also of a stranger who is gone",
      withRoom(async (room) => {
        const said = [here("ann", { issued: 5, since: 1 }), here("bob", { info: '{"n":1}', since: 2 })];
        await room.say(...said);
        for (let time = 0; time < 3; time++) expect(await room.say(...said)).toEqual([]);
        expect(await room.say(gone("eve"), here("bob", { info: '{"n":1}', since: 9 }))).toEqual([]);
        expect((await room.position()).offset).toBe(2);
        expect(await room.members()).toEqual(["+ann true 1", '+bob {"n":1} 2']);
      }),
    );

    test(
      "is appended in the order in which it is said, and each call after the one before it",
      withRoom(async (room) => {
        await room.say(here("c"), here("a"), gone("x"), here("b"));
        await room.say(here("a", { issued: 1, info: '{"n":1}' }), here("0"), here("c"));
        const entries = ["+c true 0", "+a true 0", "+b true 0", '~a {"n":1} 0', "+0 true 0"];
        expect(await room.entries()).toEqual(entries);
      }),
    );

    test(
      "may be of as many as a call takes",
      withRoom(async (room) => {
        const keys = Array.from({ length: presencePerCallMax }, (_, index) => `member ${index}`);
        expect(keys).toHaveLength(100);
        for (let time = 0; time < 2; time++) {
          expect(await room.say(...keys.map((key) => here(key, { since: 1 })))).toEqual([]);
          expect(await room.members()).toEqual(keys.map((key) => `+${key} true 1`));
        }
        expect((await room.position()).offset).toBe(100);
      }),
    );

    test(
      "is of one topic: it neither makes that topic nor touches the members of another",
      contract.withTopics(async (broker, engine) => {
        const register = contract.can.presenceOf?.(engine, broker);
        const topic = newRoom();
        const other = `${topic}0`;
        await register?.present(topic, [here("ann"), here("bob")]);
        await register?.present(other, [here("ann")]);
        await register?.present(newRoom(), [gone("ann")]);
        const names = [presenceTopicOf(other), topic, presenceTopicOf(topic), other, presenceTopicOf("none")];
        const retained = (await broker.inspect(names)).map((state) => state?.retained);
        expect(retained).toEqual([1, undefined, 2, undefined, undefined]);
      }),
    );
  });
}

function describeTokens<Kind extends Engine>(contract: Contract<Kind>): void {
  const withRoom = inRoom(contract);
  describe("the info of a member", () => {
    test(
      "is that of the token issued last: an update, which keeps since when the member is here",
      withRoom(async (room) => {
        await room.say(here("ann", { info: '{"n":1}', issued: 5, since: 7 }));
        await room.say(here("ann", { info: '{"n":3}', issued: 4, since: 1 }));
        await room.say(here("ann", { info: '{"n":2}', issued: 6, since: 8 }));
        await room.say(here("ann", { info: '{"n":1}', issued: 5, since: 9 }));
        await room.say(here("ann", { info: "true", issued: 7 }));
        expect(await room.entries()).toEqual(['+ann {"n":1} 7', '~ann {"n":2} 7', "~ann true 7"]);
        expect(await room.members()).toEqual(["~ann true 7"]);
      }),
    );

    test(
      "of tokens issued at the same time is the greater text, whichever is said first",
      withRoom(async (room) => {
        await room.say(here("ann", { info: '{"n":1}' }), here("bob", { info: '{"n":2}' }));
        await room.say(here("ann", { info: '{"n":2}' }), here("bob", { info: '{"n":1}' }));
        expect(await room.members()).toEqual(['+bob {"n":2} 0', '~ann {"n":2} 0']);
      }),
    );

    test(
      "in a later token that has the same counts from then on, and is no entry",
      withRoom(async (room) => {
        await room.say(here("ann", { info: '{"n":1}', issued: 1 }));
        await room.say(here("ann", { info: '{"n":1}', issued: 5 }));
        await room.say(here("ann", { info: '{"n":9}', issued: 4 }));
        expect(await room.entries()).toEqual(['+ann {"n":1} 0']);
        await room.say(here("ann", { info: '{"n":0}', issued: 6 }));
        expect(await room.members()).toEqual(['~ann {"n":0} 0']);
      }),
    );
  });
}

function describeGrace<Kind extends Engine>(contract: Contract<Kind>): void {
  const withRoom = inRoom(contract);
  const { can } = contract;
  describe("a member that is gone", () => {
    testIf(can.advance)(
      "leaves when the grace is over, and joins anew after it",
      withRoom(async (room, pass) => {
        await room.say(here("ann", { since: 1 }), here("bob", { since: 2 }));
        await room.say(gone("ann"));
        expect(await room.members()).toEqual(["+ann true 1", "+bob true 2"]);
        await pass(graceSeconds);
        expect(await room.entriesWith("-ann")).toEqual(["+ann true 1", "+bob true 2", "-ann"]);
        const [left] = (await room.messages()).slice(-1).map(publicPart);
        const attributes = { type: "longwire.removed", partitionkey: "ann" };
        expect(left).toMatchObject({ ...(await room.position()), attributes, data: "" });
        expect(await room.members()).toEqual(["+bob true 2"]);
        await room.say(here("ann", { since: 3 }));
        expect(await room.members()).toEqual(["+bob true 2", "+ann true 3"]);
      }),
    );

    testIf(can.advance)(
      "and comes back within the grace has not left, and the grace begins anew when it goes again",
      withRoom(async (room, pass) => {
        const joins = ["+back true 1", "+again true 2", "+gone true 3"];
        await room.say(here("back", { since: 1 }), here("again", { since: 2 }), here("gone", { since: 3 }));
        await room.say(gone("back"), gone("again"), gone("gone"));
        await pass(graceSeconds / 2);
        await room.say(here("back", { since: 9 }), here("again", { since: 9 }), gone("gone"));
        await room.say(gone("again"));
        await pass(graceSeconds / 2 + 1);
        // Whoever has left is told of in the order in which they went.
        expect(await room.entriesWith("-gone")).toEqual([...joins, "-gone"]);
        await pass(graceSeconds);
        expect(await room.entriesWith("-again")).toEqual([...joins, "-gone", "-again"]);
        expect(await room.members()).toEqual(["+back true 1"]);
      }),
    );

    testIf(can.advance)(
      "keeps the info that counts within the grace, and none once it has left",
      withRoom(async (room, pass) => {
        await room.say(here("ann", { info: '{"n":1}', issued: 5, since: 1 }));
        await room.say(gone("ann"));
        await room.say(here("ann", { info: '{"n":2}', issued: 4, since: 2 }));
        expect(await room.entries()).toEqual(['+ann {"n":1} 1']);
        await room.say(gone("ann"));
        await room.say(here("ann", { info: '{"n":3}', issued: 6, since: 3 }));
        expect(await room.entries()).toEqual(['+ann {"n":1} 1', '~ann {"n":3} 1']);
        await room.say(gone("ann"));
        await pass(graceSeconds);
        await room.entriesWith("-ann");
        await room.say(here("ann", { info: '{"n":0}', issued: 1, since: 4 }));
        expect(await room.members()).toEqual(['+ann {"n":0} 4']);
      }),
    );

    testIf(can.advance)(
      "as the last one leaves a topic that goes on where it is",
      withRoom(async (room, pass) => {
        await room.say(here("ann"));
        const { epoch } = await room.position();
        await room.say(gone("ann"));
        await pass(graceSeconds);
        await room.entriesWith("-ann");
        expect(await room.members()).toEqual([]);
        await room.say(here("bob"));
        expect(await room.position()).toEqual({ epoch, offset: 3 });
      }),
    );
  });
}

function describeManyNodes<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNodes, can } = contract;
  const withTwo = (run: (room: Room, pass: (seconds: number) => Promise<void>) => Promise<void>) =>
    withNodes(async (one, other, engine) => {
      const nodes = [one, other].map((broker) => {
        const register = can.presenceOf?.(engine, broker);
        if (!register) throw new Error("the engine does not know who is here");
        return { broker, register };
      });
      await run(await Room.open(contract, nodes), async (seconds) => can.advance?.(engine, seconds));
    });

  describe("a member at two nodes", () => {
    testIf(can.manyNodes && can.advance)(
      "is one member: it leaves when both say that it is gone, in any order",
      withTwo(async (room, pass) => {
        for (const [key, first] of [
          ["ann", 0],
          ["bob", 1],
        ] as const) {
          await room.sayAt(first, here(key, { since: 1 }));
          await room.sayAt(1 - first, here(key, { since: 2 }));
        }
        await room.sayAt(0, here("eve"));
        await room.sayAt(0, gone("ann"), gone("bob"), gone("eve"));
        await pass(graceSeconds);
        const joins = ["+ann true 1", "+bob true 1", "+eve true 0"];
        expect(await room.entriesWith("-eve")).toEqual([...joins, "-eve"]);
        await room.sayAt(1, gone("ann"));
        await pass(graceSeconds);
        expect(await room.entriesWith("-ann")).toEqual([...joins, "-eve", "-ann"]);
        expect(await room.members()).toEqual(["+bob true 1"]);
      }),
    );

    testIf(can.manyNodes)(
      "has the info of the token issued last, also where that node's line is gone",
      withTwo(async (room) => {
        await room.sayAt(0, here("ann", { info: '{"n":1}', issued: 5, since: 1 }));
        await room.sayAt(1, here("ann", { info: '{"n":2}', issued: 4, since: 2 }));
        await room.sayAt(0, gone("ann"));
        await room.sayAt(1, here("ann", { info: '{"n":2}', issued: 4, since: 2 }));
        expect(await room.entries()).toEqual(['+ann {"n":1} 1']);
        await room.sayAt(1, here("ann", { info: '{"n":3}', issued: 6, since: 2 }));
        expect(await room.members()).toEqual(['~ann {"n":3} 1']);
      }),
    );

    testIf(can.manyNodes && can.advance)(
      "has not left where it goes from one node to the other within the grace",
      withTwo(async (room, pass) => {
        await room.sayAt(0, here("ann", { since: 1 }), here("eve", { since: 1 }));
        await room.sayAt(0, gone("ann"), gone("eve"));
        await pass(graceSeconds / 2);
        await room.sayAt(1, here("ann", { since: 2 }));
        await pass(graceSeconds / 2 + 1);
        expect(await room.entriesWith("-eve")).toEqual(["+ann true 1", "+eve true 1", "-eve"]);
        expect(await room.members()).toEqual(["+ann true 1"]);
      }),
    );
  });
}

function describeBound<Kind extends Engine>(contract: Contract<Kind>): void {
  const withRoom = inRoom(contract);
  const { can } = contract;
  const limits = { ...generous, presenceMembersMax: 3 };
  const bound = expect.stringMatching(/\b3\b.*--presence-members/);
  describe("a topic with as many members as it may have", () => {
    test(
      "refuses one more in words that name the setting, and goes on for those who are in",
      withRoom(async (room) => {
        expect(await room.say(here("a"), here("b"), here("c"), here("d"))).toEqual([{ key: "d", bound }]);
        const said = [here("e"), here("a", { info: '{"n":1}', issued: 1 }), here("f"), here("b")];
        expect(await room.say(...said)).toEqual([
          { key: "e", bound },
          { key: "f", bound },
        ]);
        await room.say(gone("c"), gone("d"));
        // Within the grace it is in: so there is no room yet.
        expect(await room.say(here("d"))).toEqual([{ key: "d", bound }]);
        expect(await room.say(here("c", { since: 9 }))).toEqual([]);
        expect(await room.entries()).toEqual(["+a true 0", "+b true 0", "+c true 0", '~a {"n":1} 0']);
      }, limits),
    );

    testIf(can.advance)(
      "takes another one once one has left",
      withRoom(async (room, pass) => {
        await room.say(here("a"), here("b"), here("c"), here("refused"));
        await room.say(gone("b"), gone("refused"));
        await pass(graceSeconds);
        await room.entriesWith("-b");
        expect(await room.say(here("d"), here("e"))).toEqual([{ key: "e", bound }]);
        expect(await room.members()).toEqual(["+a true 0", "+c true 0", "+d true 0"]);
        expect(await room.entries()).toEqual([
          ...["+a true 0", "+b true 0", "+c true 0"],
          ...["-b", "+d true 0"],
        ]);
      }, limits),
    );
  });
}

/** All that `faultOfKey` lets through, and that a script, a table or an object may take for something else. */
const keys = [
  ...['"', "'", "\\", '\\"', 'a"b\\c', "`", "$&", "%s", "%00", "{}", '{"member":true}', "]]", "--", ";"],
  ...[
    " ",
    "  ann",
    "ann  ",
    "a b",
    "a,b",
    "a:b",
    "a|b",
    "a/b",
    "#",
    "*",
    "?",
    "!presence/room",
    "-",
    "+",
    "~",
  ],
  ...["0", "00", "1e3", "-1", "true", "false", "null", "undefined", "nil", "NaN"],
  ...["__proto__", "constructor", "hasOwnProperty", "toString", "length"],
  ...["é", "e\u0301", "E", "e", "图 1", "\u{1f600}", "\u2028", "\u200d", "\ufeff", "\uffff", "\u{10ffff}"],
  ...["x".repeat(255), "图".repeat(85), "\u{1f600}".repeat(63)],
];

const strings = [
  ...['"', "\\", '"}', '","since":"2000-01-01T00:00:00.000Z"}', "\n\r\t", "\0", "\u2028", "\u007f"],
  ...["\ud800", "\u{1f600}", "é", "</script>", "%s $1 $& \\1", "longwire.removed"],
  "x".repeat(330),
];

function describeText<Kind extends Engine>(contract: Contract<Kind>): void {
  const withRoom = inRoom(contract);
  const { can } = contract;
  describe("the text of a member", () => {
    testIf(can.advance)(
      "may be every key that there is, and each is a member of its own",
      withRoom(async (room, pass) => {
        expect(keys.map(faultOfKey)).toEqual(keys.map(() => undefined));
        expect(new Set(keys).size).toBe(keys.length);
        expect(await room.say(...keys.map((key, since) => here(key, { since })))).toEqual([]);
        const joins = keys.map((key, since) => `+${key} true ${since}`);
        expect(await room.members()).toEqual(joins);
        await room.say(
          ...keys.map((key, since) => here(key, { since: since + 1, issued: 1, info: '{"n":1}' })),
        );
        const updates = keys.map((key, since) => `~${key} {"n":1} ${since}`);
        expect(await room.members()).toEqual(updates);
        await room.say(...keys.filter((_, index) => index % 2 === 0).map(gone));
        await pass(graceSeconds);
        const removals = keys.filter((_, index) => index % 2 === 0).map((key) => `-${key}`);
        await room.entriesWith(removals.at(-1) ?? "");
        expect((await room.entries()).slice(0, 2 * keys.length)).toEqual([...joins, ...updates]);
        expect((await room.entries()).slice(2 * keys.length).sort()).toEqual(removals.sort());
        expect(await room.members()).toEqual(updates.filter((_, index) => index % 2 === 1));
      }),
    );

    test(
      "may have every info that there is, which readers get as it is",
      withRoom(async (room) => {
        const infos = [
          ...strings.map((name) => JSON.stringify({ name, [name]: [name] })),
          ...['{"__proto__":{"isAdmin":true}}', '{"a":{"a":{"a":[[[[]]]]}},"":null}', "{}"],
          '{"whole":12345678901234567890,"fraction":1.10,"small":1e-7}',
        ];
        expect(await room.say(...infos.map((info, index) => here(`k${index}`, { info })))).toEqual([]);
        const expected = infos.map((info) => `{"member":${info},"since":"1970-01-01T00:00:00.000Z"}`);
        expect((await room.messages()).map(({ data }) => data)).toEqual(expected);
        expect((await room.read()).messages.map(({ data }) => data)).toEqual(expected);
        // It is the same info: a token that was issued later changes nothing.
        await room.say(...infos.map((info, index) => here(`k${index}`, { info, issued: 5 })));
        expect((await room.position()).offset).toBe(infos.length);
      }),
    );
  });
}
