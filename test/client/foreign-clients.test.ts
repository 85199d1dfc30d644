/** Clients that no one here wrote: what they make of a topic is what users get. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { CloudEvent, HTTP } from "cloudevents";
import { EventSource } from "eventsource";
import type { Browser, Page } from "playwright-core";
import { launchBrowser } from "../support/chromium.ts";
import { type CuttableLine, openCuttableLine } from "../support/cuttable-line.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { commandOf, lacks } from "../support/tool.ts";
import {
  inspect,
  newTopic,
  openEvents,
  openStream,
  post,
  publish,
  publishEach,
  topicsUrl,
} from "../support/topics.ts";
import { Inbox, until, within } from "../support/wait.ts";

const server = sharedServer();
const forgetful = sharedServer(["--history-messages", "3"]);

const urlBy = (line: CuttableLine, path: string): string => new URL(`/topics/${path}`, line.url).href;

describe.skipIf(lacks("curl"))("curl", () => {
  test("-N shows each message as it comes", async () => {
    const topic = newTopic();
    const curl = Bun.spawn(
      ["curl", "-sN", "-H", "Accept: text/event-stream", `${topicsUrl(server, topic)}?since=all`],
      { stdout: "pipe" },
    );
    let shown = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const bytes of curl.stdout) shown += decoder.decode(bytes);
    })();
    try {
      await until(() => shown.includes("event: longwire.open"), "the start of the stream");
      const id = await publish(server, topic, "hello\nworld");
      await until(() => shown.endsWith(`data: hello\ndata: world\nid: ${id}\n\n`), "the message");
    } finally {
      curl.kill();
      await reading;
    }
  });

  test("-d publishes, and since shows what was", async () => {
    const topic = newTopic();
    const run = async (...options: string[]): Promise<string> =>
      within(new Response(Bun.spawn(["curl", "-s", ...options]).stdout).text(), "the end of curl");
    expect(await run("-d", "hello", topicsUrl(server, topic))).toContain(`"topic":"${topic}"`);
    expect(await run(`${topicsUrl(server, topic)}?since=all`)).toContain('"data":"hello"');
  });
});

describe("the eventsource package", () => {
  test("comes back by itself after its line was cut, and misses nothing", async () => {
    const topic = newTopic();
    using line = openCuttableLine(server.url);
    const source = new EventSource(urlBy(line, topic));
    try {
      const inbox = new Inbox<string>();
      const starts = new Inbox<string>();
      source.addEventListener("message", ({ data }) => inbox.put(data));
      source.addEventListener("longwire.open", ({ data }) => starts.put(data));
      expect(await starts.take("the start")).toContain('"resumed":false');
      await publish(server, topic, "1");
      expect(await inbox.take("the first message")).toBe("1");
      line.cut();
      await publishEach(server, topic, ["2", "3"]);
      expect(await starts.take("the start of the second connection")).toContain('"resumed":true');
      await publish(server, topic, "4");
      for (const text of ["2", "3", "4"]) expect(await inbox.take("a message")).toBe(text);
      expect(line.carried).toBe(2);
    } finally {
      source.close();
    }
  });

  test("resumes several topics by the cursor that it was given", async () => {
    const [one, other] = [newTopic(), newTopic()];
    using line = openCuttableLine(server.url);
    const source = new EventSource(`${urlBy(line, `${one},${other}`)}?format=cloudevents`);
    try {
      const inbox = new Inbox<{ type: string; data: unknown }>();
      source.onmessage = ({ data }) => inbox.put(JSON.parse(data));
      expect((await inbox.take("the start")).type).toBe("longwire.open");
      await publish(server, other, "b1");
      expect((await inbox.take("the first message")).data).toBe("b1");
      line.cut();
      await publish(server, one, "a1");
      await publish(server, other, "b2");
      expect((await inbox.take("the second start")).type).toBe("longwire.open");
      const missed = [await inbox.take("a message"), await inbox.take("another")];
      expect(missed.map(({ data }) => data).toSorted()).toEqual(["a1", "b2"]);
    } finally {
      source.close();
    }
  });

  test("hears of a gap where it was away too long", async () => {
    const topic = newTopic();
    using line = openCuttableLine(forgetful.url);
    const source = new EventSource(urlBy(line, topic));
    try {
      const started = new Inbox<string>();
      source.addEventListener("longwire.open", ({ data }) => started.put(data));
      const gaps = new Inbox<string>();
      source.addEventListener("longwire.gap", ({ data }) => gaps.put(data));
      const inbox = new Inbox<string>();
      source.onmessage = ({ data }) => inbox.put(data);
      await started.take("the start");
      const first = await publish(forgetful, topic, "0");
      expect(await inbox.take("the first message")).toBe("0");
      line.cut();
      await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
      expect(JSON.parse(await gaps.take("the gap"))).toMatchObject({ topic, requested: first });
      for (const text of ["3", "4", "5"]) expect(await inbox.take("a message")).toBe(text);
    } finally {
      source.close();
    }
  });
});

describe("the cloudevents SDK", () => {
  /** Parses and validates as the SDK's users do. */
  const validate = (text: string): CloudEvent<unknown> => {
    const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: text });
    if (Array.isArray(event)) throw new Error("one event was parsed as several");
    expect(new CloudEvent(JSON.parse(text), true).validate()).toBe(true);
    const parsed = event as CloudEvent<unknown>;
    expect(parsed.validate()).toBe(true);
    return parsed;
  };

  test("takes every event of a socket: messages of all kinds, open, gap and pong", async () => {
    const topic = newTopic();
    await publishEach(forgetful, topic, ["1", "2", "3", "4"]);
    await post(forgetful, topic, '{"a": [1.0, null]}', { "Content-Type": "application/json" });
    await post(forgetful, topic, Buffer.of(0, 255), { "Content-Type": "image/png" });
    using client = await openEvents(forgetful, `${topic}?since=abc-1`);
    client.send('{"specversion":"1.0","type":"longwire.ping","source":"/me","id":"1"}');
    const events: CloudEvent<unknown>[] = [];
    for (let count = 0; count < 5; count++) events.push(validate((await client.next()) as string));
    const types = events.map(({ type }) => type).toSorted();
    expect(types).toEqual([
      "longwire.gap",
      "longwire.message",
      "longwire.message",
      "longwire.message",
      "longwire.pong",
    ]);
    const [text, json, binary] = events.filter(({ type }) => type === "longwire.message");
    expect(text).toMatchObject({
      source: `/topics/${topic}`,
      topic,
      datacontenttype: "text/plain",
      data: "4",
    });
    expect(json).toMatchObject({ datacontenttype: "application/json", data: { a: [1, null] } });
    expect(binary).toMatchObject({ datacontenttype: "image/png", data_base64: "AP8=" });
  });

  test("takes every event of a stream, its start and its end", async () => {
    await using stopping = await spawnServer();
    await using stream = await openStream(stopping, "a?format=cloudevents");
    expect(validate((await stream.next()).data).type).toBe("longwire.open");
    await publish(stopping, "a", "x");
    expect(validate((await stream.next()).data)).toMatchObject({ type: "longwire.message", data: "x" });
    stopping.process.kill("SIGTERM");
    expect(validate((await stream.next()).data).type).toBe("longwire.close");
  });

  test("takes a batch", async () => {
    const topic = newTopic();
    await publishEach(forgetful, topic, ["1", "2", "3", "4"]);
    const response = await fetch(`${topicsUrl(forgetful, topic)}?since=abc-1`);
    const events = HTTP.toEvent({
      headers: { "content-type": response.headers.get("content-type") ?? "" },
      body: await response.text(),
    });
    if (!Array.isArray(events)) throw new Error("a batch was parsed as one event");
    expect(events.map(({ type }) => type)).toEqual(["longwire.gap", ...Array(3).fill("longwire.message")]);
    for (const event of events) expect((event as CloudEvent<unknown>).validate()).toBe(true);
  });

  test("makes events that can be published", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    const event = new CloudEvent({
      source: "/me",
      type: "mine",
      datacontenttype: "application/json",
      data: { a: 1 },
    });
    client.send(JSON.stringify(event));
    expect(await client.event()).toMatchObject({ type: "mine", data: { a: 1 } });
  });
});

