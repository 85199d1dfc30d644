/** What else the panels of the page do, in a real browser. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SharedBrowser, sharedView, type View, wide } from "../support/browser.ts";
import { spawnDiskServer } from "../support/disk-server.ts";
import { spawnServer } from "../support/server.ts";
import { lacks } from "../support/tool.ts";
import { openEvents } from "../support/topics.ts";

// A browser on a loaded machine with 2 cores takes seconds to open a page.
setDefaultTimeout(120_000);

const shared = new SharedBrowser("topics");
const { open } = shared;

/** The page with the parts of another panel. */
async function openPanel(name: string, url?: URL): Promise<View> {
  const view = await open({}, url);
  await view.page.locator(`[data-tab="${name}"]`).click();
  return view.on(name);
}

describe.skipIf(lacks("chromium"))("the demonstration", () => {
  test("publishes, cuts, publishes what is missed, and comes back whole", async () => {
    await using view = await open();
    await view.part("topic").fill("shown");
    await view.part("show").click();
    await view.part("waiting").filter({ hasText: "5 messages wait" }).waitFor();
    await view.entry("complete", "Complete: all 5 missed messages were delivered").waitFor();
    await view.entry("received", "message 10").waitFor();
    expect(await view.panel.locator('[data-proof="lost"] dd').textContent()).toBe("0");
    expect(await view.part("wire").getAttribute("data-wire")).toBe("whole");
  });

  test("cuts at random while it publishes, and loses nothing", async () => {
    await using view = await open();
    await view.page.evaluate(() => {
      Math.random = () => 0; // It cuts as often and as briefly as it can.
    });
    await view.part("topic").fill("minute");
    await view.part("minute").click();
    await view.panel
      .locator('[data-proof="cuts"] dd')
      .filter({ hasText: /^[2-9]$/ })
      .waitFor();
    await view.part("minute").filter({ hasText: /^Stop/ }).click();
    // What it published last, and what it missed, still arrives after the stop.
    const counts = view.part("counts").filter({ hasText: /^([1-9]\d*) received, \1 sent/ });
    await counts.waitFor();
    const [received] = (await counts.textContent())?.split(" ") ?? [];
    const proven = await view.panel.locator("[data-proof] dd").allTextContents();
    expect(proven.slice(1)).toEqual([String(received), "0", "0", "0"]); // Seen, lost, twice, gaps.
  });
});

describe.skipIf(lacks("chromium"))("the topics panel", () => {
  const view = sharedView(open);

  async function subscribe(topics: string): Promise<void> {
    await view().part("topic").fill(topics);
    await view().part("subscribe").click();
    await view().part("address").filter({ hasText: topics }).waitFor();
    await view().pill("Open");
  }

  test("searches, filters, pauses and saves what the log has", async () => {
    await subscribe("tools");
    for (const text of ["apple", "pear"]) {
      await view().message.fill(text);
      await view().part("send").click();
      await view().entry("received", text).waitFor();
    }
    await view().part("search").fill("PEAR");
    await view().entry("received", "apple").waitFor({ state: "detached" });
    expect(await view().entries.count()).toBe(2);
    await view().part("kind").selectOption("received");
    await view().entry("sent", "pear").waitFor({ state: "detached" });
    await view().part("search").fill("");
    await view().part("kind").selectOption("all");
    await view().part("pause").click();
    await fetch(new URL("/topics/tools", shared.server.url), { method: "POST", body: "while paused" });
    await view().part("counts").filter({ hasText: "3 received" }).waitFor();
    expect(await view().entry("received", "while paused").count()).toBe(0);
    await view().part("pause").click();
    await view().entry("received", "while paused").waitFor();
    const [download] = await Promise.all([view().page.waitForEvent("download"), view().part("save").click()]);
    const lines = (await Bun.file(await download.path()).text()).trim().split("\n");
    const entries = lines.map((line) => JSON.parse(line));
    expect(entries.map(({ kind, data }) => `${kind} ${data}`)).toEqual([
      "note Subscribed to tools",
      "sent apple",
      "received apple",
      "sent pear",
      "received pear",
      "received while paused",
    ]);
    expect(entries[2].id).toBe(entries[1].id);
  });

  test("opens the whole of an entry by keyboard, and sends it again", async () => {
    await view().clearLog();
    await subscribe("tools/keyboard");
    const text = JSON.stringify({ long: "x".repeat(2000) });
    await view().message.fill(text);
    await view().part("send").click();
    await view()
      .entry("received", /moreCharacters|… and/)
      .waitFor();
    await view().part("rows").press("ArrowUp");
    expect(await view().part("whole").textContent()).toBe(JSON.stringify(JSON.parse(text), undefined, 2));
    await view().part("resend").click();
    await view().part("counts").filter({ hasText: "2 received, 2 sent" }).waitFor();
    await view().part("rows").press("Escape");
    await view().part("detail").waitFor({ state: "detached" });
  });

  test("publishes elsewhere, with a type and attributes, and to the end of a topic", async () => {
    await view().clearLog();
    await subscribe("extras/a,extras/b");
    await view().part("extras").locator("summary").click();
    await view().part("target").fill("extras/b");
    await view().part("attributeType").fill("order.created");
    await view().part("attributes").fill("subject=42 priority=high");
    await view().part("ends").check();
    await view().message.fill("last words");
    expect(await view().part("send").textContent()).toBe("Publish to extras/b");
    await view().part("send").click();
    const entry = view().entry("received", "last words");
    await entry.waitFor();
    expect(await entry.locator(".label").allTextContents()).toEqual(["extras/b", "order.created"]);
    await entry.click();
    const facts = await view().part("detail").locator("dl").textContent();
    expect(facts).toContain("subject42");
    expect(facts).toContain("priorityhigh");
    await view().entry("note", "extras/b has ended: no message follows").waitFor();
    // The answer to the publication may come after what it published.
    await view().panel.locator('[data-part="ends"]:not(:checked)').waitFor();
  });

  test("does not say that all is well while the engine is away", async () => {
    const { page } = view();
    const engine = { kind: "redis", available: false, reason: "ECONNREFUSED" };
    const status = { time: new Date().toISOString(), connections: {}, engine };
    await page.route("**/status", (route) =>
      route.fulfill({ contentType: "text/event-stream", body: `data: ${JSON.stringify(status)}\n\n` }),
    );
    await page.reload();
    await view().part("topic").fill("away");
    await view().part("subscribe").click();
    await view().pill("Open, but nothing comes");
    await view()
      .part("ending")
      .filter({ hasText: "the server’s engine (redis) is away: ECONNREFUSED" })
      .waitFor();
  });
});

