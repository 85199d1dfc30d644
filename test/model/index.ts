/** Visits every state of the small sizes and says how many there are: `bun run model [--messages 4] [--faults 3]`. */
import { Command } from "commander";
import { explore } from "./explore.ts";
import { coursesOf } from "./sizes.ts";

const command = new Command("model")
  .option("--messages <number>", "messages that are published", Number, 4)
  .option("--faults <number>", "faults that happen", Number, 3)
  .parse();
const { messages, faults } = command.opts<{ messages: number; faults: number }>();

for (const course of coursesOf(messages, faults)) {
  const begun = performance.now();
  const { states, steps, broken } = explore(course);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${JSON.stringify(course.setting)}: ${states} states by ${steps} steps in ${seconds} s`);
  if (!broken) continue;
  console.error(`${broken.words}: ${JSON.stringify(broken.trace)}`);
  process.exit(1);
}
