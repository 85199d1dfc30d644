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

setDefaultTimeout(120_000);

const history = ["--history-messages", "1000"];

const server = sharedServer(history);

async function fire(target: Parameters<typeof fireAt>[0], streams: number, salt: number): Promise<Tally> {
  const tally: Tally = { tokens: 0, repeated: 0, cut: 0 };
  const fired = Array.from({ length: streams }, (_, index) =>
    fireAt(target, newTopic(), new Random(seed + salt + index), tally),
  );
  await Promise.all(fired);
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
  let isDone = false;
  let kills = 0;
  const fired = fire(target, 4, 1000).finally(() => {
    isDone = true;
  });
  const killing = (async () => {
    while (!isDone && kills < 3) {
      await Promise.race([Bun.sleep(400), fired.catch(() => undefined)]);
      if (isDone) return;
      await disk.kill();
      await disk.start();
      kills++;
    }
  })();
  const { tokens, repeated } = await fired;
  await killing;
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
    const fired = fire(target, 5, 2000);
    await Bun.sleep(300);
    nodes.pop();
    three.process.kill("SIGTERM");
    const { tokens, repeated, cut } = await fired;
    expect(tokens).toBeGreaterThan(200);
    expect(repeated).toBeGreaterThan(5);
    expect(cut).toBeGreaterThan(5);
  },
);