test.skipIf(lacks("chromium"))(
  "says to screen readers what arrives, and that nothing is missing",
  async () => {
    await using view = await open({ viewport: wide });
    await view.part("topic").fill("said");
    await view.part("subscribe").click();
    await view.pill("Open");
    const said = view.part("announced");
    expect(await said.getAttribute("role")).toBe("status");
    await view.message.fill("hello");
    await view.part("send").click();
    await said.filter({ hasText: "Received: hello" }).waitFor();
    await view.part("cut").click();
    await view.pill("Closed");
    await view.part("cut").click();
    await said.filter({ hasText: "Complete: nothing was missed" }).waitFor();
    const line = view.on("line");
    await line.message.fill("echo");
    await line.part("send").click();
    await line.part("announced").filter({ hasText: "Received: echo" }).waitFor();
  },
);

describe.skipIf(lacks("chromium"))("the line panel", () => {
  const view = sharedView(() => openPanel("line"));

  for (const [screen, width] of [
    ["a desktop", 1000],
    ["a phone", 390],
  ] as const) {
    test(`sends JSON that is checked, bytes and files, again and again on ${screen}`, async () => {
      await view().page.setViewportSize({ width, height: 844 });
      await view().pill("Open");
      await view().clearLog();
      await view().part("kindOfContent").selectOption("json");
      await view().message.fill('{"a":1.0');
      await view().part("send").click();
      await view().part("contentFault").filter({ hasText: "This is not JSON." }).waitFor();
      await view().message.fill('{"a":1.0}');
      await view().part("format").click();
      expect(await view().message.inputValue()).toBe('{\n  "a": 1.0\n}');
      await view().part("kindOfContent").selectOption("hex");
      await view().message.fill("00 ff 4");
      await view().part("send").click();
      await view().part("contentFault").filter({ hasText: "pairs of hexadecimal digits" }).waitFor();
      const buffer = Buffer.from([1, 2, 3]);
      await view()
        .part("file")
        .setInputFiles({ name: "a.bin", mimeType: "application/octet-stream", buffer });
      await view().entry("received", "3 bytes: 01 02 03").waitFor();
      await view().part("kindOfContent").selectOption("text");
      await view().message.fill("again");
      await view().part("every").fill("20");
      await view().part("repeat").click();
      await view().entry("received", "again").nth(2).waitFor();
      await view().part("repeat").click();
    });
  }

  test("connects to another address, and names the --origin of a server that refuses the page", async () => {
    await view().part("url").fill("not an address");
    await view().part("connect").click();
    await view().part("lineFault").filter({ hasText: "An address begins with ws://" }).waitFor();
    const address = `ws://127.0.0.1:${shared.server.url.port}/ping`;
    await view().part("url").fill(address);
    await view().part("connect").click();
    await view().part("address").filter({ hasText: address }).waitFor();
    await view().pill("Open");
    await using refusing = Bun.serve({ port: 0, fetch: () => new Response("no", { status: 403 }) });
    await view().part("url").fill(`ws://localhost:${refusing.port}/ping`);
    await view().part("connect").click();
    await view().part("originHelp").waitFor();
    expect(await view().part("originHelp").textContent()).toContain(`--origin ${shared.server.url.origin}`);
  });
});

