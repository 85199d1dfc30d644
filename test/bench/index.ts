/** `bun run bench <name>`: Longwire beside other servers, in one run on one machine. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { type Benchmark, quickSeconds, type RunOptions } from "./benchmark.ts";
import { toSvg } from "./chart.ts";
import { cluster } from "./cluster.ts";
import { disk } from "./disk.ts";
import { echo } from "./echo.ts";
import { fanout } from "./fanout.ts";
import { thisMachine } from "./machine.ts";
import { openBenchmark } from "./open.ts";
import { findPart, rewritePart } from "./page-part.ts";
import { control, longwire, root } from "./peer.ts";
import { presence } from "./presence.ts";
import { publish } from "./publish.ts";
import { runRegions } from "./regions.ts";
import { type Run, toJson, toMarkdown } from "./report.ts";
import { runBenchmark } from "./rounds.ts";
import { start } from "./start.ts";
import { storm } from "./storm.ts";
import { stream } from "./stream.ts";

interface Flags {
  readonly rounds?: number;
  readonly seconds?: number;
  readonly peers?: string;
  readonly checkout?: string;
  readonly out?: string;
  readonly quick: boolean;
  readonly pin: boolean;
  readonly updateDocs: boolean;
}

const benchmarks: readonly Benchmark[] = [
  cluster,
  disk,
  echo,
  fanout,
  openBenchmark,
  presence,
  publish,
  start,
  storm,
  stream,
];
const docs = resolve(root, "docs");

const program = new Command("bun run bench").description("Measures Longwire beside other servers.");
for (const benchmark of benchmarks) {
  program
    .command(benchmark.name)
    .description(benchmark.description)
    .option("--rounds <number>", "number of measurements of each figure; the median is shown (5)", positive)
    .option("--seconds <number>", `of each measurement (${benchmark.secondsDefault})`, positive)
    .option("--peers <names>", "which servers, by commas (all; with --quick only longwire and the control)")
    .option("--checkout <directory>", "another checkout of Longwire, measured in the same rounds")
    .option("--out <directory>", "for the JSON and the chart (docs/benchmarks; with --quick a temporary one)")
    .option("--quick", "only shows that everything works; the figures mean nothing", false)
    .option("--no-pin", "lets the kernel place the processes on the cores")
    .option("--update-docs", "writes the tables into docs/benchmarks.md", false)
    .action((flags: Flags) => run(benchmark, flags));
}
program
  .command("quick")
  .description("each of these with --quick, without other servers")
  .option("--out <directory>", "for the JSON and the charts (temporary ones)")
  .action(async (flags: Pick<Flags, "out">) => {
    for (const benchmark of benchmarks)
      await run(benchmark, { ...flags, quick: true, pin: false, updateDocs: false });
  });
program
  .command("regions")
  .description("clients far from Redis, with a node near them and without: connect, echo, resume and push")
  .option("--quick", "only shows that everything works; the figures mean nothing", false)
  .option("--update-docs", "writes the table into docs/regions.md", false)
  .action(runRegions);
if (process.argv.length > 2) {
  await program.parseAsync();
  process.exit(); // Ends the peers that are left.
}
program.outputHelp();

async function run(benchmark: Benchmark, flags: Flags): Promise<void> {
  const options: RunOptions = {
    rounds: flags.rounds ?? (flags.quick ? 1 : 5),
    seconds: flags.seconds ?? (flags.quick ? quickSeconds : benchmark.secondsDefault),
    quick: flags.quick,
    pin: flags.pin,
    ...(flags.checkout === undefined ? {} : { checkout: flags.checkout }),
    ...(flags.peers === undefined ? {} : { peers: flags.peers.split(",") }),
    ...(flags.peers === undefined && flags.quick ? { peers: ownPeers(benchmark) } : {}),
  };
  const page = join(docs, "benchmarks.md");
  if (flags.updateDocs) findPart(page, benchmark.name); // Fails before minutes are spent on a result that cannot be written.
  const startedAt = new Date().toISOString();
  const begin = performance.now();
  const outcome = await runBenchmark(benchmark, options);
  const finished: Run = {
    benchmark: benchmark.name,
    startedAt,
    durationSeconds: Math.round((performance.now() - begin) / 1000),
    options,
    machine: thisMachine(),
    outcome,
  };
  const text = toMarkdown(finished);
  console.log(`${outcome.title}\n\n${text}\n`);
  const directory = outDirectory(flags);
  for (const [name, content] of [
    [`${benchmark.name}.json`, toJson(finished)],
    [`${benchmark.name}.svg`, toSvg(outcome)],
  ] as const) {
    const path = join(directory, name);
    writeFileSync(path, content);
    console.log(`written: ${relative(process.cwd(), path)}`);
  }
  if (!flags.updateDocs) return;
  const image = `![The first figure of each table, by server](benchmarks/${benchmark.name}.svg)`;
  rewritePart(page, benchmark.name, `${image}\n\n${text}`);
  console.log(`rewritten: ${relative(process.cwd(), page)}`);
}

/** The peers that need nothing but Bun. */
function ownPeers({ peers }: Benchmark): string[] {
  return peers.map(({ key }) => key).filter((key) => key.startsWith(longwire.key) || key === control);
}

function outDirectory({ out, quick }: Flags): string {
  if (out === undefined && quick) return mkdtempSync(join(tmpdir(), "longwire-bench-"));
  const directory = out === undefined ? join(docs, "benchmarks") : resolve(out);
  mkdirSync(directory, { recursive: true });
  return directory;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}
