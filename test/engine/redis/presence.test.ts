/** Who is here, in Redis: what becomes of it when nodes die and stand still, and when Redis is replaced, full or flushed. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdir, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { NodesWatch } from "../../../src/engine/redis/watch.ts";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { presenceTopicOf } from "../../../src/topic/presence.ts";
import { RedisServer } from "../../support/redis.ts";
import { type Client, RedisNode } from "../../support/redis-node.ts";
import { lacks } from "../../support/tool.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

/** After a kill docs/clustering.md promises that members leave within the lease of 10 s and the grace. */
const leaveSeconds = 3 * 12;

/** Redis is away for a moment, and whoever asks tries again. */
function unlessAway(error: unknown): undefined {
  if (error instanceof BrokerUnavailable) return undefined;
  throw error;
}

describe("a node that watches others", () => {
  const states = (state: string): Map<string, string> => new Map([["a", state]]);

  /** Looks once a second, and finds the states in their order. */
  function deadAfter(...found: readonly string[]): string[] {
    const watch = new NodesWatch();
    for (const [second, state] of found.entries()) watch.look(states(state), 1, second * 1000);
    return watch.dead((found.length - 1) * 1000);
  }

  test("takes one for dead that has stood still for ten looks after the first", () => {
    expect(deadAfter(...Array(10).fill("7"))).toEqual([]);
    expect(deadAfter(...Array(11).fill("7"))).toEqual(["a", "7"]);
    expect(deadAfter(...Array(10).fill("7"), "8")).toEqual([]);
  });

  test("begins anew after a break in its looks, on another connection, and with another server", () => {
    const watch = new NodesWatch();
    const look = (from: number, looks: number, generation = 1): string[] => {
      for (let nth = 0; nth < looks; nth++) watch.look(states("7"), generation, from + nth * 1000);
      return watch.dead(from + (looks - 1) * 1000);
    };
    expect(look(0, 10)).toEqual([]);
    expect(look(11_501, 10)).toEqual([]);
    watch.restart();
    expect(look(21_000, 10)).toEqual([]);
    expect(look(31_000, 10, 2)).toEqual([]);
    expect(look(41_000, 1, 2)).toEqual(["a", "7"]);
    expect(watch.dead(43_501)).toEqual([]); // Itself it may have stood still since.
  });
});

const hasRedis = !lacks("redis-server");
let redis: RedisServer;
beforeAll(async () => {
  if (hasRedis) redis = await RedisServer.start();
});
afterAll(async () => redis?.[Symbol.asyncDispose]());

const name = presenceTopicOf("room");
let clusters = 0;
/** A cluster of its own. */
class Cluster {
  readonly prefix = `presence-${++clusters}`;
  readonly server: RedisServer;
  readonly #more: Partial<RedisBrokerSettings>;

  constructor(server = redis, more: Partial<RedisBrokerSettings> = {}) {
    this.server = server;
    this.#more = more;
  }

