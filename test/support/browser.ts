/** Chromium, driven by Playwright, for the tests of the page. */
import { afterAll, beforeAll } from "bun:test";
import type { ServerWebSocket } from "bun";
import type { Locator, Page, ViewportSize } from "playwright-core";
import type { View as PanelName } from "../../public/ground/settings.ts";
import { heartbeatIntervalSeconds } from "../../public/line/line.ts";
import type { EntryKind } from "../../public/log/entry.ts";
import { pageHandlers } from "../../src/endpoint/page.ts";
import { Refusals } from "../../src/http/refusal.ts";
import { routesOf } from "../../src/http/routes.ts";
import { createLogger } from "../../src/log.ts";
import { Counters } from "../../src/metrics.ts";
import { leaveConnection, sharedConnection } from "./chromium.ts";
import { type RunningServer, spawnServer } from "./server.ts";
import { lacks } from "./tool.ts";

export interface ViewOptions {
  /** The test can let time in the page pass faster: `page.clock`. */
  readonly hasClock?: boolean;
  /** The part of the address after `#`. */
  readonly hash?: string;
  readonly javaScriptEnabled?: boolean;
  readonly locale?: string;
  readonly viewport?: ViewportSize;
}

/** The page shows one panel at a time, which costs half of what all of them cost. */
const narrow: ViewportSize = { width: 1000, height: 700 };

/** The page shows the topics panel beside another one. */
export const wide: ViewportSize = { width: 1280, height: 720 };

/** What a tab has for ever. */
type TabKind = Required<Pick<ViewOptions, "hasClock" | "javaScriptEnabled" | "locale">>;

/**
 * Tabs of this process that no test uses, by their kind. A new one costs twice as much as a page that is opened in one of
 * these: it is a process of Chromium, which compiles the page anew.
 */
const idleTabs = new Map<string, Page[]>();

/** @returns a tab without history */
async function newTab({ hasClock, ...options }: TabKind): Promise<Page> {
  const browser = await sharedConnection();
  // Movements would be drawn sixty times a second by the processor.
  const context = await browser.newContext({ ...options, viewport: narrow, reducedMotion: "reduce" });
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  if (options.javaScriptEnabled) {
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

/** Leaves the tab as a new one, for another test. */
async function putBack(page: Page, kind: TabKind): Promise<void> {
  if (page.isClosed() || !kind.javaScriptEnabled) return page.context().close();
  for (const event of ["request", "websocket", "pageerror", "console"]) page.removeAllListeners(event);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  for (const other of page.context().pages()) if (other !== page) await other.close();
  await page.evaluate(() => {
    localStorage.clear();
    sessionStorage.clear();
  });
  await page.goto("about:blank");
  await page.mouse.move(0, 0);
  if (kind.hasClock) {
    await page.clock.resume();
    await page.clock.install();
  }
  const name = JSON.stringify(kind);
  idleTabs.set(name, [...(idleTabs.get(name) ?? []), page]);
}

/** One browser for all the tests of the process, and one server for those of a file, which constructs it at its top level. */
export class SharedBrowser {
  readonly #panel: PanelName;
  #server: RunningServer | undefined;

  /** @param panel the panel that the tests use @param flags of the server */
  constructor(panel: PanelName, flags: readonly string[] = []) {
    this.#panel = panel;
    beforeAll(async () => {
      if (!lacks("chromium")) [this.#server] = await Promise.all([spawnServer(flags), sharedConnection()]);
    });
    afterAll(async () => {
      await Promise.all([leaveConnection(), this.#server?.[Symbol.asyncDispose]()]);
    });
  }

  get server(): RunningServer {
    if (!this.#server) throw new Error("the server is used before its tests began");
    return this.#server;
  }

  /** @param url the server's page if left out */
  readonly open = async (options: ViewOptions = {}, url = this.server.url): Promise<View> => {
    const { hash = "", viewport = narrow } = options;
    const { hasClock = false, javaScriptEnabled = true, locale = "en-US" } = options;
    const kind: TabKind = { hasClock, javaScriptEnabled, locale };
    const page = idleTabs.get(JSON.stringify(kind))?.pop() ?? (await newTab(kind));
    if (!Bun.deepEquals(page.viewportSize(), viewport)) await page.setViewportSize(viewport);
    const view = new View(page, this.#panel, () => putBack(page, kind));
    await page.goto(new URL(hash, url).href);
    if (!javaScriptEnabled) return view;
    await page.locator("main").waitFor();
    const tab = page.locator(`[data-tab="${this.#panel}"]:not([aria-current])`);
    if ((await tab.count()) > 0) await tab.click();
    return view;
  };
}

/**
 * One page for all the tests of a `describe`, at whose top level it is called. Each test leaves the page as the next one
 * needs it.
 */
export function sharedView(open: () => Promise<View>): () => View {
  let view: View | undefined;
  beforeAll(async () => {
    view = await open();
  });
  afterAll(() => view?.[Symbol.asyncDispose]());
  return () => {
    if (!view) throw new Error("the page is used before its tests began");
    return view;
  };
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

  async clearLog(): Promise<void> {
    await this.part("clear").click();
    await this.entries.first().waitFor({ state: "detached" });
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

  /** Resolves after two frames: the log shows in the next one what it was given, and scrolls. */
  frames(): Promise<void> {
    return this.page.evaluate(
      () =>
        new Promise<void>((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve()))),
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
