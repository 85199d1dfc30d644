/** Streams that are published token by token, beside a bare Bun server that relays the same bytes to the same viewers. */
import { atMostTimesControl } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, warmUpTimes } from "./benchmark.ts";
import { loadMeasures } from "./load.ts";
import { bareBun, longwire, type RunningPeer } from "./peer.ts";
import type { Row, Samples } from "./samples.ts";
import { runStreamLoad } from "./stream-load.ts";

const tokensPerSecond = 20;
const viewers = 3;

interface StreamRow extends Row {
  readonly producers: number;
}

const rowOf = (producers: number): StreamRow => ({
  key: String(producers),
  heading: `${producers.toLocaleString("en")} streams`,
  producers,
});
const rows = [rowOf(100), rowOf(500), rowOf(1000), rowOf(2000)];
const { cpu, rate, median, p99 } = loadMeasures("delivery", "deliveries", " to a viewer");

export const stream: Benchmark = {
  name: "stream",
  description: "streams that are published token by token: CPU and delay to their viewers",
  secondsDefault: 3,
  peers: [longwire, bareBun("relay-bun.ts")],
  plan: (options) => {
    const planned = options.quick ? [rowOf(20)] : rows;
    return {
      title: `Streams of ${tokensPerSecond} tokens a second with ${viewers} viewers each`,
      load:
        `each producer writes a token of 60 bytes ${tokensPerSecond} times a second into the body of one POST over loopback, ` +
        `and has ${viewers} viewers with event streams; the delay is from the write to the receipt`,
      warmUp: async (server) =>
        runStreamLoad(server, { producers: 20, tokensPerSecond, viewers, ...warmUpTimes(options) }),
      measurements: planned.map((row) => ({
        row,
        fresh: false,
        measure: async (server: RunningPeer) =>
          runStreamLoad(server, {
            producers: row.producers,
            tokensPerSecond,
            viewers,
            ...loadTimes(options),
          }),
      })),
      sections: [{ rows: planned, measures: [cpu, rate, median, p99] }],
      aims: (samples: Samples): Aim[] =>
        planned.slice(0, 2).map((row) => atMostTimesControl(samples, row, cpu, 2)),
    };
  },
};
