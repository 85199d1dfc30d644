/** The total of unsent bytes: what connections were given counts until it is measured anew. */
import { expect, test } from "bun:test";
import type { Cutter } from "../../src/delivery/cutter.ts";
import { HeldBytes } from "../../src/delivery/held-bytes.ts";

test("bytes count in the turn that gives them, and afterwards only as far as connections still hold them", async () => {
  let unsentBytes = 0;
  const holders = { heldBytes: () => unsentBytes, holders: () => [] };
  const held = new HeldBytes(holders, 1000, {} as Cutter);
  held.add(900);
  expect(held.mayHold(500)).toBe(false);
  await new Promise(setImmediate);
  unsentBytes = 600;
  expect(held.mayHold(500)).toBe(false);
  unsentBytes = 0;
  expect(held.mayHold(500)).toBe(true);
});
