/** Topics beside Bun's own, the hub of gorilla's chat example, and nginx with nchan. */
import { resolve } from "node:path";
import { atMostTimesControl, timesAheadOf } from "./aims.ts";
import { type Aim, type Benchmark, type Outcome, type RunOptions, setStage } from "./benchmark.ts";
import { type FanoutFigures, runFanoutLoad, topicPath } from "./fanout-load.ts";
import { goProgram } from "./go-program.ts";
import { idleConnections, type MemoryFigures, measureIdleMemory } from "./idle-memory.ts";
import { nchan } from "./nchan.ts";
import { control, longwire, type Peer, type ReadyPeer, type RunningPeer } from "./peer.ts";
import { type ResumeFigures, runResumeLoad } from "./resume-load.ts";
import { generatorNotes, runRounds } from "./rounds.ts";
import type { Measure, Row, Samples } from "./samples.ts";

const loads = [
  { payloadBytes: 128, size: "128 bytes" },
  { payloadBytes: 16 * 1024, size: "16 KiB" },
].flatMap(({ payloadBytes, size }) =>
  [1, 16].flatMap((inFlight) =>
    (["http", "socket"] as const).map((by) => ({
      payloadBytes,
      inFlight,
      by,
      key: `${payloadBytes}x${inFlight}-${by}`,
      heading: `${size}, ${inFlight} in flight, by ${by === "http" ? "HTTP" : "socket"}`,
    })),
  ),
);

const cpu: Measure<keyof FanoutFigures> = {
  key: "cpuMicrosecondsPerDelivery",
  heading: "server CPU, µs a delivery",
  better: "less",
};
const rate: Measure<keyof FanoutFigures> = {
  key: "deliveriesPerSecond",
  heading: "deliveries a second",
  better: "more",
};
const fanoutMeasures: readonly Measure<keyof FanoutFigures>[] = [
  cpu,
  rate,
  { key: "medianMilliseconds", heading: "p50 to all, ms", better: "less" },
  { key: "p99Milliseconds", heading: "p99 to all, ms", better: "less" },
];
const resumeMeasures: readonly Measure<keyof ResumeFigures>[] = [
  { key: "milliseconds", heading: "until all have all, ms", better: "less" },
  { key: "cpuMilliseconds", heading: "server CPU, ms", better: "less" },
  { key: "cpuMicrosecondsPerDelivery", heading: "server CPU, µs a message", better: "less" },
];
const memory: Measure<keyof MemoryFigures> = {
  key: "bytesPerConnection",
  heading: "memory, bytes a subscriber",
  better: "less",
};
const idleBytesMax = 3500;

const peers: readonly Peer[] = [
  longwire,
  {
    key: control,
    heading: "bare Bun.serve (control)",
    prepare: () => ({
      command: [process.execPath, "run", resolve(import.meta.dir, "peers/fanout-bun.ts")],
      version: `Bun ${Bun.version}`,
    }),
  },
  {
    key: "gorilla",
    heading: "gorilla hub",
    prepare: () => goProgram("gorilla-hub", ["github.com/gorilla/websocket"]),
  },
  { key: "nchan", heading: "nchan", prepare: nchan },
];

export const fanout: Benchmark = {
  name: "fanout",
  description: "/topics: CPU, rate and latency of deliveries, a crowd that resumes, memory of a subscriber",
  secondsDefault: 1.5,
  run,
};

async function run(options: RunOptions): Promise<Outcome> {
  const { quick, seconds } = options;
  const stage = await setStage(peers, options);
  const subscribers = quick ? 50 : 1000;
  const resumeLoad = { clients: subscribers, messages: 100, payloadBytes: 128 };
  const resumeRow: Row = {
    key: "resume",
    heading: `${subscribers.toLocaleString("en-US")} clients resume ${resumeLoad.messages} messages each`,
  };
  const idle = idleConnections(quick ? 200 : 5000);
  const idleRow: Row = { key: "idle", heading: `${idle.toLocaleString("en-US")} idle subscribers` };
  const { samples, interference } = await runRounds(stage, options, {
    warmUp: (server) =>
      runFanoutLoad(server, {
        subscribers: quick ? 10 : 200,
        inFlight: 16,
        payloadBytes: 128,
        by: "http",
        leadSeconds: 0,
        seconds: quick ? 0.1 : 1,
      }),
    measurements: [
      ...loads.map((load) => ({
        row: load,
        fresh: false,
        measure: (server: RunningPeer) =>
          runFanoutLoad(server, { ...load, subscribers, leadSeconds: quick ? 0.05 : 0.3, seconds }),
      })),
      {
        row: resumeRow,
        peers: [longwire.key],
        fresh: true,
        measure: (server) => runResumeLoad(server, resumeLoad),
      },
      {
        row: idleRow,
        fresh: true,
        measure: (server) => measureIdleMemory(server, { path: topicPath }, idle, quick ? 0.2 : 2),
      },
    ],
  });
  return {
    title: `Fan-out to ${subscribers.toLocaleString("en-US")} subscribers`,
    peers: stage.peers,
    missing: stage.missing,
    sections: [
      { rows: loads, measures: fanoutMeasures },
      { rows: [resumeRow], measures: resumeMeasures },
      { rows: [idleRow], measures: [memory] },
    ],
    samples,
    aims: aims(samples, stage.peers, idleRow),
    notes: [
      `Text messages of one topic to ${subscribers.toLocaleString("en-US")} raw WebSockets on loopback; ${stage.placement.words}.`,
      `Of interference: ${interference}.`,
      ...generatorNotes(samples, loads, stage.peers),
    ],
  };
}

function aims(samples: Samples, ready: readonly ReadyPeer[], idleRow: Row): Aim[] {
  const idleBytes = samples.median(idleRow.key, longwire.key, memory.key);
  return [
    ...loads.map((load) => atMostTimesControl(samples, load, cpu, 1.1)),
    ...ready
      .filter(({ key }) => key !== longwire.key && key !== control)
      .flatMap((peer) =>
        loads
          .filter(({ inFlight }) => inFlight === 16)
          .map((load) => timesAheadOf(samples, peer, load, rate, 10)),
      ),
    {
      aim: `${idleRow.heading}: at most ${idleBytesMax.toLocaleString("en-US")} bytes each`,
      met: idleBytes !== undefined && idleBytes <= idleBytesMax,
      found:
        idleBytes === undefined ? "not measured" : `${Math.round(idleBytes).toLocaleString("en-US")} bytes`,
    },
  ];
}
