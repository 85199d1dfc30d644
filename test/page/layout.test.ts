/** The layout of the page in Chromium: boxes are compared, not pixels. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Locator, Page } from "playwright-core";
import { SharedBrowser, sharedView, type View } from "../support/browser.ts";
import { lacks } from "../support/tool.ts";

setDefaultTimeout(120_000);

const shared = new SharedBrowser("topics");
const { open } = shared;

/** From the narrowest phone over both sides of each width in page.css. */
const widths = [320, 360, 390, 480, 481, 800, 801, 900, 1000, 1087, 1088, 1200, 1280, 1281, 1439, 1440];

describe.skipIf(lacks("chromium"))("the layout", () => {
  const view = sharedView(() => open({ viewport: { width: 1440, height: 900 } }));

  for (const language of ["zh", "en"]) {
    test(`nothing sticks out, and the tabs are above the panels at any width, in ${language}`, async () => {
      const { page } = view();
      await page.locator('[data-part="language"]').selectOption(language);
      for (const width of widths) {
        await resize(page, width);
        const seen = await page.evaluate(() => {
          const box = (name: string): DOMRect | undefined =>
            document.querySelector(name)?.getBoundingClientRect();
          const inner = [...document.querySelectorAll("header.masthead *, #topics .topic *")];
          return {
            pageWidth: document.documentElement.scrollWidth,
            outermost: Math.max(...inner.map((element) => element.getBoundingClientRect().right)),
            tabsBottom: box(".tabs")?.bottom ?? 0,
            panelsTop: Math.max(
              0,
              ...[...document.querySelectorAll(".others .panel")].map(
                (panel) => panel.getBoundingClientRect().top,
              ),
            ),
            topicsTop: box("#topics")?.top ?? 0,
          };
        });
        expect([width, seen.pageWidth]).toEqual([width, width]);
        expect(seen.outermost).toBeLessThanOrEqual(width);
        expect(width < 1088 ? seen.topicsTop : seen.panelsTop).toBeGreaterThanOrEqual(seen.tabsBottom);
      }
    });
  }

  test("at 1440 px the wire takes a third of its panel, and the fields for a message stay in view", async () => {
    const [panel, wire, send] = await Promise.all(
      [view().panel, view().part("wire"), view().part("send")].map((part) => part.boundingBox()),
    );
    expect(wire?.height).toBeGreaterThanOrEqual((panel?.height ?? 0) / 3);
    expect((send?.y ?? 0) + (send?.height ?? 0)).toBeLessThan(900);
    // One button is filled: the one to press first.
    const filled = await view()
      .page.locator("button")
      .evaluateAll((buttons) => {
        const colorOf = (element: Element): string => getComputedStyle(element).backgroundColor;
        const show = document.querySelector('[data-part="show"]');
        return show ? buttons.filter((button) => colorOf(button) === colorOf(show)).length : 0;
      });
    expect(filled).toBe(1);
  });

  test("at 1440 px the log has tools once it has an entry: none of them is cut, and Save works at once", async () => {
    expect(await view().part("save").count()).toBe(0);
    await publishTo(view(), "layout/tools", "typed", {
      "ce-type": "order.created",
      "Content-Type": "text/plain;charset=UTF-8",
    });
    const entry = view().entry("received", "typed");
    await entry.waitFor();
    // The most common type of content is no tag.
    expect(await entry.locator(".label").allTextContents()).toEqual(["order.created"]);
    expect(await view().part("save").isEnabled()).toBe(true);
    await view().part("type").waitFor();
    for (const part of ["kind", "type"])
      expect([part, await missingWidth(view().part(part))]).toEqual([part, 0]);
  });

  test("at 1440 px what is opened below the fields of a message comes into view", async () => {
    for (const part of ["copyAs", "extras"]) {
      const details = view().part(part);
      await details.locator("summary").click();
      const [box, panel] = await Promise.all([details.elementHandle(), view().panel.elementHandle()]);
      await view().page.waitForFunction(
        ([box, panel]) =>
          box && panel && box.getBoundingClientRect().bottom <= panel.getBoundingClientRect().bottom,
        [box, panel] as const,
      );
      await details.locator("summary").click();
    }
  });

  test("at 1440 px a row of a hex dump is one line, in either panel", async () => {
    for (const panel of [view(), view().on("line")]) {
      const bytes = new Uint8Array(40).map((_, index) => index * 6);
      if (panel === view())
        await publishTo(view(), "layout/hex", bytes, { "Content-Type": "application/octet-stream" });
      else {
        await panel.pill("Open");
        await panel
          .part("file")
          .setInputFiles({ name: "a.bin", mimeType: "application/octet-stream", buffer: Buffer.from(bytes) });
      }
      await panel.entry("received", /^40 bytes/).click();
      await panel.part("whole").waitFor();
      const lines = await panel.part("whole").evaluate((whole) => {
        const range = document.createRange();
        range.selectNodeContents(whole);
        return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
      });
      expect(lines).toBe(3);
    }
  });
});

/** Resolves when the page has its layout for the width. */
async function resize(page: Page, width: number): Promise<void> {
  await page.setViewportSize({ width, height: 900 });
  const isWide = width >= 1088;
  await page.locator('[data-tab="topics"]').waitFor({ state: isWide ? "detached" : "attached" });
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
}

/** Subscribes, and publishes as another program does. */
async function publishTo(
  view: View,
  topic: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
): Promise<void> {
  await view.part("topic").fill(topic);
  await view.part("subscribe").click();
  await view.pill("Open");
  await fetch(new URL(`/topics/${topic}`, shared.server.url), { method: "POST", body, headers });
}

/** Pixels that the widest choice of a list lacks. */
function missingWidth(list: Locator): Promise<number> {
  return list.evaluate((list) => {
    if (!(list instanceof HTMLElement)) return Number.NaN;
    const shown = list.offsetWidth;
    list.style.cssText = "max-width: none; width: max-content; flex: none";
    return Math.max(0, list.offsetWidth - shown);
  });
}
