/**
 * What a version has written into Redis, the next ones must read, and two versions run beside each other during an upgrade.
 * The data here is that of version 0.1, byte for byte. A change of a format must leave these tests as they are, and add its own.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { decodeEntry } from "../../../src/engine/redis/entry.ts";
import { BrokerUnavailable, TopicEnded } from "../../../src/topic/broker.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { closedAfterEach } from "../../support/closed-after-each.ts";
import type { RedisServer } from "../../support/redis.ts";
import { RedisNode } from "../../support/redis-node.ts";
import { spawnServer } from "../../support/server.ts";
import { sharedRedis } from "../../support/shared-redis.ts";
import { lacks } from "../../support/tool.ts";
import { openEvents, publish } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const opened = closedAfterEach();
const emptyRedis = sharedRedis(opened);

/** A second ago, so that nothing has aged. */
const time = Date.now() - 1000;

async function writtenByVersion01(): Promise<{ redis: RedisServer; node: RedisNode }> {
  const redis = await emptyRedis();
  const [replid, run] = [await redis.info("master_replid"), await redis.info("run_id")];
  await redis.command("SET", "test:fence", `${replid} 5 5 ${time} 0 ${run}`);
  await redis.command("SET", "test:{news}:p", `abc 3 ${time} ${time} 5 - old:1 -`);
  for (const entry of [
    `old 1 ${time} ${time} 0 0\nttext/plain\none`,
    `abc 2 ${time} ${time} 1 ${time}\nTapplication/json\n{"type":"note","subject":"s"}\n{"two":2}`,
    `abc 3 ${time} ${time} 2 ${time}\nbapplication/octet-stream\nthree`,
  ])
    await redis.command("RPUSH", "test:{news}:l", entry);
  await redis.command("SET", "test:{ended}:p", `abc 2 ${time} ${time} 5 - - 1:${time}:${time}`);
  await redis.command("RPUSH", "test:{ended}:l", `abc 1 ${time} ${time} 0 0\nttext/plain\nlast`);
  const node = opened(await RedisNode.on(redis));
  return { redis, node };
}

/** The fields of a hash and their values. */
function pairsOf(reply: unknown): [string, string][] {
  return Object.entries(reply as Record<string, string>);
}

/** Every value in Redis, by its key, without what each beat changes. */
async function everything(redis: RedisServer): Promise<Record<string, string>> {
  const all = ((await redis.command("KEYS", "*")) as string[]).toSorted();
  const keys = all.filter((key) => key !== "test:nodes");
  const dumps = keys.map(async (key) => [key, String(await redis.command("DUMP", key))] as const);
  return Object.fromEntries(await Promise.all(dumps));
}

