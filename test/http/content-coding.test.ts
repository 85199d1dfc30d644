/** Compressed bodies: what is published is what was compressed, and no body is larger than it may be, in either form. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Transform } from "node:stream";
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createDeflate,
  createGzip,
  createZstdCompress,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from "node:zlib";
import { openProducer } from "../support/producer.ts";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { residentBytes } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { everyEvent, newTopic, openStream, topicsUrl } from "../support/topics.ts";

setDefaultTimeout(60_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const server = sharedServer();
/** Its memory is measured. */
const bombed = sharedServer();

const codings = {
  gzip: {
    compress: (bytes: Buffer) => gzipSync(bytes),
    stream: () => createGzip(),
    flush: constants.Z_SYNC_FLUSH,
  },
  "X-GZip": {
    compress: (bytes: Buffer) => gzipSync(bytes),
    stream: () => createGzip(),
    flush: constants.Z_SYNC_FLUSH,
  },
  deflate: {
    compress: (bytes: Buffer) => deflateSync(bytes),
    stream: () => createDeflate(),
    flush: constants.Z_SYNC_FLUSH,
  },
  br: {
    compress: (bytes: Buffer) =>
      brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }),
    stream: () => createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
    flush: constants.BROTLI_OPERATION_FLUSH,
  },
  zstd: {
    compress: (bytes: Buffer) => zstdCompressSync(bytes),
    stream: () => createZstdCompress(),
    flush: constants.ZSTD_e_flush,
  },
};

interface Answer {
  readonly status: number;
  readonly acceptEncoding: string | null;
  readonly detail?: string;
  readonly published?: readonly [{ readonly id?: string; readonly count?: number }];
}

async function post(
  topic: string,
  body: Uint8Array<ArrayBuffer> | string,
  headers: Record<string, string>,
  on: Pick<typeof server, "url"> = server,
): Promise<Answer> {
  const answer = await fetch(topicsUrl(on, topic), { method: "POST", body, headers });
  const acceptEncoding = answer.headers.get("Accept-Encoding");
  return { ...((await answer.json()) as object), status: answer.status, acceptEncoding };
}

const eventsIn = async (topic: string) => await everyEvent(server, topic);

/** Compresses a text and so many MiB of zeros after it, which take next to nothing. */
async function compressed(
  compressor: Transform,
  text: string,
  mebibytes: number,
): Promise<Buffer<ArrayBuffer>> {
  const pieces: Buffer[] = [];
  compressor.on("data", (piece) => pieces.push(piece));
  const ended = new Promise((resolve) => compressor.once("end", resolve));
  compressor.write(text);
  const zeros = Buffer.alloc(MiB, "0");
  for (let count = 0; count < mebibytes; count++)
    if (!compressor.write(zeros)) await new Promise((resolve) => compressor.once("drain", resolve));
  compressor.end();
  await ended;
  return Buffer.concat(pieces);
}

const random = (size: number): Buffer => Buffer.from(crypto.getRandomValues(new Uint8Array(size)));

