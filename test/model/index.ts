/**
 * Visits every state of two servers, two nodes and one topic, and says how many there are: `bun run model`, or with other sizes
 * `bun run model --messages 3 --faults 2`. With `--audit` it compares states that count as one. With `--without` it shows how a
 * promise is broken if a rule is left out: 3 messages and 2 faults, or 2 and 3, are enough for each.
 */
import { Command, Option } from "commander";
import type { Course } from "./actions.ts";
import { audit } from "./audit.ts";
import { explore } from "./explore.ts";
import { rules } from "./scripts.ts";
import { settings } from "./sizes.ts";

const names = Object.keys(settings) as (keyof typeof settings)[];
const command = new Command("model")
  .option("--messages <number>", "messages that are published", Number, 4)
  .option("--faults <number>", "faults that happen", Number, 3)
  .addOption(new Option("--without <rule>", "leaves a rule out").choices(Object.keys(rules)))
  .addOption(new Option("--setting <name>", "one of them; all, each in a process of its own").choices(names))
  .option("--audit", "compares what can follow after states that count as one", false)
  .parse();
const options = command.opts<{
  messages: number;
  faults: number;
  without?: string;
  setting?: keyof typeof settings;
  audit: boolean;
}>();
if (options.setting) show(options.setting, options);
else process.exitCode = Math.max(...(await Promise.all(names.map(exitCodeOf))));

/** Explores one setting in a process of its own. */
async function exitCodeOf(name: string): Promise<number> {
  const again = [process.execPath, import.meta.path, ...process.argv.slice(2), "--setting", name];
  return await Bun.spawn(again, { stdio: ["ignore", "inherit", "inherit"] }).exited;
}

function show(
  name: keyof typeof settings,
  { messages, faults, without, audit: isAudit }: typeof options,
): void {
  const course: Course = {
    rules: without === undefined ? rules : { ...rules, [without]: false },
    ...{ setting: settings[name], messagesMax: messages, faultsMax: faults, isFine: false },
  };
  const begun = performance.now();
  const { words, broken } = isAudit ? audited(audit(course)) : explored(explore(course));
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  console.log(`${name}: ${words} in ${seconds} s`);
  if (!broken) return;
  console.error(`${name}: ${broken}`);
  process.exitCode = 1;
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
