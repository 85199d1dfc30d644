/** Chromium, driven by Playwright, for the tests of the page. */
import { afterAll, beforeAll } from "bun:test";
import type { ServerWebSocket } from "bun";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import type { View as PanelName } from "../../public/ground/settings.ts";
import { heartbeatIntervalSeconds } from "../../public/line/line.ts";
import type { EntryKind } from "../../public/log/entry.ts";
import { pageHandlers } from "../../src/endpoint/page.ts";
import { Refusals } from "../../src/http/refusal.ts";
import { routesOf } from "../../src/http/routes.ts";
import { createLogger } from "../../src/log.ts";
import { Counters } from "../../src/metrics.ts";
import { launchBrowser } from "./chromium.ts";
import { type RunningServer, spawnServer } from "./server.ts";
import { lacks } from "./tool.ts";

export interface ViewOptions extends BrowserContextOptions {
  /** The test can let time in the page pass faster: `page.clock`. */
  readonly hasClock?: boolean;
  /** The part of the address after `#`. */
  readonly hash?: string;
}

/** @returns a tab without history */
async function newTab(
  browser: Browser,
  { hasClock = false, hash: _, ...options }: ViewOptions,
): Promise<Page> {
  // Movements would be drawn sixty times a second by the processor.
  const context = await browser.newContext({ locale: "en-US", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  if (options.javaScriptEnabled !== false) {
    await page.addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
      ),
    );
  }
  if (hasClock) await installClock(page);
  return page;
}

/** Frames stay the browser's own: the log shows in the next frame what it was given, whatever the time is. */
async function installClock(page: Page): Promise<void> {
  await page.addInitScript(() => Object.assign(window, { nextFrame: requestAnimationFrame }));
  await page.clock.install();
  await page.addInitScript(() =>
    Object.assign(window, { requestAnimationFrame: Reflect.get(window, "nextFrame") }),
  );
}

/** One browser and one server for all the tests of a file, which constructs it at its top level. */
export class SharedBrowser {
  readonly #panel: PanelName;
  /** The tab of the tests that need no other: each new one is a process of Chromium, which compiles the page anew. */
  #idleTab: Page | undefined;
  #started: readonly [Browser, RunningServer] | undefined;

  /** @param panel the panel that the tests use */
  constructor(panel: PanelName) {
    this.#panel = panel;
    beforeAll(async () => {
      if (!lacks("chromium")) this.#started = await Promise.all([launchBrowser(), spawnServer()]);
    });
    afterAll(async () => {
      const [browser, server] = this.#started ?? [];
      await Promise.all([browser?.close(), server?.[Symbol.asyncDispose]()]);
    });
  }

  get server(): RunningServer {
    return this.#parts[1];
  }

  /** @param url the server's page if left out */
  readonly open = async (options: ViewOptions = {}, url = this.server.url): Promise<View> => {
    const { hash = "", ...special } = options;
    const isOrdinary = Object.keys(special).length === 0;
    const idle = isOrdinary ? this.#idleTab : undefined;
    if (idle) this.#idleTab = undefined;
    const page = idle ?? (await newTab(this.#parts[0], options));
    const view = new View(page, this.#panel, () => (isOrdinary ? this.#clear(page) : page.context().close()));
    await page.goto(new URL(hash, url).href);
    const tab = page.locator(`[data-tab="${this.#panel}"]`);
    if (options.javaScriptEnabled !== false) await page.locator("main").waitFor();
    if ((await tab.count()) > 0) await tab.click();
    return view;
  };

  /** Leaves the tab as a new one. */
  async #clear(page: Page): Promise<void> {
    for (const event of ["request", "websocket", "pageerror", "console"]) page.removeAllListeners(event);
    await page.unrouteAll({ behavior: "ignoreErrors" });
    for (const other of page.context().pages()) if (other !== page) await other.close();
    await page.evaluate(() => {
      localStorage.clear();
      sessionStorage.clear();
    });
    await page.mouse.move(0, 0);
    await page.goto("about:blank");
    if (this.#idleTab) await page.context().close();
    else this.#idleTab = page;
  }

  get #parts(): readonly [Browser, RunningServer] {
    if (!this.#started) throw new Error("the browser is used before its tests began");
    return this.#started;
  }
}

/** An opened page, as the tests use it. */
export class View implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly sockets: string[] = [];
  /** Errors of the page, and violations of its content security policy. */
  readonly complaints: string[] = [];
  readonly panel: Locator;

  constructor(
    readonly page: Page,
    panel: string,
    private readonly close: () => Promise<void>,
  ) {
    this.panel = page.locator(`#${panel}`);
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => this.sockets.push(socket.url()));
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (line) => {
      if (line.type() === "error" || line.type() === "warning") this.complaints.push(line.text());
    });
  }

