/** When a commit waits for those who were just answered, by numbers alone. */
import { describe, expect, test } from "bun:test";
import { Gathering } from "../../../src/engine/disk/gathering.ts";

const commit = { answered: 10, waiting: 0, milliseconds: 0.5 };

/** Commits after which all of those who were answered come back. @returns whether each waited */
const worthIt = (gathering: Gathering, commits: number): boolean[] =>
  Array.from({ length: commits }, (_, now) => {
    gathering.begin(commit, now);
    return gathering.isGoingOn(0, now);
  });

/** Commits of two, during which three come, and after which nobody comes back. @returns whether each waited */
const inVain = (gathering: Gathering, commits: number): boolean[] =>
  Array.from({ length: commits }, (_, now) => {
    gathering.begin({ answered: 2, waiting: 3, milliseconds: 0.5 }, now);
    return gathering.isGoingOn(3, now);
  });

const count = (waits: readonly boolean[]): number => waits.filter(Boolean).length;

describe("a commit", () => {
  test("waits until four of five of those who were answered are back, beside those who waited", () => {
    const gathering = new Gathering();
    gathering.begin({ ...commit, waiting: 6 }, 0);
    expect(gathering.isGoingOn(13, 0.1)).toBe(true);
    expect(gathering.isGoingOn(14, 0.1)).toBe(false);
  });

  test("waits for two that take turns", () => {
    const gathering = new Gathering();
    gathering.begin({ answered: 1, waiting: 1, milliseconds: 0.5 }, 0);
    expect(gathering.isGoingOn(1, 0.1)).toBe(true);
    expect(gathering.isGoingOn(2, 0.1)).toBe(false);
  });

  test("does not wait for others of a client that is alone", () => {
    const gathering = new Gathering();
    for (let now = 0; now < 10; now++) {
      gathering.begin({ ...commit, answered: 1 }, now);
      expect(gathering.isGoingOn(1, now)).toBe(false);
    }
  });

  test("waits for no longer than the last one took", () => {
    const gathering = new Gathering();
    gathering.begin({ ...commit, milliseconds: 0.25 }, 100);
    expect(gathering.isGoingOn(1, 100.2)).toBe(true);
    expect(gathering.isGoingOn(1, 100.25)).toBe(false);
  });

  test("waits for no longer than 1 ms after one that took longer", () => {
    const gathering = new Gathering();
    gathering.begin({ ...commit, milliseconds: 7 }, 100);
    expect(gathering.isGoingOn(1, 100.9)).toBe(true);
    expect(gathering.isGoingOn(1, 101)).toBe(false);
  });

  test("does not wait before any other", () => {
    expect(new Gathering().isGoingOn(1, 0)).toBe(false);
  });
});

describe("waits", () => {
  test("go on with each commit while they are worth it", () => {
    expect(count(worthIt(new Gathering(), 1000))).toBe(1000);
  });

  test("skip one commit after one that was in vain, then 4, then 16", () => {
    const skipping = (commits: number) => Array<boolean>(commits).fill(false);
    const expected = [true, ...skipping(1), true, ...skipping(4), true, ...skipping(16), true];
    expect(inVain(new Gathering(), expected.length)).toEqual(expected);
  });

  test("that stay in vain are one of 1,025 commits", () => {
    const gathering = new Gathering();
    inVain(gathering, 2000);
    expect(count(inVain(gathering, 10 * 1025))).toBe(10);
  });

  test("come back after at most 1,024 commits, once they are worth it again", () => {
    const gathering = new Gathering();
    inVain(gathering, 5000);
    expect(worthIt(gathering, 1100).slice(1025)).not.toContain(false);
  });
});

test("among clients that come at random, of whom enough come in time after every second commit, one commit of 20 waits at most", () => {
  const gathering = new Gathering();
  let waits = 0;
  let seed = 1;
  for (let round = 0; round < 10_000; round++) {
    seed = (seed * 48_271) % 2_147_483_647;
    const came = gathering.isGoingOn(5, round) && seed % 2 === 0 ? 9 : 5; // 5 wait, and 4 of 5 are 4 more.
    gathering.begin({ ...commit, answered: came, waiting: 5 }, round + 1);
    if (gathering.isGoingOn(5, round + 1)) waits++;
  }
  expect(waits).toBeLessThan(500);
});
