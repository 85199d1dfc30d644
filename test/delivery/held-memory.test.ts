/** What a server keeps is what it counts: measured in the heap of a server in this process. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createServer, type LongwireServer } from "../../src/longwire.ts";
import { openWs } from "../support/clients.ts";
import { heldHeapBytes, outsideHeapBytes } from "../support/heap.ts";
import { parseMetrics } from "../support/prometheus.ts";
import { newTopic, post, topicsUrl } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

/**
 * Resolves with what is held beside `before`, as soon as it is under `most`: the collector also keeps what an old frame of the
 * stack happens to point at, such as the body of the last request, for a few turns.
 */
async function heldStringBytes(before: number, most: number): Promise<number> {
  let held = Number.NaN;
  const isUnder = (): boolean => {
    held = outsideHeapBytes() - before;
    return held < most;
  };
  await until(isUnder, `strings and buffers to take less than ${most} bytes`);
  return held;
}

async function gauge(server: LongwireServer, name: string): Promise<number> {
  const metrics = parseMetrics(await (await fetch(new URL("/metrics", server.url))).text());
  return metrics.get(name)?.samples.get("") ?? Number.NaN;
}

const bodies = 40;
const filler = "x".repeat(500_000);
const event = (number: number, more: object): string =>
  JSON.stringify({
    specversion: "1.0",
    type: `type of ${number}`,
    subject: "a subject",
    source: filler,
    ...more,
  });

/** Ways to publish something small out of a body of 500 KB, which is more than 20 MB in all. */
const ways: Record<string, (server: LongwireServer, topic: string, number: number) => Promise<unknown>> = {
  "JSON in a structured event": (server, topic, number) =>
    post(server, topic, event(number, { data: { text: `the data of event ${number}` } }), {
      "Content-Type": "application/cloudevents+json",
    }),
  "text in a structured event": (server, topic, number) =>
    post(
      server,
      topic,
      event(number, { datacontenttype: "text/plain; a=b", data: `the data of event ${number}` }),
      { "Content-Type": "application/cloudevents+json" },
    ),
  "a batch": (server, topic, number) =>
    post(server, topic, `[${event(number, { data: `the data of event ${number}` })}]`, {
      "Content-Type": "application/cloudevents-batch+json",
    }),
  "a frame of cloudevents.json": async (server, topic, number) => {
    const url = topicsUrl(server, topic).replace("http", "ws");
    using client = await openWs(url, ["cloudevents.json"]);
    client.send(event(number, { data: `the data of event ${number}` }));
    while (!String(await client.next()).includes("the data of event"));
  },
  "the program's own text": (server, topic, number) => {
    const text = `${event(number, {})} ${topic} text/markdown; of=${number}`;
    const [, ownTopic = "", contentType = ""] = /\} (\S+) (text\/.*)$/.exec(text) ?? [];
    const [, subject = ""] = /"(type of \d+)"/.exec(text) ?? [];
    return server.publish(`${ownTopic}/${number}`, "small", { contentType, attributes: { subject } });
  },
};

describe("history holds nothing of the body that its message was cut out of", () => {
  for (const [what, publish] of Object.entries(ways)) {
    test(what, async () => {
      await using server = await createServer({ port: 0, logLevel: "silent" });
      const topic = newTopic();
      await publish(server, topic, 0);
      const before = outsideHeapBytes();
      for (let number = 1; number <= bodies; number++) await publish(server, topic, number);
      expect(await gauge(server, "longwire_history_bytes")).toBeWithin(bodies * 200, bodies * 1200);
      await heldStringBytes(before, (bodies * filler.length) / 10);
    });
  }
});

test("longwire_encodings_bytes is what was encoded for a reader, with its message", async () => {
  await using server = await createServer({ port: 0, logLevel: "silent" });
  const topic = newTopic();
  using reader = await openWs(topicsUrl(server, topic).replace("http", "ws"), ["cloudevents.json"]);
  await reader.next();
  expect(await gauge(server, "longwire_encodings_bytes")).toBe(0);
  await post(server, topic, "x".repeat(10_000));
  await reader.next();
  expect(await gauge(server, "longwire_encodings_bytes")).toBeWithin(20_000, 22_000);
});

