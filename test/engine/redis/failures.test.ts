/** What nodes do while Redis fails in each of its ways, and that all is well when it is back. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { parseInfo, unfitnessOf } from "../../../src/engine/redis/server.ts";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatId } from "../../../src/topic/message.ts";
import { presenceTopicOf } from "../../../src/topic/presence.ts";
import { makeCertificate } from "../../support/certificate.ts";
import { closedAfterEach } from "../../support/closed-after-each.ts";
import { freePort } from "../../support/free-port.ts";
import { RedisServer } from "../../support/redis.ts";
import { RedisNode } from "../../support/redis-node.ts";
import { type RunningServer, root, spawnServer } from "../../support/server.ts";
import { acceptWrites, sharedRedis } from "../../support/shared-redis.ts";
import { lacks } from "../../support/tool.ts";
import { cloudEvents, openTopic, post, publish } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";
import { settleSecondsMax } from "../contract/away.ts";

setDefaultTimeout(120_000);

const opened = closedAfterEach();
const emptyRedis = sharedRedis(opened);

const server = async (...flags: string[]): Promise<RedisServer> => opened(await RedisServer.start(...flags));

async function nodeOn(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<RedisNode> {
  const node = unreadyOn(server, settings);
  await node.ready();
  return node;
}

function unreadyOn(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): RedisNode {
  const node = opened(RedisNode.unready(server, settings));
  return node;
}

const reasonOf = ({ broker }: RedisNode): string => broker.state.reason ?? "";

const readinessOf = async ({ url }: RunningServer) =>
  (await (await fetch(new URL("/readyz", url))).json()) as { broker: string; reason: string };

async function expectRefused(node: RedisNode): Promise<void> {
  const begun = performance.now();
  await expect(node.publish("refused")).rejects.toBeInstanceOf(BrokerUnavailable);
  expect(performance.now() - begun).toBeLessThan(settleSecondsMax * 1000);
}

describe.skipIf(lacks("redis-server"))("while Redis", () => {
  test("is stopped, a publication is refused within 3 s; then all that was accepted comes once and in order", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const client = await node.come();
    await node.publish("1");
    redis.pause();
    await expectRefused(node);
    await node.away();
    await until(() => reasonOf(node) === "Redis does not answer", "the node to say why");
    redis.resume();
    await node.ready();
    await node.publishAtLast("2");
    await client.has("2");
    expect(client.gaps).toBe(0);
    // Redis has taken what it had not answered, or it has not: unknown is what the publisher was told.
    expect(client.received.filter((data) => data !== "refused")).toEqual(["1", "2"]);
  });

  test("is behind a connection that a router forgot, the node opens another", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const client = await node.come();
    await node.publish("1");
    node.line.hold();
    await expectRefused(node);
    await node.away();
    const another = await nodeOn(redis);
    await another.publish("2");
    node.line.restore();
    await client.has("2");
    expect([client.gaps, client.received]).toEqual([0, ["1", "2"]]);
  });

  test("answers while the node itself stands still, its connections stay", async () => {
    const node = await nodeOn(await emptyRedis());
    const client = await node.come();
    const published = node.publish("1");
    await Bun.sleep(0); // It is sent.
    Bun.sleepSync(4000);
    await published;
    await client.has("1");
    await node.publish("2");
    await client.has("2");
    expect([node.broker.disconnects, client.gaps]).toEqual([0, 0]);
  });

  test("has cut only the announcements, publishing goes on, and what was missed is made up for", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const client = await node.come();
    for (let round = 0; round < 5; round++) {
      await redis.command("CLIENT", "KILL", "TYPE", "pubsub");
      await node.publish(String(round));
    }
    await client.has("4");
    expect([client.gaps, client.received]).toEqual([0, ["0", "1", "2", "3", "4"]]);
    expect(node.counters.catchUps).toBeGreaterThan(0);
  });

  test("does not carry the announcements, the node notices by its beat, though the connection is open", async () => {
    const redis = await server();
    const node = await nodeOn(redis);
    const client = await node.come();
    const clients = String(await redis.command("CLIENT", "LIST"));
    const announcements = clients.split("\n").find((line) => / sub=[1-9]/.test(line)) ?? "";
    node.line.holdOne(Number(/ addr=\S+:(\d+)/.exec(announcements)?.[1]));
    await node.publish("1");
    await client.has("1");
    expect(node.log.lines.map(({ fields }) => ("reason" in fields ? fields.reason : ""))).toContain(
      "announcements do not arrive",
    );
    expect(client.gaps).toBe(0);
  });

  test("is loading its data, the node waits and says so", async () => {
    const redis = await server("--appendonly", "yes", "--rdbcompression", "no");
    const node = await nodeOn(redis);
    const client = await node.come();
    await node.publish("1");
    await redis.command(
      "EVAL",
      "for i = 1, 200 do redis.call('SET', 'other' .. i, string.rep('x', 1000)) end",
      "0",
    );
    await redis.command("BGREWRITEAOF");
    await until(
      async () => (await redis.info("aof_rewrite_in_progress")) === "0",
      "the file to be rewritten",
    );
    await redis.kill();
    await node.away();
    // 50 ms a key, and it answers after each: longer than the longest pause between two attempts of the node.
    const slowly = ["--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024"];
    const loading = redis.restart(...slowly);
    await until(() => reasonOf(node).includes("loading its data"), "the node to say that Redis is loading");
    await redis.command("CONFIG", "SET", "key-load-delay", "0");
    await loading;
    await node.ready();
    await node.publishAtLast("2");
    await client.has("2");
    expect([client.gaps, client.received]).toEqual([0, ["1", "2"]]);
  });

  test("refuses the password, the node says so, and goes on when it is right", async () => {
    const redis = await emptyRedis();
    await redis.command("CONFIG", "SET", "requirepass", "secret");
    const node = unreadyOn(redis);
    await until(() => reasonOf(node).includes("asks for a password"), "the node to ask for a password");
    const wrong = unreadyOn(redis, { url: `redis://:wrong@127.0.0.1:${redis.port}` });
    await until(() => reasonOf(wrong).includes("refuses the user or password"), "the node to be refused");
    await nodeOn(redis, { url: `redis://:secret@127.0.0.1:${redis.port}` });
    await redis.command("CONFIG", "SET", "requirepass", "");
    await node.ready();
  });

  test("carries what no node has sent, the node goes on", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const client = await node.come();
    const channels = (await redis.command("PUBSUB", "CHANNELS", "test:*")) as string[];
    expect(channels.length).toBeGreaterThan(2);
    for (const channel of channels) await redis.command("PUBLISH", channel, "{no JSON, and no entry");
    await node.publish("1");
    await client.has("1");
    expect([node.broker.disconnects, client.gaps, client.received]).toEqual([0, 0, ["1"]]);
  });

  test("has forgotten the scripts, the node loads them again", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const client = await node.come();
    await redis.command("SCRIPT", "FLUSH");
    await node.publishAtLast("1");
    await client.has("1");
    expect([client.gaps, client.received]).toEqual([0, ["1"]]);
  });

  test("waits for a replica that does not answer, publishing is refused, soon at once, and goes on with it", async () => {
    const [redis, replica] = [await server(), await server()];
    await replica.follow(redis);
    const node = await nodeOn(redis, { acknowledge: 1 });
    await node.publish("1");
    replica.pause();
    await expect(node.publish("2")).rejects.toThrow("0 of 1 replicas acknowledged");
    // The reason of a refusal that waits for nothing.
    await expect(node.publish("3")).rejects.toThrow("fewer than 1 replicas acknowledge");
    replica.resume();
    await node.publishAtLast("4");
    await replica.kill();
    await until(async () => (await redis.info("connected_slaves")) === "0", "the replica to be missed");
    await expect(node.publish("5")).rejects.toThrow("too few replicas are connected");
  });
});

/** How a server comes to refuse every write, and what a node then says. */
const writeRefusals: Readonly<Record<string, (redis: RedisServer) => Promise<string>>> = {
  "is full": async (redis) => {
    await redis.command("CONFIG", "SET", "maxmemory", "1");
    return "Redis is full";
  },
  "cannot write to its disk": async (redis) => {
    await mkdir(`${redis.directory}/dump.rdb`); // In the place of the file that it saves.
    await redis.command("CONFIG", "SET", "save", "3600 1");
    await redis.command("BGSAVE");
    await until(async () => (await redis.info("rdb_last_bgsave_status")) === "err", "the disk to fail");
    return "Redis cannot write its data to disk";
  },
  "has too few replicas": async (redis) => {
    await redis.command("CONFIG", "SET", "min-replicas-to-write", "1");
    return "too few replicas are connected";
  },
};

