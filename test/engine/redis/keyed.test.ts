/** Keyed topics in Redis: what its servers and the settings of the nodes do to them. The contract has the rest. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { KeyAbsent, TopicFull } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatId, type Position } from "../../../src/topic/message.ts";
import { closedAfterEach } from "../../support/closed-after-each.ts";
import { RedisServer } from "../../support/redis.ts";
import { RedisNode } from "../../support/redis-node.ts";
import { sharedRedis } from "../../support/shared-redis.ts";
import { lacks } from "../../support/tool.ts";
import { until } from "../../support/wait.ts";
import { failureOf, wholePage } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const opened = closedAfterEach();
const emptyRedis = sharedRedis(opened);

const serverOf = async (...flags: string[]): Promise<RedisServer> =>
  opened(await RedisServer.start(...flags));

const keyed = ["prices"];

async function nodeOn(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<RedisNode> {
  const node = opened(await RedisNode.on(server, { keyed, ...settings }));
  return node;
}

async function publish(node: RedisNode, draft: Draft): Promise<Position> {
  const { message } = await node.hub.publish("prices", { drafts: [draft] });
  return message as Position;
}

/** @param pair key and value, such as `a=1` */
const set = (node: RedisNode, pair: string): Promise<Position> =>
  publish(node, {
    data: pair,
    contentType: "text/plain",
    attributes: { partitionkey: pair.slice(0, pair.indexOf("=")) },
  });

const remove = (node: RedisNode, key: string): Promise<Position> => publish(node, removalOf(key));

async function valuesAt(node: RedisNode): Promise<unknown[]> {
  const history = await node.broker.history("prices", { kind: "all" }, wholePage);
  return history?.messages.map(({ data }) => data) ?? [];
}

/** Milliseconds that each key of the topic lives, -1 for ever. */
async function livesOf(server: RedisServer): Promise<number[]> {
  const keys = (await server.command("KEYS", "test:{prices}:*")) as string[];
  return Promise.all(keys.map(async (key) => Number(await server.command("PTTL", key))));
}

