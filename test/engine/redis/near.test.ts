/**
 * A node near its clients and far from the primary: two regions on one machine, with a real primary and a real replica. What
 * the replica says is believed only where it is complete, and a line that breaks or stalls loses nothing in silence.
 */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { formatId } from "../../../src/topic/message.ts";
import { Ocean } from "../../support/ocean.ts";
import { RedisServer } from "../../support/redis.ts";
import { type Client, RedisNode } from "../../support/redis-node.ts";
import { lacks } from "../../support/tool.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const stack: (Disposable | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const resource of stack.splice(0).toReversed()) {
    if (Symbol.asyncDispose in resource) await resource[Symbol.asyncDispose]();
    else resource[Symbol.dispose]();
  }
});

function kept<Resource extends Disposable | AsyncDisposable>(resource: Resource): Resource {
  stack.push(resource);
  return resource;
}

/** The primary and a node beside it; across two lines a replica and a node beside that. */
interface Regions {
  readonly primary: RedisServer;
  readonly replica: RedisServer;
  /** From the near node to the primary. */
  readonly nodeLine: Ocean;
  /** From the replica to the primary. */
  readonly replicaLine: Ocean;
  /** From the near node to the replica. */
  readonly nearLine: Ocean;
  readonly far: RedisNode;
  readonly near: RedisNode;
}

async function regions(oneWayMilliseconds = 0): Promise<Regions> {
  const primary = kept(await RedisServer.start("--enable-debug-command", "yes"));
  const replica = kept(await RedisServer.start());
  const nodeLine = kept(new Ocean(primary.port, oneWayMilliseconds));
  const replicaLine = kept(new Ocean(primary.port, oneWayMilliseconds));
  const nearLine = kept(new Ocean(replica.port));
  await replica.follow(primary, replicaLine.port);
  const far = kept(await RedisNode.on(primary));
  const near = kept(
    await RedisNode.on(primary, {
      url: `redis://127.0.0.1:${nodeLine.port}`,
      replicaUrl: `redis://127.0.0.1:${nearLine.port}`,
    }),
  );
  const all = { primary, replica, nodeLine, replicaLine, nearLine, far, near };
  await until(() => isNear(all), "the first beat at the replica");
  return all;
}

const isNear = ({ near }: Pick<Regions, "near">): boolean => near.broker.near?.isNear ?? false;

