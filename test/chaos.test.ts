/** The chaos of `bun run chaos` for some seconds, and that its checker finds fault where there is one. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Checker } from "./chaos/checker.ts";
import { runChaos } from "./chaos/run.ts";
import { lacks } from "./support/tool.ts";

setDefaultTimeout(120_000);

for (const isLossless of [false, true])
  test.skipIf(lacks("redis-server"))(
    `a cluster${isLossless ? " with lossless failovers" : ""} keeps its promise while everything fails`,
    async () => {
      const happened: string[] = [];
      const options = { seed: 1, seconds: 10, followers: 2, publishers: 2, isLossless };
      const tally = await runChaos({ ...options, log: (line) => void happened.push(line) });
      console.log(`    ${happened.join(", ")}: ${JSON.stringify(tally)}`);
      expect(tally.acknowledged).toBeGreaterThan(50);
      expect(tally.returns).toBeGreaterThan(18); // More than one connection of each follower.
      const isLossyFor = isLossless ? /Redis is flushed/ : /Redis is (flushed|killed)/;
      if (happened.some((event) => isLossyFor.test(event))) expect(tally.gaps).toBeGreaterThan(0);
    },
  );

describe("the checker finds", () => {
  const finished = (run: (checker: Checker) => void): (() => void) => {
    const checker = new Checker();
    return () => {
      run(checker);
      checker.finish();
    };
  };

  test("an id that was given to two messages", () => {
    expect(
      finished((checker) => {
        checker.acknowledged("news", "k-1", "one");
        checker.received("news", "k-1", "other");
      }),
    ).toThrow('news k-1 was given to "one" and to "other"');
  });

  test("a message that came twice, or out of order, or of another past without a gap", () => {
    for (const [from, to] of [
      ["k-2", "k-2"],
      ["k-2", "k-1"],
      ["k-2", "p-3"],
    ] as const)
      expect(finished((checker) => checker.followed("news", from, to))).toThrow("without a gap");
  });

  test("an acknowledged message that was skipped, also if it was acknowledged later", () => {
    const skipping = (id: string) =>
      finished((checker) => {
        checker.followed("news", "k-1", "k-3");
        checker.acknowledged("news", id, "skipped");
      });
    expect(skipping("k-2")).toThrow("without a gap");
    expect(skipping("k-4")).not.toThrow();
  });

  test("a gap within an epoch, unless it follows a message that was not acknowledged", () => {
    const told = (id: string) =>
      finished((checker) => {
        checker.acknowledged("news", "k-1", "one");
        checker.gap("news", id, "k-2");
      });
    expect(told("k-1")).toThrow("nothing was lost");
    expect(told("k-3")).not.toThrow();
  });

  test("an epoch that began without a possible loss", () => {
    const begun = (losses: number) =>
      finished((checker) => {
        checker.losses = losses;
        checker.received("news", "k-1", "one");
        checker.gap("news", "k-1", "p-1");
      });
    expect(begun(0)).toThrow("2 epochs");
    expect(begun(1)).not.toThrow();
  });
});
