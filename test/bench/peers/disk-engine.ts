/**
 * Engines in one process, without HTTP: `bun run disk-engine.ts disk|memory|bare`. `GET /run?inFlight=64&seconds=1` publishes
 * with so many publications in flight and answers with figures. A reader reads meanwhile, and retention deletes. `bare` is a
 * loop that appends as many lines to a file in one write and waits for one fdatasync.
 */
import {
  closeSync,
  fdatasyncSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskBroker } from "../../../src/engine/disk/broker.ts";
import { MemoryBroker } from "../../../src/engine/memory/broker.ts";
import { createLogger } from "../../../src/log.ts";
import { completeConfig, handlerSettings } from "../../../src/settings/config.ts";
import type { Broker, Page } from "../../../src/topic/broker.ts";
import { Latencies } from "../latencies.ts";

export interface EngineFigures {
  readonly itemsPerSecond: number;
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
  /** Of all files at the end. */
  readonly filesMebibytes: number;
}

const topics = 100;

/** So few that retention deletes as many as are appended, soon after the begin. */
const historyMessages = 1000;
const readerPauseMilliseconds = 5;

/** The file of the bare loop is cut off then: it would fill the disk in a minute. */
const bareBytesMax = 256 * 1024 * 1024;
const data = "x".repeat(256);
const wholePage: Page = { messagesMax: 1000, bytesMax: 16 * 1024 * 1024 };
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
  const limits = { ...completeConfig(handlerSettings, { data: directory }), historyMessages, retain: [] };
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
      do {
        await broker.publish(`bench/${count++ % topics}`, { drafts: [{ data, contentType: "text/plain" }] });
        const now = performance.now();
        latencies.add(now - sentAt);
        sentAt = now;
      } while (sentAt < began + seconds * 1000); // Once at least: a busy machine may lose a quick run's time before it.
    };
    const readEach = async (): Promise<void> => {
      for (let turn = 0; performance.now() < began + seconds * 1000; turn++) {
        await broker.history(`bench/${turn % topics}`, { kind: "all" }, wholePage);
        await Bun.sleep(readerPauseMilliseconds);
      }
    };
    await Promise.all([readEach(), ...Array.from({ length: inFlight }, publishEach)]);
    return figuresOf(count, performance.now() - began, latencies);
  };
}

async function runBare(inFlight: number, seconds: number): Promise<EngineFigures> {
  const latencies = new Latencies();
  const file = openSync(join(directory, "bare"), "w");
  const batch = Buffer.from(data.repeat(inFlight));
  const began = performance.now();
  let [count, at] = [0, 0];
  for (let sentAt = began; sentAt < began + seconds * 1000; ) {
    if (at > bareBytesMax) {
      ftruncateSync(file, 0);
      at = 0;
    }
    at += writeSync(file, batch, 0, batch.length, at);
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
    filesMebibytes: bytesOfFiles() / 1024 ** 2,
  };
}

const bytesOfFiles = (): number =>
  readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
