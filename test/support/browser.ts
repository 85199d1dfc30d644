/** Chromium, driven by Playwright: the page's tests ask a real browser. */
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const executable = names.map((name) => Bun.which(name)).find((path) => path !== null);

/** A developer may go without a browser, visibly; on CI its absence is a failure. */
export const browserIsMissing = executable === undefined && !process.env.CI;

if (browserIsMissing) {
  console.warn(
    `SKIPPED: the tests in a browser, for there is none of ${names.join(", ")}; install one (Debian: apt-get install chromium).`,
  );
}

export async function launchBrowser(): Promise<Browser> {
  if (executable === undefined)
    throw new Error(`Chromium is needed here: install one of ${names.join(", ")} in the PATH.`);
  return chromium.launch({
    executablePath: executable,
    headless: true,
    args: [
      "--no-sandbox", // CI runs as root, which Chromium's sandbox refuses.
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
