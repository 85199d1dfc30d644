/**
 * Makes the pictures of the page in docs/ from a real run: `bun run screenshots`. Look at them before they are committed.
 *
 * A server is started, messages are published by POST, the line is cut on purpose and comes back, and the window is
 * photographed with what it shows then.
 */
import { resolve } from "node:path";
import type { Browser, Locator, Page } from "playwright-core";
import { launchBrowser } from "../support/chromium.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
import { until } from "../support/wait.ts";

interface Picture {
  readonly file: string;
  readonly locale: string;
  readonly width: number;
  readonly height: number;
}

const pictures: readonly Picture[] = [
  { file: "docs/page.png", locale: "en-US", width: 1440, height: 900 },
  { file: "docs/page.zh-CN.png", locale: "zh-CN", width: 1440, height: 900 },
  { file: "docs/page-phone.png", locale: "en-US", width: 390, height: 844 },
];

const prices = ["EUR 1.0842", "EUR 1.0845", "EUR 1.0839", "EUR 1.0851", "EUR 1.0848", "EUR 1.0856"];

const topic = "prices";

const browser = await launchBrowser();
try {
  for (const picture of pictures) {
    await using server = await spawnServer();
    await take(browser, server, picture);
    console.log(picture.file);
  }
} finally {
  await browser.close();
}

async function take(browser: Browser, server: RunningServer, picture: Picture): Promise<void> {
  const { file, locale, width, height } = picture;
  const context = await browser.newContext({ locale, viewport: { width, height } });
  const page = await context.newPage();
  await page.goto(server.url.href);
  await page.locator("main").waitFor();
  const tab = page.locator('[data-tab="topics"]');
  if ((await tab.count()) > 0) await tab.click();
  await part(page, "topic").fill(topic);
  await part(page, "topic").press("Enter");
  await publishUntilShown(page, server, prices.slice(0, 3));
  await part(page, "cut").click();
  for (const price of prices.slice(3)) await publish(server, price);
  await part(page, "cut").click(); // Comes back before its time.
  await shown(page, prices.at(-1) ?? "");
  await page.screenshot({ path: resolve(root, file) });
  await context.close();
}

function part(page: Page, name: string): Locator {
  return page.locator("#topics").locator(`[data-part="${name}"]`);
}

async function publishUntilShown(page: Page, server: RunningServer, texts: readonly string[]): Promise<void> {
  // The line is open once the button can cut it.
  await until(() => part(page, "cut").isEnabled(), "the subscription");
  for (const text of texts) await publish(server, text);
  await shown(page, texts.at(-1) ?? "");
}

async function shown(page: Page, text: string): Promise<void> {
  await page.locator("#topics").getByText(text).last().waitFor();
}

async function publish(server: RunningServer, body: string): Promise<void> {
  const answer = await fetch(new URL(`/topics/${topic}`, server.url), { method: "POST", body });
  if (answer.status !== 200) throw new Error(`publishing was answered with ${answer.status}`);
}