describe.skipIf(lacks("redis-server"))("a near node", () => {
  test("hears announcements and reads history at the replica, and appends at the primary", async () => {
    const all = await regions();
    const { near, far, nodeLine } = all;
    const first = formatId(await far.publish("1"));
    await near.publish("2");
    const client = await near.come(first);
    await client.has("2");
    expect(near.broker.near?.reads.replica).toBeGreaterThan(0);
    // What comes from the primary needs no line from the node to it.
    nodeLine.stall("there");
    await far.publish("3");
    await client.has("3");
    expect(client.gaps).toBe(0);
    expect(isNear(all)).toBe(true);
  });

  test("serves its first subscriber and a resume without waiting for the ocean, and keeps the topic at the primary", async () => {
    const { near, far, primary, nodeLine } = await regions(50);
    const first = formatId(await far.publish("1"));
    await far.publish("2");
    await until(async () => (await near.broker.positions(["news"]))[0]?.offset === 2, "the second message");
    await until(() => near.broker.near !== undefined, "a near node");
    await primary.command("EXPIRE", "test:{news}:p", "100");
    nodeLine.stall("there");
    const client = await near.come(first);
    await client.has("2");
    nodeLine.restore();
    await until(
      async () => Number(await primary.command("TTL", "test:{news}:p")) > 1000,
      "the position to be kept at the primary",
    );
  });

  test("asks the primary for a gap, and answers neither a gap nor silence while it cannot", async () => {
    const { near, far, nodeLine, primary } = await regions();
    const first = formatId(await far.publish("1"));
    for (const data of ["2", "3"]) await far.publish(data);
    await primary.command("LTRIM", "test:{news}:l", "-1", "-1"); // As retention does.
    const client = await near.come(first);
    expect(client.gaps).toBe(1);
    await client.has("3");
    client.leave();
    nodeLine.cut();
    await near.away();
    await expect(near.come(first)).rejects.toThrow();
    nodeLine.restore();
    await near.ready();
    expect((await near.come(first)).gaps).toBe(1);
  });

  test("asks the primary for a topic that the replica does not know", async () => {
    const { near, far, replicaLine } = await regions();
    replicaLine.stall("back");
    const id = formatId(await far.publish("1", "unknown"));
    const client = await near.come(id, "unknown");
    expect({ gaps: client.gaps, id: client.id }).toEqual({ gaps: 0, id });
  });

  test("never shows an older position than it has seen: a replica that lags is waited for, then the primary is read", async () => {
    const { near, primary, replica, replicaLine } = await regions();
    const first = formatId(await near.publish("1"));
    await replica.caughtUp(primary);
    replicaLine.stall("back");
    const second = formatId(await near.publish("2"));
    const third = formatId(await near.publish("3"));
    const client = await near.come(first);
    expect({ gaps: client.gaps, ids: client.ids }).toEqual({ gaps: 0, ids: [second, third] });
    const other = await near.come(second);
    expect({ gaps: other.gaps, ids: other.ids }).toEqual({ gaps: 0, ids: [third] });
  });

  test("does not believe a replica that tells of a gap", async () => {
    const { near, far, primary, replica } = await regions();
    const [first, ...others] = [await far.publish("1"), await far.publish("2"), await far.publish("3")];
    await replica.caughtUp(primary);
    await replica.command("CONFIG", "SET", "replica-read-only", "no");
    await replica.command("LTRIM", "test:{news}:l", "-1", "-1"); // As a replica would whose clock is ahead.
    const client = await near.come(formatId(first));
    expect({ gaps: client.gaps, ids: client.ids }).toEqual({ gaps: 0, ids: others.map(formatId) });
  });

  test("does not believe a replica that is still in the epoch before", async () => {
    const { near, primary, replica, replicaLine } = await regions();
    const before = formatId(await near.publish("1"));
    await replica.caughtUp(primary);
    replicaLine.stall("back");
    await primary.command("DEL", "test:{news}:p", "test:{news}:l"); // As ageing does.
    const after = formatId(await near.publish("2"));
    const client = await near.come(before);
    expect({ gaps: client.gaps, ids: client.ids }).toEqual({ gaps: 1, ids: [after] });
  });

  test("does not believe a replica that follows another server than the one that the generation is of", async () => {
    const { near, far, primary, replica } = await regions();
    const [first, second] = [formatId(await far.publish("1")), formatId(await far.publish("2"))];
    await replica.caughtUp(primary);
    await replica.command("CONFIG", "SET", "replica-read-only", "no");
    await replica.command("HSET", "test:fence", "replid", "f".repeat(40));
    const client = await near.come(first);
    expect({ gaps: client.gaps, ids: client.ids }).toEqual({ gaps: 0, ids: [second] });
    expect(near.broker.near?.reads.replica).toBe(0);
  });

  test("does not believe a replica of another generation", async () => {
    const { near, far, primary, replicaLine } = await regions();
    const before = formatId(await far.publish("1"));
    await far.publish("2");
    replicaLine.stall("back");
    await primary.command("FLUSHALL");
    await until(() => near.broker.losses > 0, "the near node to see the loss");
    const client = await near.come(before);
    expect(client.gaps).toBe(1);
    expect(client.received).toEqual([]);
  });
});

describe.skipIf(lacks("redis-server"))(
  "a near node refuses nobody while the primary is healthy, where the replica",
  () => {
    /** Clients come until something has happened: to topics that nobody has, for all, and with an id. */
    async function expectServed({ near, far }: Regions, hasHappened: () => boolean): Promise<void> {
      const first = formatId(await far.publish("1"));
      await far.publish("2");
      for (let round = 0; !hasHappened(); round++) {
        const crowd = await Promise.all([
          near.come(undefined, `new/${round}`),
          near.come("all"),
          near.come(first),
        ]);
        for (const client of crowd.slice(1)) await client.has("2");
        expect(crowd.map(({ gaps, failures }) => [gaps, failures])).toEqual([
          [0, 0],
          [0, 0],
          [0, 0],
        ]);
        for (const client of crowd) client.leave();
        await Bun.sleep(50); // More clients would only burn the processor.
      }
    }

    test("is healthy again, and the node goes back to it", async () => {
      const all = await regions();
      const live = await all.near.come();
      await all.replica.kill();
      await expectServed(all, () => !isNear(all) && all.near.broker.state.available);
      await all.replica.restart();
      await all.replica.follow(all.primary, all.replicaLine.port);
      await expectServed(all, () => isNear(all));
      await live.has("2");
      expect([live.gaps, live.failures, all.near.broker.disconnects]).toEqual([0, 0, 0]);
    });

    test("does not answer any more: clients wait for less than a second, then for nothing", async () => {
      const all = await regions();
      all.replica.pause();
      const began = performance.now();
      await expectServed(all, () => !isNear(all));
      const client = await all.near.come(undefined, "another");
      expect(performance.now() - began).toBeLessThan(3 * 1000); // Three times what is promised.
      await all.far.publish("3", "another");
      await client.has("3");
      all.replica.resume();
      await expectServed(all, () => isNear(all));
    });

    test("is silent from the start", async () => {
      const all = await regions();
      all.replica.pause();
      const another = kept(
        await RedisNode.on(all.primary, { replicaUrl: `redis://127.0.0.1:${all.nearLine.port}` }),
      );
      await expectServed({ ...all, near: another }, () => true);
      all.replica.resume();
      await until(() => isNear({ near: another }), "the node to hear the replica");
    });
  },
);

