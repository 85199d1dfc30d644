/** The page as a whole in a real browser: tokens, languages, themes, links, reloads, and what axe-core finds. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { SharedBrowser, wide } from "../support/browser.ts";
import { spawnServer } from "../support/server.ts";
import { lacks } from "../support/tool.ts";
import { post } from "../support/topics.ts";

// A browser on a loaded machine with 2 cores takes seconds to open a page.
setDefaultTimeout(180_000);

const shared = new SharedBrowser("topics");
const { open } = shared;

test.skipIf(lacks("chromium"))(
  "axe-core finds nothing on a desktop in English and on a phone in Chinese, light and dark, on any panel",
  async () => {
    await using server = await spawnServer(["--presence", "axe"]);
    await using view = await open({ viewport: { width: 1440, height: 900 } }, server.url);
    const { page } = view;
    await view.part("topic").fill("axe");
    await view.part("subscribe").click();
    // "Subscribed": a message before that would not be received.
    await view.panel.locator('.entry[data-kind="note"]').waitFor();
    await view.message.fill("hello");
    await view.part("send").click();
    await view.entry("received", "hello").waitFor();
    await post(server, "axe", "187.30", { "ce-partitionkey": "AAPL" });
    await view.part("keys").waitFor();
    await view.part("name").fill("ann");
    await view.part("join").click();
    await view.part("here").locator("li").waitFor();
    await view.part("cut").click();
    await view.part("copyAs").locator("summary").click();
    for (const isPhone of [false, true]) {
      if (isPhone) {
        await page.locator('[data-part="language"]').selectOption("zh");
        await page.setViewportSize({ width: 390, height: 844 });
        await page.locator('[data-tab="topics"]').click();
        await view.panel.waitFor();
      }
      expect(await findings(page, "body")).toEqual([]);
      for (const tab of ["line", "latency", "server"]) {
        await page.locator(`[data-tab="${tab}"]`).click();
        await page.locator(`#${tab}`).waitFor();
        expect(await findings(page, `#${tab}`, ".tabs")).toEqual([]);
      }
      await page.locator('[data-part="token"]').click();
      expect(await findings(page, '[data-part="tokenDialog"]')).toEqual([]);
      await page.keyboard.press("Escape");
    }
  },
);

/** What axe-core finds on the page as it is now, in words. @param places where colours are judged, which costs most */
async function findings(page: Page, ...places: string[]): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe.source);
  const found: string[] = [];
  // The dark page has other colours, and nothing else that is its own.
  for (const colorScheme of ["dark", "light"] as const) {
    await page.emulateMedia({ colorScheme });
    const here = await page.evaluate(findingsNow, { places, areOnlyColours: colorScheme === "dark" });
    found.push(...here.map((finding) => `${colorScheme}: ${finding}`));
  }
  return found;
}

