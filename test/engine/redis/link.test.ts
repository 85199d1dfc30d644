/** How soon a node tries again to reach Redis. */
import { describe, expect, test } from "bun:test";
import { pauseMilliseconds } from "../../../src/engine/redis/link.ts";

/** The longest that an attempt can hang: a command that is unanswered ends its connection (link.ts). */
const hangingMilliseconds = 2500;

/** Every number of failures, 20 times each because of the jitter. */
const failures = Array.from({ length: 400 }, (_, index) => index % 20);

describe("a node that cannot reach Redis", () => {
  test("begins an attempt within 2.6 s after Redis answers again, whatever the attempts before were like", () => {
    // Redis may answer again just after an attempt began that hangs all the same.
    let longest = 0;
    for (let took = 0; took <= hangingMilliseconds; took += 10)
      for (const before of failures) longest = Math.max(longest, took + pauseMilliseconds(before, took));
    expect(longest).toBeLessThan(2600);
  });

  test("tries again soon after a connection that was in use, and more and more rarely where it is refused", () => {
    for (const before of failures) {
      const refused = pauseMilliseconds(before, 0);
      const most = Math.min(50 * 2 ** before, 2000);
      expect(refused).toBeLessThanOrEqual(most);
      expect(refused).toBeGreaterThanOrEqual(most / 2);
      const after = pauseMilliseconds(0, 3_600_000);
      expect(after).toBeLessThanOrEqual(50);
      expect(after).toBeGreaterThanOrEqual(25);
    }
  });
});
