/** Chromium, driven by Playwright: one for all the test files of a run. */
import { mkdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { commandOf } from "./tool.ts";
import { until } from "./wait.ts";

/** The process that ends last: with `--parallel` files run in workers, which are its children. */
const runPid = process.env.BUN_TEST_WORKER_ID === undefined ? process.pid : process.ppid;

/** Chromium on a loaded machine with 2 cores takes seconds to start. */
const startSeconds = 60;

/**
 * Connects to the Chromium of this run, which the first caller starts. It ends with the run, also with one that is aborted.
 * Closing the browser closes the contexts that were opened by this connection, and leaves those of other files.
 */
export async function launchBrowser(): Promise<Browser> {
  // The start time tells this run from an earlier one whose process number was the same.
  const startTicks = (await readFile(`/proc/${runPid}/stat`, "utf8")).split(") ")[1]?.split(" ")[19];
  const profile = join(tmpdir(), `longwire-chromium-${runPid}-${startTicks}`);
  try {
    await mkdir(profile);
    const keeper = resolve(import.meta.dir, "chromium-keeper.ts");
    const command = [process.execPath, "run", keeper, commandOf("chromium"), profile, String(runPid)];
    // Started by a shell that ends at once: `bun test` kills its own child processes when a test takes too long.
    const starting = Bun.spawn(["sh", "-c", '"$@" &', "sh", ...command], {
      detached: true, // An interrupt from the terminal is for the run.
      stdio: ["ignore", "ignore", "ignore"],
    });
    await starting.exited;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  let address = "";
  await until(
    async () => {
      // A new object each time: one that has seen the file empty goes on to see it so.
      const file = Bun.file(join(profile, "DevToolsActivePort"));
      const [port, path] = (await file.exists()) ? (await file.text()).split("\n") : [];
      address = `ws://127.0.0.1:${port}${path}`;
      return path?.startsWith("/") ?? false;
    },
    "Chromium to listen",
    startSeconds,
  );
  return chromium.connectOverCDP(address);
}

let shared: Promise<Browser> | undefined;

/** The connection that all files of this process use, so that they can take over the tabs of each other. */
export function sharedConnection(): Promise<Browser> {
  shared ??= launchBrowser();
  return shared;
}

/** After the last test of a file. With `--parallel` each file has modules of its own, and no other file uses its connection. */
export async function leaveConnection(): Promise<void> {
  if (process.env.BUN_TEST_WORKER_ID !== undefined) await (await shared)?.close();
}
