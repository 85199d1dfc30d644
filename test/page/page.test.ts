/** The client page in a real browser, with the real server. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { heartbeatIntervalSeconds } from "../../public/line/line.ts";
import { SharedBrowser, serveScripted, sharedView } from "../support/browser.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { lacks } from "../support/tool.ts";
import { Inbox } from "../support/wait.ts";

setDefaultTimeout(120_000);

const shared = new SharedBrowser("line");
const { open } = shared;

const greeting = "Hello WebSockets!";

/** Without it the server answers in text. */
const browser = { Accept: "text/html" };

describe("the page over HTTP", () => {
  const server = sharedServer();

  test("/ and /longconnecthtml serve the same page", async () => {
    const [page, original] = await Promise.all(
      ["/", "/longconnecthtml"].map((path) => fetch(new URL(path, server.url), { headers: browser })),
    );
    expect(page?.status).toBe(200);
    expect(page?.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const text = await page?.text();
    expect(text).toContain("<!doctype html>");
    expect(await original?.text()).toBe(text ?? "");
  });

  test("its files are served with their types, and are small enough for a phone on a slow network", async () => {
    const types = { "page.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml" };
    let size = 0;
    for (const [name, type] of Object.entries({ ...types, "": "text/html" })) {
      const answer = await fetch(new URL(name, server.url), { headers: browser });
      expect(`${name} ${answer.status}`).toBe(`${name} 200`);
      expect(answer.headers.get("content-type")).toBe(`${type}; charset=utf-8`);
      size += (await answer.bytes()).length;
    }
    expect(size).toBeLessThan(150 * 1024);
  });

  test("the policy allows nothing inline and no file from elsewhere, and types are not guessed", async () => {
    const { headers } = await fetch(server.url, { headers: browser });
    expect((headers.get("content-security-policy") ?? "").split("; ")).toEqual([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self' blob:",
      "connect-src 'self' ws: wss: http: https:", // A person may enter the address of any server.
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });

  test("an unchanged page is not sent again, even if a proxy weakened its tag", async () => {
    const tag = (await fetch(server.url, { headers: browser })).headers.get("etag") ?? "";
    for (const known of [tag, `W/${tag}`, `"another", ${tag}`]) {
      const answer = await fetch(server.url, { headers: { ...browser, "If-None-Match": known } });
      expect(answer.status).toBe(304);
      expect(answer.headers.get("etag")).toBe(tag);
      expect(await answer.text()).toBe("");
    }
    const changed = await fetch(server.url, { headers: { ...browser, "If-None-Match": '"another"' } });
    expect(changed.status).toBe(200);
  });

  test("HEAD answers like GET without the body, and POST with 405 and Allow", async () => {
    const [whole, head] = await Promise.all(
      ["GET", "HEAD"].map((method) => fetch(server.url, { method, headers: browser })),
    );
    expect(head?.status).toBe(200);
    expect(head?.headers.get("etag")).toBe(String(whole?.headers.get("etag")));
    expect(await head?.text()).toBe("");
    const post = await fetch(server.url, { method: "POST", body: "x" });
    expect(post.status).toBe(405);
    expect(post.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
  });
});

describe.skipIf(lacks("chromium"))("the line panel", () => {
  const view = sharedView(open);

  test("opens the line, greets and shows the greeting coming back with its round trip", async () => {
    await view().pill("Open");
    await view().entry("sent", greeting).waitFor();
    const answer = view().entry("received", greeting);
    await answer.waitFor();
    expect(await answer.locator("time").textContent()).toMatch(/^\d\d:\d\d:\d\d\.\d{3}$/);
    expect(await answer.locator(".measure").textContent()).toMatch(/^\d+(\.\d)? ms$/);
    expect(await view().part("roundTripTime").textContent()).toMatch(/^\d+(\.\d)? ms$/);
    expect(await view().part("address").textContent()).toBe(shared.server.socketUrl());
    expect(await view().entries.count()).toBe(3);
  });

  test("sends by the button, Ctrl+Enter and Cmd+Enter, and a plain Enter is a new line", async () => {
    const { message } = view();
    await message.fill("by button");
    await view().part("send").click();
    await view().entry("received", "by button").waitFor();
    expect(await message.inputValue()).toBe("");
    await message.fill("by Ctrl");
    await message.press("Control+Enter");
    await view().entry("received", "by Ctrl").waitFor();
    await message.fill("by Cmd");
    await message.press("Meta+Enter");
    await view().entry("received", "by Cmd").waitFor();
    await message.fill("first");
    await message.press("Enter");
    await message.press("2");
    expect(await message.inputValue()).toBe("first\n2");
    await message.press("Control+Enter");
    await view().entry("received", "first\n2").waitFor();
  });

  test("a typed ping is answered pong, and the empty message comes back as empty", async () => {
    await view().message.fill("ping");
    await view().part("send").click();
    await view().entry("received", "pong").waitFor();
    await view().part("send").click();
    await view().entry("received", "(empty)").waitFor();
  });

  test("shows sent and received binary messages as bytes", async () => {
    await view().message.fill("48 c3 a9");
    await view().part("kindOfContent").selectOption("hex");
    await view().part("send").click();
    await view().entry("sent", "3 bytes: 48 c3 a9").waitFor();
    await view().entry("received", "3 bytes: 48 c3 a9").waitFor();
    await view().part("kindOfContent").selectOption("text");
  });

  test("text that looks like HTML is shown as text", async () => {
    const text = '<img src="x" onerror="document.title=1"><b>bold</b><script>document.title=2</script>&amp;';
    await view().message.fill(text);
    await view().part("send").click();
    await view().entry("received", text).waitFor();
    expect(await view().part("log").locator("img, b, script").count()).toBe(0);
    expect(await view().page.title()).toBe("Longwire: a line you can test");
  });

  test("shows only the begin of a long message that comes back, and the whole count", async () => {
    await view().message.fill("x".repeat(20_000));
    await view().part("send").click();
    await view()
      .entry("received", /^x{400}… … and 19600 characters more$/)
      .waitFor();
  });

  test("stays disconnected and keeps the typed text until the button reconnects it, and sends the greeting again", async () => {
    await view().part("disconnect").click();
    await view().pill("Closed");
    expect(await view().part("ending").textContent()).toBe("1000: closed by this page");
    expect(await view().part("next").textContent()).toBe("");
    expect(await view().part("send").isDisabled()).toBe(true);
    expect(await view().part("disconnect").isDisabled()).toBe(true);
    await view().message.fill("not lost");
    await view().message.press("Control+Enter");
    expect(await view().message.inputValue()).toBe("not lost");
    await view().frames();
    expect(await view().entry("sent", "not lost").count()).toBe(0);
    await view().clearLog();
    await view().part("reconnect").click();
    await view().pill("Open");
    expect(await view().part("ending").textContent()).toBe("");
    await view().entry("received", greeting).waitFor();
  });

  test("requests in all this nothing from other hosts and breaks no rule of its policy", () => {
    const { complaints, requests, sockets } = view();
    expect(complaints).toEqual([]);
    expect(requests.map((url) => new URL(url).pathname)).toContain("/page.js");
    expect([...requests, ...sockets].every((url) => new URL(url).host === shared.server.url.host)).toBe(true);
  });
});

describe.skipIf(lacks("chromium"))("the page", () => {
  test("/longconnecthtml is the same page on the same line", async () => {
    await using view = await open({}, new URL("/longconnecthtml", shared.server.url));
    await view.entry("received", greeting).waitFor();
    expect(await view.part("address").textContent()).toBe(shared.server.socketUrl());
  });

  test("is in Chinese for a Chinese browser, and fits a narrow phone with every button in reach", async () => {
    await using view = await open({ viewport: { width: 320, height: 568 }, locale: "zh-CN" });
    await view.pill("已连接");
    expect(await view.page.locator("html").getAttribute("lang")).toBe("zh-CN");
    expect(await view.page.title()).toBe("Longwire：一条可以测试的线");
    expect(await view.part("send").textContent()).toBe("发送");
    expect(await view.message.getAttribute("placeholder")).toBe("输入消息… Ctrl + Enter 发送");
    expect(await view.page.evaluate(() => document.documentElement.scrollWidth)).toBe(320);
    for (const part of ["send", "reconnect", "disconnect", "clear"])
      await view.part(part).click({ trial: true });
  });

  test("is in English for a browser in another language", async () => {
    await using view = await open({ locale: "de-DE" });
    await view.pill("Open");
    expect(await view.page.locator("html").getAttribute("lang")).toBe("en");
    expect(await view.page.title()).toBe("Longwire: a line you can test");
    expect(await view.part("send").textContent()).toBe("Send");
  });

  test("says without JavaScript that it needs it", async () => {
    await using view = await open({ javaScriptEnabled: false });
    const notices = view.page.locator(".notice:visible");
    await notices.nth(2).waitFor();
    expect(await notices.allInnerTexts()).toEqual([
      expect.stringContaining("This page needs JavaScript"),
      expect.stringContaining("此页面需要 JavaScript"),
      expect.stringContaining(`curl -d hello ${new URL("/topics/news", shared.server.url)}`),
    ]);
    expect(await view.page.locator("main").isVisible()).toBe(false);
    await notices.first().getByRole("link").click();
    await view.page.getByRole("heading", { name: "The protocol" }).waitFor();
  });
});

describe.skipIf(lacks("chromium"))("the line panel's line", () => {
  test("says why a server ended it, and comes back by itself or by the button to the next one", async () => {
    await using first = await spawnServer(["--max-message", "1KiB"]);
    await using view = await open({}, first.url);
    await view.entry("received", greeting).waitFor();
    await view.message.fill("x".repeat(2000));
    await view.part("send").click();
    await view.pill("Closed");
    expect(await view.part("ending").textContent()).toStartWith(
      "1009: the message was larger than the server accepts",
    );
    expect(await view.part("next").textContent()).toBe("The page does not reconnect by itself.");
    await view.part("reconnect").click();
    await view.entry("received", greeting).nth(1).waitFor();

    const start = (): Promise<RunningServer> => spawnServer(["--port", first.url.port]);
    first.process.kill("SIGKILL");
    await first.process.exited;
    await view.pill("Closed");
    await view.part("ending").filter({ hasText: "1006: the connection was lost or refused" }).waitFor();
    await view
      .part("next")
      .filter({ hasText: /^Next try/ })
      .waitFor();
    await using second = await start();
    expect(second.url.href).toBe(first.url.href);
    await view.pill("Open");
    await view.entry("received", greeting).nth(2).waitFor();

    // A node that drains has a successor.
    second.process.kill("SIGTERM");
    await view.entry("note", /1012: the server is restarting \(“.+”\)/).waitFor();
    await second.process.exited;
    await using third = await start();
    await view.pill("Open");

    third.process.kill("SIGINT");
    await view.entry("note", /1001: the server is stopping \(“.+”\)/).waitFor();
    await third.process.exited;
    await using _fourth = await start();
    await view.part("reconnect").click();
    await view.pill("Open");
  });

  test("does not reconnect after 4403 or 1008 and shows the reason", async () => {
    const endings = [
      [4403, "4403: this is not allowed (“not for you”)"],
      [1008, "1008: a rule of the server was broken (“not for you”)"],
    ] as const;
    let connections = 0;
    await using scripted = serveScripted({
      open: (socket) => socket.close(endings[connections++]?.[0], "not for you"),
    });
    await using view = await open({ hasClock: true }, scripted.url);
    for (const [index, [, words]] of endings.entries()) {
      if (index > 0) await view.part("reconnect").click();
      await view.part("ending").filter({ hasText: words }).waitFor();
      await view.pill("Closed");
      expect(await view.part("ending").textContent()).toBe(words);
      expect(await view.part("next").textContent()).toBe("The page does not reconnect by itself.");
      await view.page.clock.fastForward("10:00");
      expect(await view.part("state").textContent()).toBe("Closed");
      expect(connections).toBe(index + 1);
    }
  });

  test("comes back at once from a node that is draining", async () => {
    let connections = 0;
    await using scripted = serveScripted({
      open: (socket) => {
        connections++;
        if (connections === 1) socket.close(1012, "draining");
      },
    });
    await using view = await open({ hasClock: true }, scripted.url);
    await view.entry("note", /1012: the server is restarting \(“draining”\)/).waitFor();
    await view.page.clock.fastForward(500);
    await view.entry("note", "The line is open").nth(1).waitFor();
    expect(connections).toBe(2);
  });

  test("waits longer each time for a server that is full, and shows when the next try is", async () => {
    let connections = 0;
    const { promise: first, resolve: opened } = Promise.withResolvers<Bun.ServerWebSocket<unknown>>();
    await using scripted = serveScripted({
      open: (socket) => {
        connections++;
        if (connections === 1) opened(socket);
        else socket.close(1013, "full");
      },
    });
    await using view = await open({ hasClock: true }, scripted.url);
    await view.pill("Open");
    await view.stopTime(); // Else a try can be due while this test looks.
    (await first).close(1013, "full");
    await view.page.evaluate(() => {
      Math.random = () => 1; // Half of a wait, or a tenth of it, is as likely as the longest.
    });
    let tries = 0;
    for (let round = 0; round < 5; round++) {
      const failures = round === 0 ? "" : `, ${tries + 1} tries have failed`;
      await view
        .part("next")
        .filter({ hasText: new RegExp(`^Next try in \\d+ s${failures}$`) })
        .waitFor();
      const text = (await view.part("next").textContent()) ?? "";
      const [, seconds, , failed = "1"] =
        /^Next try in (\d+) s(, (\d+) tries have failed)?$/.exec(text) ?? [];
      tries = Number(failed);
      const longest = Math.min(30, 2 ** (tries - 1));
      if (round === 0) expect(Number(seconds)).toBeLessThanOrEqual(longest);
      else expect(Number(seconds)).toBe(longest);
      expect(connections).toBe(tries);
      await view.page.clock.fastForward(Number(seconds) * 1000);
    }
  });

  test("a ping every 25 s measures the round trip and stays out of the log, and without a pong another line is tried", async () => {
    const heard = new Inbox<string>();
    let connections = 0;
    let isSilent = false;
    await using scripted = serveScripted({
      open: () => void connections++,
      message: (socket, message) => {
        heard.put(String(message));
        if (!isSilent) socket.send(message === "ping" ? "pong" : message);
      },
    });
    await using view = await open({ hasClock: true }, scripted.url);
    await view.entry("received", greeting).waitFor();
    await view.page.clock.fastForward(heartbeatIntervalSeconds * 1000);
    await view.message.fill("after the heartbeat");
    await view.message.press("Control+Enter");
    await view.entry("received", "after the heartbeat").waitFor();
    expect(await view.part("rows").textContent()).not.toContain("pong");
    expect(heard.waiting).toEqual([greeting, "ping", "after the heartbeat"]);
    expect(await view.part("roundTripTime").isVisible()).toBe(true);

    isSilent = true;
    await view.page.clock.fastForward(heartbeatIntervalSeconds * 1000);
    for (const message of [greeting, "ping", "after the heartbeat", "ping"])
      expect(await heard.take("a message")).toBe(message);
    await view.page.clock.fastForward(heartbeatIntervalSeconds * 1000);
    await view.entry("note", /1006: no answer from the server/).waitFor();
    await view.page.clock.fastForward(1000);
    await view.entry("note", "The line is open").nth(1).waitFor();
    expect(connections).toBe(2);
  });
});

describe.skipIf(lacks("chromium"))("the log", () => {
  test("counts 200 entries, has only those in view in the document, and shows the newest", async () => {
    await using scripted = serveScripted({
      open: (socket) => {
        for (let number = 1; number <= 200; number++) socket.send(`message ${number}`);
      },
    });
    await using view = await open({}, scripted.url);
    const last = view.entry("received", "message 200");
    await last.waitFor();
    await view.part("counts").filter({ hasText: "200 received, 1 sent" }).waitFor();
    expect(await view.entries.count()).toBeLessThan(80);
    await view.atEndOfLog();
    await view.clearLog();
  });

  test("stays where a reader scrolled up to, and follows again from the end", async () => {
    await using scripted = serveScripted({
      message: (socket, message) => {
        for (let number = 1; number <= 60; number++) socket.send(`${message} ${number}`);
      },
    });
    await using view = await open({}, scripted.url);
    await view.entry("received", `${greeting} 60`).waitFor();
    await view.atEndOfLog();
    await view.part("rows").evaluate((log) => {
      log.scrollTop = 100;
      return new Promise((resolve) => log.addEventListener("scroll", resolve, { once: true }));
    });
    await view.message.fill("more");
    await view.message.press("Control+Enter");
    await view.part("counts").filter({ hasText: "120 received, 2 sent" }).waitFor();
    await view.frames(); // A requested scroll would have happened.
    expect(await view.part("rows").evaluate((log) => log.scrollTop)).toBe(100);
    await view.part("newer").click();
    await view.atEndOfLog();
    await view.message.fill("again");
    await view.message.press("Control+Enter");
    await view.entry("received", "again 60").waitFor();
    await view.atEndOfLog();
  });
});