/** Runs in the page. */
async function findingsNow(wanted: { places: string[]; areOnlyColours: boolean }): Promise<string[]> {
  const { axe } = globalThis as typeof globalThis & { axe: typeof import("axe-core") };
  const colours = ["color-contrast", "link-in-text-block"];
  const resultTypes: "violations"[] = ["violations"]; // What passes is megabytes of results.
  const results = [
    await axe.run({ include: wanted.places.map((place) => [place]) }, { resultTypes, runOnly: colours }),
  ];
  if (!wanted.areOnlyColours) {
    const rules = Object.fromEntries(colours.map((rule) => [rule, { enabled: false }]));
    results.push(await axe.run(document, { resultTypes, rules }));
  }
  return results.flatMap(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`)),
  );
}

describe.skipIf(lacks("chromium"))("with a key set, the page", () => {
  const key = "a-key-of-more-than-16-characters";

  test("asks for a token in words, uses it for all that follows, and keeps it over a reload and not in another tab", async () => {
    await using server = await spawnServer(["--api-key", key]);
    await using view = await open({ viewport: wide }, server.url);
    const dialog = view.page.locator('[data-part="tokenDialog"]');
    await view.page.locator("#line").getByText("Hello WebSockets!").nth(1).waitFor();
    expect(await dialog.isVisible()).toBe(false); // The page asks only for what a person does.
    await view.part("subscribe").click();
    await dialog.getByText("The server asks for a token.").waitFor();
    await dialog.locator('[data-part="tokenText"]').fill(key);
    await dialog.locator('[data-part="useToken"]').click();
    await view.pill("Open");
    await view.message.fill("with a key");
    await view.part("send").click();
    await view.entry("received", "with a key").waitFor();
    await view.part("form").selectOption("sse");
    await view.part("subscribe").click();
    await view.pill("Open");
    await view.message.fill("by event stream");
    await view.part("send").click();
    await view.entry("received", "by event stream").waitFor();
    expect(await view.page.content()).not.toContain(key);
    for (const url of [view.page.url(), ...view.requests, ...view.sockets]) expect(url).not.toContain(key);
    expect(JSON.stringify(server.log())).not.toContain(key);
    await view.page.reload();
    await view.page.getByRole("button", { name: "Token set…" }).waitFor();
    const other = await view.page.context().newPage();
    await other.goto(server.url.href);
    await other.getByRole("button", { name: "Token…", exact: true }).waitFor();
  });

  test("says what a token allows, and how long it lives", async () => {
    await using view = await open();
    await view.page.locator('[data-part="token"]').click();
    const [text, claims] = ["tokenText", "claims"].map((part) => view.page.locator(`[data-part="${part}"]`));
    await text?.fill(key);
    await claims?.filter({ hasText: "an API key allows everything" }).waitFor();
    const { makeToken } = await import("../../src/command/token.ts");
    const secret = "a secret of more than thirty-two characters";
    const allowed = { subscribe: ["news", "chat/*"], publish: [], end: [], status: true, subject: "李" };
    await text?.fill(await makeToken({ secret, ...allowed, ttlSeconds: 9000 }));
    await claims
      ?.filter({ hasText: /Subject李May follownews, chat\/\*May publish tonothingMay endnothing/ })
      .waitFor();
    await claims?.filter({ hasText: /figures of the serveryesValid until.*\(2 h \d+ min left\)/ }).waitFor();
  });
});

describe.skipIf(lacks("chromium"))("the page remembers", () => {
  test("language, colours and panel over a reload", async () => {
    await using view = await open();
    const { page } = view;
    await page.locator('[data-part="language"]').selectOption("zh");
    await page.locator('[data-part="theme"]').selectOption("dark");
    await page.locator('[data-tab="latency"]').click();
    await page.reload();
    await page.locator("#latency").getByText("推送会晚到多久？").waitFor();
    expect(await page.locator("html").getAttribute("lang")).toBe("zh-CN");
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toBe("dark");
  });

  test("what it subscribes to in its address, which others can open", async () => {
    const hash = await linkToSubscription();
    expect(hash).toBe("#topics=link/a,link/b&form=sse&since=all");
    await fetch(new URL("/topics/link/b", shared.server.url), { method: "POST", body: "kept" });
    await using other = await open({ hash });
    await other.pill("Open");
    const entry = other.entry("received", "kept");
    await entry.waitFor();
    expect(await entry.locator(".label").first().textContent()).toBe("link/b");
    expect(await entry.locator(".replayed").count()).toBe(1);
  });

  async function linkToSubscription(): Promise<string> {
    await using view = await open();
    await view.part("topic").fill("link/a, link/b");
    await view.part("form").selectOption("sse");
    await view.part("since").fill("all");
    await view.part("subscribe").click();
    await view.pill("Open");
    return new URL(view.page.url()).hash;
  }
});

test.skipIf(lacks("chromium"))("works below a proxy's path prefix", async () => {
  await using proxy = Bun.serve({
    port: 0,
    hostname: "localhost",
    fetch: async (request, proxy) => {
      const url = new URL(request.url);
      if (!url.pathname.startsWith("/below/")) return new Response(null, { status: 404 });
      const target = new URL(url.pathname.slice("/below".length) + url.search, shared.server.url);
      if (request.headers.get("upgrade")) {
        sockets.push(target.pathname);
        return proxy.upgrade(request) ? undefined : new Response(null, { status: 400 });
      }
      return fetch(target, { headers: { Accept: request.headers.get("accept") ?? "" } });
    },
    websocket: { message: (socket, message) => void socket.send(message) },
  });
  const sockets: string[] = [];
  await using view = await open({ viewport: wide }, new URL("/below/", proxy.url));
  await view.page.locator("#line .entry[data-kind=received]").waitFor();
  expect(sockets).toEqual(["/ping", "/ping"]);
  expect(view.requests.every((url) => new URL(url).pathname.startsWith("/below/"))).toBe(true);
  await proxy.stop(true);
});
