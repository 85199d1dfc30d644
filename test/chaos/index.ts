/** `bun run chaos [--seed S] [--minutes N] [--lossless]`: see run.ts. The seed replays the same events. */
import { Command } from "commander";
import { runChaos } from "./run.ts";

const command = new Command("chaos")
  .option("--minutes <number>", "duration", Number, 1)
  .option("--seed <number>", "of the random choices", Number, Date.now() % 1_000_000_000)
  .option("--followers <number>", "of each of 3 topics in each of 4 forms", Number, 25)
  .option("--publishers <number>", "of each topic", Number, 2)
  .option("--lossless", "nodes wait for the replica, and a failover is said to be lossless", false)
  .parse();
const { minutes, seed, followers, publishers, lossless } = command.opts<{
  minutes: number;
  seed: number;
  followers: number;
  publishers: number;
  lossless: boolean;
}>();

const begun = performance.now();
const log = (line: string): void =>
  console.log(`${((performance.now() - begun) / 1000).toFixed(1).padStart(7)} s  ${line}`);
try {
  const options = { seed, seconds: minutes * 60, followers, publishers, isLossless: lossless, log };
  const tally = await runChaos(options);
  const { acknowledged, streams, takeovers, gaps, returns, refused, keyed, visits } = tally;
  console.log(
    `seed ${seed}: ${acknowledged} messages and ${keyed} changes of keys acknowledged, ${streams} streams, ${takeovers} takeovers, ${gaps} gaps told, ${returns} connections opened, ${visits} visits, ${refused} answers with 503`,
  );
  if (Object.values(tally).includes(0)) throw new Error("one of these is 0, so the run has shown nothing");
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.stack : error);
  const flags = `--seed ${seed} --minutes ${minutes} --followers ${followers} --publishers ${publishers}`;
  console.error(`again: bun run chaos ${flags}${lossless ? " --lossless" : ""}`);
  process.exit(1);
}
