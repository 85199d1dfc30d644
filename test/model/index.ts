/**
 * Visits every state of two servers, two nodes and one topic, and says how many there are: `bun run model`, or with other sizes
 * `bun run model --messages 3 --faults 2`. With `--audit` it compares states that count as one. With `--without` it shows how a
 * promise is broken if a rule is left out: 3 messages and 2 faults, or 2 and 3, are enough for each.
 */
import { Command, Option } from "commander";
import { audit } from "./audit.ts";
import { explore } from "./explore.ts";
import { rules } from "./scripts.ts";
import { coursesOf } from "./sizes.ts";

const command = new Command("model")
  .option("--messages <number>", "messages that are published", Number, 4)
  .option("--faults <number>", "faults that happen", Number, 3)
  .addOption(new Option("--without <rule>", "leaves a rule out").choices(Object.keys(rules)))
  .option("--audit", "compares what can follow after states that count as one", false)
  .parse();
const { messages, faults, without, ...options } = command.opts<{
  messages: number;
  faults: number;
  without?: string;
  audit: boolean;
}>();

for (const whole of coursesOf(messages, faults)) {
  const course = without === undefined ? whole : { ...whole, rules: { ...rules, [without]: false } };
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
