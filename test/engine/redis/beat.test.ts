/** What a node concludes from its own beats. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { Beat } from "../../../src/engine/redis/beat.ts";

setDefaultTimeout(120_000);

/** @returns a beat, and how often it said that announcements may have been lost */
function listening(): { readonly beat: Beat; readonly missed: () => number } {
  let missed = 0;
  return { beat: new Beat(() => void missed++), missed: () => missed };
}

test("a replica that was filled anew between two beats has lost announcements", () => {
  const { beat, missed } = listening();
  beat.sent(1);
  beat.announced("1 4");
  expect(beat.isFresh).toBe(true);
  beat.sent(2);
  beat.announced("2 5");
  expect(missed()).toBe(1);
  beat.sent(3);
  beat.announced("3 5");
  expect(missed()).toBe(1);
});

test("a beat that is skipped shows lost announcements, and one of an earlier connection shows nothing", () => {
  const { beat, missed } = listening();
  beat.sent(1);
  beat.sent(2);
  beat.announced("2 0");
  expect(missed()).toBe(1);
  beat.announced("1 0");
  beat.announced("99 0");
  expect(missed()).toBe(1);
  beat.restart();
  expect(beat.isFresh).toBe(false);
});

test("three beats without an announcement are late, and one that was refused is none", () => {
  const { beat } = listening();
  for (const number of [1, 2, 3]) beat.sent(number);
  expect(beat.isLate).toBe(true);
  beat.unsent(2);
  expect(beat.isLate).toBe(false);
});

test("beats are in time while each is announced before the next is sent", () => {
  const { beat } = listening();
  for (const number of [1, 2, 3]) {
    beat.sent(number);
    beat.announced(`${number} 0`);
  }
  expect(beat.inTime).toBe(3);
  beat.sent(4);
  beat.sent(5);
  beat.announced("4 0");
  beat.sent(6);
  expect(beat.inTime).toBe(0);
});
