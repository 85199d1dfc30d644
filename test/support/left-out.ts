/** Runs before the tests of every process. A process that runs all files of a `bun test` tells at its end what was left out. */
import { afterAll } from "bun:test";
import { leftOut, missedHere } from "./tool.ts";

afterAll(() => {
  const missed = missedHere();
  if (missed.length > 0 && process.env.BUN_TEST_WORKER_ID === undefined)
    console.warn(leftOut("the tests that are counted as skipped", missed));
});