describe.skipIf(lacks("redis-server"))("a server that refuses to write is read, because it", () => {
  for (const [name, refuse] of Object.entries(writeRefusals))
    test(name, async () => {
      const redis = await server();
      const node = await nodeOn(redis);
      const client = await node.come();
      const first = formatId(await node.publish("1"));
      await node.publish("2");
      const reason = await refuse(redis);
      await until(() => reasonOf(node).includes(reason), "the node to say that publications are refused");
      expect(node.broker.state.available).toBe(true);
      const another = await nodeOn(redis); // A node that starts.
      await until(() => reasonOf(another).includes(reason), "the other node to say so");
      const returned = await another.come(first);
      await returned.has("2");
      await another.come();
      await expect(node.publish("refused")).rejects.toThrow(reason);
      await acceptWrites(redis);
      await until(() => [node, another].every(({ broker }) => !broker.state.reason), "writes to be accepted");
      await node.publish("3");
      for (const one of [client, returned]) await one.has("3");
      expect([client.received, returned.received]).toEqual([
        ["1", "2", "3"],
        ["2", "3"],
      ]);
      expect([client.gaps, returned.gaps, node.broker.disconnects, another.broker.disconnects]).toEqual([
        0, 0, 0, 0,
      ]);
    });

  test("is full when it is started again: nobody is told a gap", async () => {
    const redis = await server("--appendonly", "yes", "--appendfsync", "always");
    const node = await nodeOn(redis);
    const client = await node.come();
    const first = formatId(await node.publish("1"));
    await node.publish("2");
    await redis.kill();
    await node.away();
    await redis.restart("--maxmemory", "1");
    await node.ready();
    const returned = await (await nodeOn(redis)).come(first);
    await returned.has("2");
    await expect(node.publish("refused")).rejects.toThrow("Redis is full");
    await acceptWrites(redis);
    await node.publish("3");
    for (const one of [client, returned]) await one.has("3");
    expect([client.gaps, returned.gaps]).toEqual([0, 0]);
  });

  test("is full when it comes back with less: each client is told a gap and gets what there is", async () => {
    const redis = await server();
    const node = await nodeOn(redis);
    const client = await node.come();
    const first = formatId(await node.publish("1"));
    await redis.command("SAVE");
    await node.publish("2");
    await redis.kill();
    await node.away();
    await redis.restart("--maxmemory", "1");
    await node.ready();
    await until(() => client.gaps === 1, "the gap");
    const returned = await node.come(first);
    expect([returned.gaps, returned.received]).toEqual([1, []]);
    await acceptWrites(redis);
    await node.publish("3");
    for (const one of [client, returned]) await one.has("3");
  });

  test("was promoted without a replica and must have one: nothing is lost, and what it has is read", async () => {
    const [primary, replica] = [await server(), await server("--min-replicas-to-write", "1")];
    await replica.follow(primary);
    const node = await nodeOn(primary, { acknowledge: 1, losslessFailover: true });
    const client = await node.come();
    const first = formatId(await node.publish("1"));
    await node.publish("2");
    await primary.kill();
    await replica.promote();
    node.line.leadTo(replica);
    await node.away();
    await node.ready();
    expect(reasonOf(node)).toContain("too few replicas are connected");
    const another = await nodeOn(replica, { acknowledge: 1, losslessFailover: true });
    const returned = await another.come(first);
    await returned.has("2");
    await expect(node.publish("refused")).rejects.toThrow("too few replicas are connected");
    await primary.restart();
    await primary.follow(replica);
    await node.publishAtLast("3");
    for (const one of [client, returned]) await one.has("3");
    expect([client.received, returned.received]).toEqual([
      ["1", "2", "3"],
      ["2", "3"],
    ]);
    expect([client.gaps, returned.gaps]).toEqual([0, 0]);
  });

  test("was promoted the same way, and may lack something: nobody is answered before a gap can be told", async () => {
    const [primary, replica] = [await server(), await server("--min-replicas-to-write", "1")];
    await replica.follow(primary);
    const node = await nodeOn(primary);
    const client = await node.come();
    await node.publish("1");
    await client.has("1");
    await replica.caughtUp(primary);
    await primary.kill();
    await replica.promote();
    node.line.leadTo(replica);
    await until(() => reasonOf(node).includes("too few replicas are connected"), "the node to say why");
    expect([node.broker.state.available, client.gaps]).toEqual([false, 0]);
    await primary.restart();
    await primary.follow(replica);
    await node.publishAtLast("2");
    await client.has("2");
    expect([client.received, client.gaps]).toEqual([["1", "2"], 1]);
  });

  test("is full: a topic that it does not know waits for room, published to or subscribed to", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    await redis.command("CONFIG", "SET", "maxmemory", "1");
    await expect(node.publish("refused", "new")).rejects.toThrow("Redis is full");
    await expect(node.come(undefined, "new")).rejects.toThrow("Redis is full");
    await acceptWrites(redis);
    await node.publish("1", "new");
  });
});

