/** Topics in Redis: what it takes from one node to another, beside PUBLISH and SUBSCRIBE by the same client. */
import { atLeastTimes, atMost, atMostTimesControl } from "./aims.ts";
import { type Benchmark, warmUpTimes } from "./benchmark.ts";
import { loadMeasures } from "./load.ts";
import { control, longwire, type Peer, peerFile, type RunningPeer } from "./peer.ts";
import type { RedisFigures } from "./peers/redis-engine.ts";
import type { Measure, Row } from "./samples.ts";

const inProcess = (key: string, heading: string, kind: string): Peer => ({
  key,
  heading,
  prepare: () =>
    Bun.which("redis-server") === null
      ? { missing: "there is no redis-server" }
      : {
          command: [process.execPath, "run", peerFile("redis-engine.ts"), kind],
          version: `Bun ${Bun.version}`,
        },
});

const { rate, median, p99 } = loadMeasures("publication", "publications");
const nodesCpu: Measure<keyof RedisFigures> = {
  key: "nodesMicroseconds",
  heading: "CPU of both nodes, µs",
  better: "less",
};
const redisCpu: Measure<keyof RedisFigures> = {
  key: "redisMicroseconds",
  heading: "CPU of Redis, µs",
  better: "less",
};

const rows: readonly (Row & { readonly inFlight: number })[] = [1, 64].map((inFlight) => ({
  key: `in-flight-${inFlight}`,
  heading: `node to node, ${inFlight} in flight`,
  inFlight,
}));
const [one, sixtyFour] = rows;
const topicRow: Row = { key: "topic", heading: "a topic with one message, without its data" };
const topicBytes: Measure<"bytes"> = { key: "bytes", heading: "bytes in Redis", better: "less" };
const crowdRow: Row = { key: "crowd", heading: "10,000 return at once to a node where nobody was" };
const crowdTime: Measure<"milliseconds"> = {
  key: "milliseconds",
  heading: "all live after ms",
  better: "less",
};
const crowdReads: Measure<"reads"> = { key: "reads", heading: "scripts in Redis", better: "less" };

export const cluster: Benchmark = {
  name: "cluster",
  description: "topics in Redis from one node to another, beside bare PUBLISH and SUBSCRIBE",
  secondsDefault: 2,
  peers: [
    inProcess(longwire.key, "longwire, two nodes", "redis"),
    inProcess(control, "PUBLISH and SUBSCRIBE (control)", "bare"),
  ],
  plan: (options) => ({
    title: "Topics in Redis",
    load: "Messages of 256 bytes, each waited for at the other node; both nodes are in one process, without HTTP, and Redis persists nothing",
    warmUp: (server) => run(server, 64, warmUpTimes(options).seconds),
    measurements: [
      ...rows.map((row) => ({
        row,
        fresh: false,
        measure: (server: RunningPeer) => run(server, row.inFlight, options.seconds),
      })),
      ...[topicRow, crowdRow].map((row) => ({
        row,
        peers: [longwire.key],
        fresh: false,
        measure: async ({ port }: RunningPeer) => {
          const count = options.quick ? 50 : 10_000;
          const response = await fetch(`http://127.0.0.1:${port}/${row.key}?count=${count}`);
          return (await response.json()) as object;
        },
      })),
    ],
    sections: [
      { rows, measures: [median, rate, p99, nodesCpu, redisCpu] },
      { rows: [topicRow], measures: [topicBytes] },
      { rows: [crowdRow], measures: [crowdTime, crowdReads] },
    ],
    aims: (samples) => [
      ...(one ? [atMostTimesControl(samples, one, median, 2)] : []),
      ...(sixtyFour
        ? [
            atLeastTimes(samples, sixtyFour, rate, longwire.key, control, 0.35),
            atMost(samples, sixtyFour, p99, 6, "ms"),
            atMost(samples, sixtyFour, redisCpu, 10, "µs"),
          ]
        : []),
    ],
  }),
};

async function run({ port }: RunningPeer, inFlight: number, seconds: number): Promise<RedisFigures> {
  const response = await fetch(`http://127.0.0.1:${port}/run?inFlight=${inFlight}&seconds=${seconds}`);
  return (await response.json()) as RedisFigures;
}
