/**
 * Runs the tests for `bun run check`: `bun test` with the arguments of this program, in several processes, the slowest files
 * first (`--update-timings` measures which these are). The end of the run tells what was left out, how many tests that is, and
 * how to install what they need. On CI, leaving one out is a failure.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { compiledServer } from "./support/compiled.ts";
import { leftOut, missing } from "./support/tool.ts";

await compiledServer(); // Before several processes would do so at once.
const folder = await mkdtemp(join(tmpdir(), "longwire-run-"));
const report = join(folder, "junit.xml");
try {
  // Most tests wait for a server or a browser, so that two processors are busy only with more files than two.
  const order = ["--parallel=5", `--timings=${resolve(import.meta.dir, "timings.json")}`];
  const flags = [...order, "--reporter=junit", `--reporter-outfile=${report}`, ...process.argv.slice(2)];
  const running = Bun.spawn([process.execPath, "test", ...flags], {
    // Giving unused pages back to the kernel, and getting others, is up to half of the CPU time of a test with much garbage.
    env: { ...process.env, MIMALLOC_PURGE_DELAY: "-1" },
    stdio: ["ignore", "inherit", "inherit"],
  });
  process.exitCode = await running.exited;
  // Bun counts each hook of a skipped group as one more skipped test, without a name.
  const skipped = (await Bun.file(report).text()).match(/<testcase name="(?!\(unnamed\)")[^>]*>\s*<skipped/g);
  if (skipped) {
    console.log(leftOut(`${skipped.length} tests`, missing()));
    if (process.env.CI) process.exitCode ||= 1;
  }
} finally {
  await rm(folder, { recursive: true });
}
