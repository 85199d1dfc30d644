/**
 * All loads at once for a long time: `bun run soak --minutes 30 [--seed 1] [--update-docs]`. Clients connect and leave,
 * every message is checked, and at the end the server must hold no more memory and descriptors than after the warm-up.
 */
import { resolve } from "node:path";
import { Command } from "commander";
import { machineWords, thisMachine } from "../bench/machine.ts";
import { Random } from "../support/random.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
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
  .option("--update-docs", "write the result into docs/soak.md", false)
  .parse();
const { minutes, seed, updateDocs } = command.opts<{ minutes: number; seed: number; updateDocs: boolean }>();

await using server = await spawnServer(serverFlags);
const tally = new Tally();
const ending = new AbortController();
const stage: Stage = { server, tally, random: new Random(seed), stopping: ending.signal };
console.log(`${minutes} minutes with seed ${seed} against process ${server.process.pid}`);

const topics = ["open/0", "open/1", "open/2", "open/3", "closed/0", "closed/1"];
const followers = topics.flatMap((topic) => [
  ...Array.from({ length: 5 }, () => new Follower(stage, bySocket, topic)),
  ...Array.from({ length: 3 }, () => new Follower(stage, byStream, topic)),
]);
const load = [
  ...topics.map((topic, index) => (index % 2 ? publishOverSocket : publishOverHttp)(stage, topic)),
  ...followers.map((follower) => follower.run()),
  ...topics.filter((topic) => topic.startsWith("open/")).map((topic) => followRaw(stage, topic)),
  ...Array.from({ length: 8 }, () => echo(stage)),
  ...[readSlowly(stage), beRefused(stage), dropLines(stage), leaveTopics(stage)],
];
const ended = Promise.all(load);
const failed = ended.then(
  () => undefined,
  (error) => tally.fault(`a part of the load ended: ${error}`),
);
const samples = await watch(minutes * 60);
ending.abort();
await failed;
for (const topic of topics) await catchUp(topic);
const left = await afterAll(server);
const verdict = verdictOf({ samples, left, tally, log: server.log() });
const text = report({ minutes, seed, samples, left, tally, verdict, machine: machineWords(thisMachine()) });
console.log(`\n${text}`);
if (updateDocs) updatePage(resolve(root, "docs/soak.md"), text);
process.exitCode = exitCodeOf(verdict);

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
