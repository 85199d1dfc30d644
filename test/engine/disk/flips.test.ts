/** Bits of the data file that flipped. In every page, and again with other bits: `bun run fuzz flips --seeds 5`. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { flipBits } from "../../power/flips.ts";
import { seed } from "../../support/random.ts";

setDefaultTimeout(120_000);

test("a flipped bit is an error with a reason or has no effect, and never another message or one less", async () => {
  const { flips, refused } = await flipBits(seed, 500, 10);
  expect(flips).toBeGreaterThanOrEqual(10);
  expect(refused).toBeGreaterThan(0);
});