test.skipIf(lacks("Python's websockets"))(
  "Python's websockets follows a topic, publishes to it, and comes back",
  async () => {
    const topic = newTopic();
    const program = `
import asyncio, json, sys, websockets
async def main(url):
    async with websockets.connect(url, subprotocols=["cloudevents.json"]) as socket:
        assert socket.subprotocol == "cloudevents.json"
        start = json.loads(await socket.recv())["data"]["topics"][0]["id"]
        await socket.send(json.dumps({"specversion": "1.0", "type": "mine", "datacontenttype": "text/plain", "data": "from Python"}))
        print(json.loads(await socket.recv())["data"])
    async with websockets.connect(url + "?since=" + start, subprotocols=["cloudevents.json"]) as socket:
        print(json.loads(await socket.recv())["data"]["topics"][0]["resumed"])
        print(json.loads(await socket.recv())["data"])
    async with websockets.connect(url) as socket:
        await socket.send(bytes([0, 255]))
        print(await socket.recv())
asyncio.run(main(sys.argv[1]))
`;

    setDefaultTimeout(120_000);
    const child = Bun.spawn(
      [commandOf("Python's websockets"), "-c", program, server.socketUrl(`/topics/${topic}`)],
      {
        stderr: "inherit",
      },
    );
    const printed = await within(new Response(child.stdout).text(), "the end of the program");
    expect(printed).toBe("from Python\nTrue\nfrom Python\nb'\\x00\\xff'\n");
  },
);

