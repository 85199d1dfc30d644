/** A WebSocket that the server closes: what came before the Close frame reaches the page, in every browser. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { sign } from "../support/tokens.ts";
import { commandOf, lacks } from "../support/tool.ts";
import { newTopic, openTopic, post, publishEach } from "../support/topics.ts";

setDefaultTimeout(120_000);

const server = sharedServer();

const secret = "a secret of at least 32 bytes for tests";
const texts = ["1", "2", "3", "4", "5", "6"];

/** An ended topic with six messages. */
async function endedTopic(on = server): Promise<string> {
  const topic = newTopic();
  await publishEach(on, topic, texts);
  expect((await post(on, `${topic}?end`, "")).status).toBe(200);
  return topic;
}

async function openRaw(path: string): Promise<RawSocket> {
  const raw = await RawSocket.connect(server.url);
  raw.write(request("GET", path, handshakeHeaders));
  expect((await raw.response()).status).toBe(101);
  return raw;
}

describe("on the wire", () => {
  test("the Close frame waits for the pong to a ping that follows the last message", async () => {
    using raw = await openRaw(`/topics/${await endedTopic()}?since=all`);
    const received = [];
    for (const _ of texts) received.push((await raw.frame()).payload.toString());
    expect(received).toEqual(texts);
    const ping = await raw.frame();
    expect(ping.opcode).toBe(opcodes.ping);
    // The server answers this ping, and has not closed meanwhile.
    raw.write(frame(opcodes.ping, "still open"));
    expect(await raw.frame()).toMatchObject({ opcode: opcodes.pong });
    raw.write(frame(opcodes.pong, ping.payload));
    expect(await raw.closeFrame()).toEqual({ code: 1000, reason: "ended" });
  });

  test("a client that never answers the ping is closed all the same", async () => {
    using raw = await openRaw(`/topics/${await endedTopic()}`);
    expect((await raw.frame()).opcode).toBe(opcodes.ping);
    expect((await raw.frame()).opcode).toBe(opcodes.close);
  });

  test("a pong with another payload, as to a heartbeat, is not the answer", async () => {
    using raw = await openRaw(`/topics/${await endedTopic()}`);
    const ping = await raw.frame();
    raw.write(Buffer.concat([frame(opcodes.pong), frame(opcodes.ping, "still open")]));
    expect((await raw.frame()).opcode).toBe(opcodes.pong);
    raw.write(frame(opcodes.pong, ping.payload));
    expect(await raw.closeFrame()).toEqual({ code: 1000, reason: "ended" });
  });

  test("a line that is being closed is sent nothing more, and what it sends has no effect", async () => {
    const topic = newTopic();
    using raw = await openRaw(`/topics/${topic}`);
    using other = await openTopic(server, topic);
    raw.write(frame(opcodes.binary, "before"));
    expect((await raw.frame()).payload.toString()).toBe("before");
    expect((await post(server, `${topic}?end`, "")).status).toBe(200);
    expect((await raw.frame()).opcode).toBe(opcodes.ping);
    expect(String(await other.next())).toBe("before");
    raw.write(Buffer.concat([frame(opcodes.text, "after"), frame(opcodes.pong, "closing")]));
    expect(await raw.closeFrame()).toEqual({ code: 1000, reason: "ended" });
    expect(await other.closed).toEqual({ code: 1000, reason: "ended" });
  });
});

describe.skipIf(lacks("firefox-esr"))("in Firefox", () => {
  /** Without what takes a third of the processor time of a start: processes in reserve, and a look for extensions. */
  const lean = {
    "dom.ipc.processPrelaunch.enabled": false,
    "extensions.enabledScopes": 0,
    "extensions.startupScanScopes": 0,
    "extensions.installDistroAddons": false,
    "browser.newtabpage.activity-stream.enabled": false,
  };

  interface Seen {
    readonly events: readonly string[];
    readonly code: number;
    readonly reason: string;
  }

  let browser: Browser | undefined;
  let page: Page;
  let opened: () => unknown;
  beforeAll(async () => {
    browser = await puppeteer.launch({
      browser: "firefox",
      executablePath: commandOf("firefox-esr"),
      headless: true,
      // Firefox waits for seconds before it connects again to a server that ended a line early.
      extraPrefsFirefox: { "network.websocket.delay-failed-reconnects": false, ...lean },
    });
    page = (await browser.pages())[0] as Page;
    await page.exposeFunction("opened", () => opened());
  });
  afterAll(async () => {
    const firefox = browser?.process();
    firefox?.kill("SIGKILL"); // To end in order takes it a second of processor time.
    await browser?.close(); // Removes its profile.
  });

  /**
   * Opens WebSockets in a page of the server, one after the other, until each has closed. A line that the page did not see
   * open is opened again, at most twice: with 25 busy processes to a processor Firefox may take longer to show it than
   * `closeSettleMilliseconds`. A server that does not wait for the pong hides nearly every opening, and so fails here all the same.
   */
  async function watch(
    on: Pick<RunningServer, "url" | "socketUrl">,
    paths: readonly string[],
    onOpen: () => unknown = () => undefined,
  ): Promise<Seen[]> {
    await page.goto(new URL("/healthz", on.url).href);
    opened = onOpen;
    const watchOnce = (path: string): Promise<Seen> =>
      page.evaluate(
        (url) =>
          new Promise<Seen>((resolve) => {
            const events: string[] = [];
            const socket = new WebSocket(url);
            socket.onopen = () => {
              events.push("open");
              (globalThis as unknown as { opened(): void }).opened();
            };
            socket.onmessage = ({ data }) => events.push(data);
            socket.onclose = ({ code, reason }) => resolve({ events, code, reason });
          }),
        on.socketUrl(path),
      );
    const seen: Seen[] = [];
    for (const path of paths) {
      let line = await watchOnce(path);
      for (let repeats = 0; !line.events.includes("open") && repeats < 2; repeats++)
        line = await watchOnce(path);
      seen.push(line);
    }
    return seen;
  }

  test("an ended topic is shown from onopen over each message to the close", async () => {
    const path = `/topics/${await endedTopic()}?since=all`;
    const seen = await watch(server, Array(10).fill(path));
    expect(seen).toEqual(Array(10).fill({ events: ["open", ...texts], code: 1000, reason: "ended" }));
  });

  test("a line that is refused by its close code opens first", async () => {
    await using guarded = await spawnServer(["--public", "open/*"], {
      environment: { LONGWIRE_JWT_SECRET: secret },
    });
    const mayReadAnother = await sign({ subscribe: ["another"] }, secret);
    const seen = await watch(guarded, [
      "/topics/closed",
      `/topics/closed?access_token=${mayReadAnother}`,
      "/topics/open/1?since=gone-1",
    ]);
    expect(seen.map(({ events, code }) => [code, ...events])).toEqual([
      [4401, "open"],
      [4403, "open"],
      [4410, "open"],
    ]);
  });

  test("a line that is opened while the node drains opens first", async () => {
    await using draining = await spawnServer();
    const stop = (): void => draining.process.kill("SIGTERM");
    const [seen] = await watch(draining, ["/ping"], stop);
    expect(seen).toMatchObject({ code: 1012, events: ["open"] });
  });
});
