/** Presence: what a member costs its node and Redis, beside the same line without one. */
import { atMost } from "./aims.ts";
import type { Benchmark } from "./benchmark.ts";
import { onRedis, untilReady } from "./engines.ts";
import { longwire, longwireWith, type Peer, type RunningPeer } from "./peer.ts";
import { type MemberFigures, runMembers } from "./presence-load.ts";
import type { Measure, Row } from "./samples.ts";

const flags = ["--presence", "*", "--max-connections-per-ip", "10000"];

const inMemory: Peer = longwireWith(longwire.key, "longwire --presence", [
  ...flags,
  ...["--history-bytes", "1GiB"],
]);
let redisPid: number | undefined;
const inRedis: Peer = onRedis("longwire-redis", flags, ({ pid }) => {
  redisPid = pid;
});

const row: Row = { key: "members", heading: "1,000 lines of 100 topics, of 1,000 topics" };
const rowInRedis: Row = { ...row, heading: `with Redis, ${row.heading}` };
const measureOf = (key: keyof MemberFigures, heading: string): Measure<keyof MemberFigures> => ({
  key,
  heading,
  better: "less",
});
const bytes = measureOf("bytesPerMember", "memory of the node, bytes a member of a topic");
const cpu = measureOf("joinMicroseconds", "CPU of the node, µs a join");
const redisCpu = measureOf("redisMicroseconds", "CPU of Redis, µs a join");

export const presence: Benchmark = {
  name: "presence",
  description: "members of topics: memory of the node, CPU of a join there and in Redis",
  secondsDefault: 2,
  peers: [inMemory, inRedis],
  plan: ({ quick }) => ({
    title: "Presence",
    load: "Lines are opened first without a member, then as many with one each; a figure is what the second ones take more",
    measurements: [
      {
        row,
        fresh: true,
        measure: async (server: RunningPeer) => {
          await untilReady(server);
          const load = quick
            ? { lines: 5, topicsOfLine: 4, topics: 10 }
            : { lines: 1000, topicsOfLine: 100, topics: 1000 };
          return await runMembers(server, { ...load, settleSeconds: quick ? 0.1 : 3, redisPid });
        },
      },
    ],
    sections: [{ rows: [row], measures: [bytes, cpu, redisCpu] }],
    aims: (samples) => [
      atMost(samples, row, bytes, 400, "bytes"),
      atMost(samples, rowInRedis, bytes, 400, "bytes", inRedis.key),
      atMost(samples, rowInRedis, redisCpu, 15, "µs", inRedis.key),
    ],
  }),
};
