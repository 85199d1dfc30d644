/** The recipes of docs/recipes work as printed: programs in Bun, pages in Chromium. */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { AbstractChat, type ChatState, type UIMessage } from "ai";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { launchBrowser } from "../support/chromium.ts";
import { root, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { everyEvent, inspect, openStream, openStreamAt, publish, topicsUrl } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const recipes = resolve(root, "docs/recipes");
const linesMax = 30;

/** The program or page of each recipe, by file name. */
const printed = new Map<string, string>();
for (const name of await readdir(recipes)) {
  const page = await Bun.file(join(recipes, name)).text();
  for (const [, file = "", code = ""] of page.matchAll(/<!-- file: (\S+) -->\n```\w+\n([\s\S]*?)```/g))
    printed.set(file, code);
}

const retained = [
  "--retain",
  "answers/* 10000 1h",
  "--retain",
  "chats/* 10000 1h",
  "--retain",
  "typing/* 0 1s",
];
const rooms = ["--presence", "room/*", "--presence-grace", "1s"];
const server = sharedServer([...retained, "--keyed", "prices", "--keyed", "agents/*", ...rooms]);

/** As printed, but with the server of this test. */
function code(file: string): string {
  const found = printed.get(file);
  if (found === undefined) throw new Error(`no recipe has ${file}`);
  return found.replaceAll("http://localhost:9090", server.url.origin);
}

/** A web server that has the pages of the recipes. */
const site = Bun.serve({
  hostname: "localhost",
  port: 0,
  fetch: ({ url }) => {
    const file = new URL(url).pathname.slice(1);
    const type = file.endsWith(".js") ? "text/javascript" : "text/html";
    return printed.has(file)
      ? new Response(code(file), { headers: { "Content-Type": type } })
      : new Response(null, { status: 404 });
  },
});

// Within the package, where its own name resolves to it, and where git and the linter do not look.
const folder = await mkdtemp(join(root, "node_modules/.recipes-"));
let browser: Browser | undefined;
let context: BrowserContext | undefined;
/** Stays open, so that the process that shows all pages does. */
let blank: Page | undefined;
beforeAll(async () => {
  if (lacks("chromium")) return;
  browser = await launchBrowser();
  context = await browser.newContext();
  context.setDefaultTimeout(120_000);
  blank = await context.newPage();
  await blank.goto(site.url.href);
});
// Chromium opens six connections to a server for all pages together, and each event stream is one.
afterEach(async () => {
  for (const page of context?.pages() ?? []) if (page !== blank) await page.close();
});
afterAll(async () => {
  await browser?.close();
  await site.stop(true);
  await rm(folder, { recursive: true });
});

/** @param url a page of the site if left out */
async function open(file: string, url = new URL(file, site.url).href): Promise<Page> {
  const page = await context?.newPage();
  if (!page) throw new Error("there is no browser");
  await page.goto(url);
  return page;
}

/** Starts a program of a recipe. */
async function start(file: string, port = 0): Promise<Bun.Subprocess<"ignore", "pipe", "inherit">> {
  const path = join(folder, file);
  await writeFile(path, code(file).replace("port: 8000", `port: ${port}`));
  return Bun.spawn([process.execPath, path], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
}

/** Runs a server of a recipe, which ends with the test. */
async function serve(file: string): Promise<AsyncDisposable & { readonly url: URL }> {
  const probe = Bun.serve({ port: 0, fetch: () => new Response() });
  const { port = 0 } = probe;
  await probe.stop(true);
  const running = await start(file, port);
  const url = new URL(`http://localhost:${port}/`);
  await until(
    () =>
      fetch(new URL("/api/chat/none", url)).then(
        () => true,
        () => false,
      ),
    `${file} to listen`,
  );
  return {
    url,
    [Symbol.asyncDispose]: async () => {
      running.kill("SIGKILL");
      await running.exited;
    },
  };
}

const shows = (page: Page, selector: string, text: string): Promise<unknown> =>
  page.locator(selector).filter({ hasText: text }).first().waitFor({ state: "attached" });

test("each program and page of a recipe has less than 30 lines of code", () => {
  expect(printed.size).toBeGreaterThanOrEqual(10);
  for (const [file, code] of printed) {
    const lines = code.split("\n").filter((line) => line.trim() !== "").length;
    expect(lines < linesMax ? "" : `${file} has ${lines}`).toBe("");
  }
});

describe.skipIf(lacks("chromium"))("the recipe", () => {
  test("of an answer: a reload loses nothing of it, and Stop ends it for everyone", async () => {
    const producer = await start("answer.js");
    const page = await open("answer.html");
    await shows(page, "#answer", "word 5 ");
    await page.reload();
    await shows(page, "#answer", "word 1 word 2 word 3 word 4 word 5 ");
    await page.locator("#stop").click();
    const answer = JSON.parse(await within(new Response(producer.stdout).text(), "the producer's end"));
    await page.locator("#stop:disabled").waitFor();
    const { count } = answer.published[0];
    expect(count).toBeLessThan(1000);
    const words = (await everyEvent(server, "answers/42"))
      .filter(({ type }) => type === "longwire.message")
      .map(({ data }) => String(data));
    expect(words.length).toBe(count);
    expect(await page.locator("#answer").textContent()).toBe(words.join(""));
  });

  test("of who is typing: another page says so, and forgets it by itself", async () => {
    const [ann, bob] = [
      await open("typing.html", new URL("typing.html#ann", site.url).href),
      await open("typing.html", new URL("typing.html#bob", site.url).href),
    ];
    await until(async () => (await inspect(server, "typing/42")).subscribers === 2, "both pages");
    await ann.locator("input").fill("x");
    await shows(bob, "p", "ann is typing");
    expect(await ann.locator("p").textContent()).toBe("");
    await bob.locator("p:empty").waitFor({ state: "attached" });
    expect((await inspect(server, "typing/42")).retained).toBe(0);
  });

  test("of a room: each person is in the list once, and leaves it after the last tab", async () => {
    const openAs = (name: string): Promise<Page> =>
      open("room.html", new URL(`room.html#${name}`, site.url).href);
    const ann = await openAs("ann");
    await shows(ann, "li", "ann");
    const [bob, again] = [await openAs("bob"), await openAs("ann")];
    for (const page of [ann, bob, again]) {
      await page.locator("li >> nth=1").waitFor();
      expect(await page.locator("li").allTextContents()).toEqual(["ann", "bob"]);
    }
    await ann.locator("input").fill("hello");
    await ann.locator("input").press("Enter");
    for (const page of [ann, bob, again]) await shows(page, "pre", "ann: hello");
    await ann.close(); // She would leave before Bob, were it her last tab.
    await bob.close();
    await again.locator("li >> nth=1").waitFor({ state: "detached" });
    expect(await again.locator("li").allTextContents()).toEqual(["ann"]);
  });

  test("of a room: its token is a member with a name, and reads who is here", async () => {
    const secret = "a secret of more than thirty-two characters";
    await using guarded = await spawnServer([...rooms, "--jwt-secret", secret]);
    await writeFile(join(folder, "jwt.secret"), secret);
    const command = code("token.sh").replace("longwire", `${process.execPath} ${join(root, "src/index.ts")}`);
    const token = await new Response(
      Bun.spawn(["sh", "-c", command], { cwd: folder, stdout: "pipe", stderr: "inherit" }).stdout,
    ).text();
    const headers = { Authorization: `Bearer ${token.trim()}` };
    await using _ = await openStream(guarded, "room/42", headers);
    await using reader = await openStreamAt(guarded, "/presence/room/42?since=all", headers);
    expect(JSON.parse((await reader.next()).data)).toMatchObject({ type: "longwire.open" });
    expect(JSON.parse((await reader.next()).data)).toMatchObject({
      partitionkey: "ann",
      data: { member: { name: "Ann" } },
    });
  });

  test("of a job: its progress, its end, and a page that is opened later", async () => {
    const job = await start("job.ts");
    const page = await open("job.html");
    await shows(page, "#result", "/files/7.pdf");
    expect(await job.exited).toBe(0);
    for (const opened of [page, await open("job.html")]) {
      await shows(opened, "#result", "/files/7.pdf");
      expect(await opened.locator("#bar").getAttribute("value")).toBe("20");
    }
  });

  test("of a page and its changes: one between its making and its subscription is not lost", async () => {
    await using shop = await serve("orders.ts");
    const page = await context?.newPage();
    if (!page) throw new Error("there is no browser");
    // The page is made before the change, and subscribes after it.
    const changed = Promise.withResolvers<void>();
    await page.route("**/client.js", async (route) => {
      await changed.promise;
      await route.continue();
    });
    await page.goto(shop.url.href, { waitUntil: "commit" });
    await shows(page, "#order-1", "1 paid");
    const change = await fetch(new URL("/orders/2/new", shop.url), { method: "POST" });
    expect(change.status).toBe(200);
    expect(await page.locator("li").count()).toBe(1);
    changed.resolve();
    await shows(page, "#order-2", "2 new");
  });

  test("of the last value: each topic begins with it, and follows", async () => {
    await publish(server, "prices/eur", "1.07");
    await publish(server, "prices/eur", "1.08");
    await publish(server, "prices/gbp", "1.27");
    const pages = [await open("prices.html"), await open("price.html")];
    for (const page of pages) await shows(page, "output >> nth=0", "1.08");
    await shows(pages[0] as Page, "output >> nth=1", "1.27");
    await publish(server, "prices/eur", "1.09");
    for (const page of pages) await shows(page, "output >> nth=0", "1.09");
  });

  test("of a table: every row, each change, and rows that go", async () => {
    const price = (key: string) => topicsUrl(server, `prices?key=${key}`);
    const set = (key: string, body: string) =>
      fetch(price(key), { method: "POST", body, headers: { "Content-Type": "text/plain" } });
    await set("AAPL", "187.30");
    await set("MSFT", "415.10");
    await set("AAPL", "188.10");
    const page = await open("table.html");
    await shows(page, "tr", "AAPL188.10");
    await shows(page, "tr", "MSFT415.10");
    await set("GOOG", "170.00");
    await fetch(price("MSFT"), { method: "DELETE" });
    await set("AAPL", "188.20");
    await shows(page, "tr", "AAPL188.20");
    expect(await page.locator("tr").allTextContents()).toEqual(["AAPL188.20", "GOOG170.00"]);
  });

  test("of an agent: pages show its state, and one of them decides", async () => {
    const agent = await start("agent.ts");
    const pages = [await open("agent.html"), await open("agent.html")];
    for (const page of pages) await page.locator("button:enabled").waitFor();
    const decision = topicsUrl(server, "agents/7?key=decision");
    const seen = String((await fetch(decision)).headers.get("etag"));
    await pages[0]?.locator("button").click();
    for (const page of pages) await shows(page, "#step", "sent");
    expect(await within(agent.exited, "the agent's end")).toBe(0);
    const late = await fetch(decision, { method: "POST", body: '"no"', headers: { "If-Match": seen } });
    expect(late.status).toBe(412);
    expect(await (await fetch(decision)).json()).toBe("yes");
  });

  test("of tabs: they share one connection, and another tab takes over", async () => {
    const tabs = [await open("tabs.html"), await open("tabs.html"), await open("tabs.html")];
    const subscribers = async (): Promise<number> => (await inspect(server, "tabs")).subscribers;
    await until(async () => (await subscribers()) === 1, "the connection");
    for (const text of ["1", "2"]) await publish(server, "tabs", text);
    for (const tab of tabs) await shows(tab, "ul", "12");
    await tabs[0]?.close();
    await publish(server, "tabs", "3");
    await until(async () => (await subscribers()) === 1, "the next connection");
    await publish(server, "tabs", "4");
    for (const tab of tabs.slice(1)) {
      await shows(tab, "ul", "4");
      expect(await tab.locator("ul").textContent()).toBe("1234");
    }
    expect(await subscribers()).toBe(1);
  });
});

/** What `useChat` keeps in React's state. */
class PlainState implements ChatState<UIMessage> {
  status: ChatState<UIMessage>["status"] = "ready";
  error: Error | undefined;
  messages: UIMessage[] = [];
  pushMessage = (message: UIMessage): void => void this.messages.push(message);
  popMessage = (): void => void this.messages.pop();
  replaceMessage = (index: number, message: UIMessage): void => {
    this.messages[index] = message;
  };
  snapshot = <Thing>(thing: Thing): Thing => structuredClone(thing);
}

/** The chat that is behind `useChat`. */
class Chat extends AbstractChat<UIMessage> {
  /** The text of the last answer so far. */
  get answer(): string {
    const parts = this.messages.findLast(({ role }) => role === "assistant")?.parts ?? [];
    return parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  }
}

/** A model that writes words until it has 80 or is stopped. */
const model = `
import { MockLanguageModelV4 } from "ai/test";
const usage = { inputTokens: { total: 1 }, outputTokens: { total: 80 } };
export const model = new MockLanguageModelV4({
  doStream: async ({ abortSignal }) => ({
    stream: new ReadableStream({
      async start(controller) {
        controller.enqueue({ type: "stream-start", warnings: [] });
        controller.enqueue({ type: "text-start", id: "1" });
        for (let word = 1; word <= 80 && !abortSignal?.aborted; word++) {
          controller.enqueue({ type: "text-delta", id: "1", delta: word + " " });
          await Bun.sleep(50);
        }
        controller.enqueue({ type: "text-end", id: "1" });
        controller.enqueue({ type: "finish", finishReason: { unified: "stop", raw: "stop" }, usage });
        controller.close();
      },
    }),
  }),
});`;

describe("the recipe of the AI SDK", () => {
  const words = Array.from({ length: 80 }, (_, index) => `${index + 1} `).join("");

  async function chatWith(url: URL, id: string): Promise<Chat> {
    await writeFile(join(folder, "topic-transport.ts"), code("topic-transport.ts"));
    const { TopicTransport } = await import(join(folder, "topic-transport.ts"));
    return new Chat({ id, transport: new TopicTransport(`${url}api/chat`), state: new PlainState() });
  }

  test("gives the whole answer to the chat that asked, and to one that is opened in the middle", async () => {
    await writeFile(join(folder, "model.js"), model);
    await using server = await serve("chat.js");
    const chat = await chatWith(server.url, "1");
    const sent = chat.sendMessage({ text: "count" });
    await until(() => chat.answer.startsWith("1 2 3 "), "the beginning of the answer");
    const reloaded = await chatWith(server.url, "1");
    await within(reloaded.resumeStream(), "the answer after a reload");
    await within(sent, "the answer");
    expect(chat.answer).toBe(words);
    expect(reloaded.answer).toBe(words);
    expect([chat.error, reloaded.error]).toEqual([undefined, undefined]);
  });

  test("stops the model by Stop, for every viewer", async () => {
    await writeFile(join(folder, "model.js"), model);
    await using server = await serve("chat.js");
    const [chat, viewer] = [await chatWith(server.url, "2"), await chatWith(server.url, "2")];
    const sent = chat.sendMessage({ text: "count" });
    await until(() => chat.answer !== "", "the beginning of the answer");
    const watched = viewer.resumeStream();
    await until(() => viewer.answer !== "", "the beginning of the answer at the viewer");
    await chat.stop();
    await within(Promise.all([sent, watched]), "the end of the answer");
    expect(viewer.answer).not.toBeEmpty();
    expect(viewer.answer.length).toBeLessThan(words.length);
    expect(words.startsWith(viewer.answer)).toBe(true);
  });
});
