import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { lacks } from "../support/tool.ts";

const root = resolve(import.meta.dir, "../..");

/** A quick run of the load ends before what JavaScriptCore optimizes for it saves the CPU time of optimizing it. */
const forLoad = { BUN_JSC_useDFGJIT: "0" };

for (const [name, expectedPeers, measured] of [
  ["echo", ["longwire", "bun"], 2 * 5],
  ["fanout", ["longwire", "bun"], 2 * 14],
  ["open", ["longwire", "longwire-guarded", "bun"], 4 * 2 + 2 + 3 * 2],
  [
    "publish",
    ["longwire", "longwire-guarded", "longwire-keyed", "longwire-keyed-disk", "longwire-keyed-redis", "bun"],
    2 * 6 + 3 * 2,
  ],
  ["presence", ["longwire", "longwire-redis"], 2],
  ["storm", ["longwire", "bun"], 2 * 3],
  ["stream", ["longwire", "bun", "longwire-disk", "longwire-redis"], 2 + 3],
  [
    "disk",
    ["longwire", "longwire-memory", "longwire-engine", "longwire-engine-memory", "bun"],
    2 * 3 + 4 * 2,
  ],
  ["cluster", ["longwire", "bun"], 2 * 2 + 2],
  ["start", ["longwire", "bun", "longwire-compiled"], 3],
] as const) {
  test.skipIf(["cluster", "presence", "stream", "publish"].includes(name) && lacks("redis-server"))(
    `the ${name} benchmark runs from end to end and writes its figures and a chart`,
    async () => {
      const out = mkdtempSync(join(tmpdir(), "longwire-bench-test-"));
      try {
        const bench = Bun.spawn(
          [process.execPath, "run", "bench", name, "--quick", "--no-pin", "--out", out],
          {
            cwd: root,
            env: { ...process.env, ...forLoad },
            stdout: "pipe",
            stderr: "pipe",
          },
        );
        const errors = await new Response(bench.stderr).text();
        expect(await bench.exited, errors).toBe(0);

        const { benchmark, peers, results } = await Bun.file(join(out, `${name}.json`)).json();
        expect(benchmark).toBe(name);
        expect(peers.map(({ key }: { key: string }) => key)).toEqual([...expectedPeers]);
        expect(results).toHaveLength(measured);
        for (const { figures } of results) {
          for (const [key, { median }] of Object.entries<{ median: number }>(figures)) {
            // A time or a CPU time may be too short to be measured; what it was measured on is not.
            // Of few connections, memory is less than what the server gives back meanwhile, and a member costs nothing.
            if (name === "presence" || key === "bytesPerConnection" || key === "bytesPerLine")
              expect(median).toBeFinite();
            else if (key.endsWith("PerSecond")) expect(median).toBeGreaterThan(0);
            else expect(median).toBeGreaterThanOrEqual(0);
          }
        }
        expect(await Bun.file(join(out, `${name}.svg`)).text()).toMatch(/^<svg .*<\/svg>\n$/s);
      } finally {
        rmSync(out, { recursive: true, force: true });
      }
    },
    120_000,
  );
}

test("without a name the benchmarks are listed", () => {
  const bench = Bun.spawnSync([process.execPath, "run", "bench"], { cwd: root });
  expect(bench.exitCode).toBe(0);
  expect(bench.stdout.toString()).toContain("echo");
});
