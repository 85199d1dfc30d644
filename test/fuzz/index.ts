/**
 * All fuzzers: `bun run fuzz [name] [--minutes N | --seeds N] [--seed S]`. Each runs for this long or for so many seeds, and for
 * one at least. A failure names the command that repeats it.
 */
import { Command } from "commander";
import type { IsEnough } from "./fuzzer.ts";
import { fuzzers } from "./fuzzers.ts";

const command = new Command("fuzz")
  .argument("[name]", `one of ${fuzzers.map(({ name }) => name).join(", ")}; all if left out`)
  .option("--minutes <number>", "duration of each", Number, 1)
  .option("--seeds <number>", "how many, instead of a duration", Number)
  .option("--seed <number>", "the first seed, counted up from", Number, Date.now() % 1_000_000_000)
  .parse();
const {
  minutes,
  seeds: seedsWanted,
  seed,
} = command.opts<{ minutes: number; seeds?: number; seed: number }>();
const [wanted] = command.args;
const chosen = fuzzers.filter(({ name }) => wanted === undefined || name === wanted);
if (chosen.length === 0) command.error(`there is no fuzzer "${wanted}"`);

for (const fuzzer of chosen) {
  const end = performance.now() + minutes * 60_000;
  const isEnough: IsEnough = (seeds) =>
    seedsWanted === undefined ? performance.now() >= end : seeds >= seedsWanted;
  try {
    const { seeds, checked } = await fuzzer.run(seed, isEnough);
    console.log(`${fuzzer.name}: ${seeds} seeds from ${seed} on hold, ${checked} things checked`);
  } catch (error) {
    console.error(`${fuzzer.name}: ${error instanceof Error ? error.message : error}`);
    process.exit(1);
  }
}
process.exit(0); // Does not wait for sockets that are still closing.
