/** The topics panel of the page, in a real browser: a topic is a URL, and a cut line loses no message. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Locator } from "playwright-core";
import { SharedBrowser, serveScripted, sharedView, type View } from "../support/browser.ts";
import { spawnServer } from "../support/server.ts";
import { lacks } from "../support/tool.ts";
import { startUpgradeEater } from "../support/upgrade-eater.ts";

setDefaultTimeout(120_000);

const shared = new SharedBrowser("topics", ["--max-message", "1KiB", "--keyed", "prices", "--keys-max", "3"]);
const { open } = shared;
let topicsUsed = 0;
const newTopic = (): string => `test/${++topicsUsed}`;

describe.skipIf(lacks("chromium"))("the topics panel", () => {
  const view = sharedView(open);

  test("opens nothing before it is used, and shows its address", async () => {
    expect(await view().part("state").textContent()).toBe("Not subscribed");
    expect(await view().part("topic").inputValue()).toBe("news");
    expect(await view().part("cut").isDisabled()).toBe(true);
    expect(await view().part("disconnect").isDisabled()).toBe(true);
    expect(await view().panel.locator(".guide").isVisible()).toBe(true);
    expect(view().sockets.filter((url) => url.includes("/topics/"))).toEqual([]);
  });

  test("refuses a name that no topic can have, and takes the fault away once the name is corrected", async () => {
    for (const [name, words] of [
      ["", "A topic needs a name"],
      ["a b", "A topic’s name has only letters, marks, digits, . _ ~ : - and “/” between its parts."],
      ["chat//42", "A topic’s name needs text before and after each “/”"],
      ["chat/../42", "No part of a topic’s name can be “.” or “..”"],
      ["x".repeat(201), "A topic’s name has at most 200 characters and 600 bytes of UTF-8."],
    ] as const) {
      await view().part("topic").fill(name);
      await view().part("topic").press("Enter");
      await view().part("topicFault").filter({ hasText: words }).waitFor();
    }
    await view().part("subscribe").click();
    expect(await view().part("topic").getAttribute("aria-invalid")).toBe("true");
    expect(await isFocused(view().part("topic"))).toBe(true);
    await view().message.fill("kept");
    await view().part("send").click();
    expect(await view().message.inputValue()).toBe("kept");
    await view().frames();
    expect(await view().entries.count()).toBe(0);
    expect(view().sockets.filter((url) => url.includes("/topics/"))).toEqual([]);
    await view().message.fill("");
    await view().part("topic").fill("mended");
    expect(await view().part("topicFault").textContent()).toBe("");
    expect(await view().part("topic").getAttribute("aria-invalid")).toBe("false");
  });

  test("publishes without being subscribed, and shows the topic", async () => {
    const topic = newTopic();
    await view().part("topic").fill(topic);
    await publishFromPage(view(), "nobody listens");
    expect(await view().entry("sent", "nobody listens").locator(".label").textContent()).toBe(topic);
    expect(await view().part("state").textContent()).toBe("Not subscribed");
  });

  test("subscribes and shows the messages of others with id, time and type", async () => {
    await view().clearLog();
    const topic = await subscribe(view());
    expect(view().sockets).toContain(shared.server.socketUrl(`/topics/${topic}`));
    await view().entry("note", `Subscribed to ${topic}`).waitFor();
    const textId = await publish(topic, "from elsewhere");
    const jsonId = await publish(topic, '{"price": 1.0, "count": 12345678901234567890}', "application/json");
    const bytesId = await publish(topic, Uint8Array.of(1, 2, 254), "application/octet-stream");

    const text = view().entry("received", "from elsewhere");
    await text.waitFor();
    expect(await text.locator(".measure").textContent()).toBe(offsetOf(textId));
    expect(await text.locator(".label").count()).toBe(0);
    expect(await text.locator("time").textContent()).toMatch(/^\d\d:\d\d:\d\d\.\d{3}$/);
    // No number is rounded on its way to the reader.
    const json = view().entry("received", '{"price": 1.0, "count": 12345678901234567890}');
    await json.waitFor();
    expect(await json.locator(".measure").textContent()).toBe(offsetOf(jsonId));
    expect(await json.locator(".label").textContent()).toBe("application/json");
    const bytes = view().entry("received", "3 bytes: 01 02 fe");
    await bytes.waitFor();
    expect(await bytes.locator(".measure").textContent()).toBe(offsetOf(bytesId));
    expect(await bytes.locator(".label").textContent()).toBe("application/octet-stream");
  });

  test("publishes by the button, Ctrl+Enter and Cmd+Enter, as text or JSON, and shows each id", async () => {
    await view().clearLog();
    await subscribe(view());
    await view().message.fill("by button");
    await view().part("send").click();
    await view().entry("received", "by button").waitFor();
    expect(await view().message.inputValue()).toBe("");
    await view().message.fill("by Ctrl");
    await view().message.press("Control+Enter");
    await view().part("json").check();
    await view().message.fill('{"by":"Cmd"}');
    await view().message.press("Meta+Enter");
    const json = view().entry("received", '{"by":"Cmd"}');
    await json.waitFor();
    expect(await json.locator(".label").textContent()).toBe("application/json");
    await receipt(view(), '{"by":"Cmd"}');
    expect(await texts(view(), "sent")).toEqual(["by button", "by Ctrl", '{"by":"Cmd"}']);
    expect(await texts(view(), "received")).toEqual(["by button", "by Ctrl", '{"by":"Cmd"}']);
    expect(await ids(view(), "sent")).toEqual(await ids(view(), "received"));
    await view().part("json").uncheck();
  });

  test("opens a new line for another topic, without the last id of the old one", async () => {
    await view().clearLog();
    const topic = await subscribe(view());
    await publishFromPage(view(), "of the old topic");
    await view().entry("received", "of the old topic").waitFor();
    const other = await subscribe(view());
    expect(view().sockets.at(-1)).toEndWith(`/topics/${other}`);
    await publish(topic, "not for us");
    await publish(other, "for us");
    await view().entry("received", "for us").waitFor();
    expect(await texts(view(), "received")).toEqual(["of the old topic", "for us"]);
  });

  test("text that looks like HTML is shown as text, in the log and in the command", async () => {
    const topic = await subscribe(view());
    const text = '<img src="x" onerror="document.title=1"><b>bold</b>&amp;';
    await view().message.fill(text);
    await view().part("copyAs").locator("summary").click();
    expect(await view().part("publishCode").textContent()).toBe(
      `curl -d '${text}' ${new URL(`/topics/${topic}`, shared.server.url)}`,
    );
    await view().message.press("Control+Enter");
    await view().entry("received", text).waitFor();
    expect(await view().panel.locator("img, .text b").count()).toBe(0);
    expect(await view().page.title()).toBe("Longwire: a line you can test");
  });

  test("requests in all this nothing from other hosts and breaks no rule of its policy", async () => {
    await subscribe(view());
    await publishFromPage(view(), "one");
    await view().part("cut").click();
    await publishFromPage(view(), "two");
    await view().part("cut").click();
    await view()
      .entry("complete", /^Complete: the 1 missed message/)
      .waitFor();
    expect(view().complaints).toEqual([]);
    expect(view().requests.map((url) => new URL(url).host)).toEqual(
      view().requests.map(() => shared.server.url.host),
    );
    expect(view().sockets.map((url) => new URL(url).host)).toEqual(
      view().sockets.map(() => shared.server.url.host),
    );
  });

  test("refuses JSON that does not parse, with the server's detail, and keeps the text to correct it", async () => {
    await subscribe(view());
    await view().part("json").check();
    await view().message.fill('{"price": ');
    await view().message.press("Control+Enter");
    await view()
      .entry("error", /^Not published\. 400: The body has the type application\/json and is not JSON/)
      .waitFor();
    expect(await view().entry("sent", /price/).locator(".measure").textContent()).toBe("not published");
    expect(await view().message.inputValue()).toBe('{"price": ');
    await view().message.fill('{"price": 1}');
    await view().message.press("Control+Enter");
    await view().entry("received", '{"price": 1}').waitFor();
    await view().part("json").uncheck();
  });

  test("refuses a message larger than the server accepts, and the line stays open", async () => {
    await subscribe(view());
    await view().message.fill("x".repeat(2000));
    await view().part("send").click();
    await view()
      .entry("error", /^Not published\. 413: .*1024 bytes/)
      .waitFor();
    expect(await view().part("state").textContent()).toBe("Open");
  });

  test("shows the end of its topic, and does not come back by itself", async () => {
    const topic = newTopic();
    await subscribe(view(), topic);
    await view().entry("note", `Subscribed to ${topic}`).waitFor();
    const url = new URL(`/topics/${topic}?end`, shared.server.url);
    await fetch(url, { method: "POST", body: "last words", headers: { "ce-type": "token" } });
    await view().entry("received", "last words").waitFor();
    await view()
      .entry("note", / has ended: no message follows$/)
      .waitFor();
    await view().part("reconnect").waitFor();
    expect(await view().entry("note", /ended/).count()).toBeGreaterThan(0);
  });
});

describe.skipIf(lacks("chromium"))("the topics panel's line", () => {
  const view = sharedView(async () => {
    const view = await open({ hasClock: true });
    await view.stopTime(); // Else the line is back by itself while a test looks.
    return view;
  });

  test("reconnects by itself after a cut and receives exactly the missed messages, in order and once", async () => {
    const topic = await subscribe(view());
    await publishFromPage(view(), "before");
    await view().entry("received", "before").waitFor();
    const lastId = await wholeId(view(), "before");

    await view().part("cut").click();
    await view().pill("Closed");
    expect(await view().part("ending").textContent()).toBe("1006: cut on purpose");
    expect(await view().part("next").textContent()).toBe("Reconnects in 10 s");
    for (const text of ["missed 1", "missed 2", "missed 3"]) await publishFromPage(view(), text);
    const elsewhere = await publish(topic, "missed from elsewhere");
    await view().part("waiting").filter({ hasText: "3 messages wait" }).waitFor();
    expect(await texts(view(), "received")).toEqual(["before"]);
    await view().page.clock.fastForward(10_000);
    await view().pill("Open");
    await view().entry("complete", "Complete: all 4 missed messages were delivered").waitFor();
    await view().entry("note", "The line is back and continues where it was cut").waitFor();
    await publish(topic, "after");
    await view().entry("received", "after").waitFor();
    expect(await texts(view(), "received")).toEqual([
      "before",
      "missed 1",
      "missed 2",
      "missed 3",
      "missed from elsewhere",
      "after",
    ]);
    const received = await ids(view(), "received");
    expect(received[4]).toBe(offsetOf(elsewhere));
    expect(await proof(view())).toEqual({ cuts: "1", seen: "6", lost: "0", twice: "0", gaps: "0" });
    expect(received.slice(0, 4)).toEqual(await ids(view(), "sent"));
    expect(view().sockets.at(-1)).toEndWith(`/topics/${topic}?since=${lastId}`);
    expect(await view().entry("error", /./).count()).toBe(0);
  });

  test("comes back at once by the button, which keeps the keyboard focus", async () => {
    await subscribe(view());
    await view().part("cut").press("Enter");
    await view().pill("Closed");
    expect(await view().part("cut").textContent()).toBe("Come back now");
    expect(await isFocused(view().part("cut"))).toBe(true);
    await view().part("cut").press("Enter");
    await view().pill("Open");
    await view().entry("complete", "Complete: nothing was missed").waitFor();
    expect(await view().part("cut").textContent()).toBe("Cut the line");
    expect(await isFocused(view().part("cut"))).toBe(true);
  });

  test("stays disconnected until the button reconnects it, and then misses nothing", async () => {
    await view().clearLog();
    const topic = await subscribe(view());
    await view().part("disconnect").click();
    await view().pill("Closed");
    expect(await view().part("ending").textContent()).toBe("1000: closed by this page");
    await publish(topic, "meanwhile");
    await view().page.clock.fastForward("10:00");
    expect(await view().part("state").textContent()).toBe("Closed");
    await view().part("reconnect").click();
    await view().entry("complete", "Complete: the 1 missed message was delivered").waitFor();
    expect(await texts(view(), "received")).toEqual(["meanwhile"]);
  });

  test("the commands follow the topic, the message and the last id", async () => {
    await view().part("topic").fill("chat/room/42");
    await view().part("copyAs").locator("summary").click();
    const url = new URL("/topics/chat/room/42", shared.server.url).href;
    expect(await view().part("subscribeCode").textContent()).toBe(
      `curl -N -H 'Accept: text/event-stream' ${url}`,
    );
    expect(await view().part("publishCode").textContent()).toBe(`curl -d 'hello' ${url}`);
    await view().message.fill("[1]");
    await view().part("json").check();
    expect(await view().part("publishCode").textContent()).toBe(`curl --json '[1]' ${url}`);
    await view().part("subscribe").click();
    await view().pill("Open");
    await view().message.press("Control+Enter");
    await view().entry("received", "[1]").waitFor();
    await view().part("cut").click();
    const lastId = await wholeId(view(), "[1]");
    expect(await view().part("subscribeCode").textContent()).toBe(
      `curl -N -H 'Accept: text/event-stream' '${url}?since=${lastId}'`,
    );
  });

  test("of raw messages shows frames as they are, and begins from now when it is back", async () => {
    await view().clearLog();
    await view().part("form").selectOption("raw");
    const topic = await subscribe(view());
    await view()
      .entry("note", `Subscribed to ${topic}, without ids: what is missed is not reported`)
      .waitFor();
    // Its heartbeat is no message.
    await view().page.clock.runFor(20_000);
    await view().part("roundTripTime").waitFor();
    await publish(topic, "pong");
    await view().entry("received", "pong").waitFor();
    await view().part("cut").click();
    await view().pill("Closed");
    await publish(topic, "missed");
    await view().part("cut").click();
    await view().pill("Open");
    await publish(topic, "after");
    await view().entry("received", "after").waitFor();
    expect(await texts(view(), "received")).toEqual(["pong", "after"]);
  });
});

describe.skipIf(lacks("chromium"))("the topics panel", () => {
  test("shows what each key is beside the log, through a removal and a gap", async () => {
    const ask = async (method: string, key: string, body?: string): Promise<void> => {
      const url = new URL(`/topics/prices?key=${key}`, shared.server.url);
      const answer = await fetch(url, { method, ...(body !== undefined && { body }) });
      expect(answer.status).toBe(200);
    };
    await ask("POST", "a", "1");
    await ask("POST", "b", "<i>2</i>");
    await using view = await open({ hash: "#topics=prices&since=all" });
    const shows = (...rows: string[]): Promise<void> => {
      const whole = rows.map((row) => `\\s*${RegExp.escape(row)}\\d\\d:\\d\\d:\\d\\d\\.\\d{3}`).join("");
      return view
        .part("keys")
        .locator("tbody")
        .filter({ hasText: new RegExp(`^${whole}$`) })
        .waitFor();
    };
    await shows("a1", "b<i>2</i>");
    await ask("POST", "a", "3");
    await ask("DELETE", "b");
    await ask("POST", "c", "4");
    await shows("a3", "c4");
    await view.part("disconnect").click();
    await view.pill("Closed");
    // More removals than are remembered: the page is told a gap.
    for (const key of ["d", "e", "f", "g"]) {
      await ask("POST", key, "5");
      await ask("DELETE", key);
    }
    await ask("POST", "c", "7");
    await view.part("reconnect").click();
    await shows("a3", "c7");
    const numbers = /^cuts0seen\d+lost0twice0gaps reported1$/;
    await view.part("proof").filter({ hasText: numbers }).waitFor();
    expect(view.complaints).toEqual([]);
  });

  test("shows a gap after the server lost the topic's past, and continues from there", async () => {
    await using first = await spawnServer();
    await using view = await open({}, first.url);
    await subscribe(view, "news");
    await publishFromPage(view, "of the first server");
    await view.entry("received", "of the first server").waitFor();
    const lastId = await wholeId(view, "of the first server");
    first.process.kill("SIGKILL");
    await first.process.exited;
    await view.pill("Closed");
    await view.message.fill("into the void");
    await view.message.press("Control+Enter");
    await view
      .entry("error", "It is unknown whether this was published. The server did not answer")
      .waitFor();
    expect(await view.entry("sent", "into the void").locator(".measure").textContent()).toBe("unknown");
    expect(await view.message.inputValue()).toBe("into the void");

    await using second = await spawnServer(["--port", first.url.port]);
    await fetch(new URL("/topics/news", second.url), { method: "POST", body: "of the second server" });
    await view
      .entry(
        "gap",
        new RegExp(`^Messages of news after ${lastId} are no longer kept\\. It continues after \\w+-0$`),
      )
      .waitFor();
    await view.entry("received", "of the second server").waitFor();
    const newId = await wholeId(view, "of the second server");
    expect(newId).toEndWith("-1");
    expect(newId).not.toBe(lastId);
    expect((await proof(view)).gaps).toBe("1");
    // No address with the id that is gone stays on the page.
    expect(await view.page.content()).not.toContain(`since=${lastId}`);
    expect(await view.entry("complete", /./).count()).toBe(0);

    await view.part("cut").click();
    await view.part("cut").click();
    await view.entry("note", "The line is back and continues where it was cut").waitFor();
  });

  test("an event every 20 s keeps the line alive, measures the round trip and stays out of the log", async () => {
    const { promise: pinged, resolve: ping } = Promise.withResolvers<unknown>();
    await using scripted = serveScripted({
      open: (socket) => void socket.send(openEvent("e-0")),
      message: (socket, message) => {
        if (!String(message).startsWith("{")) return; // Of the line panel.
        ping(JSON.parse(String(message)));
        socket.send(messageEvent("e-1", "longwire.pong"));
        socket.send(JSON.stringify({ specversion: "1.0", type: "longwire.pong" }));
      },
    });
    await using view = await open({ hasClock: true }, scripted.url);
    await subscribe(view, "news");
    await view.entry("note", "Subscribed to news").waitFor();
    await view.page.clock.runFor(20_000);
    expect(await pinged).toEqual({ specversion: "1.0", type: "longwire.ping" });
    await view.part("roundTripTime").waitFor();
    await view.entry("received", "longwire.pong").waitFor();
    expect(await texts(view, "received")).toEqual(["longwire.pong"]);
  });

  test("reports a server that sends messages out of order or twice, but not one that leaves out offsets", async () => {
    await using scripted = serveScripted({
      open: (socket) => {
        socket.send(openEvent("e-5"));
        socket.send(messageEvent("e-6", "six"));
        socket.send(messageEvent("e-8", "eight"));
        socket.send(messageEvent("e-8", "eight again"));
        socket.send(messageEvent("e-7", "seven"));
      },
    });
    await using view = await open({}, scripted.url);
    await view.part("subscribe").click();
    await view.entry("received", "seven").waitFor();
    expect(await texts(view, "error")).toEqual([
      "A fault of the server: e-8 arrived after e-8",
      "A fault of the server: e-7 arrived after e-8",
    ]);
  });
});

describe.skipIf(lacks("chromium"))("the topics panel where WebSockets do not pass", () => {
  for (const eating of ["refused", "stripped"] as const) {
    test(`(${eating}) goes on over an event stream, says so, and remembers it`, async () => {
      await using eater = startUpgradeEater(shared.server.url, eating);
      await using view = await open({ hasClock: true }, eater.url);
      const topic = await subscribe(view);
      await view.entry("note", /^WebSockets do not pass between here and the server/).waitFor();
      await view
        .part("address")
        .filter({ hasText: new RegExp(`^http://.*${topic}`) })
        .waitFor();
      await publish(topic, "over a stream");
      await view.entry("received", "over a stream").waitFor();
      await standStill(view);
      await view.part("cut").click();
      await view.part("state").filter({ hasText: "Closed" }).waitFor();
      await publish(topic, "missed");
      await view.part("cut").click();
      await view.entry("complete", "Complete: the 1 missed message was delivered").waitFor();
      const handshakes = (): number => view.sockets.filter((url) => url.includes("/topics/")).length;
      expect(handshakes()).toBe(2);
      await subscribe(view);
      expect(handshakes()).toBe(2);
      // Where only a WebSocket is wanted, nothing opens, and slow reading is not blamed.
      await view.part("form").selectOption("raw");
      await view.part("subscribe").click();
      await view.part("ending").filter({ hasText: "1006: no connection was opened" }).waitFor();
    });
  }
});

describe.skipIf(lacks("chromium"))("the layout of the topics panel", () => {
  test("is in Chinese for a Chinese browser, and fits a narrow phone with every button in reach", async () => {
    await using view = await open({
      viewport: { width: 320, height: 568 },
      locale: "zh-CN",
      hasClock: true,
    });
    expect(await view.part("state").textContent()).toBe("未订阅");
    await view.part("topic").fill("a b");
    await view.part("subscribe").click();
    await view.part("topicFault").filter({ hasText: "主题名称只能包含" }).waitFor();
    await view.part("topic").fill(newTopic());
    await view.part("subscribe").click();
    await view.pill("已连接");
    await publishFromPage(view, "你好");
    await view.entry("received", "你好").waitFor();
    await view.stopTime(); // Else the line is back by itself while this test looks.
    await view.part("cut").click();
    await view.pill("已断开");
    expect(await view.part("ending").textContent()).toBe("1006：有意切断");
    expect(await view.part("next").textContent()).toBe("10 秒后恢复");
    await publishFromPage(view, "错过的消息");
    for (const part of ["send", "reconnect", "disconnect", "clear", "subscribe", "cut"])
      await view.part(part).click({ trial: true });
    await view.part("cut").click();
    await view.entry("complete", "完整：错过的 1 条消息已全部补上").waitFor();
    expect(await view.page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
  });

  test("is one panel at a time on a narrow page, and beside the others on a wide one", async () => {
    await using view = await open({ viewport: { width: 800, height: 800 } });
    expect(await view.panel.isVisible()).toBe(true);
    expect(await view.page.locator("#line").count()).toBe(0);
    await view.page.locator('[data-tab="line"]').click();
    await view.page.locator("#line").waitFor();
    expect(await view.panel.count()).toBe(0);
    await view.page.setViewportSize({ width: 1280, height: 800 });
    await view.panel.waitFor();
    const left = await view.panel.boundingBox();
    const right = await view.page.locator("#line").boundingBox();
    expect(right?.x).toBeGreaterThan((left?.x ?? 0) + (left?.width ?? 0));
    // The logs fill the window, and the page does not scroll.
    expect(await view.page.evaluate(() => document.documentElement.scrollHeight)).toBe(800);
  });
});

/** Subscribes in the panel. @returns the topic */
async function subscribe(view: View, topic = newTopic()): Promise<string> {
  await view.part("topic").fill(topic);
  await view.part("subscribe").click();
  await view.part("address").filter({ hasText: topic }).waitFor();
  await view.pill("Open");
  return topic;
}

