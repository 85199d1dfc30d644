/** The echo line beside a bare Bun server, ws on Node and the demo that Longwire began as. */
import { aheadOf, atMostTimesControl } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, type Section, warmUpTimes } from "./benchmark.ts";
import { runEchoLoad } from "./echo-load.ts";
import { goProgram } from "./go-program.ts";
import { type IdleMemory, idleMemory } from "./idle-memory.ts";
import { loadMeasures } from "./load.ts";
import { bareBun, control, longwire, type Peer, peerFile, type ReadyPeer, type RunningPeer } from "./peer.ts";
import type { Samples } from "./samples.ts";

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

const { cpu, rate, median, p99 } = loadMeasures("message", "messages");

const peers: readonly Peer[] = [
  longwire,
  bareBun("echo-bun.ts"),
  {
    key: "ws",
    heading: "ws on Node",
    prepare: async () => {
      if (Bun.which("node") === null) return { missing: "Node is not installed" };
      const { version } = await Bun.file(Bun.resolveSync("ws/package.json", import.meta.dir)).json();
      const node = Bun.spawnSync(["node", "--version"]).stdout.toString().trim();
      return { command: ["node", peerFile("echo-ws.mjs")], version: `ws ${version}, Node ${node}` };
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
  peers,
  plan: (options) => {
    const connections = options.quick ? 4 : 64;
    const idle = idleMemory("connections", { path: "/ping" }, options.quick);
    const sections = [
      { rows: loads, measures: [cpu, rate, median, p99] },
      { rows: [idle.row], measures: [idle.measure] },
    ];
    return {
      title: `Echo over ${connections} connections`,
      load: `Text messages over ${connections} connections on loopback`,
      warmUp: (server) =>
        runEchoLoad(server, { connections, inFlight: 16, payloadBytes: 20, ...warmUpTimes(options) }),
      measurements: [
        ...loads.map((load) => ({
          row: load,
          fresh: false,
          measure: (server: RunningPeer) =>
            runEchoLoad(server, { ...load, connections, ...loadTimes(options) }),
        })),
        idle.measurement,
      ],
      sections,
      aims: (samples, ready) => aims(samples, ready, sections, idle),
    };
  },
};

function aims(
  samples: Samples,
  ready: readonly ReadyPeer[],
  sections: readonly Section[],
  idle: IdleMemory,
): Aim[] {
  // The median is shown but not compared: a server that answers a few connections and lets the others wait has a low one.
  const compared = sections.map(({ rows, measures }) => ({
    rows,
    measures: measures.filter((measure) => measure !== median),
  }));
  return [
    ...loads.map((load) => atMostTimesControl(samples, load, cpu, load.inFlight === 1 ? 1.05 : 1.15)),
    atMostTimesControl(samples, idle.row, idle.measure, 1.3),
    ...ready
      .filter(({ key }) => key !== longwire.key && key !== control)
      .map((peer) => aheadOf(samples, peer, compared)),
  ];
}
