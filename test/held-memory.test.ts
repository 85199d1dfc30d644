/** What a server keeps is what it counts: measured in the heap of a server in this process. */
import { heapStats } from "bun:jsc";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createServer, type LongwireServer } from "../src/longwire.ts";
import { openWs } from "./support/clients.ts";
import { parseMetrics } from "./support/prometheus.ts";
import { newTopic, post, topicsUrl } from "./support/topics.ts";

setDefaultTimeout(120_000);

/** Strings and buffers, which JavaScriptCore counts exactly, apart from its objects. */
function stringBytes(): number {
  for (let count = 0; count < 3; count++) Bun.gc(true);
  return heapStats().extraMemorySize;
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
      const before = stringBytes();
      for (let number = 1; number <= bodies; number++) await publish(server, topic, number);
      const held = stringBytes() - before;
      expect(await gauge(server, "longwire_history_bytes")).toBeWithin(bodies * 200, bodies * 500);
      expect(held).toBeLessThan((bodies * filler.length) / 10);
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
      const before = stringBytes();
      const countedBefore = await gauge(server, "longwire_history_bytes");
      for (let number = 0; number < 5; number++)
        await (await post(server, topic, body, { "Content-Type": type })).text();
      const held = stringBytes() - before;
      const counted = (await gauge(server, "longwire_history_bytes")) - countedBefore;
      expect(counted / (5 * bytes)).toBeWithin(0.99, 1.01);
      expect(held / counted).toBeWithin(0.5, 1.5);
    });
  }
});