describe.skipIf(lacks("redis-server"))("a server that cannot be the engine is refused in words:", () => {
  test("a Redis Cluster", async () => {
    const node = unreadyOn(await server("--cluster-enabled", "yes"));
    await until(() => reasonOf(node).includes("Redis Cluster"), "the refusal");
  });

  test("a replica, until it is promoted", async () => {
    const [redis, replica] = [await server(), await server()];
    await replica.follow(redis);
    const node = unreadyOn(replica);
    await until(() => reasonOf(node).includes("a replica"), "the refusal");
    await replica.promote();
    await node.ready();
  });

  test("a Sentinel, one that is too old, and one that hides master_replid", () => {
    const info = (changed: Record<string, string>): string | undefined => {
      const usual = {
        redis_version: "7.0.15",
        redis_mode: "standalone",
        role: "master",
        master_replid: "ab",
      };
      const lines = Object.entries({ ...usual, ...changed }).map(([name, value]) => `${name}:${value}`);
      return unfitnessOf(parseInfo(["# Server", ...lines, ""].join("\r\n")));
    };
    expect(info({})).toBeUndefined();
    expect(info({ redis_mode: "sentinel" })).toContain("this is a Sentinel");
    expect(info({ redis_version: "6.2.14" })).toContain("Redis 6.2.14 is too old");
    expect(unfitnessOf(parseInfo("redis_version:7.4.1\r\nrole:master\r\n"))).toContain("hides master_replid");
  });
});