describe("longwire_history_bytes is what the data takes", () => {
  const million = 1_000_000;
  for (const [what, data, bytes] of [
    ["ASCII: a byte for each character", "x".repeat(million), million],
    ["any other text: two bytes for each UTF-16 unit", `${"x".repeat(million - 1)}漢`, 2 * million],
    ["ASCII of an event with other text beside it: a byte for each character", "x".repeat(million), million],
  ] as const) {
    test(what, async () => {
      await using server = await createServer({
        port: 0,
        logLevel: "silent",
        messageBytesMax: 4 * million,
        bufferedBytesMax: 16 * million,
      });
      const topic = newTopic();
      const isEvent = what.includes("event");
      const body = isEvent
        ? event(0, { datacontenttype: "text/plain", subject: "漢", source: "/", data })
        : data;
      const type = isEvent ? "application/cloudevents+json" : "text/plain";
      await post(server, topic, "first");
      const before = outsideHeapBytes();
      const countedBefore = await gauge(server, "longwire_history_bytes");
      for (let number = 0; number < 5; number++)
        await (await post(server, topic, body, { "Content-Type": type })).text();
      const counted = (await gauge(server, "longwire_history_bytes")) - countedBefore;
      expect(counted / (5 * bytes)).toBeWithin(0.99, 1.01);
      expect((await heldStringBytes(before, 1.5 * counted)) / counted).toBeGreaterThan(0.5);
    });
  }
});

describe("a request to several topics", () => {
  const names = (count: number): string => Array.from({ length: count }, (_, index) => `s${index}`).join(",");
  const retained = async (server: LongwireServer, topic: string): Promise<number> => {
    const { topics } = (await (await fetch(topicsUrl(server, topic))).json()) as {
      topics: { retained: number }[];
    };
    return topics[0]?.retained ?? 0;
  };

  test("holds and counts its data once, until the last of its messages is dropped", async () => {
    await using server = await createServer({ port: 0, logLevel: "silent", historyMessages: 2 });
    await post(server, "others", "of others");
    const data = "x".repeat(1_000_000);
    const before = outsideHeapBytes();
    expect((await post(server, names(70), data)).status).toBe(200);
    await heldStringBytes(before, 2 * data.length);
    const counted = await gauge(server, "longwire_history_bytes");
    expect(counted).toBeWithin(data.length, 1.1 * data.length);
    expect(await retained(server, "others")).toBe(1);
    for (let count = 0; count < 2; count++) {
      await post(server, names(69), "y");
      expect(await gauge(server, "longwire_history_bytes")).toBeGreaterThan(data.length);
    }
    for (let count = 0; count < 2; count++) await post(server, "s69", "y");
    expect(await gauge(server, "longwire_history_bytes")).toBeLessThan(200_000);
  });

  test("adds at most a quarter of --history-bytes, or is refused in words, and nothing is published", async () => {
    await using server = await createServer({ port: 0, logLevel: "silent", historyBytesMax: 1_000_000 });
    await post(server, "others", "of others");
    const large = "x".repeat(300_000);
    const refused = await post(server, names(2), large);
    expect(refused.status).toBe(413);
    expect(((await refused.json()) as { detail: string }).detail).toContain("a quarter of --history-bytes");
    const batch = JSON.stringify(
      Array.from({ length: 900 }, (_, data) => ({
        specversion: "1.0",
        type: "t",
        data: data + large.slice(0, 200),
      })),
    );
    const refusedBatch = await post(server, "s0", batch, {
      "Content-Type": "application/cloudevents-batch+json",
    });
    expect(refusedBatch.status).toBe(413);
    expect([await retained(server, "s0"), await retained(server, "others")]).toEqual([0, 1]);
    expect((await post(server, names(2), large.slice(0, 200_000))).status).toBe(200);
    expect((await post(server, "s0", large)).status).toBe(200); // One message is bounded by --max-message alone.
    expect(await retained(server, "others")).toBe(1);
  });
});

test("topics with one small message each count what they hold", async () => {
  await using server = await createServer({ port: 0, logLevel: "silent", historyBytesMax: 1024 ** 3 });
  await server.publish("first", "21.5");
  const before = heldHeapBytes();
  const topics = 20_000;
  for (let number = 0; number < topics; number++) await server.publish(`sensors/${number}`, "21.5");
  const held = heldHeapBytes() - before;
  const counted = await gauge(server, "longwire_history_bytes");
  expect(held / counted).toBeWithin(0.5, 1.1);
});
