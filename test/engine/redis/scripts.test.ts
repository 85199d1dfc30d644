/** The bounds of the rules that the scripts have: the last value for which each holds, and the first for which it does not. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { RedisKeys } from "../../../src/engine/redis/keys.ts";
import { type ScriptName, scriptTexts } from "../../../src/engine/redis/scripts.ts";
import { RedisServer } from "../../support/redis.ts";
import { lacks } from "../../support/tool.ts";

setDefaultTimeout(120_000);

const keys = new RedisKeys("test", 0);
const position = keys.position("news");
const other = "b".repeat(40);
const unknown = "c".repeat(40);
const now = 1_700_000_000_000;
const positionAgeSeconds = 7200;

/** Added to any time it gives this one: two looks at the clock could be in two milliseconds. */
const clockAhead = `setmetatable({}, { __add = function() return ${now} end })`;
const texts = scriptTexts({
  keyed: [],
  feeds: [],
  positionAgeSeconds,
  acknowledge: 0,
  losslessFailover: false,
  clockAhead,
});

let server: RedisServer;
let replid = "";

/** Stores a fence of this server in generation 5, which had a possible loss in generation 3, and a topic. */
async function store(
  fence: Readonly<Record<string, string | number>> = {},
  topic: Readonly<Record<string, string | number>> = {},
): Promise<void> {
  await server.command("FLUSHALL");
  const fenceFields = {
    ...{
      replid,
      generation: 5,
      lossy: 3,
      lossy_time: 1,
      followed: 0,
      run: "d".repeat(40),
      links: `${other}:100`,
    },
    ...fence,
  };
  const fields = {
    ...{ epoch: "e", last: 10, time: now, received: now, generation: 5, clamp: "-" },
    ...{ forks: "f:3", ended: "-", holes: "4:8", ...topic },
  };
  for (const [key, stored] of [
    [keys.fence, fenceFields],
    [position, fields],
  ] as const)
    await server.command("HSET", key, ...Object.entries(stored).flat().map(String));
}

const run = (
  name: ScriptName,
  own: readonly string[],
  values: readonly (string | number)[],
  seen: readonly [generation: number | "", replid: string] = ["", ""],
  before = "",
): Promise<unknown> =>
  server.command(
    "EVAL",
    before + texts[name],
    String(own.length + 1),
    keys.fence,
    ...[...own, ...values, ...seen].map(String),
  );

/** @returns how much the server has lost of what a node says */
async function lostOf(
  claims: readonly (string | number)[],
  id: readonly (string | number)[],
): Promise<number> {
  const values = [claims.length / 3, ...claims, ...id];
  const [, lost] = (await run("testify", id.length > 0 ? [position] : [], values)) as [string, number];
  return Number(lost);
}

/** @param before Lua that runs before the script */
async function append(before = ""): Promise<{ epoch: string; offset: number; holes: string }> {
  const values = ["new", keys.channelsBegin, "100 600000 0 1 none", "ttext/plain\n\nx"];
  const [, answer = ""] = String(await run("append", [keys.name("news")], values, ["", ""], before)).split(
    "\n",
  );
  const [epoch = "", offset] = answer.split(" ");
  const [holes] = (await server.command("HMGET", position, "holes")) as string[];
  return { epoch, offset: Number(offset), holes: holes ?? "" };
}

