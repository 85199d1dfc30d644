/** A server that keeps its topics in a directory of its own, which outlives it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningServer, type SpawnOptions, spawnServer } from "./server.ts";
import { until } from "./wait.ts";

export interface DiskServer extends AsyncDisposable {
  /** Its directory. */
  readonly data: string;
  /** The present process. */
  readonly running: RunningServer;
  start(flags?: readonly string[]): Promise<RunningServer>;
  /** `kill -9`. */
  kill(): Promise<void>;
}

/** @param options `data` left out: a new directory, which is removed at the end */
export async function spawnDiskServer(
  flags: readonly string[] = [],
  { data, ...options }: SpawnOptions & { readonly data?: string } = {},
): Promise<DiskServer> {
  const own = data ?? (await mkdtemp(join(tmpdir(), "longwire-data-")));
  let running: RunningServer | undefined;
  const start = async (more: readonly string[] = []): Promise<RunningServer> => {
    const started = await spawnServer(["--data", own, "--log-level", "info", ...flags, ...more], options);
    running = started;
    await until(async () => (await fetch(new URL("/readyz", started.url))).ok, "the data to be opened");
    return started;
  };
  const kill = async (): Promise<void> => {
    running?.process.kill("SIGKILL");
    await running?.process.exited;
  };
  await start();
  return {
    data: own,
    get running() {
      if (!running) throw new Error("no process was started");
      return running;
    },
    start,
    kill,
    [Symbol.asyncDispose]: async () => {
      await kill();
      if (data === undefined) await rm(own, { recursive: true, force: true });
    },
  };
}
