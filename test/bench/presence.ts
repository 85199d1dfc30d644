/** Presence: what a member costs its node and Redis, beside the same line without one. */
import { rmSync } from "node:fs";
import { RedisServer } from "../support/redis.ts";
import { atMost } from "./aims.ts";
import type { Benchmark } from "./benchmark.ts";
import { untilReady } from "./engines.ts";
import { longwire, longwireWith, type Peer, type RunningPeer } from "./peer.ts";
import { type MemberFigures, runMembers } from "./presence-load.ts";
import type { Measure, Row } from "./samples.ts";

const flags = ["--presence", "*", "--max-connections-per-ip", "10000"];

/** The pid of the Redis server of `onRedis`. */
let redisPid: number | undefined;

const inMemory: Peer = longwireWith(longwire.key, "longwire --presence", [
  ...flags,
  ...["--history-bytes", "1GiB"],
]);
const onRedis: Peer = {
  key: "longwire-redis",
  heading: "longwire --presence --redis",
  prepare: async () => {
    if (Bun.which("redis-server") === null) return { missing: "there is no redis-server" };
    const redis = await RedisServer.start();
    redisPid = redis.pid;
    process.on("exit", () => rmSync(redis.directory, { recursive: true, force: true }));
    return longwireWith("", "", ["--redis", redis.url, ...flags]).prepare();
  },
};

const row: Row = { key: "members", heading: "1,000 lines of 100 topics, of 1,000 topics" };
const inRedis: Row = { ...row, heading: `with Redis, ${row.heading}` };
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
  peers: [inMemory, onRedis],
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
      atMost(samples, inRedis, bytes, 400, "bytes", onRedis.key),
      atMost(samples, inRedis, redisCpu, 15, "µs", onRedis.key),
    ],
  }),
};
