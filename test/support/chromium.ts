/** Chromium, where it is installed, driven by Playwright. */
import { type Browser, chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const executable = names.map((name) => Bun.which(name)).find((path) => path !== null);

/** Without a browser its tests are skipped with a warning; on CI they fail. */
export const browserIsMissing = executable === undefined && !process.env.CI;

if (browserIsMissing) {
  console.warn(
    `SKIPPED: the tests in a browser. None of ${names.join(", ")} is installed (Debian: apt-get install chromium).`,
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
