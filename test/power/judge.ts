/**
 * Opens an engine on what a power cut left, in a process of its own: it ends with all that it has open. `bun run
 * test/power/judge.ts` reads `Case` from stdin and prints what the engine has, or ends with 1 and what is wrong.
 */
import { DiskBroker } from "../../src/engine/disk/broker.ts";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { recordingLog } from "../support/recording-log.ts";
import { until } from "../support/wait.ts";
import { type Dropped, requireContinuation, requireWhole } from "./verdict.ts";
import type { Acknowledgement } from "./writer.ts";

export interface Case {
  readonly directory: string;
  readonly acknowledged: readonly Acknowledgement[];
  /** Before, when an engine may have had other limits. */
  readonly dropped: Dropped;
  readonly limits: EngineLimits;
}

if (import.meta.main) {
  const { acknowledged, dropped, ...options }: Case = await Bun.stdin.json();
  const { historyMessages } = options.limits;
  try {
    const workerUrl = new URL("../../src/engine/disk/worker.ts", import.meta.url);
    const broker = new DiskBroker({ ...options, workerUrl, log: recordingLog() });
    broker.listen({ announced: () => undefined, missed: () => undefined, subscriberCount: () => 0 });
    await until(() => broker.state.available, "the disk to be opened", 60);
    const found = await requireWhole(broker, { acknowledged, dropped, historyMessages });
    await requireContinuation(broker);
    await Bun.write(Bun.stdout, JSON.stringify(found));
    process.exit(0);
  } catch (error) {
    console.error(String(error));
    process.exit(1);
  }
}