describe.skipIf(lacks("redis-server"))("a keyed topic in Redis", () => {
  test("takes no value while Redis is full, gives what it has, and removes, which makes room", async () => {
    const server = await emptyRedis();
    const node = await nodeOn(server);
    await set(node, "a=1");
    const before = await set(node, "b=1");
    await server.command("CONFIG", "SET", "maxmemory", "1");
    expect(await failureOf(set(node, "c=1"))).toBeInstanceOf(TopicFull);
    expect(await failureOf(set(node, "a=2"))).toBeInstanceOf(TopicFull);
    // In one turn, and so in one step where nothing keeps them apart.
    const outcomes = await Promise.allSettled([set(node, "c=2"), remove(node, "a"), set(node, "c=3")]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(await failureOf(remove(node, "a"))).toBeInstanceOf(KeyAbsent);
    expect(await valuesAt(node)).toEqual(["b=1"]);
    const client = await node.come(formatId(before), "prices");
    await until(() => client.received.length > 0, "the removal");
    expect({ received: client.received, gaps: client.gaps }).toEqual({ received: [""], gaps: 0 });
    await server.command("CONFIG", "SET", "maxmemory", "0");
    await set(node, "c=4");
    expect(await valuesAt(node)).toEqual(["b=1", "c=4"]);
  });

  test("goes on in its epoch with all its values where Redis reads its append-only file again", async () => {
    const server = await serverOf("--appendonly", "yes");
    const node = await nodeOn(server);
    const live = await node.come(undefined, "prices");
    const first = await set(node, "a=1");
    for (const pair of ["b=1", "a=2", "c=1"]) await set(node, pair);
    const removed = await remove(node, "b");
    await live.has("");
    await server.shutdown();
    await node.away();
    await server.restart();
    await node.ready();
    expect(await valuesAt(node)).toEqual(["a=2", "c=1"]);
    const after = await set(node, "c=2");
    expect(after.epoch).toBe(first.epoch);
    await live.has("c=2");
    const away = await (await nodeOn(server)).come(formatId(first), "prices");
    await away.has("c=2");
    expect({ gaps: away.gaps, received: away.received }).toEqual({ gaps: 0, received: ["a=2", "", "c=2"] });
    expect(live.gaps).toBe(0);
    // The server may have given ids between these before it ended: who has one is told a gap.
    const between = { epoch: first.epoch, offset: removed.offset + 1 };
    expect(after.offset).toBeGreaterThan(between.offset);
    const asked = await node.broker.history("prices", { kind: "position", position: between }, wholePage);
    expect(asked?.complete).toBe(false);
  });

  test("begins a new epoch where a replica is promoted, though its operator says that nothing is lost", async () => {
    const [primary, replica] = [await serverOf(), await serverOf()];
    await replica.follow(primary);
    const node = await nodeOn(primary, { acknowledge: 1, losslessFailover: true });
    const live = await node.come(undefined, "prices");
    const plain = await node.come(undefined, "news");
    const first = await set(node, "a=1");
    await set(node, "b=1");
    await node.publishAtLast("one");
    await live.has("b=1");
    await plain.has("one");
    await primary.kill();
    await replica.promote();
    await (await serverOf()).follow(replica); // Without it nothing could be acknowledged.
    node.line.leadTo(replica);
    await node.away();
    await node.ready();
    await until(() => live.gaps > 0, "the gap of the keyed topic");
    await node.publishAtLast("two");
    await plain.has("two");
    const after = await set(node, "a=2");
    await live.has("a=2");
    expect(after.epoch).not.toBe(first.epoch);
    expect({ keyed: live.gaps, plain: plain.gaps, losses: node.broker.losses }).toEqual({
      keyed: 1,
      plain: 0,
      losses: 0,
    });
    expect(await valuesAt(node)).toEqual(["b=1", "a=2"]);
  });

  test("begins a new epoch, with nothing in it, where --keyed is changed", async () => {
    const server = await emptyRedis();
    const places: Position[] = [];
    const draft = { data: "x=1", contentType: "text/plain", attributes: { partitionkey: "x" } };
    for (const patterns of [[], keyed, [], keyed]) {
      const node = await RedisNode.on(server, { keyed: patterns });
      const last = places.at(-1);
      if (last) {
        expect(await node.broker.positions(["prices"])).toEqual([undefined]);
        expect(await valuesAt(node)).toEqual([]);
        expect(await node.broker.inspect(["prices"])).toEqual([undefined]);
      }
      // A subscriber is told, and so is one that comes after the first publication.
      const client = patterns.length > 0 ? undefined : await node.come(last && formatId(last), "prices");
      const position = await publish(node, draft);
      await client?.has("x=1");
      expect(client?.gaps ?? 0).toBe(client && last ? 1 : 0);
      if (last) {
        expect(position.epoch).not.toBe(last.epoch);
        expect(position.offset).toBe(last.offset + 1);
        const since = { kind: "position", position: last } as const;
        expect((await node.broker.history("prices", since, wholePage))?.complete).toBe(false);
      }
      expect(await valuesAt(node)).toEqual(["x=1"]);
      expect((await node.broker.inspect(["prices"]))[0]?.retained).toBe(1);
      expect(node.broker.losses).toBe(0);
      places.push(position);
      await node[Symbol.asyncDispose]();
    }
    expect((await server.command("KEYS", "test:{prices}:*")) as string[]).not.toContain("test:{prices}:l");
  });

  test("lives for ever while it has a value, and as long as any other with none or after its end", async () => {
    const server = await emptyRedis();
    const node = await nodeOn(server);
    const ages = async (): Promise<string[]> => [
      ...new Set((await livesOf(server)).map((life) => (life === -1 ? "for ever" : "for its age"))),
    ];
    await node.broker.subscribe("prices");
    expect(await ages()).toEqual(["for its age"]);
    await set(node, "a=1");
    await set(node, "b=1");
    await node.broker.subscribe("prices");
    expect(await ages()).toEqual(["for ever"]);
    await remove(node, "a");
    expect(await ages()).toEqual(["for ever"]);
    await remove(node, "b");
    expect(await ages()).toEqual(["for its age"]);
    await set(node, "b=2");
    expect(await ages()).toEqual(["for ever"]);
    await node.hub.publish("prices", { drafts: [], end: true });
    expect(await ages()).toEqual(["for its age"]);
    expect((await livesOf(server)).length).toBe(4);
  });

  test("gives a node that missed announcements the newest of each key, and is live again from there", async () => {
    const server = await emptyRedis();
    const [node, other] = [await nodeOn(server), await nodeOn(server)];
    const live = await node.come(undefined, "prices");
    await set(other, "a=1");
    const second = await set(other, "b=1");
    await live.has("b=1");
    node.line.cut();
    await node.away();
    for (const pair of ["a=2", "c=1", "a=3", "c=2"]) await set(other, pair);
    await remove(other, "c");
    node.line.restore();
    await node.ready();
    await live.has("");
    const after = await set(other, "d=1");
    await live.has("d=1");
    expect({ received: live.received, gaps: live.gaps }).toEqual({
      received: ["a=1", "b=1", "a=3", "", "d=1"],
      gaps: 0,
    });
    // Those that return are served from what the node has kept since then, or by Redis.
    for (const [id, received] of [
      [second, ["a=3", "", "d=1", "e=1"]],
      [{ ...after, offset: after.offset - 1 }, ["d=1", "e=1"]],
    ] as const) {
      const back = await node.come(formatId(id), "prices");
      await set(other, "e=1");
      await back.has("e=1");
      expect({ received: back.received, gaps: back.gaps }).toEqual({ received: [...received], gaps: 0 });
      back.leave();
    }
    await other.hub.publish("prices", { drafts: [], end: true });
    await until(() => live.hasEnded, "the end");
  });
});