test.skipIf(lacks("redis-server"))(
  "a user with the permissions of docs/clustering.md can do all, and with one less it says so",
  async () => {
    const page = await Bun.file(resolve(root, "docs/clustering.md")).text();
    const [, rules = ""] = /^user longwire (on [\s\S]*?)^```/m.exec(page) ?? [];
    const redis = await emptyRedis();
    await redis.command("ACL", "SETUSER", "longwire", ...rules.trim().split(/\s+/));
    const url = `redis://longwire:secret@127.0.0.1:${redis.port}`;
    const presenceLimits = { presence: ["room"], presenceGraceSeconds: 1, presenceMembersMax: 1000 };
    const settings = { url, prefix: "longwire", keyed: ["keyed"], presenceLimits };
    const [node, other] = [await nodeOn(redis, settings), await nodeOn(redis, settings)];
    const client = await other.come();
    const once = { key: "key", publisher: "publisher" };
    await node.publishAtLast("1");
    await node.hub.takeStream("stream", once, "writer");
    await client.has("1");
    const subscribers = async () => (await node.hub.inspect(["news"]))[0]?.subscribers;
    await until(async () => (await subscribers()) === 1, "the other node to say how many subscribers it has");
    await node.come(client.id);
    const draft = { data: "", contentType: "text/plain", attributes: { partitionkey: "key" } };
    for (const drafts of [[draft], [removalOf("key")], [draft]])
      await node.hub.publish("keyed", {
        drafts,
        condition: { kind: drafts[0] === draft ? "absent" : "present" },
      });
    expect((await node.hub.value("keyed", "key"))?.value).toBeDefined();
    await (await node.come("all", "keyed")).has("");
    const entries = async () => (await other.broker.positions([presenceTopicOf("room")]))[0]?.offset;
    const member = await node.come(undefined, "room", "ann");
    await until(async () => (await entries()) === 1, "the member to join");
    member.leave();
    await until(async () => (await entries()) === 2, "the member to leave");
    await node[Symbol.asyncDispose]();
    await redis.command("ACL", "SETUSER", "longwire", "-rpush");
    await expect(other.publish("2")).rejects.toThrow("lacks a permission");
  },
);

