/** Topics on disk beside topics in memory, and beside a bare loop of appends with an fdatasync. */
import { tmpdir } from "node:os";
import { beginCompanion } from "../support/companion.ts";
import { atLeastTimes, atMostTimes, atMostTimesRow } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, type RunOptions, warmUpTimes } from "./benchmark.ts";
import type { Waits } from "./bystander.ts";
import { onDisk } from "./engines.ts";
import { type LoadFigures, loadMeasures } from "./load.ts";
import { control, longwire, longwireWith, type Peer, peerFile, type RunningPeer } from "./peer.ts";
import type { EngineFigures } from "./peers/disk-engine.ts";
import { runPublishLoad } from "./publish-load.ts";
import type { Measure, Row, Samples } from "./samples.ts";

const payloadBytes = 256;
const inMemory = "longwire-memory";
const engine = "longwire-engine";
const engineInMemory = "longwire-engine-memory";

const inProcess = (key: string, heading: string, kind: string): Peer => ({
  key,
  heading,
  prepare: () => ({
    command: [process.execPath, "run", peerFile("disk-engine.ts"), kind],
    version: `Bun ${Bun.version}`,
  }),
});

const peers: readonly Peer[] = [
  onDisk(longwire.key),
  longwireWith(inMemory, "longwire in memory", []),
  inProcess(engine, "engine on disk, in process", "disk"),
  inProcess(engineInMemory, "engine in memory, in process", "memory"),
  inProcess(control, "one write and one fdatasync a batch (control)", "bare"),
];

const { cpu, rate, median, p99 } = loadMeasures("publication", "publications");

/** Longer than the engine can put off what it must do in the end: to merge, to delete, to move its write-ahead log. */
const sustainedTimes = 30;

const rows = (
  [
    [64, 0.5],
    [1000, 0.15],
  ] as const
).map(([inFlight, aim]) => ({
  key: `in-process-${inFlight}`,
  heading: `in process, ${inFlight.toLocaleString("en-US")} in flight`,
  ...{ inFlight, aim },
}));
const posts = (
  [
    [16, 2],
    [64, 1.5],
  ] as const
).map(([connections, aim]) => ({
  key: `post-${connections}`,
  heading: `POST over ${connections} connections`,
  ...{ connections, aim },
}));
const echoConnections = 16;
const quietEcho: Row = { key: "echo-quiet", heading: "an echo, without publishing" };
const busyEcho: Row = { key: "echo-busy", heading: `an echo, while ${echoConnections} connections publish` };
const echoP99: Measure<keyof Waits> = { key: "p99Milliseconds", heading: "p99, ms", better: "less" };
const longestWait: Measure<keyof Waits> = {
  key: "longestWaitMilliseconds",
  heading: "longest wait, ms",
  better: "less",
};

/** Grows without end where merging and retention are slower than appending. */
const filesSize: Measure<keyof EngineFigures> = {
  key: "filesMebibytes",
  heading: "files at the end, MiB",
  better: "less",
};

export const disk: Benchmark = {
  name: "disk",
  description: "topics on disk beside topics in memory: rate, latency, and what an echo waits meanwhile",
  secondsDefault: 2,
  peers,
  plan: (options) => ({
    title: "Topics on disk",
    load: `Messages of ${payloadBytes} bytes; in process to 100 topics, by POST to 1,000 over kept-alive connections; in process a reader reads and retention keeps 1,000 messages of each topic; the directory is in ${tmpdir()}`,
    warmUp: (server, peer) =>
      isServer(peer)
        ? runPublishLoad(server, {
            connections: echoConnections,
            topics: topicsOf(options),
            payloadBytes,
            ...warmUpTimes(options),
          })
        : runInProcess(server, 64, warmUpTimes(options).seconds),
    measurements: [
      ...rows.map((row) => ({
        row,
        peers: [engine, engineInMemory, control],
        fresh: false,
        measure: (server: RunningPeer) =>
          runInProcess(server, row.inFlight, options.seconds * (options.quick ? 1 : sustainedTimes)),
      })),
      ...posts.map((row) => ({
        row,
        peers: [longwire.key, inMemory],
        fresh: false,
        measure: (server: RunningPeer) => publishTo(server, row.connections, options),
      })),
      ...[quietEcho, busyEcho].map((row) => ({
        row,
        peers: [longwire.key, inMemory],
        fresh: false,
        measure: (server: RunningPeer) => measureEcho(row, server, options),
      })),
    ],
    sections: [
      { rows, measures: [rate, median, p99, filesSize] },
      { rows: posts, measures: [cpu, rate, median, p99] },
      { rows: [quietEcho, busyEcho], measures: [echoP99, longestWait] },
    ],
    aims,
  }),
};

const topicsOf = ({ quick }: RunOptions): number => (quick ? 10 : 1000);

const isServer = (peer: string): boolean => peer === longwire.key || peer === inMemory;

async function runInProcess(
  { port }: RunningPeer,
  inFlight: number,
  seconds: number,
): Promise<EngineFigures> {
  const response = await fetch(`http://127.0.0.1:${port}/run?inFlight=${inFlight}&seconds=${seconds}`);
  return (await response.json()) as EngineFigures;
}

const publishTo = (server: RunningPeer, connections: number, options: RunOptions): Promise<LoadFigures> =>
  runPublishLoad(server, { connections, topics: topicsOf(options), payloadBytes, ...loadTimes(options) });

async function measureEcho(row: Row, server: RunningPeer, options: RunOptions): Promise<Waits> {
  const bystander = await beginCompanion<Waits>("test/bench/bystander.ts", [String(server.port)]);
  try {
    if (row === busyEcho) await publishTo(server, echoConnections, options);
    else await Bun.sleep(options.seconds * 1000);
  } catch (error) {
    await bystander.end();
    throw error;
  }
  return await bystander.end();
}

function aims(samples: Samples): Aim[] {
  return [
    ...posts.map((row) => atMostTimes(samples, row, cpu, longwire.key, inMemory, row.aim)),
    ...rows.map((row) => atLeastTimes(samples, row, rate, engine, control, row.aim)),
    atMostTimesRow(samples, busyEcho, quietEcho, echoP99, 2),
  ];
}
