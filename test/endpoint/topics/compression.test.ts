/** Event streams and polls for who accepts gzip: the same text in fewer bytes, each event as it comes. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { get, type IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";
import { sampleOf, scrape } from "../../support/prometheus.ts";
import { spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { commandOf, lacks, type ToolName } from "../../support/tool.ts";
import { newTopic, openStream, post, publish, topicsUrl } from "../../support/topics.ts";
import { within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer();

const prices = JSON.stringify(Array.from({ length: 60 }, (_, index) => ({ item: index, price: index / 4 })));
const bodies = ["hello", prices, "", "两行\n文字", "x".repeat(100_000), prices];

/** An answer as it is on the wire, but for chunks. */
interface Answer {
  readonly headers: IncomingMessage["headers"];
  readonly bytes: Buffer;
}

/** Node's client decodes nothing. */
async function answerOf(path: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  const answered = Promise.withResolvers<IncomingMessage>();
  get(topicsUrl(server, path), { headers, agent: false }, answered.resolve).on("error", answered.reject);
  const answer = await within(answered.promise, "the head of an answer");
  const bytes = await within(Array.fromAsync(answer as AsyncIterable<Buffer>), "the end of an answer");
  return { headers: answer.headers, bytes: Buffer.concat(bytes) };
}

const asStream = { Accept: "text/event-stream" };
const gzip = { "Accept-Encoding": "gzip" };

async function publishAll(topic: string): Promise<void> {
  for (const body of bodies) await publish(server, topic, body);
}

/** The times and the ids of control events differ from answer to answer. */
const messagesOf = (text: string): string[] => text.split("\n").filter((line) => !line.includes("longwire."));

describe("a compressed event stream", () => {
  for (const format of ["", "format=cloudevents&"]) {
    test(`is a whole gzip member of the same events${format && ", as CloudEvents"}`, async () => {
      const topic = newTopic();
      await publishAll(topic);
      expect((await post(server, `${topic}?end`, "")).status).toBe(200);
      const path = `${topic}?${format}since=all`;
      const plain = await answerOf(path, asStream);
      const compressed = await answerOf(path, { ...asStream, ...gzip });
      expect(plain.headers["content-encoding"]).toBeUndefined();
      expect(compressed.headers["content-encoding"]).toBe("gzip");
      expect(compressed.bytes.length).toBeLessThan(plain.bytes.length / 5);
      // zlib throws if the checksum or the length of the whole is wrong.
      const text = gunzipSync(compressed.bytes).toString();
      expect(messagesOf(text)).toEqual(messagesOf(plain.bytes.toString()));
      expect(text).toContain("longwire.end");
    });
  }

  test("of several topics is a whole gzip member of the same events", async () => {
    const topics = [newTopic(), newTopic()];
    for (const topic of topics) await publishAll(topic);
    expect((await post(server, `${topics.join(",")}?end`, "")).status).toBe(200);
    const path = `${topics.join(",")}?format=cloudevents&since=all`;
    const plain = await answerOf(path, asStream);
    const compressed = await answerOf(path, { ...asStream, ...gzip });
    const lines = messagesOf(gunzipSync(compressed.bytes).toString());
    // Which topic is read first is not told.
    expect(lines.filter((line) => line.startsWith("data:")).toSorted()).toEqual(
      messagesOf(plain.bytes.toString())
        .filter((line) => line.startsWith("data:"))
        .toSorted(),
    );
    expect(lines.filter((line) => line.startsWith("id:"))).toHaveLength(2 * bodies.length + 3);
  });

  test("of live messages is one, too, and is counted as the bytes that are sent", async () => {
    await using own = await spawnServer();
    const topic = newTopic();
    const opened = Promise.withResolvers<IncomingMessage>();
    get(topicsUrl(own, topic), { headers: { ...asStream, ...gzip }, agent: false }, opened.resolve);
    const answer = await within(opened.promise, "the head of a stream");
    for (const body of bodies) await publish(own, topic, body);
    await post(own, `${topic}?end`, "");
    const bytes = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>));
    const text = gunzipSync(bytes).toString();
    for (const body of bodies) expect(text).toContain(`data: ${body.replace("\n", "\ndata: ")}\nid: `);
    expect(sampleOf(await scrape(own), "longwire_sent_bytes_total", 'form="events"')).toBe(bytes.length);
  });

  const inNode = `const [url, encoding] = process.argv.slice(1);
    const answer = await fetch(url, { headers: { Accept: "text/event-stream", "Accept-Encoding": encoding } });
    for await (const bytes of answer.body) process.stdout.write(bytes);`;
  const inPython = `import sys, urllib.request, zlib
request = urllib.request.Request(sys.argv[1], headers={"Accept": "text/event-stream", "Accept-Encoding": sys.argv[2]})
answer = urllib.request.urlopen(request)
decoder = zlib.decompressobj(31)
while not decoder.eof:
    sys.stdout.write(decoder.decompress(answer.read1()).decode())
    sys.stdout.flush()
if decoder.unused_data: sys.exit("more than one member")`;
  const programs: readonly (readonly [name: string, tool: ToolName | undefined, words: readonly string[]])[] =
    [
      ["Bun", undefined, ["-e", inNode]],
      ["Node", "Node 20.10", ["--input-type=module", "-e", inNode]],
      ["curl", "curl", ["-sSN", "--compressed", "-H", "Accept: text/event-stream"]],
      ["Python", "Python's websockets", ["-c", inPython]],
    ];
  for (const [name, tool, words] of programs) {
    test.skipIf(tool !== undefined && lacks(tool))(
      `gives ${name} each event as it comes, and its end`,
      async () => {
        const topic = newTopic();
        const command = tool === undefined ? process.execPath : commandOf(tool);
        await using program = Bun.spawn(
          [command, ...words, topicsUrl(server, topic), "gzip"].slice(0, name === "curl" ? -1 : undefined),
          {
            stdout: "pipe",
            stderr: "inherit",
          },
        );
        let text = "";
        const reader = program.stdout.pipeThrough(new TextDecoderStream()).getReader();
        const read = async (part: string): Promise<void> => {
          while (!text.includes(part)) {
            const { done, value } = await within(reader.read(), `"${part.slice(0, 30)}" at ${name}`);
            if (done) throw new Error(`${name} has ended before "${part.slice(0, 30)}"`);
            text += value;
          }
        };
        await read("longwire.open");
        for (const body of ["first", prices, "last"]) {
          await publish(server, topic, body);
          await read(`data: ${body}\n`); // Nothing follows before it is there.
        }
        await post(server, `${topic}?end`, "");
        await read("longwire.end");
        expect(await within(program.exited, `the end of ${name}`)).toBe(0);
      },
    );
  }

  test("ends whole when its server drains", async () => {
    await using own = await spawnServer(["--drain-window", "0s"]);
    await using stream = await openStream(own, newTopic());
    await stream.next();
    own.process.kill("SIGTERM");
    expect(await stream.next()).toMatchObject({ event: "longwire.close" });
    await within(stream.ended, "the end of the stream"); // Bun's fetch fails if the trailer is missing.
  });
});

