/**
 * All loads at once for a long time: `bun run soak --minutes 30 [--seed 1] [--data] [--update-docs]`. Clients connect and
 * leave, every message is checked, and at the end the server must hold no more memory and descriptors than after the
 * warm-up. With `--data` topics are on disk, and the server is killed and started again after the first and the second tenth:
 * its followers must not notice more than a reconnect.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Command } from "commander";
import { machineWords, thisMachine } from "../bench/machine.ts";
import { Random } from "../support/random.ts";
import { type LogLine, type RunningServer, root, spawnServer } from "../support/server.ts";
import { bySocket, byStream, Follower, followRaw } from "./followers.ts";
import { beRefused, dropLines, echo, leaveTopics, readSlowly } from "./others.ts";
import { publishOverHttp, publishOverSocket } from "./publishers.ts";
import { report, updatePage, type Verdict, verdictOf } from "./report.ts";
import { type Sample, takeSample } from "./samples.ts";
import { apiKey, bearer, type Stage, serverFlags } from "./stage.ts";
import { Tally } from "./tally.ts";

const sampleSeconds = 5;

const command = new Command("soak")
  .option("--minutes <number>", "duration", Number, 30)
  .option("--seed <number>", "of the random choices", Number, Date.now() % 1_000_000_000)
  .option("--data", "keep topics on disk, and kill the server twice", false)
  .option("--update-docs", "write the result into docs/soak.md", false)
  .parse();
const { minutes, seed, data, updateDocs } = command.opts<{
  minutes: number;
  seed: number;
  data: boolean;
  updateDocs: boolean;
}>();

const directory = data ? mkdtempSync(join(tmpdir(), "longwire-soak-")) : undefined;
const flags = directory === undefined ? serverFlags : [...serverFlags, "--data", directory];
const tally = new Tally();
let server = await spawnServer(flags);
let ending = new AbortController();
const stage: Stage = {
  tally,
  random: new Random(seed),
  get server() {
    return server;
  },
  get stopping() {
    return ending.signal;
  },
};
console.log(`${minutes} minutes with seed ${seed} against process ${server.process.pid}`);

const topics = ["open/0", "open/1", "open/2", "open/3", "closed/0", "closed/1"];
const followers = topics.flatMap((topic) => [
  ...Array.from({ length: 5 }, () => new Follower(stage, bySocket, topic)),
  ...Array.from({ length: 3 }, () => new Follower(stage, byStream, topic)),
]);
const log: LogLine[] = [];
if (directory !== undefined) {
  for (const leg of [1, 2]) {
    await run((minutes * 60) / 10);
    server.process.kill("SIGKILL");
    await server.process.exited;
    log.push(...server.log());
    console.log(`killed after ${leg} of 10 parts, and started again`);
    server = await spawnServer(flags);
    ending = new AbortController();
    tally.restarts++;
  }
}
const samples = await run((minutes * 60 * (directory === undefined ? 10 : 8)) / 10);
for (const topic of topics) await catchUp(topic);
const left = await afterAll(server);
log.push(...server.log());
const verdict = verdictOf({ samples, left, tally, log });
const shown = directory === undefined ? serverFlags : [...serverFlags, "--data", "…"];
const text = report({
  minutes,
  seed,
  flags: shown,
  samples,
  left,
  tally,
  verdict,
  machine: machineWords(thisMachine()),
});
console.log(`\n${text}`);
if (updateDocs) updatePage(resolve(root, "docs/soak.md"), data ? "data" : "memory", text);
await server[Symbol.asyncDispose]();
if (directory !== undefined) rmSync(directory, { recursive: true });
process.exitCode = exitCodeOf(verdict);

/** All loads against the present server. */
async function run(seconds: number): Promise<Sample[]> {
  const load = [
    ...topics.map((topic, index) => (index % 2 ? publishOverSocket : publishOverHttp)(stage, topic)),
    ...followers.map((follower) => follower.run()),
    ...topics.filter((topic) => topic.startsWith("open/")).map((topic) => followRaw(stage, topic)),
    ...Array.from({ length: 8 }, () => echo(stage)),
    ...[readSlowly(stage), beRefused(stage), dropLines(stage), leaveTopics(stage)],
  ];
  const ended = Promise.all(load).then(
    () => undefined,
    (error) => tally.fault(`a part of the load ended: ${error}`),
  );
  const taken = await watch(seconds);
  ending.abort();
  await ended;
  return taken;
}

async function watch(seconds: number): Promise<Sample[]> {
  const begun = performance.now();
  const taken: Sample[] = [];
  for (;;) {
    await Bun.sleep(sampleSeconds * 1000);
    const elapsed = (performance.now() - begun) / 1000;
    const sample = await takeSample(server, elapsed);
    taken.push(sample);
    const mebibytes = (sample.residentBytes / 1024 ** 2).toFixed(1);
    console.log(
      `${elapsed.toFixed(0)} s: ${mebibytes} MiB, ${sample.descriptors} descriptors, ${sample.connections} connections, ` +
        `${sample.topics} topics, ${tally.received} received, ${tally.resumed} resumed, ${tally.gaps} gaps, ` +
        `${tally.slowReaders} slow readers, ${tally.faultCount} faults`,
    );
    if (elapsed >= seconds) return taken;
  }
}

/** After the last message every follower must be able to receive it. */
async function catchUp(topic: string): Promise<void> {
  const response = await fetch(new URL(`/topics/${topic}`, server.url), { headers: bearer(apiKey) });
  const { topics: states } = (await response.json()) as { topics: { position: string }[] };
  const position = states[0]?.position ?? "";
  await Promise.all(
    followers.filter((follower) => follower.topic === topic).map((one) => one.catchUp(position)),
  );
}

/** Taken after all clients have left, Bun has released their sockets and topics have expired. */
async function afterAll(running: RunningServer): Promise<Sample> {
  await Bun.sleep(20_000);
  return takeSample(running, 0);
}

function exitCodeOf({ failures }: Verdict): number {
  for (const failure of failures) console.error(failure);
  return failures.length > 0 ? 1 : 0;
}