/** Else the line comes back by itself while the test is slow. */
async function standStill({ page }: View): Promise<void> {
  await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 1000);
}

/** Publishes as another program does. @returns the id */
async function publish(
  topic: string,
  body: string | Uint8Array<ArrayBuffer>,
  type = "text/plain",
): Promise<string> {
  const headers = { "Content-Type": type };
  const answer = await fetch(new URL(`/topics/${topic}`, shared.server.url), {
    method: "POST",
    body,
    headers,
  });
  const { published } = (await answer.json()) as { published: { id: string }[] };
  return published[0]?.id ?? "";
}

/** Types the text, sends it, and waits until the page has shown its id. */
async function publishFromPage(view: View, text: string): Promise<void> {
  await view.message.fill(text);
  await view.part("send").click();
  await receipt(view, text);
}

async function receipt(view: View, text: string): Promise<void> {
  await view.entry("sent", text).locator(".measure").filter({ hasText: /^\d+$/ }).waitFor();
}

function texts(view: View, kind: "sent" | "received" | "error"): Promise<string[]> {
  return view.panel.locator(`.entry[data-kind="${kind}"] .text`).allTextContents();
}

function ids(view: View, kind: "sent" | "received"): Promise<string[]> {
  return view.panel.locator(`.entry[data-kind="${kind}"] .measure`).allTextContents();
}

