/** When a reader is cut: the rule alone. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Given, isTooSlow, mayHold } from "../../src/delivery/rule.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const limit = 2 * MiB;

const givenOf = (frames: readonly number[], limitBytes = limit): Given => {
  const given = new Given();
  for (const frame of frames) given.add(frame, limitBytes);
  return given;
};

const of = (count: number, bytes: number): number[] => Array<number>(count).fill(bytes);

describe("a reader is too slow", () => {
  for (const [what, frames, unsentBytes, expected] of [
    ["that was given nothing", [], 0, false],
    ["that holds the limit", of(40, 64 * KiB), limit, false],
    ["that holds the limit and the last message", of(40, 64 * KiB), limit + 64 * KiB, false],
    ["that holds more, the example of rule.ts", of(40, 64 * KiB), limit + 64 * KiB + 1, true],
    ["that holds a large message alone", [6 * MiB], 6 * MiB, false],
    ["that holds a large message and the limit", [6 * MiB, ...of(32, 64 * KiB)], 8 * MiB, false],
    ["that holds a large message and more", [6 * MiB, ...of(40, 64 * KiB)], 8.5 * MiB, true],
    [
      "that has taken the large message and holds more than the limit",
      [6 * MiB, ...of(40, 64 * KiB)],
      2.4 * MiB,
      true,
    ],
    ["that holds two large messages and no more than the last", [3 * MiB, 6 * MiB], 6 * MiB, false],
    [
      "that holds two large messages and more than the limit before the last",
      [3 * MiB, 6 * MiB],
      9 * MiB,
      true,
    ],
  ] as const) {
    test(`one ${what}: ${expected}`, () => {
      expect(isTooSlow(unsentBytes, givenOf(frames), limit)).toBe(expected);
    });
  }
});

const frames = fc.array(fc.integer({ min: 2, max: 3000 }), { minLength: 1, maxLength: 60 });

describe("whatever readers are given", () => {
  test("one that had caught up before the last message is not too slow", () => {
    fc.assert(
      fc.property(frames, (sizes) => {
        const given = givenOf(sizes, 1000);
        expect(isTooSlow(sizes.at(-1) ?? 0, given, 1000)).toBe(false);
      }),
      { seed: 20, numRuns: 500 },
    );
  });

  test("none holds more than the limit and two of the largest when it is given another", () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(4000)), (sizes, taken) => {
        const given = new Given();
        const largest = Math.max(...sizes);
        let unsent = 0;
        for (const [index, size] of sizes.entries()) {
          if (isTooSlow(unsent, given, 1000)) return;
          expect(unsent).toBeLessThanOrEqual(1000 + largest);
          given.add(size, 1000);
          unsent = Math.max(0, unsent + size - (taken[index] ?? 0));
        }
      }),
      { seed: 20, numRuns: 500 },
    );
  });

  test("one that holds less is not too slow where one that holds more is not, unless it holds no large message any more", () => {
    fc.assert(
      fc.property(frames, fc.nat(6000), fc.nat(6000), (sizes, one, other) => {
        const given = givenOf(sizes, 1000);
        const [less, more] = one < other ? [one, other] : [other, one];
        if (less <= given.afterLargeBytes && more > given.afterLargeBytes) return;
        if (!isTooSlow(more, given, 1000)) expect(isTooSlow(less, given, 1000)).toBe(false);
      }),
      { seed: 20, numRuns: 500 },
    );
  });
});

test("connections may hold the total, and not a byte more", () => {
  expect(mayHold(60, 40, 100)).toBe(true);
  expect(mayHold(60, 41, 100)).toBe(false);
});