describe.skipIf(lacks("chromium"))("the latency panel", () => {
  test("compares servers that are pasted, forgets none over a reload, and contacts them only when asked", async () => {
    await using other = await spawnServer();
    await using view = await openPanel("latency");
    const host = `127.0.0.1:${other.url.port}`;
    await view.part("address").fill(`ws://${host}/ping nonsense:x`);
    await view.part("add").click();
    const row = view.panel.locator("tbody tr").filter({ hasText: host });
    await row.locator("td").first().filter({ hasText: /ms$/ }).waitFor();
    await view.panel.locator("[data-nearest]").waitFor();
    await view.panel.locator(".chart path[style]").first().waitFor();
    await view.part("addressFault").filter({ hasText: "This is no address of a server." }).waitFor();
    expect(await view.part("address").inputValue()).toBe("nonsense:x");
    // The address of its page is the same server.
    await view.part("address").fill(`http://${host}`);
    await view.part("add").click();
    await view.part("addressFault").filter({ hasText: "This server is in the list already." }).waitFor();
    // The row of this server is written again, too.
    await view.panel.locator("tbody tr").first().locator("td").first().filter({ hasText: /ms$/ }).waitFor();
    const contacts = (): number => view.sockets.filter((url) => url.includes(host)).length;
    expect(contacts()).toBe(1);
    await view.page.reload();
    await row.waitFor();
    expect(contacts()).toBe(1);
    await view.part("measure").click();
    await row.locator("td").first().filter({ hasText: /ms$/ }).waitFor();
    await row.getByRole("button", { name: `Remove ${host}` }).click();
    await row.waitFor({ state: "detached" });
  });
});

test.skipIf(lacks("chromium"))(
  "tabs share one stream of figures, and another tab goes on with it",
  async () => {
    await using server = await spawnServer();
    await using first = await open({ hash: "#topics=tabs" }, server.url);
    const others = Array.from({ length: 2 }, async () => {
      const tab = await first.page.context().newPage();
      await tab.goto(new URL("#topics=tabs", server.url).href);
      return tab;
    });
    const tabs = [first.page, ...(await Promise.all(others))];
    for (const tab of tabs)
      await tab.locator('#topics [data-part="state"]').filter({ hasText: "Open" }).waitFor();
    // Of each tab the topics and the round trip, and the stream of one.
    const connections = (tab: (typeof tabs)[number], count: number): Promise<void> =>
      tab
        .locator('[data-part="strip"]')
        .filter({ hasText: new RegExp(`Connections${count}(?!\\d)`) })
        .waitFor();
    for (const tab of tabs) await connections(tab, 7);
    for (const tab of tabs)
      await tab.evaluate(() => fetch("topics/tabs", { method: "POST", body: "published" }));
    for (const tab of tabs)
      await tab
        .locator("#topics .entry[data-kind=received]")
        .filter({ hasText: "published" })
        .nth(2)
        .waitFor();
    // Another tab goes on with the stream.
    await tabs[0]?.close();
    for (const tab of tabs.slice(1)) await connections(tab, 5);
  },
);

describe.skipIf(lacks("chromium"))("the server panel", () => {
  test("lists the topics with their subscribers, and a click follows one", async () => {
    using _other = await openEvents(shared.server, "listed/first");
    await using view = await open();
    await view.part("topicList").getByRole("button", { name: "listed/first 1 subscriber" }).click();
    await view.pill("Open");
    await view.entry("note", "Subscribed to listed/first").waitFor();
    await view.page.locator('[data-tab="server"]').click();
    await view
      .on("server")
      .part("topicList")
      .getByRole("button", { name: "listed/first 2 subscribers" })
      .waitFor();
  });

  test("shows figures and charts, also in the strip, and is back after a restart", async () => {
    await using first = await spawnServer();
    await using view = await openPanel("server", first.url);
    await view.panel.locator('[data-figure="engine"] dd').filter({ hasText: "memory, available" }).waitFor();
    await view.panel.locator('[data-figure="kinds"]').filter({ hasText: "status 1" }).waitFor();
    await view.panel.locator(".chart").nth(3).waitFor();
    await view.page
      .locator('[data-part="strip"]')
      .filter({ hasText: /Connections[1-9]/ })
      .waitFor();
    first.process.kill("SIGKILL");
    await first.process.exited;
    // What was true before is not shown as if it were now.
    await view.page
      .locator('[data-part="strip"]')
      .filter({ hasText: /Connections–/ })
      .waitFor();
    await view.part("statusAway").waitFor();
    await using _second = await spawnDiskServer(["--port", first.url.port]);
    await view.panel.locator('[data-figure="engine"] dd').filter({ hasText: "disk, available" }).waitFor();
  });

  test("says in words which token it needs", async () => {
    await using server = await spawnServer(["--api-key", "a-key-of-more-than-16-characters"]);
    await using view = await openPanel("server", server.url);
    await view.part("statusRefused").filter({ hasText: "This needs the API key" }).waitFor();
  });
});
