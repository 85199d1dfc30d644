/** `longwire/client` in Bun, Node and Chromium: through cut lines, restarts, ends, expired tokens and silence. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Browser } from "playwright-core";
import { follow } from "../../src/client/client.ts";
import { bundlePage } from "../../src/endpoint/page.ts";
import { launchBrowser } from "../support/chromium.ts";
import { type ClientProgram, inBun, inNode, inPage, type Wanted } from "../support/client-programs.ts";
import { openCuttableLine } from "../support/cuttable-line.ts";
import { Random, seed } from "../support/random.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { everywhere, sign } from "../support/tokens.ts";
import { lacks } from "../support/tool.ts";
import { inspect, newTopic, offsetOf, post, publish, publishEach, topicsUrl } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const secret = "a secret of at least thirty-two bytes";

const server = sharedServer(["--history-messages", "3"]);
const guarded = sharedServer(["--jwt-secret", secret]);

const client = (await bundlePage())["client.js"];
let browser: Browser | undefined;
beforeAll(async () => {
  if (!lacks("chromium")) browser = await launchBrowser();
});
afterAll(() => browser?.close());

async function inChromium(wanted: Wanted): Promise<ClientProgram> {
  const page = await browser?.newPage();
  if (!page) throw new Error("there is no browser");
  await page.goto(server.url.href);
  return inPage(page, wanted);
}

/** Where a program runs. */
const places = [
  { place: "Bun", isMissing: false, start: async (wanted: Wanted) => inBun(wanted) },
  { place: "Node", isMissing: lacks("Node 20.10"), start: async (wanted: Wanted) => inNode(client, wanted) },
  { place: "Chromium", isMissing: lacks("chromium"), start: inChromium },
  {
    place: "Chromium, by EventSource",
    isMissing: lacks("chromium"),
    start: (wanted: Wanted) => inChromium({ ...wanted, transport: "eventsource" }),
  },
] as const;

/** Ends a topic. @returns the id of the end */
async function endTopic(topic: string): Promise<string> {
  const response = await post(server, `${topic}?end`, "", {});
  expect(response.status).toBe(200);
  return ((await response.json()) as { published: { id: string }[] }).published[0]?.id ?? "";
}

