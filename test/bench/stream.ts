/** Streams that are published token by token, beside a bare Bun server that relays the same bytes to the same viewers. */
import { atMost, atMostTimesControl } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, warmUpTimes } from "./benchmark.ts";
import { onDisk, onRedis, untilReady } from "./engines.ts";
import { runLinesLoad } from "./lines-load.ts";
import { loadMeasures } from "./load.ts";
import { bareBun, control, longwire, type RunningPeer } from "./peer.ts";
import type { Row, Samples } from "./samples.ts";
import { runStreamLoad } from "./stream-load.ts";

const tokensPerSecond = 20;
const viewers = 3;
const quickProducers = 4;

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

const withData = "longwire-disk";
const withRedis = "longwire-redis";
const lineLoad = { connections: 4, linesPerBody: 1000 };
const linesMeasures = loadMeasures("line", "lines", " of a body");
/** A line that is a commit or a round trip of its own takes 61 to 225 µs. */
const lineMicrosecondsMax = 30;

export const stream: Benchmark = {
  name: "stream",
  description: "streams that are published token by token: CPU and delay to their viewers",
  secondsDefault: 3,
  peers: [longwire, bareBun("relay-bun.ts"), onDisk(withData), onRedis(withRedis)],
  plan: (options) => {
    const planned = options.quick ? [rowOf(quickProducers)] : rows;
    const lines = options.quick ? { ...lineLoad, linesPerBody: 50 } : lineLoad;
    const linesRow: Row = {
      key: "lines",
      heading: `lines of bodies of ${lines.linesPerBody.toLocaleString("en")}`,
    };
    return {
      title: `Streams of ${tokensPerSecond} tokens a second with ${viewers} viewers each`,
      load:
        `each producer writes a token of 60 bytes ${tokensPerSecond} times a second into the body of one POST over loopback, ` +
        `and has ${viewers} viewers with event streams; the delay is from the write to the receipt; ` +
        `lines are of 60 bytes, without viewers, over ${lines.connections} connections`,
      warmUp: async (server, peer) => {
        const times = warmUpTimes(options);
        if (!peer.startsWith(withData) && !peer.startsWith(withRedis))
          return await runStreamLoad(server, {
            producers: options.quick ? quickProducers : 20,
            tokensPerSecond,
            viewers,
            ...times,
          });
        await untilReady(server);
        return await runLinesLoad(server, { ...lines, ...times });
      },
      measurements: [
        ...planned.map((row) => ({
          row,
          peers: [longwire.key, control],
          fresh: false,
          measure: async (server: RunningPeer) =>
            runStreamLoad(server, {
              producers: row.producers,
              tokensPerSecond,
              viewers,
              ...loadTimes(options),
            }),
        })),
        {
          row: linesRow,
          peers: [longwire.key, withData, withRedis],
          fresh: false,
          measure: async (server: RunningPeer) => runLinesLoad(server, { ...lines, ...loadTimes(options) }),
        },
      ],
      sections: [
        { rows: planned, measures: [cpu, rate, median, p99] },
        {
          rows: [linesRow],
          measures: [linesMeasures.cpu, linesMeasures.rate, linesMeasures.median, linesMeasures.p99],
        },
      ],
      aims: (samples: Samples): Aim[] => [
        ...planned.slice(0, 2).map((row) => atMostTimesControl(samples, row, cpu, 2)),
        ...[withData, withRedis].map((peer) =>
          atMost(samples, linesRow, linesMeasures.cpu, lineMicrosecondsMax, `µs by ${peer}`, peer),
        ),
      ],
    };
  },
};
