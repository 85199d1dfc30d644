/** Schedules of test/topic/resume.property.test.ts for longer: `bun run test/fuzz/resume.ts --minutes 10 [--seed 1]`. */
import { Command } from "commander";
import { emptyTally, runSchedule } from "../support/resume-schedule.ts";

const command = new Command("resume")
  .requiredOption("--minutes <number>", "how long to go on", Number)
  .option("--seed <number>", "the first seed, counted up from", Number, Date.now() % 1_000_000_000)
  .parse();
const { minutes, seed: firstSeed } = command.opts<{ minutes: number; seed: number }>();

const tally = emptyTally();
const end = performance.now() + minutes * 60_000;
let seed = firstSeed;
for (; performance.now() < end; seed++) {
  try {
    await runSchedule(seed, tally);
  } catch (error) {
    console.error(error);
    console.error(`replay it with: bun run fuzz resume --seed ${seed} --minutes 0`);
    process.exit(1);
  }
}
console.log(`${seed - firstSeed} schedules from seed ${firstSeed} on hold:`, tally);
