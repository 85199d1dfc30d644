/**
 * Makes pictures of the page from a real run: `bun run screenshots`. Look at each before one is committed.
 *
 * A server is started, messages are published by POST, the line is cut on purpose and comes back, and the window is
 * photographed with what it shows then: three of docs/, and in dist/screenshots each panel in three widths, two languages,
 * light, dark and forced colours. `bun run screenshots docs/` makes only those whose names begin so.
 */
import { resolve } from "node:path";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { launchBrowser } from "../support/chromium.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
import { openStream } from "../support/topics.ts";
import { until } from "../support/wait.ts";

interface Picture {
  readonly file: string;
  readonly options: BrowserContextOptions;
}

const sizes = {
  phone: { width: 390, height: 844 },
  tablet: { width: 820, height: 1180 },
  wide: { width: 1440, height: 900 },
};

const tracked: readonly Picture[] = [
  { file: "docs/page.png", options: { locale: "en-US", viewport: sizes.wide } },
  { file: "docs/page.zh-CN.png", options: { locale: "zh-CN", viewport: sizes.wide } },
  { file: "docs/page-phone.png", options: { locale: "en-US", viewport: sizes.phone } },
];

const colors: Readonly<Record<string, BrowserContextOptions>> = {
  light: {},
  dark: { colorScheme: "dark" },
  forced: { forcedColors: "active" },
};

const untracked: readonly Picture[] = Object.entries(sizes).flatMap(([size, viewport]) =>
  ["en-US", "zh-CN"].flatMap((locale) =>
    Object.entries(colors).map(([color, options]) => ({
      file: `dist/screenshots/${size}-${locale}-${color}.png`,
      options: { locale, viewport, ...options },
    })),
  ),
);

const prices = ["EUR 1.0842", "EUR 1.0845", "EUR 1.0839", "EUR 1.0851", "EUR 1.0848", "EUR 1.0856"];

const topic = "prices";
const members = ["ann", "ben", "小林"];

const browser = await launchBrowser();
try {
  const [, , begin = ""] = process.argv;
  for (const picture of [...tracked, ...untracked]) {
    if (!picture.file.startsWith(begin)) continue;
    await using server = await spawnServer(["--presence", topic]);
    await using lines = new AsyncDisposableStack();
    for (const name of members) lines.use(await openStream(server, `${topic}?member=${name}`));
    await take(browser, server, picture);
    console.log(picture.file);
  }
} finally {
  await browser.close();
}

async function take(browser: Browser, server: RunningServer, { file, options }: Picture): Promise<void> {
  const context = await browser.newContext(options);
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
  await part(page, "here")
    .locator("li")
    .nth(members.length - 1)
    .waitFor();
  await page.locator('[data-part="ownRoundTrip"]').filter({ hasText: "ms" }).waitFor();
  await page.screenshot({ path: resolve(root, file) });
  if (file.startsWith("dist/")) await takeOthers(page, file);
  await context.close();
}

/** The other panels, once each has something to show. */
async function takeOthers(page: Page, file: string): Promise<void> {
  for (const [panel, ready] of Object.entries({
    line: '.entry[data-kind="received"]',
    latency: "tbody td:text-matches(' ms$')",
    server: ".chart path[style][d*=L]",
  })) {
    await page.locator(`[data-tab="${panel}"]`).click();
    await page.locator(`#${panel}`).locator(ready).first().waitFor();
    await page.screenshot({ path: resolve(root, file.replace(".png", `-${panel}.png`)) });
  }
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
