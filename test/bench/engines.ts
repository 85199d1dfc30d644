/** Longwire with each of its engines: what they keep is gone with the benchmark. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RedisServer } from "../support/redis.ts";
import { longwireWith, type Peer, type RunningPeer } from "./peer.ts";

export const onDisk = (key: string, flags: readonly string[] = []): Peer => ({
  key,
  heading: ["longwire with --data", ...flags].join(" "),
  prepare: (quick) => {
    const directory = mkdtempSync(join(tmpdir(), "longwire-bench-disk-"));
    process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
    return longwireWith(key, "", ["--data", directory, ...flags]).prepare(quick);
  },
});

/**
 * With a Redis server of its own, which persists nothing.
 * @param started called with that server
 */
export const onRedis = (
  key: string,
  flags: readonly string[] = [],
  started: (redis: RedisServer) => void = () => undefined,
): Peer => ({
  key,
  heading: ["longwire with --redis", ...flags].join(" "),
  prepare: async (quick) => {
    if (Bun.which("redis-server") === null) return { missing: "there is no redis-server" };
    const redis = await RedisServer.start();
    started(redis);
    process.on("exit", () => rmSync(redis.directory, { recursive: true, force: true }));
    return longwireWith(key, "", ["--redis", redis.url, ...flags]).prepare(quick);
  },
});

/** A server listens before its engine can be used. */
export async function untilReady({ port }: RunningPeer): Promise<void> {
  while (!(await fetch(`http://127.0.0.1:${port}/readyz`)).ok) await Bun.sleep(10);
}
