/** The echo line beside a bare Bun server, ws on Node and the demo that Longwire began as. */
import { resolve } from "node:path";
import { aheadOf, atMostTimesControl } from "./aims.ts";
import { Attempts } from "./attempts.ts";
import {
  type Aim,
  type Benchmark,
  type Outcome,
  type RunOptions,
  type Section,
  setStage,
} from "./benchmark.ts";
import { type EchoFigures, runEchoLoad } from "./echo-load.ts";
import { goProgram } from "./go-program.ts";
import { idleConnections, type MemoryFigures, measureIdleMemory } from "./idle-memory.ts";
import { control, longwire, type Peer, type ReadyPeer, type RunningPeer, startPeer } from "./peer.ts";
import { Progress } from "./progress.ts";
import { type Measure, type Row, rotated, Samples } from "./samples.ts";

const connections = 64;
const loads = [
  { inFlight: 1, payloadBytes: 20, size: "20 bytes" },
  { inFlight: 16, payloadBytes: 20, size: "20 bytes" },
  { inFlight: 1, payloadBytes: 16 * 1024, size: "16 KiB" },
  { inFlight: 16, payloadBytes: 16 * 1024, size: "16 KiB" },
].map((load) => ({
  ...load,
  key: `${load.payloadBytes}x${load.inFlight}`,
  heading: `${load.size}, ${load.inFlight} in flight`,
}));

const cpu: Measure<keyof EchoFigures> = {
  key: "cpuMicrosecondsPerMessage",
  heading: "server CPU, µs a message",
  better: "less",
};
const echoMeasures: readonly Measure<keyof EchoFigures>[] = [
  cpu,
  { key: "messagesPerSecond", heading: "messages a second", better: "more" },
  { key: "medianMilliseconds", heading: "p50, ms", better: "less" },
  { key: "p99Milliseconds", heading: "p99, ms", better: "less" },
];
const memory: Measure<keyof MemoryFigures> = {
  key: "bytesPerConnection",
  heading: "memory, bytes a connection",
  better: "less",
};

const peersHere = resolve(import.meta.dir, "peers");
const peers: readonly Peer[] = [
  longwire,
  {
    key: control,
    heading: "bare Bun.serve (control)",
    prepare: () => ({
      command: [process.execPath, "run", resolve(peersHere, "echo-bun.ts")],
      version: `Bun ${Bun.version}`,
    }),
  },
  {
    key: "ws",
    heading: "ws on Node",
    prepare: async () => {
      if (Bun.which("node") === null) return { missing: "Node is not installed" };
      const { version } = await Bun.file(Bun.resolveSync("ws/package.json", import.meta.dir)).json();
      const node = Bun.spawnSync(["node", "--version"]).stdout.toString().trim();
      return { command: ["node", resolve(peersHere, "echo-ws.mjs")], version: `ws ${version}, Node ${node}` };
    },
  },
  {
    key: "gin",
    heading: "gin + gorilla",
    prepare: () => goProgram("gin-gorilla", ["github.com/gin-gonic/gin", "github.com/gorilla/websocket"]),
  },
];

export const echo: Benchmark = {
  name: "echo",
  description: "/ping: CPU, rate and latency of an echo, and memory of an idle connection",
  run,
};

async function run(options: RunOptions): Promise<Outcome> {
  const stage = await setStage(peers, options);
  const samples = new Samples();
  const idle = idleConnections(options.quick ? 200 : 5000);
  const idleRow: Row = { key: "idle", heading: `${idle.toLocaleString("en-US")} idle connections` };
  const perRound = stage.peers.length * (loads.length + 2);
  const progress = new Progress(options.rounds * perRound);
  const attempts = new Attempts(options.quick ? 0 : Math.ceil((options.rounds * perRound) / 5));

  for (let round = 0; round < options.rounds; round++) {
    const words = `round ${round + 1} of ${options.rounds}`;
    await using servers = new AsyncDisposableStack();
    const running = new Map<ReadyPeer, RunningPeer>();
    for (const peer of stage.peers) {
      progress.next(`${words}: ${peer.heading} starts`);
      const server = servers.use(await startPeer(peer, stage.placement.serverPrefix));
      running.set(peer, server);
      await warmUp(server, options);
    }
    for (const [turn, load] of loads.entries()) {
      for (const peer of rotated(stage.peers, round + turn)) {
        progress.next(`${words}: ${load.heading}, ${peer.heading}`);
        const server = running.get(peer);
        if (!server) throw new Error(`${peer.heading} is not running`);
        const figures = await attempts.best(server.pid, () =>
          runEchoLoad(server, {
            ...load,
            connections,
            leadSeconds: leadSeconds(options),
            seconds: options.seconds,
          }),
        );
        samples.add(round, load.key, peer.key, figures);
      }
    }
    await servers.disposeAsync();
    for (const peer of rotated(stage.peers, round)) {
      progress.next(`${words}: ${idleRow.heading}, ${peer.heading}`);
      await using server = await startPeer(peer, stage.placement.serverPrefix);
      samples.add(
        round,
        idleRow.key,
        peer.key,
        await measureIdleMemory(server, { path: "/ping" }, idle, options.quick ? 0.2 : 2),
      );
    }
  }
  progress.end();

  const sections: readonly Section[] = [
    { rows: loads, measures: echoMeasures },
    { rows: [idleRow], measures: [memory] },
  ];
  return {
    title: `Echo over ${connections} connections`,
    peers: stage.peers,
    missing: stage.missing,
    sections,
    samples,
    aims: aims(samples, stage.peers, sections, idleRow),
    notes: [
      `Text messages over ${connections} connections on loopback; ${stage.placement.words}.`,
      `Of interference: ${attempts.words}.`,
      ...generatorNotes(samples, stage.peers),
    ],
  };
}

/** The machine code for a hot function is made while it runs. */
async function warmUp(server: RunningPeer, { quick }: RunOptions): Promise<void> {
  const seconds = quick ? 0.1 : 1;
  await runEchoLoad(server, { connections, inFlight: 16, payloadBytes: 20, leadSeconds: 0, seconds });
}

function leadSeconds({ quick }: RunOptions): number {
  return quick ? 0.05 : 0.4;
}

function aims(
  samples: Samples,
  ready: readonly ReadyPeer[],
  sections: readonly Section[],
  idleRow: Row,
): Aim[] {
  // A server that answers a few connections and lets the others wait has a low median, so it is shown and not compared.
  const compared = sections.map(({ rows, measures }) => ({
    rows,
    measures: measures.filter(({ key }) => key !== "medianMilliseconds"),
  }));
  return [
    ...loads.map((load) => atMostTimesControl(samples, load, cpu, load.inFlight === 1 ? 1.05 : 1.15)),
    atMostTimesControl(samples, idleRow, memory, 1.3),
    ...ready
      .filter(({ key }) => key !== longwire.key && key !== control)
      .map((peer) => aheadOf(samples, peer, compared)),
  ];
}

/** A rate that the load generator sets says nothing of the server. */
function generatorNotes(samples: Samples, ready: readonly ReadyPeer[]): string[] {
  const full = loads.flatMap((load) => {
    const found = ready.filter(({ key }) => (samples.median(load.key, key, "generatorShare") ?? 0) > 0.95);
    return found.length === 0 ? [] : [`${load.heading} (${found.map(({ heading }) => heading).join(", ")})`];
  });
  return full.length === 0
    ? []
    : [
        `The load generator's core was full, so the rate is its own and not the server's, in: ${full.join("; ")}.`,
      ];
}
