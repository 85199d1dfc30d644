/**
 * What clients are told after everything that can happen to a Redis server: with real servers, through the real hub. An id
 * is never given to two messages, and nothing is resumed across a possible loss.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import { TopicEnded } from "../../../src/topic/broker.ts";
import { formatId, type Position } from "../../../src/topic/message.ts";
import { closedAfterEach } from "../../support/closed-after-each.ts";
import { RedisLine, RedisServer } from "../../support/redis.ts";
import { type Client, RedisNode } from "../../support/redis-node.ts";
import { lacks } from "../../support/tool.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const opened = closedAfterEach();

const server = async (...flags: string[]): Promise<RedisServer> => opened(await RedisServer.start(...flags));

async function nodeOn(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<RedisNode> {
  const node = opened(await RedisNode.on(server, settings));
  return node;
}

/** A node, a client that is away since message 5, and one that stays. */
class Scene {
  readonly #given = new Map<string, string>();
  readonly #settings: Partial<RedisBrokerSettings>;
  awayId = "";

  private constructor(
    readonly node: RedisNode,
    readonly live: Client,
    settings: Partial<RedisBrokerSettings>,
  ) {
    this.#settings = settings;
  }

  static async on(server: RedisServer, settings: Partial<RedisBrokerSettings> = {}): Promise<Scene> {
    const node = await nodeOn(server, settings);
    const scene = new Scene(node, await node.come(), settings);
    for (const data of ["1", "2", "3", "4", "5"]) scene.awayId = await scene.publish(data);
    await scene.live.has("5");
    return scene;
  }

