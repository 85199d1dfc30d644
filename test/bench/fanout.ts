/** Topics beside Bun's own, the hub of gorilla's chat example, net/http of Go, and nginx with nchan. */
import { atMost, atMostTimesControl, atMostTimesRow, timesAheadOf } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, warmUpTimes } from "./benchmark.ts";
import { type FanoutLoad, runFanoutLoad, topicPath } from "./fanout-load.ts";
import { goProgram } from "./go-program.ts";
import { type IdleMemory, idleMemory } from "./idle-memory.ts";
import { loadMeasures } from "./load.ts";
import { nchan } from "./nchan.ts";
import { bareBun, control, longwire, type Peer, type ReadyPeer, type RunningPeer } from "./peer.ts";
import type { Row, Samples } from "./samples.ts";

type FanoutRow = Row & Pick<FanoutLoad, "payloadBytes" | "inFlight" | "to" | "by">;

const ways = [
  { way: "http", to: "socket", by: "http", words: "by HTTP" },
  { way: "socket", to: "socket", by: "socket", words: "by socket" },
  { way: "stream", to: "stream", by: "http", words: "to event streams" },
] as const;
const rows: readonly FanoutRow[] = [
  { payloadBytes: 128, size: "128 bytes" },
  { payloadBytes: 16 * 1024, size: "16 KiB" },
].flatMap(({ payloadBytes, size }) =>
  [1, 16].flatMap((inFlight) =>
    ways.map(({ way, words, ...rest }) => ({
      ...rest,
      payloadBytes,
      inFlight,
      key: `${payloadBytes}x${inFlight}-${way}`,
      heading: `${size}, ${inFlight} in flight, ${words}`,
    })),
  ),
);
const socketRows = rows.filter(({ to }) => to === "socket");
const streamRows = rows.filter(({ to }) => to === "stream");

const { cpu, rate, median, p99 } = loadMeasures("delivery", "deliveries", " to all");

const peers: readonly Peer[] = [
  longwire,
  bareBun("fanout-bun.ts"),
  {
    key: "gorilla",
    heading: "gorilla hub",
    prepare: () => goProgram("gorilla-hub", ["github.com/gorilla/websocket"]),
  },
  { key: "go", heading: "Go net/http", prepare: () => goProgram("sse-go", []) },
  { key: "nchan", heading: "nchan", prepare: nchan },
];

/** The peers with WebSockets, and those with event streams. */
const peersWith = {
  socket: [longwire.key, control, "gorilla", "nchan"],
  stream: [longwire.key, control, "go", "nchan"],
} as const;

export const fanout: Benchmark = {
  name: "fanout",
  description: "/topics: CPU, rate and latency of deliveries, and memory of a subscriber",
  secondsDefault: 1.5,
  peers,
  plan: (options) => {
    const { quick } = options;
    const [subscribers, inFlightMax] = quick ? [4, 4] : [1000, 16];
    const idleSocket = idleMemory("subscribers", { path: topicPath }, quick, peersWith.socket);
    const idleStream = idleMemory(
      "event streams",
      { path: topicPath, as: "stream" },
      quick,
      peersWith.stream,
    );
    return {
      title: `Fan-out to ${subscribers.toLocaleString("en-US")} subscribers`,
      load: `Text messages of one topic to ${subscribers.toLocaleString("en-US")} raw WebSockets or event streams on loopback`,
      warmUp: (server, peer) =>
        runFanoutLoad(server, {
          subscribers: Math.min(200, subscribers),
          inFlight: inFlightMax,
          payloadBytes: 128,
          to: peer === "go" ? "stream" : "socket",
          by: "http",
          ...warmUpTimes(options),
        }),
      measurements: [
        ...rows.map((row) => ({
          row,
          peers: peersWith[row.to],
          fresh: false,
          measure: (server: RunningPeer) =>
            runFanoutLoad(server, {
              ...row,
              inFlight: Math.min(row.inFlight, inFlightMax),
              subscribers,
              ...loadTimes(options),
            }),
        })),
        idleSocket.measurement,
        idleStream.measurement,
      ],
      sections: [
        { rows: socketRows, measures: [cpu, rate, median, p99] },
        { rows: streamRows, measures: [cpu, rate, median, p99] },
        { rows: [idleSocket.row], measures: [idleSocket.measure] },
        { rows: [idleStream.row], measures: [idleStream.measure] },
      ],
      aims: (samples, ready) => aims(samples, ready, idleSocket, idleStream),
    };
  },
};

function aims(
  samples: Samples,
  ready: readonly ReadyPeer[],
  idleSocket: IdleMemory,
  idleStream: IdleMemory,
): Aim[] {
  return [
    ...socketRows.map((row) => atMostTimesControl(samples, row, cpu, 1.1)),
    ...streamRows.flatMap((row) => streamAims(samples, row)),
    ...ready
      .filter(({ key }) => key === "gorilla" || key === "nchan")
      .flatMap((peer) =>
        socketRows
          .filter(({ inFlight }) => inFlight === 16)
          .map((row) => timesAheadOf(samples, peer, row, rate, 10)),
      ),
    atMost(samples, idleSocket.row, idleSocket.measure, 3500, "bytes"),
    atMost(samples, idleStream.row, idleStream.measure, 7500, "bytes"),
  ];
}

/** Many messages at once are gathered into few writes, which the control does not do. */
function streamAims(samples: Samples, row: FanoutRow): Aim[] {
  if (row.inFlight === 1) return [atMostTimesControl(samples, row, cpu, 1.1)];
  if (row.payloadBytes > 1024) return [atMostTimesControl(samples, row, cpu, 0.4)];
  const toSockets = socketRows.find(
    ({ payloadBytes, inFlight, by }) =>
      payloadBytes === row.payloadBytes && inFlight === row.inFlight && by === "http",
  );
  return toSockets ? [atMostTimesRow(samples, row, toSockets, cpu, 1.5)] : [];
}
