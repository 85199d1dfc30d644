/** The page under load: 5,000 messages a second in its log, while a person types. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Locator } from "playwright-core";
import { SharedBrowser } from "../support/browser.ts";
import { spawnServer } from "../support/server.ts";
import { lacks } from "../support/tool.ts";

setDefaultTimeout(120_000);

const { open } = new SharedBrowser("topics");

const perSecond = 5_000;
const seconds = 1;

/** Messages in one POST, as a stream of publications. */
const perBatch = perSecond / 50;

describe.skipIf(lacks("chromium"))("at 5,000 messages a second, the page", () => {
  test("counts every one, and can be typed into", async () => {
    // The server may hold all of it: how much a browser takes in time depends on the machine.
    await using server = await spawnServer(["--max-buffered", "16MiB"]);
    await using view = await open({}, server.url);
    await view.part("topic").fill("load");
    await view.part("subscribe").click();
    await view.pill("Open");
    let isPublishing = true;
    const published = publishEvenly(new URL("/topics/load", server.url)).finally(() => {
      isPublishing = false;
    });
    let letters = "";
    while (isPublishing) {
      letters += "x";
      await typeLetter(view.message);
    }
    await published;
    const total = (perSecond * seconds).toLocaleString("en");
    await view
      .part("counts")
      .filter({ hasText: `${total} received` })
      .waitFor({ timeout: 60_000 });
    const number = (name: string): Promise<string | null> =>
      view.panel.locator(`[data-proof="${name}"] dd`).textContent();
    expect([await number("seen"), await number("lost"), await number("twice")]).toEqual([total, "0", "0"]);
    expect(await view.part("state").textContent()).toBe("Open");
    expect(await number("cuts")).toBe("0");
    // The last message is in view, and only the rows in view are in the document.
    await view.entry("received", `message ${perSecond * seconds}`).waitFor();
    expect(await view.entries.count()).toBeLessThan(80);
    expect(await view.message.inputValue()).toEndWith(letters);
  });
});

/** Resolves after the frame that shows the letter. */
function typeLetter(box: Locator): Promise<void> {
  return box.evaluate(
    (element: HTMLTextAreaElement) =>
      new Promise<void>((resolve) => {
        element.focus();
        document.execCommand("insertText", false, "x");
        requestAnimationFrame(() => setTimeout(resolve));
      }),
  );
}

/** One request whose body is a line for each message. */
async function publishEvenly(topic: URL): Promise<void> {
  const encoder = new TextEncoder();
  let sent = 0;
  const began = performance.now();
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      await Bun.sleep(Math.max(0, began + (sent / perSecond) * 1000 - performance.now()));
      const events = Array.from({ length: perBatch }, () => `data: message ${++sent}\n\n`);
      controller.enqueue(encoder.encode(events.join("")));
      if (sent >= perSecond * seconds) controller.close();
    },
  });
  const headers = { "Content-Type": "text/event-stream" };
  const answer = await fetch(topic, { method: "POST", headers, body });
  expect(answer.status).toBe(200);
}