  node(): Promise<RedisNode> {
    const presenceLimits = { presence: ["*"], presenceGraceSeconds: 1, presenceMembersMax: 1000 };
    return RedisNode.on(this.server, { prefix: this.prefix, presenceLimits, ...this.#more });
  }
}

/** Long enough for a busy machine to come back within it. */
const longerGrace = {
  presenceLimits: { presence: ["*"], presenceGraceSeconds: 4, presenceMembersMax: 10 },
};

const comes = (node: RedisNode, key: string): Promise<Client> => node.come(undefined, "room", key);

/** The entries so far: of each key the last, as a reader of the whole topic gets them. */
async function entriesOf({ broker }: RedisNode): Promise<string[]> {
  const since = { kind: "all" } as const;
  const history = await broker.history(name, since, { messagesMax: 1000, bytesMax: 1e9 });
  return (history?.messages ?? []).map(({ attributes }) => String(attributes?.partitionkey)).sort();
}

const offsetOf = async ({ broker }: RedisNode): Promise<number | undefined> =>
  (await broker.positions([name]))[0]?.offset;

/** Members without a line, whose grace is not over. */
const dueIn = ({ server, prefix }: Cluster): Promise<unknown> =>
  server.command("ZCARD", `${prefix}:presence:due`);

/** Looks ten times a second: these tests run at once, and wait for seconds. */
async function untilHere(node: RedisNode, keys: string[], seconds?: number): Promise<void> {
  const areHere = async (): Promise<boolean> => Bun.deepEquals(await entriesOf(node).catch(unlessAway), keys);
  await until(
    async () => (await areHere()) || (await Bun.sleep(80).then(() => false)),
    `${keys} to be here`,
    seconds,
  );
}

describe.skipIf(!hasRedis).concurrent("members of the nodes of one Redis", () => {
  test("of a node that was killed leave after its lease and the grace, but not those who are elsewhere, too", async () => {
    const cluster = new Cluster();
    await using one = await cluster.node();
    await using other = await cluster.node();
    for (const [node, key] of [
      [one, "ann"],
      [one, "bob"],
      [other, "bob"],
      [other, "eve"],
    ] as const)
      await comes(node, key);
    await untilHere(other, ["ann", "bob", "eve"]);
    one.line.cut();
    await untilHere(other, ["bob", "eve"], leaveSeconds);
    expect(await offsetOf(other)).toBe(4); // Three joins, and one leave.
  });

  test("of a node that stood still for its lease leave, and come back with it", async () => {
    const cluster = new Cluster();
    await using one = await cluster.node();
    await using other = await cluster.node();
    await comes(one, "ann");
    const leaving = await comes(one, "bob");
    await untilHere(other, ["ann", "bob"]);
    const names = async (): Promise<string[]> =>
      (await redis.command("HKEYS", `${cluster.prefix}:presence:nodes`)) as string[];
    const before = await names();
    one.line.cut();
    leaving.leave(); // Nobody hears of it: the node has another name when it is heard again.
    await untilHere(other, [], leaveSeconds);
    one.line.restore();
    await untilHere(other, ["ann"]);
    const after = await names();
    expect([before.length, after.length]).toEqual([2, 2]);
    expect(after.filter((name) => before.includes(name))).toHaveLength(1); // That of the other node.
    const words = "what this node had said of its members does not count any more: it says it again";
    expect(one.log.lines).toContainEqual(expect.objectContaining({ level: "warn", message: words }));
  });

  test("leave though the clock of Redis was set back by an hour", async () => {
    const cluster = new Cluster(redis, { clockAhead: "(redis.call('GET', 'presence-clock') or 0)" });
    await using node = await cluster.node();
    await redis.command("SET", "presence-clock", "3600000");
    const ann = await comes(node, "ann");
    await comes(node, "bob");
    ann.leave();
    await until(async () => (await dueIn(cluster)) === 1, "the grace to begin");
    await redis.command("SET", "presence-clock", "0");
    await untilHere(node, ["bob"]);
  });

  test("stay while no node runs, and for the grace of the node that runs first", async () => {
    const cluster = new Cluster();
    const old = await cluster.node();
    await comes(old, "ann");
    await comes(old, "bob");
    await untilHere(old, ["ann", "bob"]);
    await old[Symbol.asyncDispose]();
    await using next = await cluster.node();
    await comes(next, "ann");
    await comes(next, "eve");
    await untilHere(next, ["ann", "eve"]);
    expect(await offsetOf(next)).toBe(4); // Three joins, and the leave of bob alone.
  });

  test("of a node that stops leave without its lease", async () => {
    const cluster = new Cluster();
    const old = await cluster.node();
    await using next = await cluster.node();
    await comes(old, "ann");
    await untilHere(next, ["ann"]);
    await old[Symbol.asyncDispose]();
    expect(await redis.command("HLEN", `${cluster.prefix}:presence:nodes`)).toBeLessThanOrEqual(1);
    await untilHere(next, []);
  });

  test("are not changed by a call that comes after a later one, through a connection that has ended", async () => {
    const cluster = new Cluster();
    await using node = await cluster.node();
    await comes(node, "ann");
    await untilHere(node, ["ann"]);
    const nodes = `${cluster.prefix}:presence:nodes`;
    const [name = ""] = (await redis.command("HKEYS", nodes)) as string[];
    const state = String(await redis.command("HGET", nodes, name));
    await redis.command("HSET", nodes, name, `${state.split(" ")[0]} 1000000`);
    const late = node.broker.presence?.present("room", [{ key: "ann", isHere: false }]);
    await expect(late).rejects.toBeInstanceOf(BrokerUnavailable);
    expect(await dueIn(cluster)).toBe(0);
  });
});

describe.skipIf(!hasRedis).concurrent("members in a Redis that fails", () => {
  test("leave while Redis is full, and come when it has room again", async () => {
    await using full = await RedisServer.start();
    await using node = await new Cluster(full).node();
    const ann = await comes(node, "ann");
    await comes(node, "bob");
    await untilHere(node, ["ann", "bob"]);
    await full.command("CONFIG", "SET", "maxmemory", "1");
    await until(() => node.broker.state.reason?.includes("Redis is full") ?? false, "/readyz to say it");
    ann.leave();
    await comes(node, "eve");
    await untilHere(node, ["bob"]);
    expect(node.hub.members?.pendingCount).toBe(1);
    await full.command("CONFIG", "SET", "maxmemory", "0");
    await untilHere(node, ["bob", "eve"]);
  });

  test("stay while Redis is full, if they come back within the grace, also where others wait to come", async () => {
    await using full = await RedisServer.start();
    const cluster = new Cluster(full, longerGrace);
    await using node = await cluster.node();
    const ann = await comes(node, "ann");
    const bob = await comes(node, "bob");
    await untilHere(node, ["ann", "bob"]);
    await full.command("CONFIG", "SET", "maxmemory", "1");
    await comes(node, "eve");
    await until(() => node.hub.members?.pendingCount === 1, "the join to be refused");
    ann.leave();
    bob.leave();
    await until(async () => (await dueIn(cluster)) === 2, "the grace to begin");
    await comes(node, "ann");
    await until(async () => (await dueIn(cluster)) === 1, "the return to be taken");
    await untilHere(node, ["ann"]);
    await full.command("CONFIG", "SET", "maxmemory", "0");
    await untilHere(node, ["ann", "eve"]);
    expect(await offsetOf(node)).toBe(4); // Three joins, and the leave of bob.
  });

  test("leave while Redis is full, also where many others wait to come", async () => {
    await using full = await RedisServer.start();
    await using node = await new Cluster(full).node();
    const topics = Array.from({ length: 100 }, (_, number) => `other-${number}`);
    for (const topic of topics) await node.come(undefined, topic);
    const ann = await comes(node, "ann");
    await untilHere(node, ["ann"]);
    await full.command("CONFIG", "SET", "maxmemory", "1");
    for (const topic of topics) await node.come(undefined, topic, "eve");
    await until(() => node.hub.members?.pendingCount === 100, "the joins to be refused");
    ann.leave();
    await until(() => node.hub.members?.pendingCount === 100, "the leave to be taken", 3);
    await untilHere(node, []);
  });

  /** A Redis that comes back without what was written after a moment, as after a power failure. */
  async function forgettingRedis() {
    const server = await RedisServer.start("--appendonly", "yes");
    const folder = join(server.directory, "appendonlydir");
    const last = (await readdir(folder)).find((name) => name.endsWith(".incr.aof")) ?? "";
    const file = join(folder, last);
    let bytes = 0;
    return {
      server,
      remember: async (): Promise<void> => {
        await server.written();
        bytes = (await stat(file)).size;
      },
      failPower: async (): Promise<void> => {
        await server.kill();
        await truncate(file, bytes);
        await server.restart();
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  }

  test("are the living lines again after Redis has lost the end of its file, in which nobody was read", async () => {
    await using redis = await forgettingRedis();
    await using node = await new Cluster(redis.server).node();
    const ann = await comes(node, "ann");
    await comes(node, "bob");
    await untilHere(node, ["ann", "bob"]);
    await redis.remember();
    ann.leave();
    await comes(node, "eve");
    await untilHere(node, ["bob", "eve"]);
    await redis.failPower();
    await untilHere(node, ["bob", "eve"], leaveSeconds);
  });

  test("who come back while Redis is away have not left, though their grace is over by then", async () => {
    await using away = await RedisServer.start("--appendonly", "yes");
    const cluster = new Cluster(away, {
      ...longerGrace,
      clockAhead: "(redis.call('GET', 'ahead') or 0)",
    });
    await using node = await cluster.node();
    const ann = await comes(node, "ann");
    const bob = await comes(node, "bob");
    await untilHere(node, ["ann", "bob"]);
    ann.leave();
    bob.leave();
    await until(async () => (await dueIn(cluster)) === 2, "the grace to begin");
    const { epoch } = (await node.broker.positions([name]))[0] ?? {};
    await away.written();
    await away.kill();
    await node.away();
    await comes(node, "ann");
    node.line.cut(); // Until the grace is over.
    await away.restart();
    await away.command("SET", "ahead", "4500");
    node.line.restore();
    await untilHere(node, ["ann"]);
    // An entry of ann's that is not her first would come after the leave of bob.
    const since = { kind: "position", position: { epoch: epoch ?? "", offset: 2 } } as const;
    const changes = await node.broker.history(name, since, { messagesMax: 10, bytesMax: 1e9 });
    expect(changes?.messages.map(({ attributes }) => attributes?.partitionkey)).toEqual(["bob"]);
  });

  test("leave though Redis has evicted a part of what is kept of another topic", async () => {
    const cluster = new Cluster();
    await using node = await cluster.node();
    const kim = await node.come(undefined, "a-topic", "kim");
    const ann = await comes(node, "ann");
    await untilHere(node, ["ann"]);
    await redis.command("DEL", `${cluster.prefix}:{${presenceTopicOf("a-topic")}}:p`);
    kim.leave();
    await until(async () => (await dueIn(cluster)) === 1, "the grace to begin");
    ann.leave();
    await untilHere(node, []);
    await until(async () => (await dueIn(cluster)) === 0, "both to leave");
  });

  test("are said again to a Redis that was flushed, in another epoch", async () => {
    await using flushed = await RedisServer.start();
    await using node = await new Cluster(flushed).node();
    await comes(node, "ann");
    await untilHere(node, ["ann"]);
    const [before] = await node.broker.positions([name]);
    await flushed.command("FLUSHALL");
    await untilHere(node, ["ann"]);
    const [after] = await node.broker.positions([name]);
    expect(after?.epoch).not.toBe(before?.epoch);
  });

  test("are the living lines again after a replica was promoted that lacks the last of what was said", async () => {
    await using primary = await RedisServer.start();
    await using replica = await RedisServer.start();
    await replica.follow(primary);
    await using node = await new Cluster(primary).node();
    await comes(node, "ann");
    const bob = await comes(node, "bob");
    await untilHere(node, ["ann", "bob"]);
    await replica.caughtUp(primary);
    await replica.command("REPLICAOF", "NO", "ONE");
    bob.leave();
    await comes(node, "eve");
    await untilHere(node, ["ann", "eve"]);
    await primary.kill();
    node.line.leadTo(replica);
    await untilHere(node, ["ann", "eve"], leaveSeconds);
  });
});