  /** @returns the id, which no other message may have */
  async publish(data: string, node = this.node, topic = "news"): Promise<string> {
    const id = formatId(await node.publishAtLast(data, topic));
    expect(this.#given.get(id) ?? data).toBe(data);
    this.#given.set(id, data);
    return id;
  }

  /**
   * @param at the server that goes on
   * @param kept what it has of the messages after 5
   */
  async expectAfterwards(
    at: RedisServer,
    told: { away: "complete" | "gap"; live: "no gap" | "gap" },
    kept: readonly string[] = [],
  ): Promise<void> {
    await this.node.ready();
    if (told.live === "gap") await until(() => this.live.gaps > 0, "the gap of the live client");
    await this.publish("after 1");
    await this.publish("after 2");
    await this.live.has("after 2");
    expect({ gaps: this.live.gaps }).toEqual({ gaps: told.live === "gap" ? 1 : 0 });
    expect(new Set(this.live.received).size).toBe(this.live.received.length);
    expect(this.live.received.slice(-2)).toEqual(["after 1", "after 2"]);

    // It comes back at another node, which was not there before.
    const away = await (await nodeOn(at, this.#settings)).come(this.awayId);
    await away.has("after 2");
    expect({ gaps: away.gaps, received: away.received }).toEqual({
      gaps: told.away === "gap" ? 1 : 0,
      received: [...kept, "after 1", "after 2"],
    });
    // What they were given has the ids that the publishers were answered, or those of a newer past.
    for (const client of [this.live, away])
      for (const [index, id] of client.ids.entries())
        expect(this.#given.get(id) ?? client.received[index]).toBe(client.received[index] ?? "");
    // And a client that returns with its last id has everything.
    const again = await this.node.come(away.id);
    await this.publish("at last");
    await again.has("at last");
    expect({ gaps: again.gaps, received: again.received }).toEqual({ gaps: 0, received: ["at last"] });
  }
}

/** A topic that has ended, told by a client that has seen its end and by one that has not. */
async function endedTopic(node: RedisNode): Promise<{ lastId: string; endId: string }> {
  const last = await node.publishAtLast("last", "ended");
  const { end } = await node.hub.publish("ended", { drafts: [], end: true });
  return { lastId: formatId(last), endId: formatId(end as Position) };
}

const everysec = ["--appendonly", "yes", "--appendfsync", "everysec"];

/** Copies an append-only file aside. @returns a power cut that leaves no more than that */
async function powerCutLater(redis: RedisServer): Promise<() => Promise<void>> {
  await redis.written();
  const files = join(redis.directory, "appendonlydir");
  await cp(files, `${files}.copy`, { recursive: true });
  return async () => {
    await redis.kill();
    await rm(files, { recursive: true });
    await cp(`${files}.copy`, files, { recursive: true });
    await redis.restart();
  };
}

describe.skipIf(lacks("redis-server"))("a server that", () => {
  test("is shut down and started again with its append-only file is no gap", async () => {
    const redis = await server(...everysec);
    const scene = await Scene.on(redis);
    await scene.publish("6");
    await redis.shutdown();
    await scene.node.away();
    await redis.restart();
    await scene.expectAfterwards(redis, { away: "complete", live: "no gap" }, ["6"]);
  });

  test("is killed and started again with its append-only file is no gap", async () => {
    const redis = await server(...everysec);
    const scene = await Scene.on(redis);
    await scene.publish("6");
    await redis.written();
    await redis.kill();
    await scene.node.away();
    await redis.restart();
    await scene.expectAfterwards(redis, { away: "complete", live: "no gap" }, ["6"]);
  });

  test("is killed and has persisted nothing is a gap", async () => {
    const redis = await server();
    const scene = await Scene.on(redis);
    await redis.kill();
    await scene.node.away();
    await redis.restart();
    await scene.expectAfterwards(redis, { away: "gap", live: "gap" });
  });

  test("is killed and has a snapshot that is three messages old is a gap", async () => {
    const redis = await server();
    const scene = await Scene.on(redis);
    await redis.command("SAVE");
    for (const data of ["6", "7", "8"]) await scene.publish(data);
    await scene.live.has("8");
    await redis.kill();
    await scene.node.away();
    await redis.restart();
    await scene.expectAfterwards(redis, { away: "gap", live: "gap" });
    // A reader of everything has no id. The log begins with the topic's first message, and lacks others.
    const page = { messagesMax: 10, bytesMax: 10_000 };
    const history = await scene.node.broker.history("news", { kind: "all" }, page);
    expect(history).toMatchObject({ complete: true, isTrimmed: true, from: { offset: 0 } });
  });

  test("has lost an id that is past all that it gave gives nothing twice after the gap", async () => {
    const redis = await server();
    const node = await nodeOn(redis);
    const { epoch } = await node.publishAtLast("1");
    // It had only the first message when it took over, and what it skipped ends before the id of the client.
    await redis.command("HSET", "test:{news}:p", "last", "50", "holes", "1:51");
    await node.publishAtLast("2");
    const since = { kind: "position", position: { epoch, offset: 90 } } as const;
    const page = { messagesMax: 10, bytesMax: 10_000 };
    const history = await node.broker.history("news", since, page);
    const given = history?.messages.map(({ data }) => data);
    expect({ complete: history?.complete, given }).toEqual({ complete: false, given: ["2"] });
  });

  test("is started twice from one append-only file gives no id twice, also by nodes that know of none", async () => {
    const redis = await server(...everysec);
    const publishByAnother = async (...words: readonly string[]): Promise<Position[]> => {
      await using node = await RedisNode.on(redis);
      const given: Position[] = [];
      for (const word of words) given.push(await node.publish(word));
      return given;
    };
    const [first] = await publishByAnother("1", "2", "3");
    const cutPower = await powerCutLater(redis);
    await redis.shutdown();
    await redis.restart();
    const before = await publishByAnother("4", "5");
    await cutPower();
    const after = await publishByAnother("other 4", "other 5");
    // Both continue the topic, so that only the offsets tell their messages apart.
    expect(new Set([first, ...before, ...after].map((position) => position?.epoch)).size).toBe(1);
    expect(new Set([...before, ...after].map(formatId)).size).toBe(4);
    for (const [one, next] of [before, after]) expect(next?.offset).toBe((one?.offset ?? 0) + 1);
  });

  test("is flushed is a gap", async () => {
    const redis = await server(...everysec);
    const scene = await Scene.on(redis);
    await redis.command("FLUSHALL");
    await scene.expectAfterwards(redis, { away: "gap", live: "gap" });
  });

  test("gets its first replica is no gap", async () => {
    const redis = await server();
    const scene = await Scene.on(redis);
    const replid = await redis.info("master_replid");
    await (await server()).follow(redis);
    expect(await redis.info("master_replid")).not.toBe(replid);
    await scene.expectAfterwards(redis, { away: "complete", live: "no gap" });
  });

  for (const [had, replicate] of [
    ["a replica", async (_: Scene, redis: RedisServer) => (await server()).follow(redis)],
    [
      "a replica that was gone before any node saw it",
      async ({ node }: Scene, redis: RedisServer) => {
        node.line.cut();
        await node.away();
        const replica = await server();
        await replica.follow(redis);
        await replica.promote();
        await until(async () => (await redis.info("connected_slaves")) === "0", "the replica to be gone");
        node.line.restore();
        await node.ready();
      },
    ],
  ] as const)
    test(`has had ${had}, and is started again with its append-only file, is a gap: it may be a stale one`, async () => {
      const redis = await server(...everysec);
      const scene = await Scene.on(redis);
      await replicate(scene, redis);
      await scene.publish("6");
      await redis.written();
      await redis.kill();
      await scene.node.away();
      await redis.restart();
      await scene.expectAfterwards(redis, { away: "gap", live: "gap" }, ["6"]);
    });

  test("was a stale replica and is promoted, after three acknowledged messages were lost, is a gap", async () => {
    const [primary, replica] = [await server(), await server()];
    const scene = await Scene.on(primary);
    await replica.follow(primary);
    await scene.publish("6");
    await replica.caughtUp(primary);
    await replica.promote();
    for (const data of ["lost 7", "lost 8", "lost 9"]) await scene.publish(data);
    await scene.live.has("lost 9");
    await primary.kill();
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.expectAfterwards(replica, { away: "gap", live: "gap" }, ["6"]);
  });

  test("was a replica and is promoted, with nothing lost, is a gap: nobody can know", async () => {
    const [primary, replica] = [await server(), await server()];
    const scene = await Scene.on(primary);
    await replica.follow(primary);
    await scene.publish("6");
    await replica.caughtUp(primary);
    await primary.kill();
    await replica.promote();
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.expectAfterwards(replica, { away: "gap", live: "gap" }, ["6"]);
  });

  test("was a replica and is promoted keeps the end of a topic, and a client that has seen it gets nothing twice", async () => {
    const [primary, replica] = [await server(), await server()];
    const node = await nodeOn(primary);
    const { lastId, endId } = await endedTopic(node);
    await replica.follow(primary);
    await primary.kill();
    await replica.promote();
    node.line.leadTo(replica);
    await node.away();
    await node.ready();
    await expect(node.publish("late", "ended")).rejects.toBeInstanceOf(TopicEnded);
    for (const id of [lastId, endId]) {
      const client = await node.come(id, "ended");
      await until(() => client.hasEnded, "the end");
      expect([client.gaps, client.received]).toEqual([1, []]);
    }
  });

  test("is started again with its append-only file keeps the end of a topic, without a gap", async () => {
    const redis = await server(...everysec);
    const node = await nodeOn(redis);
    const { lastId, endId } = await endedTopic(node);
    await redis.written();
    await redis.kill();
    await node.away();
    await redis.restart();
    await node.ready();
    await expect(node.publish("late", "ended")).rejects.toBeInstanceOf(TopicEnded);
    for (const id of [lastId, endId]) {
      const client = await (await nodeOn(redis)).come(id, "ended");
      await until(() => client.hasEnded, "the end");
      expect([client.gaps, client.received]).toEqual([0, []]);
    }
  });

  test("was demoted, and promoted again after another took three messages, is a gap on the same connection", async () => {
    const [first, second] = [await server(), await server()];
    const scene = await Scene.on(first);
    await second.follow(first);
    await second.promote();
    const other = await nodeOn(second);
    for (const data of ["6", "7", "8"]) await scene.publish(data, other);
    await first.follow(second);
    await first.promote();
    expect(scene.node.broker.disconnects).toBe(0);
    await scene.expectAfterwards(first, { away: "gap", live: "gap" }, ["6", "7", "8"]);
    expect(scene.node.broker.disconnects).toBe(0);
  });

  test("has an append-only file that was put back by three acknowledged messages is a gap, by testimony", async () => {
    const redis = await server(...everysec);
    const scene = await Scene.on(redis);
    const cutPower = await powerCutLater(redis);
    for (const data of ["lost 6", "lost 7", "lost 8"]) await scene.publish(data);
    await scene.live.has("lost 8");
    await cutPower();
    await scene.node.away();
    await scene.expectAfterwards(redis, { away: "gap", live: "gap" });
  });
});

describe.skipIf(lacks("redis-server"))("a failover that the operator says to be lossless", () => {
  const vouched = { acknowledge: 1, losslessFailover: true };

  /** Two servers with a node that waits for the replica. */
  async function pair(settings: Partial<RedisBrokerSettings> = vouched) {
    const [primary, replica] = [await server(), await server()];
    await replica.follow(primary);
    return { primary, replica, scene: await Scene.on(primary, settings) };
  }

  test("is no gap", async () => {
    const { primary, replica, scene } = await pair();
    await scene.publish("6");
    await primary.kill();
    await replica.promote();
    await (await server()).follow(replica); // Without it nothing could be acknowledged.
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.expectAfterwards(replica, { away: "complete", live: "no gap" }, ["6"]);
  });

  test("says nothing of a primary that is restarted, which may lack what its replica had: a gap", async () => {
    const [primary, replica] = [await server(...everysec), await server()];
    await replica.follow(primary);
    const scene = await Scene.on(primary, vouched);
    await scene.publish("6");
    await primary.written();
    await primary.kill();
    await scene.node.away();
    await primary.restart();
    await replica.follow(primary);
    await scene.expectAfterwards(primary, { away: "gap", live: "gap" }, ["6"]);
  });

  test("and is not is a gap, by testimony", async () => {
    const { primary, replica, scene } = await pair();
    await replica.caughtUp(primary);
    await replica.command("SAVE");
    for (const data of ["lost 6", "lost 7", "lost 8"]) await scene.publish(data);
    await scene.live.has("lost 8");
    await primary.kill();
    await replica.kill();
    await replica.restart(); // With what it had at 5.
    await (await server()).follow(replica);
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.expectAfterwards(replica, { away: "gap", live: "gap" });
  });

  test("is no gap where more replicas were seen than acknowledge: the offset proves what the promoted one has", async () => {
    const { primary, replica, scene } = await pair();
    const another = await server();
    await another.follow(primary);
    await scene.publish("6");
    await replica.caughtUp(primary);
    await primary.kill();
    await replica.promote();
    await another.follow(replica);
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.expectAfterwards(replica, { away: "complete", live: "no gap" }, ["6"]);
  });

  test("skips what was announced and not acknowledged: a gap only for the client that has it", async () => {
    const [primary, replica] = [await server(), await server()];
    using line = new RedisLine(primary);
    await replica.follow(primary, line.port);
    const scene = await Scene.on(primary, vouched);
    const other = await scene.node.come(undefined, "another topic");
    await replica.caughtUp(primary);
    line.hold();
    await expect(scene.node.publish("unacknowledged")).rejects.toThrow("0 of 1 replicas acknowledged");
    await scene.live.has("unacknowledged");
    await primary.kill();
    await replica.promote();
    await (await server()).follow(replica);
    scene.node.line.leadTo(replica);
    await scene.node.away();
    await scene.node.ready();
    const another = await nodeOn(replica, vouched);
    const away = await another.come(scene.awayId);
    const ahead = await another.come(scene.live.id); // Before anything else is appended.
    expect([ahead.gaps, ahead.received]).toEqual([1, []]);
    await scene.publish("6");
    await ahead.has("6");
    expect([ahead.gaps, ahead.received]).toEqual([1, ["6"]]);
    await scene.live.has("6");
    await away.has("6");
    await scene.publish("other", scene.node, "another topic");
    await other.has("other");
    expect([scene.live.gaps, away.gaps, other.gaps]).toEqual([1, 0, 0]);
    expect([scene.live.received.at(-1), away.received]).toEqual(["6", ["6"]]);
  });
});

describe.skipIf(lacks("redis-server"))("what one node knows to be lost is told:", () => {
  const vouched = { acknowledge: 1, losslessFailover: true };
  const lost = ["lost 6", "lost 7", "lost 8"];

  /** The node that knows is cut off, `fail` happens, and another node publishes first. */
  async function goOnWithout(scene: Scene, other: RedisNode, fail: () => Promise<void>): Promise<void> {
    for (const data of lost) await scene.publish(data);
    await scene.live.has("lost 8");
    scene.node.line.cut();
    await scene.node.away();
    await fail();
    await scene.publish("6", other);
  }

  test("a power cut that takes the last second of the append-only file", async () => {
    const redis = await server(...everysec);
    const [scene, other] = [await Scene.on(redis), await nodeOn(redis)];
    const cutPower = await powerCutLater(redis);
    await goOnWithout(scene, other, async () => {
      await cutPower();
      await other.away();
    });
    await other.ready();
    const between = await other.come(scene.awayId);
    await between.has("6");
    expect(between.gaps).toBe(0); // Nobody who is there knows better.
    scene.node.line.restore();
    await until(() => between.gaps > 0, "the gap of the client of the other node");
    await scene.expectAfterwards(redis, { away: "gap", live: "gap" }, ["6"]);
    expect([between.gaps, between.received]).toEqual([1, ["6", "after 1", "after 2", "at last"]]);
  });

  test("a primary that is restarted in place from a snapshot, and passes for a promoted replica", async () => {
    const [primary, replica] = [await server(), await server()];
    await replica.follow(primary);
    const [scene, other] = [await Scene.on(primary, vouched), await nodeOn(primary, vouched)];
    await primary.command("SAVE");
    await goOnWithout(scene, other, async () => {
      await primary.kill();
      await primary.restart();
      expect(Number(await primary.info("master_replid2"))).not.toBe(0);
      await replica.follow(primary);
    });
    scene.node.line.restore();
    await scene.expectAfterwards(primary, { away: "gap", live: "gap" }, ["6"]);
  });

  test("a failover to a replica whose place another had taken, which acknowledged", async () => {
    const [primary, stale, another] = [await server(), await server(), await server()];
    using line = new RedisLine(primary);
    await stale.follow(primary, line.port);
    const [scene, other] = [await Scene.on(primary, vouched), await nodeOn(primary, vouched)];
    await stale.caughtUp(primary);
    line.cut();
    await until(
      async () => (await primary.info("connected_slaves")) === "0",
      "the primary to lose its replica",
    );
    await another.follow(primary);
    await goOnWithout(scene, other, async () => {
      await primary.kill();
      await stale.promote();
      await another.follow(stale);
      other.line.leadTo(stale);
    });
    scene.node.line.leadTo(stale);
    scene.node.line.restore();
    await scene.expectAfterwards(stale, { away: "gap", live: "gap" }, ["6"]);
  });

  test("an address that leads back to an old primary which was never demoted", async () => {
    const [first, second] = [await server(), await server()];
    await second.follow(first);
    const scene = await Scene.on(first, vouched);
    await second.promote();
    await (await server()).follow(second);
    await (await server()).follow(first);
    scene.node.line.leadTo(second);
    await scene.node.away();
    for (const data of lost) await scene.publish(data);
    await scene.live.has("lost 8");
    expect(scene.live.gaps).toBe(0);
    scene.node.line.leadTo(first);
    await scene.node.away();
    await scene.expectAfterwards(first, { away: "gap", live: "gap" });
  });

  test("the same, by a node that has only seen the other's generation", async () => {
    const [first, second] = [await server(), await server()];
    await second.follow(first);
    const [scene, publisher] = [await Scene.on(first, vouched), await nodeOn(first, vouched)];
    await second.promote();
    await (await server()).follow(second);
    await (await server()).follow(first);
    for (const { line } of [scene.node, publisher]) line.leadTo(second);
    await scene.node.away();
    await scene.node.ready();
    const generation = scene.node.broker.generation;
    for (const data of lost) await scene.publish(data, publisher);
    scene.live.leave();
    await publisher[Symbol.asyncDispose]();
    scene.node.line.leadTo(first);
    await scene.node.away();
    await scene.node.ready();
    expect(scene.node.broker.generation).toBeGreaterThan(generation);
    const away = await (await nodeOn(first, vouched)).come(scene.awayId);
    await scene.publish("6");
    await away.has("6");
    expect([away.gaps, away.received]).toEqual([1, ["6"]]);
  });

  test("a partition in which both sides went on", async () => {
    const [loser, winner] = [await server(), await server()];
    await winner.follow(loser);
    const scene = await Scene.on(loser);
    await winner.promote();
    const other = await nodeOn(winner);
    const client = await other.come(scene.awayId);
    await scene.publish("6", other);
    await client.has("6");
    expect(client.gaps).toBe(1); // It is told of the promotion, and not yet of what follows.
    for (const data of lost) await scene.publish(data);
    await scene.live.has("lost 8");
    await loser.kill();
    scene.node.line.leadTo(winner);
    await until(() => client.gaps > 1, "the gap of the winner's client");
    await scene.publish("7", other);
    await client.has("7");
    expect([client.gaps, client.received]).toEqual([2, ["6", "7"]]);
    await scene.live.has("7");
    expect(scene.live.received.slice(-2)).toEqual(["6", "7"]);
  });
});
