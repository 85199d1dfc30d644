/** Coming back is complete or says that it is not, whatever happens: thousands of seeded courses of events, without sockets. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { emptyTally, runSchedule } from "./support/resume-schedule.ts";

setDefaultTimeout(60_000);

const given = process.env.LONGWIRE_SEED;
const schedules = given === undefined ? 2000 : 1;
const firstSeed = given === undefined ? Date.now() % 1_000_000_000 : Number(given);

test(`every client gets each message once and in order, or is told exactly what is gone, in ${schedules} schedules`, async () => {
  const tally = emptyTally();
  for (let seed = firstSeed; seed < firstSeed + schedules; seed++) {
    try {
      await runSchedule(seed, tally);
    } catch (error) {
      throw new Error(`replay it with: LONGWIRE_SEED=${seed} bun test test/resume.property.test.ts`, {
        cause: error,
      });
    }
  }
  console.log(
    `    ${Object.entries(tally)
      .map(([what, count]) => `${count} ${what}`)
      .join(", ")}`,
  );
  if (schedules === 1) return;
  // Schedules in which little happens would show nothing.
  for (const count of Object.values(tally)) expect(count).toBeGreaterThan(schedules / 20);
});