  /** The same page, with the parts of another panel. */
  on(panel: string): View {
    return Object.assign(Object.create(this), { panel: this.page.locator(`#${panel}`) });
  }

  get message(): Locator {
    return this.part("message");
  }

  get entries(): Locator {
    return this.panel.locator(".entry");
  }

  part(name: string): Locator {
    return this.panel.locator(`[data-part="${name}"]`);
  }

  /** @param text the whole text of the entry, or a pattern in it */
  entry(kind: EntryKind, text: string | RegExp): Locator {
    const whole = typeof text === "string" ? new RegExp(`^${RegExp.escape(text)}$`) : text;
    return this.panel
      .locator(`.entry[data-kind="${kind}"]`)
      .filter({ has: this.page.locator(".text").filter({ hasText: whole }) });
  }

  async pill(text: string): Promise<void> {
    const pill = this.part("state").filter({ hasText: new RegExp(`^${text}$`) });
    try {
      await pill.waitFor();
    } catch (cause) {
      const seen = await this.page.locator("body").ariaSnapshot();
      throw new Error(`the line never was "${text}"; the page shows:\n${seen}`, { cause });
    }
  }

  async atEndOfLog(): Promise<void> {
    const log = await this.part("rows").elementHandle();
    await this.page.waitForFunction(
      (log) => log !== null && log.scrollHeight - log.scrollTop - log.clientHeight < 2,
      log,
    );
  }

  /**
   * Lets no more time pass in a page opened with `hasClock`, but by `page.clock`. The page goes on taking messages and
   * showing them. It stops a while ahead of the page's present, because a time that has passed is refused, and before the
   * next heartbeat of a line that was opened just now.
   */
  async stopTime(): Promise<void> {
    const now = await this.page.evaluate(() => Date.now());
    await this.page.clock.pauseAt(now + (heartbeatIntervalSeconds * 1000) / 2);
  }

  /** After two frames, when a requested scroll has happened. */
  scrollTopAfterFrame(): Promise<number> {
    return this.part("rows").evaluate(
      (log) =>
        new Promise<number>((resolve) =>
          requestAnimationFrame(() => requestAnimationFrame(() => resolve(log.scrollTop))),
        ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface ScriptedData {
  readonly isProbe: boolean;
}

/** Serves the page with a line that misbehaves as the test wants. */
export function serveScripted(line: {
  open?(socket: ServerWebSocket<ScriptedData>): void;
  message?(socket: ServerWebSocket<ScriptedData>, message: string | Buffer): void;
}): AsyncDisposable & { readonly url: URL } {
  const server = Bun.serve({
    port: 0,
    hostname: "localhost",
    routes: routesOf(
      pageHandlers(() => "the summary", "none"),
      new Refusals(new Counters(), createLogger("silent")),
    ),
    fetch: (request, server) => {
      const isProbe = request.headers.get("sec-websocket-protocol")?.includes("longwire.raw") ?? false;
      const headers: Record<string, string> = isProbe ? { "Sec-WebSocket-Protocol": "longwire.raw" } : {};
      const isUpgraded = server.upgrade(request, { data: { isProbe }, headers });
      return isUpgraded ? undefined : new Response(null, { status: 404 });
    },
    websocket: {
      data: { isProbe: false },
      // The page measures the round trip on a line of its own, which stays silent here.
      open: (socket) => {
        if (!socket.data.isProbe) line.open?.(socket);
      },
      message: (socket, message) => {
        if (!socket.data.isProbe) line.message?.(socket, message);
      },
    },
  });
  return { url: server.url, [Symbol.asyncDispose]: () => server.stop(true) };
}