describe.skipIf(lacks("chromium"))("Chromium, from a page of another origin", () => {
  let browser: Browser;
  let page: Page;
  /** Someone else's application on this machine. */
  let application: Bun.Server<undefined>;
  beforeAll(async () => {
    application = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () =>
        new Response("<!doctype html><title>An application</title>", {
          headers: { "Content-Type": "text/html" },
        }),
    });
    browser = await launchBrowser();
    page = await browser.newPage();
    await page.goto(`http://localhost:${application.port}/`);
  });
  afterAll(async () => {
    await browser.close();
    await application.stop(true);
  });

  test("fetch publishes by POST, reads the answer and its errors, and sends a key", async () => {
    const topic = newTopic();
    const answers = await page.evaluate(
      async (url) => {
        const answer = async (request: Promise<Response>): Promise<unknown> => {
          const response = await request;
          return { status: response.status, body: await response.json() };
        };
        return [
          await answer(fetch(url, { method: "POST", body: "from the page" })),
          await answer(
            fetch(url, {
              method: "POST",
              body: "{}",
              headers: { "Content-Type": "application/json", "Idempotency-Key": "k" },
            }),
          ),
          await answer(
            fetch(url, { method: "POST", body: "{", headers: { "Content-Type": "application/json" } }),
          ),
          await answer(fetch(`${url}*`)),
          await answer(fetch(`${url}?since=all`)),
        ];
      },
      topicsUrl(server, topic),
    );
    expect(answers).toMatchObject([
      { status: 200, body: { published: [{ topic }] } },
      { status: 200, body: { published: [{ topic }] } },
      { status: 400, body: { title: "Bad Request" } },
      { status: 400, body: { title: "Bad Request" } },
      { status: 200, body: [{ data: "from the page" }, { data: {} }] },
    ]);
  });

  test("EventSource comes back by itself after its line was cut, and misses nothing", async () => {
    const topic = newTopic();
    using line = openCuttableLine(server.url);
    await page.evaluate(
      (url) => {
        const seen: string[] = [];
        const source = new EventSource(url);
        source.onmessage = ({ data }) => seen.push(data);
        source.addEventListener("longwire.open", ({ data }) =>
          seen.push(`start ${JSON.parse(data).topics[0].resumed}`),
        );
        Object.assign(window, { seen, source });
      },
      urlBy(line, topic),
    );
    const seen = async (...expected: string[]): Promise<void> => {
      const read = (): Promise<string[]> => page.evaluate("seen");
      await until(
        async () => (await read()).length >= expected.length,
        `${expected.length} events in the page`,
      );
      expect(await read()).toEqual(expected);
    };
    await seen("start false");
    await publish(server, topic, "1");
    await seen("start false", "1");
    line.cut();
    await publishEach(server, topic, ["2", "3"]);
    await seen("start false", "1", "start true", "2", "3");
    await publish(server, topic, "4");
    await seen("start false", "1", "start true", "2", "3", "4");
    await page.evaluate("source.close()");
    await until(async () => (await inspect(server, topic)).subscribers === 0, "the end of the subscription");
  });

  test("EventSource comes back after the server stopped a stream, to the server that follows it", async () => {
    const stopping = await spawnServer();
    await page.evaluate(
      (url) => {
        const seen: string[] = [];
        const source = new EventSource(url);
        for (const name of ["longwire.open", "longwire.close", "longwire.gap"])
          source.addEventListener(name, () => seen.push(name));
        source.onmessage = ({ data }) => seen.push(data);
        Object.assign(window, { seen, source });
      },
      topicsUrl(stopping, "a"),
    );
    const read = (): Promise<string[]> => page.evaluate("seen");
    await until(async () => (await read()).length === 1, "the start");
    await publish(stopping, "a", "1");
    await until(async () => (await read()).length === 2, "the message");
    stopping.process.kill("SIGTERM");
    await stopping.process.exited;
    await using following = await spawnServer(["--port", stopping.url.port]);
    await publish(following, "a", "2"); // In another past, which the page is told.
    await until(async () => (await read()).length === 6, "the second connection");
    expect(await read()).toEqual([
      "longwire.open",
      "1",
      "longwire.close",
      "longwire.open",
      "longwire.gap",
      "2",
    ]);
    await page.evaluate("source.close()");
  });

  test("EventSource gets typed messages, and stops by itself after the end of its topic", async () => {
    const topic = newTopic();
    await page.evaluate(
      (url) => {
        const seen: string[] = [];
        const source = new EventSource(url);
        for (const name of ["longwire.open", "token", "longwire.end"])
          source.addEventListener(name, () => seen.push(name));
        source.onerror = (event) => seen.push(event instanceof MessageEvent ? event.data : "lost");
        Object.assign(window, { seen, source });
      },
      topicsUrl(server, topic),
    );
    const read = (): Promise<string[]> => page.evaluate("seen");
    await until(async () => (await read()).length === 1, "the start");
    await post(server, topic, "1", { "ce-type": "token" });
    await post(server, `${topic}?end`, "of the model", { "ce-type": "error" });
    await until(async () => (await page.evaluate("source.readyState")) === 2, "the source to be closed");
    // It is lost once, when the stream ends, and once more at the 204 that it does not come back after.
    expect(await read()).toEqual(["longwire.open", "token", "of the model", "longwire.end", "lost", "lost"]);
    await until(async () => (await inspect(server, topic)).subscribers === 0, "the end of the subscription");
  });

  /** What a page sees of a WebSocket that it sends frames on. */
  const visit = (path: string, subprotocols: string[], frames: string[], count: number): Promise<unknown> =>
    page.evaluate(
      ({ url, subprotocols, frames, count }) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url, subprotocols);
          socket.binaryType = "arraybuffer";
          const received: unknown[] = [];
          socket.onopen = () => {
            for (const frame of frames) socket.send(frame);
          };
          socket.onmessage = ({ data }) => {
            received.push(typeof data === "string" ? data : [...new Uint8Array(data)]);
            if (received.length === count) resolve({ protocol: socket.protocol, received });
          };
          socket.onclose = ({ code, reason }) => resolve({ code, reason, received });
        }),
      { url: server.socketUrl(`/topics/${path}`), subprotocols, frames, count },
    );

  test("WebSocket gets messages as they were published, and sends its own", async () => {
    const topic = newTopic();
    await post(server, topic, Buffer.of(0, 255), { "Content-Type": "image/png" });
    expect(await visit(`${topic}?since=all`, [], ["ping", "hällo"], 3)).toEqual({
      protocol: "",
      received: [[0, 255], "pong", "hällo"],
    });
  });

  test("WebSocket with cloudevents.json gets events, and publishes them", async () => {
    const topic = newTopic();
    const event = { specversion: "1.0", type: "mine", datacontenttype: "text/plain", data: "from the page" };
    const seen = (await visit(topic, ["cloudevents.json"], [JSON.stringify(event)], 2)) as {
      protocol: string;
      received: string[];
    };
    expect(seen.protocol).toBe("cloudevents.json");
    expect(seen.received.map((text) => JSON.parse(text))).toMatchObject([
      { type: "longwire.open" },
      { type: "mine", topic, data: "from the page" },
    ]);
  });

  test("a page sees why it was refused: 4410 where it cannot resume, 1008 where it broke a rule", async () => {
    const topic = newTopic();
    await publish(server, topic, "1");
    expect(await visit(`${topic}?since=abc-1`, [], [], 1)).toMatchObject({ code: 4410, received: [] });
    expect(await visit(`${topic}?since=abc-1`, ["longwire.raw"], [], 1)).toMatchObject({ code: 4410 });
    expect(await visit(`${topic}?since=nonsense`, ["cloudevents.json"], [], 1)).toMatchObject({
      code: 1008,
      reason: expect.stringContaining("since"),
    });
    expect(await visit(`${topic},a`, [], [], 1)).toMatchObject({ code: 1008 });
  });
});
