/** Visits every state of the small sizes and says how many there are: `bun run model`, or `bun run model --messages 3 --faults 3`. */
import { Command } from "commander";
import { explore } from "./explore.ts";
import { coursesOf, wholeCourses } from "./sizes.ts";

const command = new Command("model")
  .option("--messages <number>", "messages that are published, if other sizes are wanted", Number)
  .option("--faults <number>", "faults that happen, the same", Number)
  .parse();
const { messages, faults } = command.opts<{ messages?: number; faults?: number }>();
const courses =
  messages === undefined && faults === undefined ? wholeCourses : coursesOf(messages ?? 4, faults ?? 3);

for (const course of courses) {
  const begun = performance.now();
  const { states, steps, broken } = explore(course);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const { setting, messagesMax, faultsMax } = course;
  console.log(
    `${JSON.stringify(setting)}, ${messagesMax} messages, ${faultsMax} faults: ${states} states by ${steps} steps in ${seconds} s`,
  );
  if (!broken) continue;
  console.error(`${broken.words}: ${JSON.stringify(broken.trace)}`);
  process.exit(1);
}