describe("a compressed poll", () => {
  for (const [size, repeats] of [
    ["small", 1],
    ["larger than is answered at once", 200],
  ] as const) {
    test(`is the same batch, ${size}`, async () => {
      const topic = newTopic();
      for (let count = 0; count < repeats; count++)
        await post(server, topic, `${count} ${crypto.randomUUID()} ${prices}`);
      const path = `${topic}?since=all&limit=1000`;
      const plain = await answerOf(path, {});
      const compressed = await answerOf(path, gzip);
      expect(compressed.headers["content-encoding"]).toBe("gzip");
      expect(compressed.headers["longwire-cursor"]).toBe(plain.headers["longwire-cursor"]);
      expect(compressed.bytes.length).toBeLessThan(plain.bytes.length / 2);
      expect(gunzipSync(compressed.bytes).toString()).toBe(plain.bytes.toString());
    });
  }

  test("without a message is an empty batch", async () => {
    const { bytes } = await answerOf(`${newTopic()}?since=-`, gzip);
    expect(gunzipSync(bytes).toString()).toBe("[]");
  });
});

describe("who gets it compressed", () => {
  const codingOf = async (on: typeof server, encodings: string, method = "HEAD"): Promise<string | null> => {
    const headers = { ...asStream, "Accept-Encoding": encodings };
    const answer = await fetch(topicsUrl(on, newTopic()), { method, headers });
    await answer.body?.cancel();
    expect(answer.headers.get("vary")).toContain("Accept-Encoding");
    return answer.headers.get("content-encoding");
  };

  test("is who names gzip", async () => {
    for (const encodings of ["gzip", "br, GZip;q=0.5", "deflate,gzip ; q=1"]) {
      expect([encodings, await codingOf(server, encodings)]).toEqual([encodings, "gzip"]);
      expect([encodings, await codingOf(server, encodings, "GET")]).toEqual([encodings, "gzip"]);
    }
    for (const encodings of ["identity", "gzip;q=0", "br", "*", "xgzip"])
      expect([encodings, await codingOf(server, encodings)]).toEqual([encodings, null]);
  });

  test("is nobody with --compression off", async () => {
    await using own = await spawnServer(["--compression", "off"]);
    expect(await codingOf(own, "gzip", "GET")).toBeNull();
    const poll = await fetch(`${topicsUrl(own, newTopic())}?since=-`);
    expect(poll.headers.get("content-encoding")).toBeNull();
  });
});
