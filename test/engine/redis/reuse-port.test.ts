/** Several processes on one port, with topics in Redis: each is drained and replaced under load, and nothing is lost. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../support/free-port.ts";
import { emptyKillTally, Load } from "../../support/kills.ts";
import { Random, seed } from "../../support/random.ts";
import { RedisServer } from "../../support/redis.ts";
import { type RunningServer, runCommand, spawnServer } from "../../support/server.ts";
import { lacks } from "../../support/tool.ts";
import { everyEvent } from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

test.skipIf(lacks("redis-server"))(
  "two processes on one port lose nothing while each is drained and replaced",
  async () => {
    await using redis = await RedisServer.start();
    const port = await freePort();
    const sockets = await mkdtemp(join(tmpdir(), "longwire-sockets-"));
    const start = async (name: string): Promise<RunningServer> => {
      const shared = ["--redis", redis.url, "--port", String(port), "--reuse-port"];
      const own = ["--operations-unix", join(sockets, name), "--drain-window", "1s"];
      const flags = [...shared, ...own, "--history-messages", "100000", "--log-level", "info"];
      const server = await spawnServer(flags, { withoutPort: true });
      await until(() => isReady(join(sockets, name)), `${name} to be ready`);
      return server;
    };
    const running = new Map([
      ["one", await start("one")],
      ["two", await start("two")],
    ]);
    try {
      const [server] = running.values();
      if (!server) throw new Error("no process runs");
      const load = new Load(server, new Random(seed), emptyKillTally());
      const done = load.run();
      for (const [name, server] of running) {
        // Followers return again and again, and come to each process by the kernel's choice.
        await until(
          async () => (await opened(join(sockets, name))) >= 10,
          `${name} to have been connected to`,
        );
        server.process.kill("SIGTERM");
        expect(await within(server.process.exited, "the end of a drain")).toBe(0);
        running.set(name, await start(name));
      }
      load.finish();
      await within(done, "publishers and followers to finish", 30);
      for (const topic of load.topics) load.check(topic, await everyEvent(server, topic));
      load.requireNoGaps();
      expect(load.acknowledged.count).toBeGreaterThan(100);
    } finally {
      for (const server of running.values()) await server[Symbol.asyncDispose]();
      await rm(sockets, { recursive: true });
    }
  },
);

test("the endpoints for operators are served by their own listener alone, through a drain to its end", async () => {
  const port = await freePort();
  await using server = await spawnServer(["--operations-port", String(port), "--drain-delay", "1h"]);
  const operations = new URL(`http://127.0.0.1:${port}`);
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    expect((await fetch(new URL(path, server.url))).status).toBe(404);
    expect((await fetch(new URL(path, operations))).status).toBe(200);
  }
  expect((await fetch(new URL("/topics/news", operations))).status).toBe(404);
  server.process.kill("SIGTERM");
  await until(async () => (await fetch(new URL("/readyz", operations))).status === 503, "the drain to show");
});

test("a taken port of the listener for operators ends the command with 1 and names it", async () => {
  using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const ended = await runCommand(["--port", "0", "--operations-port", String(taken.port)]);
  expect([ended.exitCode, ended.errors]).toEqual([1, expect.stringContaining(String(taken.port))]);
});

/** The number of connections that a process has opened. */
async function opened(unix: string): Promise<number> {
  const text = await (await fetch("http://localhost/metrics", { unix })).text();
  const counts = text.matchAll(/^longwire_connections_opened_total\{.*\} (\d+)$/gm);
  return Array.from(counts, ([, count]) => Number(count)).reduce((sum, count) => sum + count, 0);
}

async function isReady(unix: string): Promise<boolean> {
  const answer = await fetch("http://localhost/readyz", { unix });
  return answer.status === 200 && !((await answer.json()) as { draining: boolean }).draining;
}
