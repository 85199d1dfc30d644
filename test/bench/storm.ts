/** A crowd that returns, in each form, and another client meanwhile, beside a bare Bun server that sends the same. */
import { atMost, atMostTimesControl } from "./aims.ts";
import type { Benchmark } from "./benchmark.ts";
import { connectionsWithin } from "./idle-memory.ts";
import { bareBun, longwire, type RunningPeer } from "./peer.ts";
import type { Measure } from "./samples.ts";
import { runStorm, type StormFigures, type StormForm } from "./storm-load.ts";

/** peers/storm-bun.ts sends as many of the same size. */
const messages = 100;
const payloadBytes = 128;

const forms: Readonly<Record<StormForm, string>> = {
  raw: "raw WebSockets",
  cloudevents: "WebSockets with cloudevents.json",
  stream: "event streams",
};

const longestWait: Measure<keyof StormFigures> = {
  key: "longestWaitMilliseconds",
  heading: "longest wait of another client, ms",
  better: "less",
};
const peak: Measure<keyof StormFigures> = {
  key: "peakMebibytes",
  heading: "peak memory, MiB",
  better: "less",
};
const cpu: Measure<keyof StormFigures> = {
  key: "cpuMicroseconds",
  heading: "server CPU, µs a message",
  better: "less",
};
const measures: readonly Measure<keyof StormFigures>[] = [
  longestWait,
  peak,
  { key: "milliseconds", heading: "until all have all, ms", better: "less" },
  cpu,
];

export const storm: Benchmark = {
  name: "storm",
  description: "a crowd that returns and resumes: the longest wait of another client, memory and time",
  secondsDefault: 1,
  peers: [longwire, bareBun("storm-bun.ts")],
  plan: ({ quick }) => {
    const clients = connectionsWithin(quick ? 4 : 10_000);
    const rows = Object.entries(forms).map(([form, words]) => ({
      form: form as StormForm,
      key: form,
      heading: `${clients.toLocaleString("en-US")} ${words}`,
    }));
    const streams = rows.filter(({ form }) => form === "stream");
    return {
      title: `${clients.toLocaleString("en-US")} clients return and resume ${messages} messages each`,
      load: `Each client connects with the id of one message and receives the ${messages} of ${payloadBytes} bytes that follow; another client, in a process of its own, waits for an echo on /ping every few milliseconds`,
      measurements: rows.map((row) => ({
        row,
        fresh: !quick,
        measure: (server: RunningPeer) =>
          runStorm(server, { form: row.form, clients, messages, payloadBytes }),
      })),
      sections: [{ rows, measures }],
      aims: (samples) => [
        ...rows.map((row) => atMost(samples, row, longestWait, 150, "ms")),
        ...rows.map((row) => atMostTimesControl(samples, row, longestWait, 1)),
        ...rows.map((row) => atMostTimesControl(samples, row, cpu, row.form === "stream" ? 2.5 : 2)),
        ...streams.map((row) => atMost(samples, row, peak, 160, "MiB")),
      ],
    };
  },
};
