/**
 * Two nodes on a Redis server of their own, without HTTP: `bun run redis-engine.ts redis|bare`. `GET /run?inFlight=64&seconds=1`
 * publishes at one node with so many publications in flight, and answers with figures of what arrives at the other. `bare` is
 * PUBLISH and SUBSCRIBE by the same client. `GET /topic?count=1000` answers with the bytes that each of so many topics takes in
 * Redis, `GET /crowd?count=1000` with what so many cost that return at once to a node where nobody was.
 */
import { createClient } from "@redis/client";
import { RedisBroker } from "../../../src/engine/redis/broker.ts";
import { createLogger } from "../../../src/log.ts";
import { Counters } from "../../../src/metrics.ts";
import type { Appended } from "../../../src/topic/broker.ts";
import { Hub } from "../../../src/topic/hub.ts";
import { RedisServer } from "../../support/redis.ts";
import { until } from "../../support/wait.ts";
import { Latencies } from "../latencies.ts";
import { cpuMicroseconds } from "../process-usage.ts";

export interface RedisFigures {
  readonly itemsPerSecond: number;
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
  /** CPU time a message: of both nodes with this load, which is the same for the control, and of Redis. */
  readonly nodesMicroseconds: number;
  readonly redisMicroseconds: number;
}

/** Publishes to a channel at one node; `arrived` is called when the other has it. */
interface Pair {
  publish(channel: string): Promise<unknown>;
  subscribe(channel: string): Promise<unknown>;
}

const data = "x".repeat(256);
const limits = {
  ...{ historyMessages: 100, historyAgeSeconds: 600, historyBytesMax: 2 ** 26, retain: [] },
  ...{ keyed: [], keysMax: 1, feeds: [] },
};
const redis = await RedisServer.start();
// The benchmark ends its peers by SIGKILL: the pipe closes with this process, and Redis must not outlive it.
Bun.spawn(["sh", "-c", `cat >/dev/null; kill -9 ${redis.pid}; rm -r '${redis.directory}'`], {
  stdin: "pipe",
});
for (const signal of ["SIGTERM", "SIGINT"] as const)
  process.on(signal, () => void redis[Symbol.asyncDispose]().finally(() => process.exit()));

/** Told of each message that arrives at the other node. */
let arrived: (channel: string) => void = () => undefined;
let crowds = 0;
const pair = process.argv[2] === "bare" ? await openBare() : await openEngines();
const subscribed = new Set<string>();

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 255,
  fetch: async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    const count = Number(searchParams.get("count"));
    if (pathname === "/crowd") return Response.json(await receiveCrowd(count));
    if (pathname === "/topic") return Response.json({ bytes: await bytesOfTopic(count) });
    return Response.json(
      await run(Number(searchParams.get("inFlight")), Number(searchParams.get("seconds"))),
    );
  },
});
console.log(server.url.href);

function openBroker(): RedisBroker {
  const own = { url: redis.url, database: 0, prefix: "bench", acknowledge: 0, losslessFailover: false };
  return new RedisBroker({ ...limits, ...own, positionAgeSeconds: 86_400 }, createLogger("error"));
}

async function openEngines(): Promise<Pair> {
  const open = async (announced: (topic: string) => void): Promise<RedisBroker> => {
    const broker = openBroker();
    broker.listen({
      announced: ({ topic }) => announced(topic),
      missed: () => undefined,
      subscriberCount: () => 0,
    });
    await until(() => broker.state.available, "a node to reach Redis");
    return broker;
  };
  const [one, other] = [await open(() => undefined), await open((topic) => arrived(topic))];
  return {
    publish: (topic) => one.publish(topic, { drafts: [{ data, contentType: "text/plain" }] }),
    subscribe: (topic) => other.subscribe(topic),
  };
}

