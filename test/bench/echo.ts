/** The echo line beside a bare Bun server, ws on Node and the demo that Longwire began as. */
import { resolve } from "node:path";
import { aheadOf, atMostTimesControl } from "./aims.ts";
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
import { control, longwire, type Peer, type ReadyPeer, type RunningPeer } from "./peer.ts";
import { generatorNotes, runRounds } from "./rounds.ts";
import type { Measure, Row, Samples } from "./samples.ts";

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
  secondsDefault: 2.5,
  run,
};

async function run(options: RunOptions): Promise<Outcome> {
  const { quick, seconds } = options;
  const stage = await setStage(peers, options);
  const idle = idleConnections(quick ? 200 : 5000);
  const idleRow: Row = { key: "idle", heading: `${idle.toLocaleString("en-US")} idle connections` };
  const { samples, interference } = await runRounds(stage, options, {
    warmUp: (server) =>
      runEchoLoad(server, {
        connections,
        inFlight: 16,
        payloadBytes: 20,
        leadSeconds: 0,
        seconds: quick ? 0.1 : 1,
      }),
    measurements: [
      ...loads.map((load) => ({
        row: load,
        fresh: false,
        measure: (server: RunningPeer) =>
          runEchoLoad(server, { ...load, connections, leadSeconds: quick ? 0.05 : 0.4, seconds }),
      })),
      {
        row: idleRow,
        fresh: true,
        measure: (server) => measureIdleMemory(server, { path: "/ping" }, idle, quick ? 0.2 : 2),
      },
    ],
  });
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
      `Of interference: ${interference}.`,
      ...generatorNotes(samples, loads, stage.peers),
    ],
  };
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
