/** Nodes of one Redis agree on which topics are keyed and which go into feeds, or only those that do are in service. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { BeatsWatch, textOfKinds } from "../../../src/engine/redis/kinds.ts";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { RawSocket, request } from "../../support/raw-socket.ts";
import { RedisServer } from "../../support/redis.ts";
import { RedisNode } from "../../support/redis-node.ts";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { lacks } from "../../support/tool.ts";
import { post } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

/** After a kill docs/clustering.md promises a takeover within 15 s. */
const takeoverSeconds = 3 * 15;

const reasonOf = ({ broker }: RedisNode): string => broker.state.reason ?? "";

describe("the setting as a text", () => {
  test("is the same in each order and says an equal pattern once", () => {
    const [all, chat] = [
      { pattern: "*", topic: "all" },
      { pattern: "chat/*", topic: "chats" },
    ];
    const text = "--feed '* all' --feed 'chat/* chats' --keyed 'prices' --keyed 'state/*'";
    expect(textOfKinds({ keyed: ["state/*", "prices", "prices"], feeds: [chat, all] })).toBe(text);
    expect(textOfKinds({ keyed: ["prices", "state/*"], feeds: [all, chat, all] })).toBe(text);
    expect(textOfKinds({ keyed: [], feeds: [] })).toBe("neither --keyed nor --feed");
    const limits = { presence: ["room/*", "game"], presenceGraceSeconds: 5, presenceMembersMax: 9 };
    expect(textOfKinds({ keyed: ["a"], feeds: [], presenceLimits: limits })).toBe(
      "--keyed 'a' --presence 'game' --presence 'room/*' --presence-grace 5s",
    );
  });
});

describe("beats of other nodes have stood still", () => {
  /** @param seen milliseconds, and the beats that were seen then */
  const stillAfter = (...seen: readonly [milliseconds: number, beats: string][]): string => {
    const watch = new BeatsWatch();
    for (const [milliseconds, beats] of seen) watch.seen(beats, milliseconds);
    return watch.still((seen.at(-1)?.[0] ?? 0) + 1);
  };
  const every4 = [20_000, 24_000, 28_000];

  test("after 10 s without a change, and not before", () => {
    const looks = every4.map((milliseconds): [number, string] => [milliseconds, "a 1"]);
    expect(stillAfter(...looks, [29_998, "a 1"])).toBe("");
    expect(stillAfter(...looks, [30_000, "a 1"])).toBe("a 1");
  });

  test("anew after each beat, each refusal of Redis to take one, and a break in which nobody looked", () => {
    const looks = every4.map((milliseconds): [number, string] => [milliseconds, "a 1"]);
    expect(stillAfter(...looks, [29_000, "a 2"], [31_000, "a 2"])).toBe("");
    expect(stillAfter(...looks, [29_000, ""], [31_000, "a 1"])).toBe("");
    expect(stillAfter(...looks, [33_001, "a 1"], [34_000, "a 1"])).toBe("");
    const watch = new BeatsWatch();
    for (const [milliseconds, beats] of looks) watch.seen(beats, milliseconds);
    expect(watch.still(33_001)).toBe("");
  });
});

