/** Coming back is complete or says that it is not, whatever happens: thousands of seeded courses of events, without sockets. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { forEachSeed } from "../fuzz/fuzzer.ts";
import { emptyTally, runSchedule } from "../support/resume-schedule.ts";

setDefaultTimeout(120_000);

const schedules = 600;

test(`every client gets each message once and in order, or is told exactly what is gone, in ${schedules} schedules`, async () => {
  const tally = emptyTally();
  await forEachSeed(
    "resume",
    1,
    (seeds) => seeds === schedules,
    async (seed) => {
      await runSchedule(seed, tally);
      return 1;
    },
  );
  console.log(
    `    ${Object.entries(tally)
      .map(([what, count]) => `${count} ${what}`)
      .join(", ")}`,
  );
  // Schedules in which little happens would show nothing.
  for (const count of Object.values(tally)) expect(count).toBeGreaterThan(schedules / 20);
});
