/**
 * Runs Chromium for as long as a run of the tests lasts:
 * `bun run test/support/chromium-keeper.ts <executable> <folder of the profile> <process number of the run>`.
 * Chromium writes the address of its debugging port into the profile, as DevToolsActivePort.
 */
import { rm } from "node:fs/promises";

const [executable = "", profile = "", runPid] = process.argv.slice(2);

const browser = Bun.spawn(
  [
    executable,
    "--headless",
    "--remote-debugging-port=0",
    `--user-data-dir=${profile}`,
    "--no-sandbox", // CI runs as root, which Chromium's sandbox refuses.
    "--disable-gpu",
    // Debian's start script asks for rasterization by the GPU, which is emulated here, at several times the cost.
    "--disable-gpu-rasterization",
    "--disable-software-rasterizer",
    "--disable-quic",
    "--no-first-run",
    "--no-startup-window",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars", // As on a phone, and on a desktop that draws them over the page.
    "--renderer-process-limit=1", // For each context: its tabs share one process, which is dear to start.
    "--disable-dev-shm-usage", // Containers have little of it.
    // The pages of several files are open at once, and none may be slowed down as one in the background.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
  ],
  // A process group of its own: the command may be a script, whose end is not that of Chromium.
  { detached: true, stdio: ["ignore", "ignore", "ignore"] },
);

const runLives = (): boolean => {
  try {
    return process.kill(Number(runPid), 0);
  } catch {
    return false; // There is no such process any more.
  }
};

while (runLives() && browser.exitCode === null) await Bun.sleep(250);
try {
  process.kill(-browser.pid, "SIGKILL");
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // It ended by itself.
}
await browser.exited;
// Its processes may write until they have ended.
await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 250 });