/** The id with its epoch, which a row leaves out. */
async function wholeId(view: View, text: string): Promise<string> {
  const entry = view.entry("received", text);
  await entry.click();
  const id = await view
    .part("detail")
    .locator("dd")
    .filter({ hasText: /^[0-9a-z]+-\d+$/ })
    .textContent();
  await view.part("closeDetail").click();
  return id ?? "";
}

const offsetOf = (id: string): string => id.slice(id.lastIndexOf("-") + 1);

/** The numbers of the loss proof. */
async function proof(view: View): Promise<Record<string, string>> {
  const names = ["cuts", "seen", "lost", "twice", "gaps"];
  const number = (name: string): Promise<string> =>
    view.panel.locator(`[data-proof="${name}"] dd`).textContent().then(String);
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await number(name)])));
}

function isFocused(element: Locator): Promise<boolean> {
  return element.evaluate((element) => element === document.activeElement);
}

function openEvent(id: string): string {
  const data = { topics: [{ topic: "news", id, resumed: false }] };
  return JSON.stringify({ specversion: "1.0", type: "longwire.open", data });
}

function messageEvent(id: string, data: string): string {
  const time = new Date().toISOString();
  const type = "longwire.message";
  return JSON.stringify({
    specversion: "1.0",
    type,
    topic: "news",
    id,
    time,
    datacontenttype: "text/plain",
    data,
  });
}
