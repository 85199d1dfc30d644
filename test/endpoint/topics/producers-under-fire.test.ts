/** Producers that break and repeat, readers that are cut, and a server that is killed: each reader gets each token once. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { spawnDiskServer } from "../../support/disk-server.ts";
import { fireAt, type Tally } from "../../support/producers-under-fire.ts";
import { Random, seed } from "../../support/random.ts";
import { RedisServer } from "../../support/redis.ts";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { lacks } from "../../support/tool.ts";
import { newTopic } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const history = ["--history-messages", "1000"];

const server = sharedServer(history);

/** @param disturb happens when two more producers have broken, at most three times */
async function fire(
  target: Parameters<typeof fireAt>[0],
  streams: number,
  salt: number,
  disturb: () => Promise<void> = async () => undefined,
): Promise<Tally> {
  const tally: Tally = { tokens: 0, repeated: 0, cut: 0 };
  const fired = Promise.all(
    Array.from({ length: streams }, (_, index) =>
      fireAt(target, newTopic(), new Random(seed + salt + index), tally),
    ),
  );
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  fired.then(over, over);
  for (let times = 0; times < 3; times++) {
    const enough = tally.repeated + 2;
    await until(() => isOver || tally.repeated >= enough, "two producers to break");
    if (isOver) break;
    await disturb();
  }
  await fired;
  return tally;
}

test("in memory", async () => {
  const { tokens, repeated, cut } = await fire(server, 5, 0);
  expect(tokens).toBeGreaterThan(200);
  expect(repeated).toBeGreaterThan(8);
  expect(cut).toBeGreaterThan(8);
});

test("on disk, with a server that is killed meanwhile", async () => {
  await using disk = await spawnDiskServer(history);
  const target = {
    get url() {
      return disk.running.url;
    },
  };
  let kills = 0;
  const { tokens, repeated } = await fire(target, 4, 1000, async () => {
    await disk.kill();
    await disk.start();
    kills++;
  });
  expect(tokens).toBeGreaterThan(200);
  expect(repeated).toBeGreaterThan(5);
  expect(kills).toBeGreaterThan(0);
});

test.skipIf(lacks("redis-server"))(
  "through Redis, at three nodes of which one is drained meanwhile",
  async () => {
    await using redis = await RedisServer.start();
    const flags = ["--redis", redis.url, ...history];
    await using one = await spawnServer(flags);
    await using two = await spawnServer(flags);
    await using three = await spawnServer(flags);
    const nodes = [one, two, three];
    let turn = 0;
    const target = {
      get url() {
        return (nodes[turn++ % nodes.length] as RunningServer).url;
      },
    };
    const { tokens, repeated, cut } = await fire(target, 5, 2000, async () => {
      if (nodes.length < 3) return;
      nodes.pop();
      three.process.kill("SIGTERM");
    });
    expect(nodes).toHaveLength(2);
    expect(tokens).toBeGreaterThan(200);
    expect(repeated).toBeGreaterThan(5);
    expect(cut).toBeGreaterThan(5);
  },
);
