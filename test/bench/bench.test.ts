import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { lacks } from "../support/tool.ts";

const root = resolve(import.meta.dir, "../..");

/** A quick run of the load ends before what JavaScriptCore optimizes for it saves the CPU time of optimizing it. */
const forLoad = { BUN_JSC_useDFGJIT: "0" };

async function bench(...args: string[]): Promise<string> {
  const { stdout, stderr, exited } = Bun.spawn([process.execPath, "run", "bench", ...args], {
    cwd: root,
    env: { ...process.env, ...forLoad },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, errors] = await Promise.all([new Response(stdout).text(), new Response(stderr).text()]);
  expect(await exited, errors).toBe(0);
  return text;
}

const out = mkdtempSync(join(tmpdir(), "longwire-bench-test-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));

describe("all of them, quickly", () => {
  beforeAll(async () => {
    await bench("quick", "--out", join(out, "quick"));
  }, 240_000);

  for (const [name, expectedPeers, measured] of [
    ["echo", ["longwire", "bun"], 2 * 5],
    ["fanout", ["longwire", "bun"], 2 * 14],
    ["open", ["longwire", "longwire-guarded", "bun"], 4 * 2 + 2 + 3 * 2],
    [
      "publish",
      [
        "longwire",
        "longwire-guarded",
        "longwire-keyed",
        "longwire-keyed-disk",
        "longwire-keyed-redis",
        "bun",
      ],
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
        const { benchmark, peers, results } = await Bun.file(join(out, "quick", `${name}.json`)).json();
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
        expect(await Bun.file(join(out, "quick", `${name}.svg`)).text()).toMatch(/^<svg .*<\/svg>\n$/s);
      },
    );
  }
});

test("one is run by its name, with the servers that are named", async () => {
  const text = await bench("start", "--quick", "--no-pin", "--peers", "bun", "--out", join(out, "start"));
  expect(text).toMatch(/Servers: bare Bun\.serve \(control\) \(Bun [0-9.]+\)\./);
});

test("without a name the benchmarks are listed", async () => {
  expect(await bench()).toContain("echo");
});