test.skipIf(lacks("redis-server"))(
  "a replica that cannot be used is named once, with the reason",
  async () => {
    const primary = kept(await RedisServer.start());
    const node = kept(await RedisNode.on(primary, { replicaUrl: primary.url }));
    const reasons = (): string[] =>
      node.log.lines.flatMap(({ message, fields }) =>
        message.startsWith("the replica cannot be used") && "reason" in fields ? [String(fields.reason)] : [],
      );
    await until(() => reasons().length > 0, "the reason");
    await until(() => node.broker.announcementDelaySeconds > 0, "the first beat");
    expect(reasons()).toEqual(["the server of --redis-replica is no replica"]);
    await node.publish("1");
  },
);

describe.skipIf(lacks("redis-server"))("a replica that lags", () => {
  test("hides nothing from a client that asks for all", async () => {
    const { near, far, replicaLine } = await regions();
    const live = await near.come();
    await far.publish("1");
    await live.has("1");
    replicaLine.stall("back");
    await far.publish("2");
    const client = await near.come("all");
    expect(client.received).toEqual(["1", "2"]);
    await live.has("2");
    expect([client.gaps, live.gaps]).toEqual([0, 0]);
  });

  test("is left once, and not used again before its beats come in time", async () => {
    const all = await regions();
    const moves = (): string[] =>
      all.near.log.lines.map(({ message }) => message).filter((message) => message.includes("come from"));
    const client = await all.near.come();
    all.replicaLine.delayMilliseconds.back = 4000;
    await until(() => !isNear(all) && all.near.broker.state.available, "the node to leave the replica");
    const before = moves().length;
    const beats = async (): Promise<number> =>
      Number((await all.primary.info("cmdstat_publish"))?.match(/calls=(\d+)/)?.[1]);
    const after = (await beats()) + 2 * 8; // Eight of each node.
    await until(async () => (await beats()) >= after, "eight beats");
    await all.far.publish("1");
    await client.has("1");
    expect([isNear(all), moves().length]).toEqual([false, before]);
    all.replicaLine.delayMilliseconds.back = 0;
    all.replicaLine.cut(); // What is delayed must not arrive after what is not.
    all.replicaLine.restore();
    await until(() => isNear(all), "the node to hear the replica again");
    expect([client.gaps, client.failures, all.near.broker.disconnects]).toEqual([0, 0, 0]);
  });
});

describe.skipIf(lacks("redis-server"))("a line that fails loses nothing in silence, where", () => {
  /** A client that stays must get every message, in order, without a gap. */
  async function expectAll(all: Regions, happens: (client: Client) => Promise<void>): Promise<void> {
    const { far, near } = all;
    await far.publish("first");
    const client = await near.come();
    await far.publish("before");
    await client.has("before");
    await happens(client);
    for (const data of ["after 1", "after 2"]) await far.publish(data);
    await client.has("after 2");
    expect(client.received.filter((data) => !data.startsWith("during"))).toEqual([
      "before",
      "after 1",
      "after 2",
    ]);
    expect(new Set(client.received).size).toBe(client.received.length);
    expect(client.gaps).toBe(0);
  }

  test("the replica is silent while its link counts as up", async () => {
    const all = await regions();
    await expectAll(all, async () => {
      all.replicaLine.stall("back");
      await all.far.publish("during");
      await until(() => !isNear(all) && all.near.broker.state.available, "the node to hear the primary");
    });
  });

  test("the replica is filled anew between two beats", async () => {
    const all = await regions();
    await expectAll(all, async (client) => {
      await all.primary.command("DEBUG", "CHANGE-REPL-ID");
      await all.primary.command("CLIENT", "KILL", "TYPE", "replica");
      await all.far.publish("during");
      await until(
        async () => (await all.replica.info("master_link_status")) === "up",
        "the replica to be full",
      );
      await client.has("during"); // Its announcement was lost, and nothing follows it.
    });
  });

  test("the replica dies, and comes back", async () => {
    const all = await regions();
    await expectAll(all, async () => {
      await all.replica.kill();
      await all.far.publish("during");
      await until(() => !isNear(all) && all.near.broker.state.available, "the node to hear the primary");
    });
    await all.replica.restart();
    await all.replica.follow(all.primary, all.replicaLine.port);
    await until(() => isNear(all), "the node to hear the replica again");
  });

  test("the line from the node to the replica is cut", async () => {
    const all = await regions();
    await expectAll(all, async () => {
      all.nearLine.cut();
      await all.far.publish("during");
      await until(() => !isNear(all), "the node to hear the primary");
    });
  });

  test("the line between the regions is cut: publishing is refused there, and all comes when it is back", async () => {
    const all = await regions();
    await expectAll(all, async () => {
      all.nodeLine.cut();
      all.replicaLine.cut();
      await all.far.publish("during");
      await all.near.away();
      await expect(all.near.publish("refused")).rejects.toThrow();
      all.nodeLine.restore();
      all.replicaLine.restore();
      await all.near.ready();
    });
  });
});