describe.skipIf(lacks("redis-server"))("what this version has written", () => {
  test("are hashes with named fields", async () => {
    const redis = await emptyRedis();
    const node = opened(await RedisNode.on(redis));
    const { epoch } = await node.publish("one");
    const fence = new Map(pairsOf(await redis.command("HGETALL", "test:fence")));
    const [replid, run] = [await redis.info("master_replid"), await redis.info("run_id")];
    const { generation } = node.broker;
    expect<unknown>(Object.fromEntries(fence)).toEqual({
      ...{
        replid,
        run,
        generation: String(generation),
        lossy: String(generation),
        followed: "0",
        links: "-",
        promoted: "0",
        kinds_text: "neither --keyed nor --feed",
      },
      lossy_time: expect.stringMatching(/^\d{13}$/),
      kinds: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    const position = new Map(pairsOf(await redis.command("HGETALL", "test:{news}:p")));
    const time = expect.stringMatching(/^\d{13}$/);
    expect<unknown>(Object.fromEntries(position)).toEqual({
      ...{ epoch, last: "1", time, received: time, generation: String(generation) },
      ...{ clamp: "-", forks: "-", ended: "-", holes: "-" },
    });
  });

  test("of a keyed topic is an entry of each key, and their offsets", async () => {
    const redis = await emptyRedis();
    const node = opened(await RedisNode.on(redis, { keyed: ["prices"] }));
    const draft = { data: "1", contentType: "text/plain", attributes: { partitionkey: "a" } };
    for (const next of [draft, { ...draft, attributes: { partitionkey: "b" } }, removalOf("a")])
      await node.hub.publish("prices", { drafts: [next] });
    const position = Object.fromEntries(pairsOf(await redis.command("HGETALL", "test:{prices}:p")));
    const due = Number(/^0:0:(\d+)$/.exec(position.removals ?? "")?.[1]);
    expect(position).toMatchObject({ last: "3", ended: "-", holes: "-" });
    const entries = Object.fromEntries(pairsOf(await redis.command("HGETALL", "test:{prices}:h")));
    const parts = Object.entries(entries).map(([key, entry]) => [key, entry.slice(entry.indexOf("\n") + 1)]);
    expect(Object.fromEntries(parts)).toEqual({
      a: 'Rtext/plain\n{"type":"longwire.removed","partitionkey":"a"}\n',
      b: 'Ttext/plain\n{"partitionkey":"b"}\n1',
    });
    const [epoch, offset, , received, previous] = (entries.a ?? "").split(" ");
    expect([epoch, offset, previous]).toEqual([position.epoch, "3", "2"]);
    expect(due).toBe(Number(received) + 3600 * 1000 + 1); // The default age of history in these tests.
    expect(await redis.command("ZRANGE", "test:{prices}:z", "0", "-1")).toEqual(["b", "a"]);
    expect(await redis.command("ZRANGE", "test:{prices}:x", "0", "-1")).toEqual(["a"]);
    expect(await redis.command("EXISTS", "test:{prices}:l")).toBe(0);
  });

  test("is refused by the scripts of version 0.1, which change nothing", async () => {
    const redis = await emptyRedis();
    const node = opened(await RedisNode.on(redis));
    await node.publish("one");
    const before = await everything(redis);
    // The first commands on the fence and on a position in every script of version 0.1.
    for (const key of ["test:fence", "test:{news}:p"])
      await expect(redis.command("EVAL", "return redis.call('GET', KEYS[1])", "1", key)).rejects.toThrow(
        "WRONGTYPE",
      );
    expect(await everything(redis)).toEqual(before);
  });
});

describe.skipIf(lacks("redis-server"))("what version 0.1 has written", () => {
  test("is read, with attributes and bytes, and goes on in the same epoch", async () => {
    const { redis, node } = await writtenByVersion01();
    const page = { messagesMax: 10, bytesMax: 10_000 };
    const history = await node.broker.history("news", { kind: "all" }, page);
    const place = { topic: "news", epoch: "abc", time };
    expect<unknown>(history).toEqual({
      complete: true,
      isTrimmed: true, // It has a past before this epoch.
      from: { epoch: "abc", offset: 0 },
      position: { epoch: "abc", offset: 3 },
      messages: [
        { ...place, offset: 1, data: "one", contentType: "text/plain" },
        {
          ...place,
          offset: 2,
          data: '{"two":2}',
          contentType: "application/json",
          attributes: { type: "note", subject: "s" },
        },
        {
          ...place,
          offset: 3,
          data: new Uint8Array(Buffer.from("three")),
          contentType: "application/octet-stream",
        },
      ],
    });
    const client = await node.come("abc-2");
    expect(await node.publish("four")).toEqual({ epoch: "abc", offset: 4 });
    await client.has("four");
    expect(client.ids).toEqual(["abc-3", "abc-4"]);
    expect(await redis.command("HMGET", "test:{news}:p", "epoch", "last", "forks", "holes")).toEqual([
      ...["abc", "4", "old:1", "-"],
    ]);
    expect(await redis.command("HMGET", "test:fence", "generation", "lossy", "followed")).toEqual([
      "5",
      "5",
      "0",
    ]);
    const ofThePastBefore = await node.come("old-1");
    await ofThePastBefore.has("four");
    expect([ofThePastBefore.gaps, ofThePastBefore.ids]).toEqual([1, ["abc-2", "abc-3", "abc-4"]]);
  });

  test("has an end, which is read, too", async () => {
    const { node } = await writtenByVersion01();
    await expect(node.publish("late", "ended")).rejects.toBeInstanceOf(TopicEnded);
    const client = await node.come("abc-1", "ended");
    await until(() => client.hasEnded, "the end");
  });

  test("that this version does not know is refused with a line in the log, and never skipped", async () => {
    const { redis, node } = await writtenByVersion01();
    const client = await node.come("abc-3");
    const entry = `abc 4 ${time} ${time} 3 ${time}\nZtext/plain\nof a later version`;
    await redis.command("RPUSH", "test:{news}:l", entry);
    await redis.command("SET", "test:{news}:p", `abc 4 ${time} ${time} 5 - - -`);
    await redis.command("PUBLISH", "test:{news}", entry);
    await until(() => node.log.errors().length > 0, "a line in the log");
    await node.publish("five");
    await expect(node.come("abc-2")).rejects.toBeInstanceOf(BrokerUnavailable);
    expect([client.received, client.gaps]).toEqual([[], 0]);
  });
});

describe("the numbers of an entry", () => {
  const entryWith = (offset: string, previous: string): Buffer =>
    Buffer.from(`abc ${offset} 5 6 ${previous} 7\nttext/plain\nhello`);

  test("are read exactly up to the largest", () => {
    const message = { topic: "news", epoch: "abc", time: 5, data: "hello", contentType: "text/plain" };
    for (const offset of [2, 57, 4_294_967_297, Number.MAX_SAFE_INTEGER - 9, Number.MAX_SAFE_INTEGER])
      expect(decodeEntry("news", entryWith(`${offset}`, `${offset - 1}`))).toEqual({ ...message, offset });
    expect(decodeEntry("news", entryWith("9", "4"))).toEqual({ ...message, offset: 9, previous: 4 });
  });

  test("that are none of this version are refused, and not read as others", () => {
    for (const strange of ["-1", "1.5", "0x1f", "1e3", "z", "+1", "1\u0000", "NaN"])
      for (const entry of [entryWith(strange, "0"), entryWith("1", strange)])
        expect(() => decodeEntry("news", entry)).toThrow(BrokerUnavailable);
  });
});

test.skipIf(lacks("redis-server"))(
  "whoever moves to Redis with an id of before is told a gap, and then has everything",
  async () => {
    await using memory = await spawnServer();
    const id = await publish(memory, "news", "before");
    const redis = await emptyRedis();
    await using moved = await spawnServer(["--redis", redis.url]);
    await until(async () => (await fetch(new URL("/readyz", moved.url))).ok, "the server to reach Redis");
    await publish(moved, "news", "first");
    using client = await openEvents(moved, `news?since=${id}`);
    expect((await client.event()).type).toBe("longwire.gap");
    expect((await client.event()).data).toBe("first");
  },
);
