/**
 * Visits every state of two servers, two nodes and one topic, and says how many there are: `bun run model`, or with other sizes
 * `bun run model --messages 3 --faults 2`. With `--audit` it compares states that count as one.
 */
import { Command } from "commander";
import { audit } from "./audit.ts";
import { explore } from "./explore.ts";
import { coursesOf } from "./sizes.ts";

const command = new Command("model")
  .option("--messages <number>", "messages that are published", Number, 4)
  .option("--faults <number>", "faults that happen", Number, 3)
  .option("--audit", "compares what can follow after states that count as one", false)
  .parse();
const options = command.opts<{ messages: number; faults: number; audit: boolean }>();

for (const course of coursesOf(options.messages, options.faults)) {
  const begun = performance.now();
  const { words, broken } = options.audit ? audited(audit(course)) : explored(explore(course));
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${JSON.stringify(course.setting)}: ${words} in ${seconds} s`);
  if (!broken) continue;
  console.error(broken);
  process.exit(1);
}

interface Report {
  readonly words: string;
  readonly broken?: string | false | undefined;
}

function explored({ states, steps, broken }: ReturnType<typeof explore>): Report {
  return {
    words: `${states} states by ${steps} steps`,
    broken: broken && `${broken.words}: ${JSON.stringify(broken.trace)}`,
  };
}

function audited({ pairs, differing }: ReturnType<typeof audit>): Report {
  return {
    words: `${pairs} pairs of states compared`,
    broken:
      differing &&
      `not the same can follow after ${differing.map((trace) => JSON.stringify(trace)).join(" and ")}`,
  };
}
