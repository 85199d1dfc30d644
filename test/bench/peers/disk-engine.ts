/**
 * Engines in one process, without HTTP: `bun run disk-engine.ts disk|memory|bare`. `GET /run?inFlight=64&seconds=1` publishes
 * with so many publications in flight and answers with figures. `bare` is a loop that appends as many lines to a file and
 * waits for one fdatasync.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskBroker } from "../../../src/engine/disk/broker.ts";
import { MemoryBroker } from "../../../src/engine/memory/broker.ts";
import { createLogger } from "../../../src/log.ts";
import { completeConfig, handlerSettings } from "../../../src/settings/config.ts";
import type { Broker } from "../../../src/topic/broker.ts";
import { Latencies } from "../latencies.ts";

export interface EngineFigures {
  readonly itemsPerSecond: number;
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
}

const topics = 100;
const data = "x".repeat(256);
const directory = mkdtempSync(join(tmpdir(), "longwire-bench-disk-"));
for (const signal of ["exit", "SIGTERM", "SIGINT"] as const)
  process.on(signal, () => rmSync(directory, { recursive: true, force: true }));

const kind = process.argv[2];
const run = kind === "bare" ? runBare : publisherOf(await openEngine());
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  idleTimeout: 255,
  fetch: async (request) => {
    const { searchParams } = new URL(request.url);
    return Response.json(
      await run(Number(searchParams.get("inFlight")), Number(searchParams.get("seconds"))),
    );
  },
});
console.log(server.url.href);

async function openEngine(): Promise<Broker> {
  const limits = { ...completeConfig(handlerSettings, { data: directory }), retain: [] };
  const workerUrl = new URL("../../../src/engine/disk/worker.ts", import.meta.url);
  const broker =
    kind === "disk"
      ? new DiskBroker({ directory, workerUrl, limits, log: createLogger("warn") })
      : new MemoryBroker(limits);
  broker.listen({ announced: () => undefined, missed: () => undefined, subscriberCount: () => 0 });
  while (!broker.state.available) await Bun.sleep(5);
  return broker;
}

function publisherOf(broker: Broker) {
  return async (inFlight: number, seconds: number): Promise<EngineFigures> => {
    const latencies = new Latencies();
    const began = performance.now();
    let count = 0;
    const publishEach = async (): Promise<void> => {
      let sentAt = performance.now();
      while (sentAt < began + seconds * 1000) {
        await broker.publish(`bench/${count++ % topics}`, { drafts: [{ data, contentType: "text/plain" }] });
        const now = performance.now();
        latencies.add(now - sentAt);
        sentAt = now;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, publishEach));
    return figuresOf(count, performance.now() - began, latencies);
  };
}

async function runBare(inFlight: number, seconds: number): Promise<EngineFigures> {
  const latencies = new Latencies();
  const file = openSync(join(directory, "bare"), "w");
  const line = Buffer.from(data);
  const began = performance.now();
  let count = 0;
  for (let sentAt = began; sentAt < began + seconds * 1000; ) {
    for (let index = 0; index < inFlight; index++) writeSync(file, line);
    fdatasyncSync(file);
    count += inFlight;
    const now = performance.now();
    latencies.add(now - sentAt);
    sentAt = now;
  }
  closeSync(file);
  return figuresOf(count, performance.now() - began, latencies);
}

function figuresOf(count: number, milliseconds: number, latencies: Latencies): EngineFigures {
  return {
    itemsPerSecond: (count / milliseconds) * 1000,
    medianMilliseconds: latencies.percentile(0.5),
    p99Milliseconds: latencies.percentile(0.99),
  };
}