describe.skipIf(lacks("redis-server"))("nodes of one Redis", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await RedisServer.start();
  });
  afterAll(async () => redis[Symbol.asyncDispose]());

  let clusters = 0;
  /** Settings of the nodes of a cluster of its own. */
  function newCluster(): (keyed: string[], more?: Partial<RedisBrokerSettings>) => RedisNode {
    const prefix = `kinds-${++clusters}`;
    return (keyed, more) => RedisNode.unready(redis, { prefix, keyed, ...more });
  }

  test("start together with the same patterns in any order, and with different bounds", async () => {
    const node = newCluster();
    await using one = node(["a", "b/*"], { feeds: [{ pattern: "c", topic: "d" }] });
    await using other = node(["b/*", "a"], { feeds: [{ pattern: "c", topic: "d" }], keysMax: 7 });
    await Promise.all([one.ready(), other.ready()]);
    await one.publish("1");
    await other.publish("2");
  });

  test("are not ready with other patterns than those that live, say which, and take over when those have gone", async () => {
    const node = newCluster();
    const old = node(["prices"]);
    await old.ready();
    const draft = { data: "1", contentType: "text/plain", attributes: { partitionkey: "a" } };
    await old.hub.publish("prices", { drafts: [draft] });
    await using next = node(["other", "prices"]);
    await using fed = node(["prices"], { feeds: [{ pattern: "*", topic: "all" }] });
    const others = (flags: string): string =>
      `the nodes of this Redis have --keyed 'prices', and this one has ${flags}: it waits until`;
    await until(() => reasonOf(next).includes(others("--keyed 'other' --keyed 'prices'")), "the reason");
    await until(() => reasonOf(fed).includes(others("--feed '* all' --keyed 'prices'")), "the reason");
    expect([next.broker.state.available, next.broker.state.isSuperseded]).toEqual([false, true]);
    expect(next.log.lines).toContainEqual(expect.objectContaining({ message: "Redis cannot be used" }));
    await expect(next.publish("plain")).rejects.toBeInstanceOf(BrokerUnavailable);
    await expect(next.come()).rejects.toBeInstanceOf(BrokerUnavailable);
    await old.publish("plain");
    expect((await old.hub.value("prices", "a"))?.value).toBeDefined();
    expect(old.broker.state.available).toBe(true);
    // One of the two takes over, and the other one waits for it.
    await old[Symbol.asyncDispose]();
    const hasTaken = ({ broker }: RedisNode): boolean => broker.state.available;
    await until(() => hasTaken(next) || hasTaken(fed), "one to take over");
    const [taker, waiter] = hasTaken(next) ? [next, fed] : [fed, next];
    await taker.publish("plain");
    expect((await taker.hub.value("prices", "a"))?.value).toBeDefined(); // It is keyed for all three.
    const now = taker === next ? "--keyed 'other' --keyed 'prices'" : "--feed '* all' --keyed 'prices'";
    await until(() => reasonOf(waiter).includes(`have ${now}, and`), "the reason of the one that waits");
  });

  test("that are drained are waited for no longer", async () => {
    const node = newCluster();
    const [one, other] = [node(["a"]), node(["a"])];
    const prefix = `kinds-${clusters}`;
    await Promise.all([one.ready(), other.ready()]);
    const nodes = (): Promise<unknown> => redis.command("ZCARD", `${prefix}:nodes`);
    expect(await nodes()).toBe(2);
    await one[Symbol.asyncDispose]();
    expect(await nodes()).toBe(1);
    await other[Symbol.asyncDispose]();
    expect(await nodes()).toBe(0);
  });

  test("give way at the command that the reason names", async () => {
    const node = newCluster();
    await using old = node(["a"]);
    await old.ready();
    await using next = node([]);
    await until(() => reasonOf(next).includes("redis-cli"), "the command");
    const [, command = ""] = /until redis-cli (.+)$/.exec(reasonOf(next)) ?? [];
    await redis.command(...command.split(" "));
    await next.ready();
    await until(() => old.broker.state.isSuperseded === true, "the other node to give way");
    const reason = "the nodes of this Redis have neither --keyed nor --feed, and this one has --keyed 'a'";
    await until(() => reasonOf(old).startsWith(reason), "the reason");
    await next.publish("1");
  });

  test("record theirs again where Redis was flushed", async () => {
    await using node = newCluster()(["a"]);
    await node.ready();
    const fence = `kinds-${clusters}:fence`;
    const text = (): Promise<unknown> => redis.command("HGET", fence, "kinds_text");
    expect(await text()).toBe("--keyed 'a'");
    await redis.command("DEL", fence);
    await until(async () => (await text()) === "--keyed 'a'", "the setting to be recorded");
  });
});

describe.skipIf(lacks("redis-server"))("a server on Redis whose --keyed is not that of the others", () => {
  const readiness = async ({ url }: RunningServer): Promise<[status: number, reason: string]> => {
    const response = await fetch(new URL("/readyz", url));
    const { reason = "" } = (await response.json()) as { reason?: string };
    return [response.status, reason];
  };
  const isReady = async (server: RunningServer): Promise<boolean> => (await readiness(server))[0] === 200;

  test("takes over when they were killed or stand still, and what one of these still does when it goes on is refused", async () => {
    await using redis = await RedisServer.start();
    const flags = ["--redis", redis.url, "--keyed"];
    await using killed = await spawnServer([...flags, "prices"]);
    await using stopped = await spawnServer([...flags, "prices"]);
    for (const server of [killed, stopped]) await until(() => isReady(server), "the server to reach Redis");
    await using next = await spawnServer([...flags, "other"]);
    await until(async () => (await readiness(next))[1].includes("have --keyed 'prices', and"), "the reason");
    expect(await isReady(next)).toBe(false);
    expect((await post(next, "news", "refused")).status).toBe(503);
    expect((await post(killed, "news", "plain")).status).toBe(200);

    killed.process.kill("SIGKILL");
    stopped.process.kill("SIGSTOP");
    try {
      await until(() => isReady(next), "the server to take over", takeoverSeconds);
      expect((await post(next, "other?key=a", "1")).status).toBe(200);
      // It has arrived when the server goes on, which learns of the others by it or by its beat. There the topic is plain.
      using late = await RawSocket.connect(stopped.url);
      late.write(`${request("POST", "/topics/other", { "Content-Length": "4" })}late`);
      stopped.process.kill("SIGCONT");
      expect((await late.response()).status).toBe(503);
    } finally {
      stopped.process.kill("SIGCONT");
    }
    await until(async () => (await readiness(stopped))[0] === 503, "the server that was stopped to notice");
    await until(
      async () => (await readiness(stopped))[1].includes("have --keyed 'other', and"),
      "the reason",
    );
    expect(await (await fetch(new URL("/topics/other?key=a", next.url))).text()).toBe("1");
  });
});
