/** What a node concludes from its own beats. */
import { expect, test } from "bun:test";
import { Beat } from "../src/engine/redis/beat.ts";
import { until } from "./support/wait.ts";

interface Beating extends AsyncDisposable {
  readonly beat: Beat;
  /** The numbers of the beats so far. */
  readonly sent: readonly number[];
  readonly missed: () => number;
}

function beating(): Beating {
  const sent: number[] = [];
  let missed = 0;
  const beat = new Beat({
    send: async (number) => void sent.push(number),
    missed: () => void missed++,
    deaf: () => undefined,
  });
  beat.start();
  return { beat, sent, missed: () => missed, [Symbol.asyncDispose]: async () => beat.stop() };
}

test("a replica that was filled anew between two beats has lost announcements", async () => {
  await using beats = beating();
  beats.beat.announced("1 4");
  expect(beats.beat.isFresh).toBe(true);
  await until(() => beats.sent.length === 2, "the second beat");
  beats.beat.announced("2 5");
  expect(beats.missed()).toBe(1);
  await until(() => beats.sent.length === 3, "the third beat");
  beats.beat.announced("3 5");
  expect(beats.missed()).toBe(1);
});

test("a beat that is skipped shows lost announcements, and one of an earlier connection shows nothing", async () => {
  await using beats = beating();
  await until(() => beats.sent.length === 2, "the second beat");
  beats.beat.announced("2 0");
  expect(beats.missed()).toBe(1);
  beats.beat.announced("1 0");
  beats.beat.announced("99 0");
  expect(beats.missed()).toBe(1);
  beats.beat.stop();
  expect(beats.beat.isFresh).toBe(false);
});
