/** Runs before the tests of every process. A process that runs all files of a `bun test` tells at its end what was left out. */
import { afterAll } from "bun:test";
import { howToInstall, missedHere } from "./tool.ts";

afterAll(() => {
  const missed = missedHere();
  if (missed.length === 0 || process.env.BUN_TEST_WORKER_ID !== undefined) return;
  console.warn(
    `\nThe tests counted as skipped were left out, for want of ${missed.join(", ")}. ${howToInstall(missed)}`,
  );
});
