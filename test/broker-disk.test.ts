/** The engine on disk: the contract of every engine, and what a restart must not change. */
import { expect, test } from "bun:test";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskBroker } from "../src/engine/disk/disk.ts";
import type { Clock, MemoryBrokerLimits } from "../src/engine/memory.ts";
import { BrokerUnavailable } from "../src/topic/broker.ts";
import { describeBrokerContract } from "./contract/contract.ts";
import { recordingLog } from "./support/recording-log.ts";
import { until } from "./support/wait.ts";

const workerUrl = new URL("./support/disk-worker.ts", import.meta.url);

const limits: MemoryBrokerLimits = {
  historyMessages: 100,
  historyAgeSeconds: 600,
  historyBytesMax: 64 * 1024 * 1024,
  positionAgeSeconds: 86_400,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
};

class DiskEngine {
  #aheadMilliseconds = 0;
  #passedMilliseconds = 0;
  readonly clock: Clock = {
    now: () => Date.now() + this.#aheadMilliseconds,
    monotonic: () => performance.now() + this.#passedMilliseconds,
  };
  #broker: DiskBroker | undefined;

  constructor(
    readonly directory: string,
    readonly limits: MemoryBrokerLimits,
  ) {}

  async node(): Promise<DiskBroker> {
    const { directory, limits, clock } = this;
    const broker = new DiskBroker({ directory, workerUrl, limits, clock, log: recordingLog() });
    this.#broker = broker;
    await until(() => broker.state.available, "the disk to be opened");
    return broker;
  }

  pass(seconds: number): void {
    this.#aheadMilliseconds += seconds * 1000;
    this.#passedMilliseconds += seconds * 1000;
  }

  setClock(aheadSeconds: number): void {
    this.#aheadMilliseconds = aheadSeconds * 1000;
  }

  async cutOff(): Promise<void> {
    renameSync(this.directory, `${this.directory}-away`);
    await until(() => this.#broker?.state.available === false, "the directory to be missed");
  }

  reconnect(): void {
    renameSync(`${this.directory}-away`, this.directory);
  }

  silence(): void {
    writeFileSync(join(this.directory, "silence"), "");
  }

  async close(): Promise<void> {
    rmSync(join(this.directory, "silence"), { force: true });
    await this.#broker?.close();
    for (const path of [this.directory, `${this.directory}-away`])
      if (existsSync(path)) await rm(path, { recursive: true });
  }
}

describeBrokerContract(
  "the engine on disk",
  async (limits) => new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits),
  {
    announcesAll: true,
    announcesOnlySubscribed: false,
    manyNodes: false,
    advance: async (engine, seconds) => engine.pass(seconds),
    setClock: async (engine, aheadSeconds) => engine.setClock(aheadSeconds),
    silence: async (engine) => engine.silence(),
    cutOff: (engine) => engine.cutOff(),
    reconnect: async (engine) => engine.reconnect(),
  },
);

test("a Worker that dies is started again; what it was asked fails, and announcements may have been missed", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  let missed = 0;
  broker.listen({ announced: () => undefined, missed: () => void missed++, subscriberCount: () => 0 });
  const draft = { data: "one", contentType: "text/plain" };
  const first = await broker.publish("news", draft);
  writeFileSync(join(engine.directory, "death"), "");
  const failed = await broker.publish("news", draft).then(
    () => undefined,
    (error) => error,
  );
  expect(failed).toBeInstanceOf(BrokerUnavailable);
  expect(broker.state.reason).toContain("Worker ended");
  await until(() => broker.state.available, "another Worker");
  expect(missed).toBe(1);
  const { epoch, offset } = await broker.publish("news", draft);
  expect(epoch).toBe(first.epoch);
  expect(offset).toBe(2);
});