test.skipIf(lacks("redis-server", "openssl"))(
  "a server reaches Redis by TLS, with a password and a database of its own",
  async () => {
    const redis = await server();
    const [certificateFile, keyFile] = [`${redis.directory}/own.crt`, `${redis.directory}/own.key`];
    await makeCertificate({ certificateFile, keyFile }, "localhost");
    const port = await freePort();
    for (const [name, value] of [
      ["tls-cert-file", certificateFile],
      ["tls-key-file", keyFile],
      ["tls-auth-clients", "no"],
      ["tls-port", String(port)],
      ["requirepass", "p@ss"],
    ] as const)
      await redis.command("CONFIG", "SET", name, value);
    const flags = ["--redis", `rediss://:p%40ss@localhost:${port}/3`];
    await using untrusting = await spawnServer(flags);
    await using trusting = await spawnServer(flags, {
      environment: { NODE_EXTRA_CA_CERTS: certificateFile },
    });
    await until(async () => (await fetch(new URL("/readyz", trusting.url))).ok, "the server to reach Redis");
    const client = await openTopic(trusting, "news", cloudEvents);
    await client.event();
    await publish(trusting, "news", "by TLS");
    expect((await client.event()).data).toBe("by TLS");
    expect(JSON.stringify(trusting.log())).not.toContain("p%40ss");
    await until(async () => {
      const { broker, reason } = await readinessOf(untrusting);
      return broker === "away" && /certificate/i.test(reason);
    }, "the other server to say that it does not trust the certificate");
  },
);

describe.skipIf(lacks("redis-server"))("a server on Redis", () => {
  test("answers 503 with Retry-After within 3 s, says why at /readyz, and keeps its subscribers", async () => {
    const redis = await server();
    await using running = await spawnServer(["--redis", redis.url]);
    await until(async () => (await fetch(new URL("/readyz", running.url))).ok, "the server to reach Redis");
    const client = await openTopic(running, "news", cloudEvents);
    await client.event();
    redis.pause();
    const begun = performance.now();
    const refused = await post(running, "news", "refused");
    expect(performance.now() - begun).toBeLessThan(settleSecondsMax * 1000);
    expect([refused.status, refused.headers.get("Retry-After") !== null]).toEqual([503, true]);
    const away = { ready: true, draining: false, broker: "away", reason: "Redis does not answer" };
    await until(async () => Bun.deepEquals(await readinessOf(running), away), "the server to say why");
    expect((await fetch(new URL("/readyz", running.url))).status).toBe(200);
    await redis.kill();
    await redis.restart();
    await until(async () => (await post(running, "news", "again")).ok, "publishing to go on");
    expect((await client.event()).type).toBe("longwire.gap"); // Nothing was persisted.
    expect((await client.event()).data).toBe("again");
  });

  test("is not ready until Redis was reached, and says why", async () => {
    await using running = await spawnServer(["--redis", "redis://:secret@127.0.0.1:1"]);
    const readiness = await fetch(new URL("/readyz", running.url));
    expect(readiness.status).toBe(503);
    await until(async () => (await readinessOf(running)).reason.includes("ECONNREFUSED"), "the reason");
    expect(JSON.stringify(running.log())).not.toContain("secret");
  });

  test("counts the subscribers of all nodes, and forgets a node that died within 15 s", async () => {
    const redis = await emptyRedis();
    const flags = ["--redis", redis.url];
    await using one = await spawnServer(flags);
    await using other = await spawnServer(flags);
    const subscribers = async (): Promise<number> => {
      const answer = (await (await fetch(new URL("/topics/news", one.url))).json()) as {
        topics: { subscribers: number }[];
      };
      return answer.topics[0]?.subscribers ?? 0;
    };
    await until(async () => (await fetch(new URL("/readyz", other.url))).ok, "the server to reach Redis");
    await until(async () => (await fetch(new URL("/readyz", one.url))).ok, "the server to reach Redis");
    for (const server of [one, other, other]) await openTopic(server, "news");
    await until(async () => (await subscribers()) === 3, "the subscribers of both");
    other.process.kill("SIGKILL");
    await until(async () => (await subscribers()) === 1, "the other node to be forgotten", 3 * 15);
    await publish(one, "news", "to the one that is left");
  });

  test("serves a crowd that returns to a node where nobody was by a handful of reads", async () => {
    const redis = await emptyRedis();
    const node = await nodeOn(redis);
    const first = await node.publish("1");
    for (let number = 2; number <= 50; number++) await node.publish(String(number));
    const cold = await nodeOn(redis);
    await redis.command("CONFIG", "RESETSTAT");
    const id = `${first.epoch}-${first.offset}`;
    const crowd = await Promise.all(Array.from({ length: 300 }, () => cold.come(id)));
    await Promise.all(crowd.map((client) => client.has("50")));
    const calls = /calls=(\d+)/.exec((await redis.info("cmdstat_lrange")) ?? "")?.[1];
    expect(Number(calls)).toBeWithin(1, 20); // A read takes a few.
  });
});