describe.skipIf(lacks("redis-server"))("the scripts", () => {
  beforeAll(async () => {
    server = await RedisServer.start();
    replid = String(await server.info("master_replid"));
  });
  afterAll(() => server[Symbol.asyncDispose]());

  for (const [what, claim, lost] of [
    ["up to the last byte that is kept of its server", [other, 100], 0],
    ["one byte after it", [other, 101], 1],
    ["by a server of which nothing is known", [unknown, 1], 1],
  ] as const)
    test(`take an append ${what} for ${lost ? "lost" : "kept"}`, async () => {
      await store();
      expect(await lostOf([...claim, 0], [])).toBe(lost);
    });

  test("take every append by this server, and by one that it was under another name, for kept", async () => {
    await store({ links: `${other}:-` });
    expect(await lostOf([replid, Number.MAX_SAFE_INTEGER, 0, other, Number.MAX_SAFE_INTEGER, 0], [])).toBe(0);
  });

  const ageMilliseconds = positionAgeSeconds * 1000;
  for (const [epoch, offset, age, lost] of [
    ["e", 10, 0, 0],
    ["e", 11, 0, 1],
    ["e", 4, 0, 0],
    ["e", 5, 0, 1],
    ["e", 7, 0, 1],
    ["e", 8, 0, 0],
    ["f", 3, 0, 0],
    ["f", 4, 0, 1],
    ["unknown", 1, ageMilliseconds - 1, 1],
    ["unknown", 1, ageMilliseconds, 0],
  ] as const)
    test(`take the id ${epoch}-${offset}, known for ${age} ms, for ${lost ? "lost" : "kept"}`, async () => {
      await store();
      expect(await lostOf([], [epoch, offset, age])).toBe(lost);
    });

  for (const [ago, age, lost] of [
    [5000, 5001, 1],
    [5000, 5002, 0],
    [0, 5000, 0],
    [-1, 5000, 1], // The clock was set back: no time says what came first.
  ] as const)
    test(`count a loss that was known for ${age} ms ${lost ? "" : "not "}where one was told ${ago} ms ago`, async () => {
      await store({ lossy_time: now - ago });
      expect(await lostOf([], ["e", 11, age])).toBe(lost);
    });

  for (const [what, generation, byOther, after] of [
    ["an earlier generation", 4, true, { generation: 5, lossy: 3 }],
    ["the same generation of another server", 5, true, { generation: 6, lossy: 6 }],
    ["a later generation of another server", 6, true, { generation: 7, lossy: 7 }],
    ["a later generation of this server", 6, false, { generation: 5, lossy: 3 }],
  ] as const)
    test(`begin generation ${after.generation} for a node that has seen ${what}`, async () => {
      await store();
      await run("positions", [], ["0"], [generation, byOther ? other : replid]);
      const stored = (await server.command("HMGET", keys.fence, "generation", "lossy")) as string[];
      expect(stored.map(Number)).toEqual([after.generation, after.lossy]);
    });

  test("go on in the epoch of the last generation with a possible loss, and not of the one before", async () => {
    await store({}, { generation: 3 });
    expect(await append()).toMatchObject({ epoch: "e" });
    await store({}, { generation: 2 });
    expect(await append()).toEqual({ epoch: "new001", offset: 11, holes: "-" });
  });

  test("skip what a server before may have given by a number of the new one's own, and keep the last eight holes", async () => {
    const holes = Array.from({ length: 8 }, (_, index) => `${16 - 2 * index}:${17 - 2 * index}`);
    await store({}, { generation: 4, last: 20, holes: holes.join() });
    const offset = 20 + 2 ** 32 + Number.parseInt(replid.slice(0, 7), 16);
    expect(await append()).toEqual({
      ...{ epoch: "e", offset },
      holes: [`20:${offset}`, ...holes.slice(0, 7)].join(),
    });
    expect(await append()).toMatchObject({ epoch: "e", offset: offset + 1 });
  });

  test("close the oldest of more than eight holes of a keyed topic by the floor: each place in one stays a gap", async () => {
    const holes = Array.from({ length: 8 }, (_, index) => `${30 - 3 * index}:${32 - 3 * index}`);
    await store({}, { generation: 4, last: 40, forks: "-", holes: holes.join(), removals: "3:5:-" });
    const complete = async (places: readonly string[]): Promise<string[]> => {
      const found: string[] = [];
      for (const place of places) {
        const [offset = "", base = "-"] = place.split(".");
        const reply = await run("readKeyed", [position], ["position", "e", offset, 10, 1000, 600_000, base]);
        if ((reply as unknown[])[0] === 1) found.push(place);
      }
      return found;
    };
    const places = ["2", "3", "8", "9", "10", "11", "12", "13", "40", "41", "1.10", "1.11", "1.12", "30.31"];
    expect(await complete(places)).toEqual(["3", "8", "9", "11", "12", "40", "1.11", "1.12"]);
    const publication = ["100 600000 0 1 none keyed", "-", "key", 'Ttext/plain\n{"partitionkey":"key"}\nx'];
    await run("append", [keys.name("news")], ["new", keys.channelsBegin, ...publication]);
    const offset = 40 + 2 ** 32 + Number.parseInt(replid.slice(0, 7), 16);
    expect(await server.command("HMGET", position, "last", "holes", "removals")).toEqual([
      String(offset),
      [`40:${offset}`, ...holes.slice(0, 7)].join(),
      "11:5:-",
    ]);
    const later = ["39", "40", "41", `${offset - 1}`, `${offset}`];
    expect(await complete([...places.slice(0, 8), ...later, ...places.slice(10)])).toEqual([
      ...["11", "12", "39", "40", String(offset), "1.11", "1.12"],
    ]);
  });

  test("give offsets past 2 ** 31 as they are, also where Redis has 32 bits, as Debian's has for armhf", async () => {
    // Lua's %d is C's `long`, and the conversion of a larger number ends at the largest one.
    const narrow = `local string = setmetatable({ format = function(format, number)
      return string.format(format, format == '%d' and math.min(number, 2147483647) or number)
    end }, { __index = string })\n`;
    await store({}, { last: 2 ** 32 });
    expect(await append(narrow)).toMatchObject({ offset: 2 ** 32 + 1 });
    expect(await append(narrow)).toMatchObject({ offset: 2 ** 32 + 2 });
  });

  test("append the publications of a call that come after one that is refused", async () => {
    await store();
    await server.command("RPUSH", keys.position("broken"), "no hash");
    const names = ["news", "broken", "news"].map((topic) => keys.name(topic));
    const publications = names.flatMap(() => ["100 600000 0 1 none", "ttext/plain\n\nx"]);
    const reply = await run("append", names, ["new", keys.channelsBegin, ...publications]);
    const [, ...answers] = String(reply).split("\n");
    expect(answers).toEqual(["e 11 -", expect.stringMatching(/^ERROR WRONGTYPE/), "e 12 -"]);
  });
});
