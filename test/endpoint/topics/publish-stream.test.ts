/** Publishing a stream: each item when it has arrived, however long the body lasts, and once for its key. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { openProducer } from "../../support/producer.ts";
import { sampleOf, samplesOf, scrape } from "../../support/prometheus.ts";
import type { RawResponse } from "../../support/raw-socket.ts";
import { root, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { bearer, sign } from "../../support/tokens.ts";
import { lacks } from "../../support/tool.ts";
import {
  everyEvent,
  inspect,
  newTopic,
  offsetOf,
  openEvents,
  openStream,
  openTopic,
  publish,
  publishEach,
  topicsUrl,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--max-message", "64KiB"]);

interface Answer {
  readonly status: number;
  readonly detail?: string;
  readonly ended?: string;
  readonly published: readonly [
    { topic: string; first?: string; last?: string; count: number; end?: string },
  ];
}

const read = ({ status, body }: RawResponse): Answer => ({ ...JSON.parse(body), status });

const events = (...texts: readonly (string | number)[]): string =>
  texts.map((text) => `data: ${text}\n\n`).join("");

const dataIn = async (topic: string, on = server): Promise<unknown[]> =>
  (await everyEvent(on, topic)).map(({ type, data }) => (type === "longwire.end" ? type : data));

const ndjson = { "Content-Type": "application/x-ndjson" };
const once = { "Idempotency-Key": "k" };

describe("an event stream", () => {
  test("is published event by event, each when its blank line arrives", async () => {
    const topic = newTopic();
    await using viewer = await openStream(server, topic);
    await viewer.next();
    using producer = await openProducer(server.url, `${topic}?end`);
    producer.write('event: content_block_delta\ndata: {"text":"Hel');
    producer.write('lo"}\n\nevent: ping\ndata: {}\n');
    expect(await viewer.next()).toMatchObject({ event: "content_block_delta", data: '{"text":"Hello"}' });
    producer.write("\n: a comment\nretry: 1\nid: 7\ndata: one\ndata: two\n\nevent: error\ndata: bad\n\nda");
    expect(await viewer.next()).toMatchObject({ event: "ping", data: "{}" });
    const two = await viewer.next();
    expect(two).toMatchObject({ event: undefined, data: "one\ntwo", retry: undefined });
    expect(offsetOf(two.id ?? "")).toBe(3);
    expect(await viewer.next()).toMatchObject({ event: "error", data: "bad" });
    producer.write("ta: unfinished");
    const { status, published } = read(await producer.finish());
    const end = await viewer.next();
    expect(end.event).toBe("longwire.end");
    await within(viewer.ended, "the end of the stream");
    const [answer] = published;
    expect(status).toBe(200);
    expect(answer).toMatchObject({ topic, count: 4, end: end.id });
    expect([offsetOf(answer.first ?? ""), offsetOf(answer.last ?? "")]).toEqual([1, 4]);
  });

  test("without ?end leaves the topic open, also without an event", async () => {
    const topic = newTopic();
    using producer = await openProducer(server.url, topic);
    expect(read(await producer.finish())).toMatchObject({ status: 200, published: [{ topic, count: 0 }] });
    await publish(server, topic, "on");
    expect(await inspect(server, topic)).not.toHaveProperty("ended");
  });

  test("carries the attributes of its headers, and each event its own type", async () => {
    const topic = newTopic();
    using producer = await openProducer(server.url, topic, {
      "ce-subject": "s",
      "ce-type": "default",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    producer.write("event: a\ndata: 1\n\ndata: 2\n\nevent: message\ndata: 3\n\n");
    await producer.finish();
    const received = await everyEvent(server, topic);
    expect(received.map(({ type }) => type)).toEqual(["a", "default", "default"]);
    for (const event of received) expect(event).toMatchObject({ subject: "s", authtype: "unauthenticated" });
    expect(received[0]).toMatchObject({ traceparent: expect.stringMatching(/^00-4bf9/) });
  });

  test("of another Longwire is taken as it was published there", async () => {
    const [from, to] = [newTopic(), newTopic()];
    await publishEach(server, from, ["1", "2"]);
    await fetch(topicsUrl(server, from), {
      method: "POST",
      body: Buffer.of(0, 255),
      headers: { "Content-Type": "image/png" },
    });
    await fetch(`${topicsUrl(server, from)}?end`, {
      method: "POST",
      body: "typed",
      headers: { "ce-type": "t" },
    });
    const response = await fetch(`${topicsUrl(server, from)}?since=all`, {
      headers: { Accept: "text/event-stream" },
    });
    const answer = await fetch(`${topicsUrl(server, to)}?end`, {
      method: "POST",
      headers: { "Content-Type": "text/event-stream" },
      body: response.body,
    });
    expect(await answer.json()).toMatchObject({ published: [{ count: 4 }] });
    const copied = await everyEvent(server, to);
    expect(copied.map(({ type, data, data_base64 }) => [type, data ?? data_base64])).toEqual([
      ["longwire.message", "1"],
      ["longwire.message", "2"],
      ["longwire.message", "AP8="],
      ["t", "typed"],
      ["longwire.end", undefined],
    ]);
  });

  test.skipIf(lacks("curl"))("by curl -T - comes to an end with the pipe", async () => {
    const topic = newTopic();
    const curl = Bun.spawn(
      [
        "curl",
        "-sS",
        "-X",
        "POST",
        "-T",
        "-",
        "-H",
        "Content-Type: text/event-stream",
        `${topicsUrl(server, topic)}?end`,
      ],
      { stdin: "pipe", stdout: "pipe" },
    );
    using viewer = await openTopic(server, topic);
    curl.stdin.write("data: 1\n\n");
    curl.stdin.flush();
    expect(await viewer.next()).toBe("1");
    curl.stdin.write("data: 2\n\n");
    curl.stdin.end();
    expect(await viewer.next()).toBe("2");
    expect(await viewer.closed).toEqual({ code: 1000, reason: "ended" });
    expect(JSON.parse(await new Response(curl.stdout).text())).toMatchObject({ published: [{ count: 2 }] });
  });
});

describe("JSON lines", () => {
  test("are published line by line as they were written, the last one without a line end too", async () => {
    const topic = newTopic();
    using viewer = await openEvents(server, topic);
    using producer = await openProducer(server.url, `${topic}?end`, ndjson);
    producer.write('{"n": 1.0}\r\n\n[1,');
    expect(await viewer.event()).toMatchObject({ datacontenttype: "application/json", data: { n: 1 } });
    producer.write("2]\n1234");
    expect(await viewer.event()).toMatchObject({ data: [1, 2] });
    expect(read(await producer.finish())).toMatchObject({ status: 200, published: [{ count: 3 }] });
    expect(await viewer.event()).toMatchObject({ data: 1234 });
    const text = await (await fetch(`${topicsUrl(server, topic)}?since=all`)).text();
    expect(text).toContain('"data":{"n": 1.0}');
  });

  test("that arrive together are published together", async () => {
    const topic = newTopic();
    const publications = async (): Promise<number> =>
      sampleOf(await scrape(own), "longwire_publish_seconds", "count");
    await using own = await spawnServer([]);
    const before = await publications();
    const body = Array.from({ length: 1000 }, (_, index) => `${index}\n`).join("");
    const response = await fetch(topicsUrl(own, topic), { method: "POST", headers: ndjson, body });
    expect(await response.json()).toMatchObject({ published: [{ count: 1000 }] });
    expect(await dataIn(topic, own)).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    expect((await publications()) - before).toBeLessThan(100);
  });

  test("that break off do not publish half a line, nor end the topic", async () => {
    const topic = newTopic();
    using viewer = await openTopic(server, topic);
    using producer = await openProducer(server.url, `${topic}?end`, { "Content-Type": "application/jsonl" });
    producer.write("1\n12");
    expect(await viewer.next()).toBe("1");
    producer.break();
    await until(async () => (await streamsOpen()) === 0, "the server to notice");
    expect(await dataIn(topic)).toEqual([1]);
    await publish(server, topic, "on");
  });
});

const streamsOpen = async (on = server): Promise<number> =>
  sampleOf(await scrape(on), "longwire_connections", 'form="publish"');

describe("an item that is refused ends the request, and `published` says how far it came", () => {
  for (const [what, headers, body, status, detail] of [
    ["a line that is no JSON", ndjson, "1\n2\n{oops}\n4\n", 400, "Line 3"],
    ["a line over --max-message", ndjson, `1\n2\n"${"x".repeat(64 * 1024)}"\n`, 413, "--max-message"],
    [
      "an event over --max-message",
      {},
      `data: 1\n\ndata: 2\n\ndata: ${"x".repeat(65 * 1024)}`,
      413,
      "--max-message",
    ],
    ["a type with a control character", {}, "data: 1\n\ndata: 2\n\nevent: a\tb\ndata: 3\n\n", 400, "control"],
    [
      "bytes that are not base64",
      {},
      "data: 1\n\ndata: 2\n\nevent: longwire.binary\ndata: *\n\n",
      400,
      "base64",
    ],
  ] as const) {
    test(`${what}: ${status}`, async () => {
      const topic = newTopic();
      using producer = await openProducer(server.url, `${topic}?end`, headers);
      producer.write(body);
      const answer = read(await producer.answer());
      expect(answer).toMatchObject({
        status,
        detail: expect.stringContaining(detail),
        published: [{ topic, count: 2 }],
      });
      expect(offsetOf(answer.published[0].last ?? "")).toBe(2);
      expect(await inspect(server, topic)).toMatchObject({ retained: 2 });
      expect(await inspect(server, topic)).not.toHaveProperty("ended");
    });
  }

  test("text that is not UTF-8: 400", async () => {
    const topic = newTopic();
    using producer = await openProducer(server.url, topic);
    producer.write(Buffer.concat([Buffer.from("data: 1\n\ndata: "), Buffer.of(0xff)]));
    expect(read(await producer.answer())).toMatchObject({ status: 400, published: [{ count: 0 }] });
  });

  test("a topic that ends meanwhile: 409", async () => {
    const topic = newTopic();
    using producer = await openProducer(server.url, topic);
    producer.write(events(1));
    await until(async () => (await inspect(server, topic)).retained === 1, "the first event");
    const ending = await fetch(`${topicsUrl(server, topic)}?end`, { method: "POST" });
    const [{ id }] = ((await ending.json()) as { published: [{ id: string }] }).published;
    producer.write(events(2));
    expect(read(await producer.answer())).toMatchObject({
      status: 409,
      ended: id,
      published: [{ count: 1 }],
    });
  });

  test("several topics, a wrong key, a wrong header: 400 at once", async () => {
    for (const [path, headers] of [
      [`${newTopic()},${newTopic()}`, {}],
      [newTopic(), { "Idempotency-Key": "x".repeat(256) }],
      [newTopic(), { "ce-topic": "elsewhere" }],
    ] as const) {
      using producer = await openProducer(server.url, path, headers);
      expect((await producer.answer()).status).toBe(400);
    }
  });
});

describe("an Idempotency-Key", () => {
  test("continues a stream that broke: what was published is skipped, and nothing is doubled", async () => {
    const topic = newTopic();
    using first = await openProducer(server.url, `${topic}?end`, once);
    first.write(`${events(1, 2, 3)}data: hal`);
    await until(async () => (await inspect(server, topic)).retained === 3, "three events");
    first.break();
    using second = await openProducer(server.url, `${topic}?end`, once);
    second.write(events(1, 2, 3, "half", 5));
    const { published } = read(await second.finish());
    expect(await dataIn(topic)).toEqual(["1", "2", "3", "half", "5", "longwire.end"]);
    expect(published).toMatchObject([{ count: 5 }]);
    expect(offsetOf(published[0].first ?? "")).toBe(1);
  });

  test("answers the whole repeated stream as at first", async () => {
    const topic = newTopic();
    const whole = async (text: string, path = `${topic}?end`) => {
      using producer = await openProducer(server.url, path, once);
      producer.write(text);
      return read(await producer.finish());
    };
    const first = await whole(events(1, 2));
    expect(await whole(events(1, 2))).toEqual(first);
    expect(await whole(events(1, 2), topic)).toEqual(first);
    expect(await whole(events(1, "other"))).toMatchObject({ status: 422, published: [{ count: 2 }] });
    expect(await whole(events(1))).toMatchObject({ status: 422 });
    expect(await whole(events(1, 2, 3))).toMatchObject({ status: 409 });
    expect(await dataIn(topic)).toEqual(["1", "2", "longwire.end"]);
  });

  test("is taken over by a newer request while the older one is open, which is refused with 409", async () => {
    const topic = newTopic();
    using older = await openProducer(server.url, topic, once);
    older.write(events(1, 2));
    await until(async () => (await inspect(server, topic)).retained === 2, "two events");
    using newer = await openProducer(server.url, topic, once);
    newer.write(events(1, 2, 3));
    await until(async () => (await inspect(server, topic)).retained === 3, "the third event");
    older.write(events(3));
    expect(read(await older.answer())).toMatchObject({
      status: 409,
      detail: expect.stringContaining("taken"),
      published: [{ count: 2 }],
    });
    newer.write(events(4));
    expect(read(await newer.finish())).toMatchObject({ status: 200, published: [{ count: 4 }] });
    expect(await dataIn(topic)).toEqual(["1", "2", "3", "4"]);
  });

  test("of a single message is not that of a stream", async () => {
    const topic = newTopic();
    await fetch(topicsUrl(server, topic), { method: "POST", body: "x", headers: once });
    using producer = await openProducer(server.url, topic, once);
    producer.write(events("x"));
    expect(read(await producer.answer())).toMatchObject({ status: 422, published: [{ count: 0 }] });
  });
});

// Most of these wait for the server's clock, so they wait together; each has a server or a topic of its own.
describe.concurrent("a stream is a connection like every other", () => {
  test("it is counted and shown, and gone afterwards", async () => {
    await using own = await spawnServer();
    const before = samplesOf(await scrape(own), "longwire_connections_opened_total").publish ?? 0;
    using producer = await openProducer(own.url, "a");
    producer.write(events(1));
    await until(async () => (await streamsOpen(own)) === 1, "the stream to be counted");
    await producer.finish();
    expect(await streamsOpen(own)).toBe(0);
    expect(samplesOf(await scrape(own), "longwire_connections_opened_total").publish).toBe(before + 1);
  });

  test("it is limited by address", async () => {
    await using own = await spawnServer(["--max-connections-per-ip", "1"]);
    using first = await openProducer(own.url, "a");
    first.write(events(1));
    await until(async () => (await streamsOpen(own)) === 1, "the first stream");
    using second = await openProducer(own.url, "a");
    const refused = await second.answer();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "5"]);
  });

  test("it is slowed to --max-rate, and loses nothing", async () => {
    await using own = await spawnServer(["--max-rate", "3"]);
    const begun = performance.now();
    using producer = await openProducer(own.url, "a");
    producer.write(events(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
    expect(read(await producer.finish())).toMatchObject({ status: 200, published: [{ count: 10 }] });
    // The server's seconds begin with its first connection, and the tenth comes in the fourth of them.
    expect(performance.now() - begun).toBeGreaterThan(2950);
    expect(await dataIn("a", own)).toHaveLength(10);
  });

  test("it is answered with 503 at a drain, and continues elsewhere with its key", async () => {
    await using own = await spawnServer();
    using producer = await openProducer(own.url, "a", once);
    producer.write(`${events(1, 2)}data: half`);
    await until(async () => (await inspect(own, "a")).retained === 2, "two events");
    own.process.kill("SIGTERM");
    const answer = await producer.answer();
    expect(read(answer)).toMatchObject({ status: 503, published: [{ topic: "a", count: 2 }] });
    expect(answer.headers.get("retry-after")).not.toBeNull();
    expect(await own.process.exited).toBe(0);
  });

  test("it ends with its token: 401, with what was published", async () => {
    const secret = "the secret of tokens that is in use";
    await using own = await spawnServer(["--jwt-secret", secret, "--public", "*"]);
    const token = await sign({ publish: ["*"] }, secret, { expires: 2 });
    using producer = await openProducer(own.url, "a", bearer(token));
    producer.write(events(1));
    expect(read(await producer.answer())).toMatchObject({ status: 401, published: [{ count: 1 }] });
  });

  test("it ends after --publish-silence: 408, and not before while something comes", async () => {
    await using own = await spawnServer(["--publish-silence", "4s"]);
    using producer = await openProducer(own.url, "a");
    for (let count = 0; count < 6; count++) {
      producer.write(":\n\n");
      await Bun.sleep(1000); // Each silence is shorter than the limit, and all together are longer.
    }
    producer.write(events(1));
    expect(read(await producer.answer())).toMatchObject({ status: 408, published: [{ count: 1 }] });
    expect(samplesOf(await scrape(own), "longwire_cut_total").silent).toBe(1);
  });

  test("it lasts though nothing comes for longer than Bun lets a request be silent", async () => {
    const topic = newTopic();
    using producer = await openProducer(server.url, topic);
    producer.write(events(1));
    await Bun.sleep(15_000); // Bun's own limit is 10 s, or 12 s for the head of a request.
    producer.write(events(2));
    expect(read(await producer.finish())).toMatchObject({ status: 200, published: [{ count: 2 }] });
  });

  test("it needs the permission to publish, and with ?end that to end, before its body is read", async () => {
    const secret = "the secret of tokens that is in use";
    await using own = await spawnServer(["--jwt-secret", secret]);
    const publishing = bearer(await sign({ publish: ["*"] }, secret));
    using producer = await openProducer(own.url, "a?end", publishing);
    expect((await producer.answer()).status).toBe(403);
  });
});

test("100,000 small events in few pieces do not keep others waiting", async () => {
  const topic = newTopic();
  using other = await openTopic(server, newTopic());
  using producer = await openProducer(server.url, topic);
  producer.write("data:\n\n".repeat(100_000));
  let answers = 0;
  let isDone = false;
  const finished = producer.finish(60).finally(() => {
    isDone = true;
  });
  while (!isDone) {
    other.send("ping");
    expect(await other.next()).toBe("pong");
    answers++;
  }
  expect(read(await finished)).toMatchObject({ status: 200, published: [{ count: 100_000 }] });
  expect(answers).toBeGreaterThan(20); // One for each of the few pieces, if a piece were published in one turn.
});

test("the Stop of an answer is a topic that its producer follows", async () => {
  const topic = newTopic();
  const page = await Bun.file(resolve(root, "docs/protocol.md")).text();
  const [, source = ""] = /<!-- program: stop -->\n```js\n([\s\S]*?)```/.exec(page) ?? [];
  using viewer = await openEvents(server, topic);
  const producer = Bun.spawn([process.execPath, "-e", source, "--", topicsUrl(server, topic)], {
    stdout: "pipe",
  });
  try {
    expect(await viewer.event()).toMatchObject({ data: "token 1" });
    await publish(server, `${topic}/stop`, "stop");
    let last = await viewer.event();
    while (last.type !== "longwire.end") last = await viewer.event();
    expect(await viewer.closed).toEqual({ code: 1000, reason: "ended" });
    const answer = JSON.parse(await within(new Response(producer.stdout).text(), "the producer's answer"));
    expect(answer.published[0].end).toBe(last.id);
  } finally {
    producer.kill();
  }
});