for (const [name, { compress, stream, flush }] of Object.entries(codings)) {
  const encoded = { "Content-Encoding": name };

  describe(`Content-Encoding: ${name}`, () => {
    test("text, JSON and bytes are published as they were before", async () => {
      const topic = newTopic();
      const bytes = random(50_000);
      for (const [type, body] of [
        ["text/plain", "Grüße 😀\n"],
        ["application/json", '{"a":[1, 2]}'],
        ["application/octet-stream", bytes],
      ] as const) {
        const { status } = await post(topic, compress(Buffer.from(body)), {
          ...encoded,
          "Content-Type": type,
        });
        expect(status).toBe(200);
      }
      expect(await eventsIn(topic)).toMatchObject([
        { data: "Grüße 😀\n" },
        { data: { a: [1, 2] } },
        { data_base64: bytes.toString("base64") },
      ]);
    });

    test("an event and a batch of events are read from the decoded body", async () => {
      const topic = newTopic();
      const event = { specversion: "1.0", type: "price", data: 187.2 };
      for (const [type, body] of [
        ["application/cloudevents+json", event],
        ["application/cloudevents-batch+json", [event, { ...event, data: 188 }]],
      ] as const) {
        const bytes = compress(Buffer.from(JSON.stringify(body)));
        expect((await post(topic, bytes, { ...encoded, "Content-Type": type })).status).toBe(200);
      }
      expect((await eventsIn(topic)).map(({ data }) => data)).toEqual([187.2, 187.2, 188]);
    });

    test("a body that breaks off, is damaged, goes on after its end or is not compressed is 400, and nothing of it is kept", async () => {
      const topic = newTopic();
      const whole = compress(Buffer.from("hello ".repeat(1000)));
      for (const body of [
        whole.subarray(0, -5),
        whole.subarray(0, 3),
        Buffer.concat([whole, Buffer.from("more")]),
        Buffer.from("this is text, and not compressed"),
      ]) {
        const { status, detail } = await post(topic, Buffer.from(body), encoded);
        expect([status, detail]).toEqual([400, expect.stringContaining("Content-Encoding")]);
      }
      expect(await eventsIn(topic)).toEqual([]);
    });

    test("a message or a line of 128 MiB in little is 413, and takes the memory of a message", async () => {
      const bomb = await compressed(stream(), '1\n"', 128);
      expect(bomb.length).toBeLessThan(MiB);
      const topic = newTopic();
      await post(topic, compress(Buffer.from("up")), encoded, bombed);
      const before = await residentBytes(bombed.process.pid, "most");
      const answers = await Promise.all(Array.from({ length: 10 }, () => post(topic, bomb, encoded, bombed)));
      for (const { status, detail } of answers)
        expect([status, detail]).toEqual([413, expect.stringContaining("--max-message")]);
      expect((await everyEvent(bombed, topic)).length).toBe(1);
      const lines = { ...encoded, "Content-Type": "application/x-ndjson" };
      expect(await post(topic, bomb, lines, bombed)).toMatchObject({
        status: 413,
        published: [{ topic, count: 1 }],
      });
      expect((await residentBytes(bombed.process.pid, "most")) - before).toBeLessThan(64 * MiB);
    });

    test("--max-message counts decoded bytes, to the byte, and those that are sent", async () => {
      const headers = { ...encoded, "Content-Type": "application/octet-stream" };
      expect((await post(newTopic(), compress(Buffer.alloc(MiB)), headers)).status).toBe(200);
      expect((await post(newTopic(), compress(Buffer.alloc(MiB + 1)), headers)).status).toBe(413);
      const larger = compress(random(MiB)); // Nothing makes random bytes shorter.
      expect(larger.length).toBeGreaterThan(MiB);
      expect((await post(newTopic(), larger, headers)).status).toBe(413);
    });

    test("a repeat with the same key is known by its decoded bytes", async () => {
      const topic = newTopic();
      const once = { "Idempotency-Key": "k", "Content-Type": "text/plain" };
      const first = await post(topic, compress(Buffer.from("hello")), { ...encoded, ...once });
      expect((await post(topic, "hello", once)).published).toEqual(first.published);
      expect((await post(topic, compress(Buffer.from("other")), { ...encoded, ...once })).status).toBe(422);
      expect((await eventsIn(topic)).length).toBe(1);
    });

    test("an item of a stream is published when it can be decoded, while the body goes on", async () => {
      for (const [type, item] of [
        ["text/event-stream", (text: string) => `data: "${text}"\n\n`],
        ["application/x-ndjson", (text: string) => `"${text}"\n`],
      ] as const) {
        const topic = newTopic();
        await using viewer = await openStream(server, topic);
        await viewer.next();
        using producer = await openProducer(server.url, topic, { ...encoded, "Content-Type": type });
        const compressor = stream();
        let piece: Buffer[] = [];
        compressor.on("data", (bytes) => piece.push(bytes));
        for (const text of ["one", "two", "three"]) {
          compressor.write(item(text));
          await new Promise<void>((resolve) => compressor.flush(flush, resolve));
          producer.write(Buffer.concat(piece));
          piece = [];
          expect(await viewer.next()).toMatchObject({ data: `"${text}"` });
        }
        const ended = new Promise((resolve) => compressor.once("end", resolve));
        compressor.end();
        await ended;
        producer.write(Buffer.concat(piece));
        const { status, body } = await producer.finish();
        expect([status, JSON.parse(body)]).toMatchObject([200, { published: [{ topic, count: 3 }] }]);
      }
    });

    test("a stream that is damaged ends with 400, and says how far it came", async () => {
      const topic = newTopic();
      const lines = "1\n2\n3\n";
      const damaged = Buffer.concat([compress(Buffer.from(lines)), Buffer.from("and more")]);
      const headers = { ...encoded, "Content-Type": "application/x-ndjson" };
      expect(await post(topic, damaged, headers)).toMatchObject({
        status: 400,
        detail: expect.stringContaining("Content-Encoding"),
        published: [{ topic }],
      });
      const cut = compress(Buffer.from(`${lines}4`)).subarray(0, -2);
      expect((await post(newTopic(), Buffer.from(cut), headers)).status).toBe(400);
    });
  });
}

describe("a Content-Encoding", () => {
  test("that is not known, or of several codings, is 415 in words and counted, of a message and of a stream", async () => {
    const refused = async () =>
      sampleOf(await scrape(server), "longwire_refused_total", 'reason="content_encoding"');
    const before = await refused();
    const topic = newTopic();
    for (const coding of ["compress", "gzip, br", "aes128gcm", "constructor"]) {
      for (const type of ["text/plain", "application/x-ndjson"]) {
        const headers = { "Content-Encoding": coding, "Content-Type": type };
        expect(await post(topic, gzipSync(Buffer.from("1\n")), headers)).toMatchObject({
          status: 415,
          acceptEncoding: "gzip, deflate, br, zstd",
          detail: expect.stringContaining(coding),
        });
      }
    }
    expect(await eventsIn(topic)).toEqual([]);
    expect((await refused()) - before).toBe(8);
  });

  test("identity, an empty one, and one of an empty body change nothing", async () => {
    const topic = newTopic();
    expect((await post(topic, "a", { "Content-Encoding": "identity" })).status).toBe(200);
    expect((await post(topic, "b", { "Content-Encoding": "" })).status).toBe(200);
    expect((await post(`${topic}?end`, "", { "Content-Encoding": "gzip" })).status).toBe(200);
    expect((await eventsIn(topic)).map(({ type }) => type)).toEqual([
      "longwire.message",
      "longwire.message",
      "longwire.end",
    ]);
  });

  test("does not concern a GET, a HEAD or an OPTIONS", async () => {
    for (const method of ["GET", "HEAD"])
      expect(
        (await fetch(topicsUrl(server, "news"), { method, headers: { "Content-Encoding": "x" } })).status,
      ).toBe(200);
  });
});

describe("lines of JSON", () => {
  for (const type of ["ndjson", "x-ndjson", "jsonl", "jsonlines", "json-lines"]) {
    test(`may have the type application/${type}`, async () => {
      const topic = newTopic();
      const answer = await post(topic, "1\n2\n", { "Content-Type": `application/${type}; charset=utf-8` });
      expect(answer).toMatchObject({ status: 200, published: [{ count: 2 }] });
      expect((await eventsIn(topic)).map(({ data }) => data)).toEqual([1, 2]);
    });
  }
});
