/** Chromium, driven by Playwright. */
import { type Browser, chromium } from "playwright-core";
import { commandOf } from "./tool.ts";

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: commandOf("chromium"),
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
