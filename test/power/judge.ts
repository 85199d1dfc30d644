/**
 * Opens an engine on what each power cut left, in a process of its own: a Worker that is late must not write to what the next
 * cut leaves. A companion (companion.ts), of which a `Case` is asked as JSON, and which answers a `Verdict`.
 */
import { readdirSync, readlinkSync } from "node:fs";
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

export interface Verdict {
  /** What the engine has. */
  readonly found?: readonly Acknowledgement[];
  /** What is wrong. */
  readonly fault?: string;
  /** The process ends with the files that the engine could not close in time. */
  readonly isLast: boolean;
}

if (import.meta.main) {
  console.log("ready");
  for await (const line of console) {
    const verdict = await judge(JSON.parse(line));
    await Bun.write(Bun.stdout, `${JSON.stringify(verdict)}\n`);
    if (verdict.isLast) process.exit();
  }
}

async function judge({ acknowledged, dropped, ...options }: Case): Promise<Verdict> {
  const workerUrl = new URL("../../src/engine/disk/worker.ts", import.meta.url);
  const broker = new DiskBroker({ ...options, workerUrl, log: recordingLog() });
  const verdict: { found?: readonly Acknowledgement[]; fault?: string } = {};
  try {
    broker.listen({ announced: () => undefined, missed: () => undefined, subscriberCount: () => 0 });
    await until(() => broker.state.available, "the disk to be opened", 60);
    const { historyMessages } = options.limits;
    verdict.found = await requireWhole(broker, { acknowledged, dropped, historyMessages });
    await requireContinuation(broker);
  } catch (error) {
    verdict.fault = String(error);
  }
  await broker.close();
  return { ...verdict, isLast: hasOpenFiles(options.directory) };
}

function hasOpenFiles(directory: string): boolean {
  return readdirSync("/proc/self/fd").some((name) => {
    try {
      return readlinkSync(`/proc/self/fd/${name}`).startsWith(directory);
    } catch {
      return false; // The descriptor of the listing itself.
    }
  });
}