async function openBare(): Promise<Pair> {
  const commandOptions = { timeout: 0 };
  const [one, other] = await Promise.all(
    [1, 2].map(() => createClient({ url: redis.url, commandOptions }).connect()),
  );
  if (!one || !other) throw new Error("there are no clients");
  const payload = Buffer.from(data);
  return {
    publish: (channel) => one.publish(channel, payload),
    subscribe: (channel) => other.subscribe(channel, (_, name) => arrived(name.toString()), true),
  };
}

async function run(inFlight: number, seconds: number): Promise<RedisFigures> {
  const channels = Array.from({ length: inFlight }, (_, index) => `${index}`);
  for (const channel of channels) {
    if (!subscribed.has(channel)) await pair.subscribe(channel);
    subscribed.add(channel);
  }
  const latencies = new Latencies();
  const sent = new Map<string, number>();
  const waiting = new Map<string, () => void>();
  arrived = (channel) => {
    latencies.add(performance.now() - (sent.get(channel) ?? 0));
    waiting.get(channel)?.();
  };
  const began = performance.now();
  const cpuBefore = [process.pid, redis.pid].map(cpuMicroseconds);
  let count = 0;
  const publishEach = async (channel: string): Promise<void> => {
    do {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.set(channel, resolve);
      sent.set(channel, performance.now());
      await Promise.all([pair.publish(channel), promise]);
      count++;
    } while (performance.now() < began + seconds * 1000); // Once at least, as in disk-engine.ts.
  };
  await Promise.all(channels.map(publishEach));
  const cpuAfter = [process.pid, redis.pid].map(cpuMicroseconds);
  const [nodes = 0, server = 0] = cpuAfter.map((after, index) => (after - (cpuBefore[index] ?? 0)) / count);
  return {
    nodesMicroseconds: nodes,
    redisMicroseconds: server,
    itemsPerSecond: (count / (performance.now() - began)) * 1000,
    medianMilliseconds: latencies.percentile(0.5),
    p99Milliseconds: latencies.percentile(0.99),
  };
}

/** With one message of 256 bytes, less these. */
async function bytesOfTopic(count: number): Promise<number> {
  const used = async (): Promise<number> => Number(await redis.info("used_memory"));
  const before = await used();
  const names = Array.from({ length: count }, (_, index) => `topic/${index}`);
  for (let start = 0; start < count; start += 1000)
    await Promise.all(names.slice(start, start + 1000).map((name) => pair.publish(name)));
  return ((await used()) - before) / count - data.length;
}

/** Subscriptions that missed 50 messages each, at a node that has just begun. */
async function receiveCrowd(count: number): Promise<{ milliseconds: number; reads: number }> {
  const topic = `crowd/${crowds++}`;
  const first = (await pair.publish(topic)) as Appended;
  for (let count = 0; count < 50; count++) await pair.publish(topic);
  const broker = openBroker();
  const nobody = {
    deliver: () => undefined,
    remove: () => undefined,
    detach: () => [],
    room: undefined,
    isFull: false,
    isLagging: false,
  };
  const hub = new Hub({
    broker,
    live: () => nobody,
    limits,
    counters: new Counters(),
    log: createLogger("error"),
  });
  await until(() => broker.state.available, "a node to reach Redis");
  await redis.command("CONFIG", "RESETSTAT");
  const { message: position } = first;
  if (!position) throw new Error("there is no first message");
  const began = performance.now();
  await Promise.all(
    Array.from({ length: count }, async () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const subscription = await hub.open(topic, { kind: "position", position }, "");
      const unexpected = (): void => reject(new Error("a gap or a failure"));
      subscription.begin({
        replay: () => true,
        gap: unexpected,
        replayed: unexpected,
        live: () => resolve(),
        end: unexpected,
        fail: unexpected,
      });
      subscription.advance();
      await promise;
    }),
  );
  const milliseconds = performance.now() - began;
  const reads = Number(/calls=(\d+)/.exec((await redis.info("cmdstat_evalsha")) ?? "")?.[1]);
  hub.close();
  await broker.close();
  return { milliseconds, reads };
}
