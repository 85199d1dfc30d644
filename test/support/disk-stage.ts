/** A directory, the engine on disk that has it, and a clock that a test moves. */
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/engine/clock.ts";
import { DiskBroker } from "../../src/engine/disk/broker.ts";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";
import { until } from "./wait.ts";

const workerUrl = new URL("disk-worker.ts", import.meta.url);

export class DiskStage implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "longwire-stage-"));
  /** Of the engine that was opened last. */
  log: RecordingLog = recordingLog();
  readonly #limits: EngineLimits;
  #aheadMilliseconds = 0;
  #broker: DiskBroker | undefined;
  readonly #clock: Clock = {
    now: () => Date.now() + this.#aheadMilliseconds,
    monotonic: () => performance.now() + Math.max(0, this.#aheadMilliseconds),
  };

  constructor(limits: EngineLimits) {
    this.#limits = limits;
  }

  /** Opens the engine, or closes it and opens it again. */
  async open(changed: Partial<EngineLimits> = {}): Promise<DiskBroker> {
    await this.close();
    this.log = recordingLog();
    const broker = new DiskBroker({
      ...{ directory: this.directory, workerUrl, log: this.log, clock: this.#clock },
      limits: { ...this.#limits, ...changed },
    });
    this.#broker = broker;
    await until(() => broker.state.available, "the disk to be opened");
    return broker;
  }

  async close(): Promise<void> {
    await this.#broker?.close();
    this.#broker = undefined;
  }

  /** @param seconds below 0 where the clock is set back */
  pass(seconds: number): void {
    this.#aheadMilliseconds += seconds * 1000;
  }

  /** The data file, in which another program may read and write. */
  database(): Database {
    return new Database(join(this.directory, "longwire.db"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