describe("/client.js", () => {
  test("is a module of at most 3 KB, which pages of every origin may import", async () => {
    const answer = await fetch(new URL("/client.js", server.url));
    expect(answer.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    const text = await answer.text();
    expect(text).toBe(client);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(3 * 1024);
  });
});

/**
 * Follows a topic through a line that is cut after any number of bytes, until the topic ends.
 * @returns how much was reported
 */
async function followThroughCuts(
  start: (wanted: Wanted) => Promise<ClientProgram>,
): Promise<{ gaps: number; messages: number }> {
  const random = new Random(seed);
  const cuts = 20;
  let connections = -1;
  using line = openCuttableLine(server.url, () =>
    ++connections > 0 && connections <= 2 * cuts ? random.below(1500) : Number.POSITIVE_INFINITY,
  );
  const topic = newTopic();
  await using program = await start({ url: topicsUrl(line, topic) });
  await program.next("open");
  let at = offsetOf(await publish(server, topic, "first"));
  expect(await program.next("message")).toEqual(["message", topic, expect.any(String), "first"]);
  line.cut();
  const deadline = performance.now() + 90_000;
  while (connections < cuts) {
    if (performance.now() > deadline) throw new Error(`the client came back only ${connections} times`);
    // At times faster than the client comes back, so that it meets gaps, and at times not.
    for (let count = random.below(5); count > 0; count--) await publish(server, topic, "next");
    await Bun.sleep(random.pick([0, 5, 20]));
  }
  await publish(server, topic, "last");
  const end = await endTopic(topic);
  const found = { gaps: 0, messages: 0 };
  for (;;) {
    const [name, , id, data] = await program.next("message", "gap", "end", "stop");
    const offset = offsetOf(String(id));
    if (name === "gap" ? offset <= at : offset !== at + 1)
      throw new Error(`after the message ${at} came ${name} ${offset}`);
    at = offset;
    if (name === "gap") found.gaps++;
    else found.messages++;
    if (data === "last") break;
  }
  expect(await program.next("message", "gap", "end", "stop")).toEqual(["end", topic, end]);
  expect(await program.next("message", "gap", "end", "stop")).toEqual(["stop", 1000, "ended", end]);
  return found;
}

for (const { place, isMissing, start } of places) {
  describe(`follow in ${place}`, () => {
    test.skipIf(isMissing)(
      "reports every gap, the end, and every other message once, wherever its line is cut",
      async () => {
        const { gaps, messages } = await followThroughCuts(start);
        expect(gaps).toBeGreaterThan(0);
        expect(messages).toBeGreaterThan(1);
      },
    );

    test.skipIf(isMissing)(
      "stops at the end of the last of its topics, and when it comes back to the ends",
      async () => {
        const topics = [newTopic(), newTopic()];
        const url = topicsUrl(server, topics.join(","));
        await using program = await start({ url: `${url}?since=all,all` });
        await program.next("open");
        await publish(server, String(topics[1]), "only");
        expect(await program.next()).toEqual(["message", topics[1], expect.any(String), "only"]);
        const ends = [await endTopic(String(topics[0])), await endTopic(String(topics[1]))];
        for (const [index, end] of ends.entries())
          expect(await program.next()).toEqual(["end", topics[index], end]);
        const stop = ["stop", 1000, "ended", ends.join(",")] as const;
        expect(await program.next()).toEqual(stop);

        await using later = await start({ url: `${url}?since=${ends}` });
        expect(await later.next("stop")).toEqual(stop);
      },
    );

    test.skipIf(isMissing)("stops where coming back does not help", async () => {
      await using program = await start({
        url: topicsUrl(guarded, "secret"),
        tokens: [await sign({ subscribe: ["open"] }, secret)],
      });
      expect(await program.next("stop", "open")).toEqual(["stop", 4403, expect.any(String), null]);

      await using malformed = await start({ url: topicsUrl(server, `${newTopic()}?since=yesterday`) });
      expect((await malformed.next("stop", "open")).slice(0, 2)).toEqual(["stop", 1008]);
    });

    test.skipIf(isMissing)("takes a new token where the old one is refused or expires", async () => {
      const topic = newTopic();
      const expired = await sign(everywhere, secret, { expires: -60 });
      const brief = await sign(everywhere, secret, { expires: 2 });
      const tokens = [expired, brief, await sign(everywhere, secret)];
      await using program = await start({ url: topicsUrl(guarded, topic), tokens });
      await program.next("open");
      const headers = { Authorization: `Bearer ${tokens[2]}` };
      await post(guarded, topic, "before", headers);
      expect((await program.next("message")).at(-1)).toBe("before");
      expect(await program.next()).toEqual(["lost", 4401]);
      await post(guarded, topic, "meanwhile", headers);
      await program.next("open");
      expect((await program.next()).at(-1)).toBe("meanwhile");
    });
  });
}

describe("follow", () => {
  test("without a token stops where one is needed", async () => {
    await using program = inBun({ url: topicsUrl(guarded, "secret") });
    expect((await program.next("stop", "open")).slice(0, 2)).toEqual(["stop", 4401]);
  });

  test("continues on a server that was killed and started again, and reports the gap once", async () => {
    const topic = newTopic();
    await using first = await spawnServer();
    const flags = ["--port", new URL(first.url).port];
    await using program = inBun({ url: topicsUrl(first, topic) });
    await program.next("open");
    await publishEach(first, topic, ["1", "2"]);
    await program.next("message");
    await program.next("message");
    first.process.kill("SIGKILL");
    await first.process.exited;
    await program.next("lost");
    await using second = await spawnServer(flags, { withoutPort: true });
    await publish(second, topic, "3");
    expect((await program.next("gap", "message"))[0]).toBe("gap");
    expect((await program.next("gap", "message")).at(-1)).toBe("3");
    // A drain closes with 1012, and the client comes back at once.
    second.process.kill("SIGTERM");
    expect(await program.next("lost")).toEqual(["lost", 1012]);
    await second.process.exited;
    await using third = await spawnServer(flags, { withoutPort: true });
    await publish(third, topic, "4");
    expect((await program.next("gap", "message"))[0]).toBe("gap");
    expect((await program.next("gap", "message")).at(-1)).toBe("4");
  });

  test("leaves a connection on which nothing arrives any more", async () => {
    let accepted = 0;
    using silent = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: () => void accepted++,
        data: () => undefined,
      },
    });
    await using program = inBun({ url: `http://127.0.0.1:${silent.port}/topics/a`, hurry: 300 });
    expect(await program.next()).toEqual(["lost", 1006]);
    await until(() => accepted > 1, "another connection");
  });

  test("stays on a connection that is only silent: the server answers its pings", async () => {
    const topic = newTopic();
    await using program = inBun({ url: topicsUrl(server, topic), hurry: 30 });
    await program.next("open");
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the subscription");
    await Bun.sleep(4000); // Four of its heartbeats, each long enough for the pong of a busy server.
    await publish(server, topic, "after");
    expect((await program.next()).at(-1)).toBe("after");
  });
});

test("stop within onMessage is the last that a program hears, also of an EventSource that has read on", async () => {
  const sources: HandingOn[] = [];
  /** Hands on what it has read also after `close`, as some packages do. */
  class HandingOn {
    onmessage: (event: { readonly data: string }) => void = () => undefined;
    isClosed = false;
    constructor() {
      sources.push(this);
    }
    close(): void {
      this.isClosed = true;
    }
    hand(event: object): void {
      this.onmessage({ data: JSON.stringify(event) });
    }
  }
  const given = globalThis.EventSource;
  globalThis.EventSource = HandingOn as unknown as typeof given;
  try {
    const heard: string[] = [];
    const following = follow("http://localhost/topics/news?since=all", {
      transport: "eventsource",
      onMessage: ({ id }) => {
        heard.push(id);
        following.stop();
      },
    });
    await until(() => sources.length > 0, "the connection");
    const [source] = sources;
    source?.hand({ type: "longwire.open", data: { topics: [{ topic: "news", id: "a-0" }] } });
    for (const id of ["a-1", "a-2"]) source?.hand({ type: "longwire.message", topic: "news", id });
    expect([heard, following.cursor, source?.isClosed]).toEqual([["a-1"], "a-1", true]);
  } finally {
    globalThis.EventSource = given;
  }
});
