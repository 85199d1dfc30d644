/** `bun run presence [troubles | deploy] [--seed S] [--runs N] [--people N] [--stopped seconds]`: see scene.ts. */
import { Argument, Command } from "commander";
import { runDeploy, runTroubles } from "./scene.ts";

const command = new Command("presence")
  .addArgument(new Argument("[scene]").choices(["troubles", "deploy"]).default("troubles"))
  .option("--seed <number>", "of the first run", Number, Date.now() % 1_000_000_000)
  .option("--runs <number>", "each with the next seed", Number, 1)
  .option("--people <number>", "with 1 to 3 lines each", Number, 300)
  .option("--stopped <seconds>", "that a node stands still", Number, 60)
  .parse();
const [scene = ""] = command.processedArgs as string[];
const { seed, runs, people, stopped } = command.opts<{
  seed: number;
  runs: number;
  people: number;
  stopped: number;
}>();

for (let run = 0; run < runs; run++) {
  const own = seed + run;
  const log = (line: string): void => console.log(`  ${line}`);
  const options = { seed: own, people, nodes: 3, log, stoppedSeconds: stopped, flapPauseMilliseconds: 40 };
  try {
    const { lines, connections, leaves } = await (scene === "deploy" ? runDeploy : runTroubles)(options);
    console.log(`seed ${own}: ${lines} lines, ${connections} connections of the reader, ${leaves} leaves`);
    if (lines <= people || connections < 2)
      throw new Error("nothing came back, so the run has shown nothing");
    if (scene === "deploy" && leaves > 0) throw new Error("a deploy is no leaving");
  } catch (error) {
    console.error(error instanceof Error ? error.stack : error);
    console.error(`again: bun run presence ${scene} --seed ${own} --people ${people} --stopped ${stopped}`);
    process.exit(1);
  }
}
process.exit(0);
