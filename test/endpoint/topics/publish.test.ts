/** POST /topics/…, and what every answer of /topics has in common: names, methods, problems, origins, CORS. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { truncate, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import { refusalOfPublication } from "../../../src/endpoint/topics/publish.ts";
import { BrokerUnavailable, TopicEnded } from "../../../src/topic/broker.ts";
import { exchange, RawSocket, request } from "../../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { lacks } from "../../support/tool.ts";
import {
  everyEvent,
  inspect,
  newTopic,
  offsetOf,
  openEvents,
  openTopic,
  post,
  publish,
  topicsUrl,
} from "../../support/topics.ts";
import { within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const server = sharedServer();

interface Problem {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
}

/** Checks that an answer is a problem in words. @returns its detail */
async function problemOf(response: Response, status: number, title: string): Promise<string> {
  expect(response.status).toBe(status);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = (await response.json()) as Problem;
  expect(problem).toMatchObject({ title, status });
  expect(problem.detail.length).toBeGreaterThan(10);
  return problem.detail;
}

describe("what is published", () => {
  const text: readonly (string | undefined)[] = [
    undefined,
    "text/plain",
    "text/plain;charset=utf-8",
    "text/html",
    "TEXT/Markdown",
    "application/x-www-form-urlencoded",
  ];
  for (const contentType of text) {
    test(`is text with Content-Type ${contentType ?? "left out"}`, async () => {
      const topic = newTopic();
      using raw = await openTopic(server, topic);
      using events = await openEvents(server, topic);
      const body = "a=1&b=%20+ä\n";
      // Bytes, because fetch adds a Content-Type of its own to a string.
      const response = await post(
        server,
        topic,
        Buffer.from(body),
        contentType === undefined ? {} : { "Content-Type": contentType },
      );
      expect(response.status).toBe(200);
      expect(await raw.next()).toBe(body);
      expect(await events.event()).toMatchObject({
        datacontenttype: contentType ?? "text/plain",
        data: body,
      });
    });
  }

  for (const contentType of [
    "application/json",
    "application/json; charset=utf-8",
    "application/ld+json",
    "Application/Problem+JSON",
  ]) {
    test(`is JSON with Content-Type ${contentType}, spliced in as it was sent`, async () => {
      const topic = newTopic();
      using raw = await openTopic(server, topic);
      using events = await openEvents(server, topic);
      const body = ' { "a" : 1.0,\n"b":12345678901234567890, "c":"\\u00e4" } ';
      expect((await post(server, topic, body, { "Content-Type": contentType })).status).toBe(200);
      expect(await raw.next()).toBe(body);
      const event = (await events.next()) as string;
      expect(event).toContain(`"data":${body}}`);
      expect(JSON.parse(event).datacontenttype).toBe(contentType);
    });
  }

  for (const contentType of [
    "application/octet-stream",
    "image/png",
    "application/xml",
    "application/json-seq",
  ]) {
    test(`is binary with Content-Type ${contentType}`, async () => {
      const topic = newTopic();
      using raw = await openTopic(server, topic);
      using events = await openEvents(server, topic);
      const body = Buffer.of(0, 255, 0xc3, 0x28, 10, 13);
      expect((await post(server, topic, body, { "Content-Type": contentType })).status).toBe(200);
      expect(await raw.next()).toEqual(body);
      const event = await events.event();
      expect(event).toMatchObject({ datacontenttype: contentType, data_base64: body.toString("base64") });
      expect(event).not.toHaveProperty("data");
    });
  }

  test.skipIf(lacks("curl"))("is what curl -d sends, as it stands", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    const curl = Bun.spawn(["curl", "-s", "-d", "hello=world & more %41", topicsUrl(server, topic)]);
    const answer = await within(new Response(curl.stdout).json(), "the end of curl");
    expect(answer).toEqual({ published: [{ topic, id: (await inspect(server, topic)).position }] });
    expect(await raw.next()).toBe("hello=world & more %41");
  });

  test("may be empty, as text, as bytes, and in chunks", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    using events = await openEvents(server, topic);
    expect((await post(server, topic, "", { "Content-Type": "text/plain" })).status).toBe(200);
    expect(await raw.next()).toBe("");
    expect(await events.event()).toMatchObject({ data: "" });
    expect((await post(server, topic, "", { "Content-Type": "image/png" })).status).toBe(200);
    expect(await raw.next()).toEqual(Buffer.alloc(0));
    expect(await events.event()).toMatchObject({ data_base64: "" });
    const head = request("POST", `/topics/${topic}`, { "Transfer-Encoding": "chunked" });
    expect((await exchange(server.url, `${head}0\r\n\r\n`)).status).toBe(200);
    expect(await raw.next()).toBe("");
    expect((await exchange(server.url, request("POST", `/topics/${topic}`))).status).toBe(200);
    expect(await raw.next()).toBe("");
  });

  test("keeps a byte order mark, a NUL and every character", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    const body = "\u{feff}a\0b\u{1f600}\u{2028}\r\n";
    expect((await post(server, topic, body, { "Content-Type": "text/plain" })).status).toBe(200);
    expect(await raw.next()).toBe(body);
  });

  test("is the same in chunks", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    using socket = await RawSocket.connect(server.url);
    socket.write(request("POST", `/topics/${topic}`, { "Transfer-Encoding": "chunked" }));
    await socket.writeByteByByte(Buffer.from("2\r\nh\xc3\r\n4\r\n\xa4llo\r\n0\r\n\r\n", "latin1"));
    expect((await socket.response()).status).toBe(200);
    expect(await raw.next()).toBe("hällo");
  });
});

describe("what cannot be published", () => {
  const notUtf8 = Buffer.of(0x61, 0xff, 0x62);

  for (const contentType of [
    undefined,
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/json",
  ]) {
    test(`is a body that is not UTF-8 with Content-Type ${contentType ?? "left out"}`, async () => {
      const topic = newTopic();
      const headers: Record<string, string> =
        contentType === undefined ? {} : { "Content-Type": contentType };
      const detail = await problemOf(await post(server, topic, notUtf8, headers), 400, "Bad Request");
      expect(detail).toContain("UTF-8");
      expect((await inspect(server, topic)).position).toBeNull();
    });
  }

  test("is half a surrogate pair written in UTF-8", async () => {
    const detail = await problemOf(
      await post(server, newTopic(), Buffer.of(0xed, 0xa0, 0x80), { "Content-Type": "text/plain" }),
      400,
      "Bad Request",
    );
    expect(detail).toContain("UTF-8");
  });

  for (const body of ["", "{", "{'a':1}", "1 2", "NaN"]) {
    test(`is ${JSON.stringify(body)} as JSON`, async () => {
      const topic = newTopic();
      for (const contentType of ["application/json", "application/vnd.x+json;v=1"]) {
        const response = await post(server, topic, body, { "Content-Type": contentType });
        expect(await problemOf(response, 400, "Bad Request")).toContain("is not JSON");
      }
      expect((await inspect(server, topic)).position).toBeNull();
    });
  }

  for (const contentType of ["text", "text/", "/plain", "a b/c", `text/${"x".repeat(251)}`]) {
    test(`is what has the Content-Type ${contentType.slice(0, 20)}`, async () => {
      const response = await post(server, newTopic(), Buffer.from("x"), { "Content-Type": contentType });
      expect(await problemOf(response, 400, "Bad Request")).toContain("media type");
    });
  }
});

describe("what Bun cannot read is refused before anything is published:", () => {
  const chunked = { "Transfer-Encoding": "chunked" };

  test("a body that declares trailers", async () => {
    const topic = newTopic();
    const head = request("POST", `/topics/${topic}`, { ...chunked, Trailer: "Digest" });
    const answer = await exchange(server.url, `${head}5\r\nhello\r\n0\r\nDigest: x\r\n\r\n`);
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body).detail).toContain("Trailer");
    expect((await inspect(server, topic)).position).toBeNull();
  });

  for (const expectation of ["100-Continue", "100-CONTINUE", "200-ok"]) {
    test(`Expect: ${expectation}, whose client waits to send the body`, async () => {
      const topic = newTopic();
      const headers = { "Content-Length": "5", Expect: expectation };
      const answer = await exchange(server.url, request("POST", `/topics/${topic}`, headers));
      expect(answer.status).toBe(417);
      expect(JSON.parse(answer.body).detail).toContain("100-continue");
      expect((await inspect(server, topic)).position).toBeNull();
    });
  }

  test("but Expect: 100-continue is met", async () => {
    const topic = newTopic();
    using raw = await RawSocket.connect(server.url);
    raw.write(request("POST", `/topics/${topic}`, { "Content-Length": "5", Expect: "100-continue" }));
    expect((await raw.response()).status).toBe(100);
    raw.write("hello");
    expect((await raw.response()).status).toBe(200);
  });
});

describe("the limit of a body", () => {
  const small = sharedServer(["--max-message", "64KiB"]);

  const asChunks = (body: Buffer): Buffer =>
    Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from("\r\n0\r\n\r\n")]);

  test("is kept to the byte, with Content-Length and in chunks", async () => {
    const topic = newTopic();
    for (const [byteCount, status] of [
      [64 * KiB, 200],
      [64 * KiB + 1, 413],
    ] as const) {
      const body = Buffer.alloc(byteCount, "x");
      expect((await post(small, topic, body)).status).toBe(status);
      using socket = await RawSocket.connect(small.url);
      socket.write(request("POST", `/topics/${topic}`, { "Transfer-Encoding": "chunked" }));
      socket.write(asChunks(body));
      expect((await socket.response()).status).toBe(status);
    }
    expect((await inspect(small, topic)).retained).toBe(2);
  });

  // Bun's own limit stands somewhere above ours, and would answer without a word.
  for (const times of [1.01, 2, 3.1, 10, 200, 2100]) {
    test(`is answered in words to a body ${times} times as large`, async () => {
      const origin = "http://localhost:1234";
      for (const encoding of [
        { "Content-Length": String(Math.ceil(times * 64 * KiB)) },
        { "Transfer-Encoding": "chunked" },
      ]) {
        using socket = await RawSocket.connect(small.url);
        socket.write(request("POST", `/topics/${newTopic()}`, { Origin: origin, ...encoding }));
        const body = Buffer.alloc(Math.min(times, 10) * 64 * KiB, "x");
        socket.write("Content-Length" in encoding ? body : asChunks(body));
        const answer = await socket.response();
        expect(answer.status).toBe(413);
        expect(answer.headers.get("content-type")).toBe("application/problem+json");
        expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
        expect(JSON.parse(answer.body)).toMatchObject({ title: "Content Too Large", status: 413 });
        expect(JSON.parse(answer.body).detail).toContain("65536 bytes (--max-message)");
      }
    });
  }

  test.skipIf(lacks("curl"))("costs the server no memory, however large the body", async () => {
    const before = await residentBytes(server.process.pid, "now");
    for (const length of ["declared", "chunked"] as const) {
      const answer = await upload(`/topics/${newTopic()}`, length, 500 * MiB);
      expect(answer).toContain("413");
      expect(answer).toContain("application/problem+json");
    }
    const grownBytes = (await residentBytes(server.process.pid, "most")) - before;
    expect(grownBytes).toBeLessThan(32 * MiB);
  });

  test.skipIf(lacks("curl"))("costs no memory either where nobody reads the body", async () => {
    const before = await residentBytes(server.process.pid, "now");
    expect(await upload("/ping", "declared", 500 * MiB)).toContain("405");
    expect(await upload("/none", "chunked", 500 * MiB)).toContain("404");
    expect((await residentBytes(server.process.pid, "most")) - before).toBeLessThan(32 * MiB);
  });

  /**
   * Sends a body of which the server wants nothing, as fast as it is taken, with curl: it reads an answer that comes
   * before the body's end, also if the connection is reset then.
   * @returns the answer's head and body
   */
  async function upload(path: string, length: "declared" | "chunked", bytes: number): Promise<string> {
    const file = resolve(tmpdir(), `longwire-body-${crypto.randomUUID()}`);
    await Bun.write(file, "");
    await truncate(file, bytes); // Sparse: it takes no space.
    // From its standard input curl sends chunks, from a file a length.
    const command = ["curl", "--silent", "--include", "--max-time", "20", "-X", "POST", "-H", "Expect:"];
    const body = length === "chunked" ? "-" : file;
    const sending = Bun.spawn([...command, "-T", body, new URL(path, server.url).href], {
      stdin: Bun.file(file),
      stderr: "ignore",
    });
    try {
      return await new Response(sending.stdout).text();
    } finally {
      await unlink(file);
    }
  }
});

describe("an answer to a publication", () => {
  test("names each topic and its id, in the order asked, and nothing else", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const first = await post(server, one, "1");
    expect(first.headers.get("content-type")).toStartWith("application/json");
    const { published } = (await first.json()) as { published: { topic: string; id: string }[] };
    expect(published).toEqual([{ topic: one, id: expect.stringMatching(/^[0-9a-z]+-1$/) }]);
    const both = await (await post(server, `${other},${one}`, "2")).json();
    expect(both).toEqual({
      published: [
        { topic: other, id: expect.stringMatching(/^[0-9a-z]+-1$/) },
        { topic: one, id: published[0]?.id.replace(/1$/, "2") },
      ],
    });
  });

  test("comes when subscribers have been given the message, to one topic of 100 as to the others", async () => {
    const topics = Array.from({ length: 100 }, newTopic);
    using events = await openEvents(server, topics.join(","));
    expect(events.topics.map(({ topic }) => topic)).toEqual(topics);
    const { published } = (await (await post(server, topics.join(","), "to all")).json()) as {
      published: { topic: string; id: string }[];
    };
    expect(published.map(({ topic }) => topic)).toEqual(topics);
    const received: object[] = [];
    for (const _ of topics) received.push(await events.event());
    expect(received).toMatchObject(published);
  });

  test("counts each topic by itself, without a hole, under many publishers at once", async () => {
    const topic = newTopic();
    const ids = await Promise.all(
      Array.from({ length: 200 }, (_, index) => publish(server, topic, `${index}`)),
    );
    const offsets = ids.map(offsetOf).toSorted((one, other) => one - other);
    expect(offsets).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
    expect(new Set(ids.map((id) => id.split("-")[0])).size).toBe(1);
  });
});

describe("an Idempotency-Key", () => {
  const keyed = async (path: string, body: string, key: string): Promise<unknown> =>
    (await post(server, path, body, { "Idempotency-Key": key })).json();

  test("publishes once, and answers with the first id", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    const first = await keyed(topic, "one", "key");
    expect(await keyed(topic, "one", "key")).toEqual(first);
    await publish(server, topic, "two");
    expect(await keyed(topic, "one", "key")).toEqual(first);
    expect(await raw.next()).toBe("one");
    expect(await raw.next()).toBe("two");
    expect((await inspect(server, topic)).retained).toBe(2);
  });

  test("is the same with and without quotes, and at once from many", async () => {
    const topic = newTopic();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => keyed(topic, "one", index % 2 ? '"a key"' : "a key")),
    );
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect((await inspect(server, topic)).retained).toBe(1);
  });

  test("is another for another topic", async () => {
    const [one, other] = [newTopic(), newTopic()];
    await keyed(one, "x", "shared");
    expect(await keyed(other, "y", "shared")).toMatchObject({ published: [{ topic: other }] });
  });

  test("with another body is 422, and publishes nothing", async () => {
    const topic = newTopic();
    await keyed(topic, "one", "key");
    const response = await post(server, topic, "two", { "Idempotency-Key": '"key"' });
    expect(await problemOf(response, 422, "Unprocessable Content")).toContain("another body");
    expect((await inspect(server, topic)).retained).toBe(1);
  });

  test("on several topics with another body for some is 422 too, and the answer names those that were published", async () => {
    const [one, other] = [newTopic(), newTopic()];
    await keyed(`${one},${other}`, "body", "pair");
    expect((await post(server, `${one},${other}`, "else", { "Idempotency-Key": "pair" })).status).toBe(422);
    const third = newTopic();
    const mixed = await post(server, `${one},${third}`, "else", { "Idempotency-Key": "pair" });
    expect(mixed.status).toBe(422);
    const { published } = (await mixed.json()) as { published: object[] };
    expect(published).toEqual([{ topic: third, id: expect.any(String) }]);
  });

  test("on several topics is 503 if repeating can help with one of them, though others have ended", async () => {
    const ended = new TopicEnded("ended", { epoch: "e", offset: 3 });
    const away = new BrokerUnavailable("it is away");
    for (const failed of [
      [ended, away],
      [away, ended],
    ]) {
      const refusal = refusalOfPublication(failed, [{ topic: "a", id: "e-1" }]);
      expect(refusal).toMatchObject({ status: 503, members: { published: [{ topic: "a", id: "e-1" }] } });
    }
    expect(refusalOfPublication([ended, ended], [])).toMatchObject({
      status: 409,
      members: { ended: "e-3" },
    });
  });

  test("has 1 to 255 bytes", async () => {
    const topic = newTopic();
    const key = "k".repeat(255);
    expect((await post(server, topic, "x", { "Idempotency-Key": key })).status).toBe(200);
    expect((await post(server, topic, "x", { "Idempotency-Key": `"${key}"` })).status).toBe(200);
    expect((await inspect(server, topic)).retained).toBe(1);
    for (const bad of [`${key}k`, `"${key}k"`, '""', ""]) {
      const response = await post(server, topic, "x", { "Idempotency-Key": bad });
      expect(await problemOf(response, 400, "Bad Request")).toContain("255");
    }
  });
});

describe("a topic's name", () => {
  const accepted: readonly (readonly [path: string, topic: string])[] = [
    ["a", "a"],
    ["AZaz09._~:-", "AZaz09._~:-"],
    ["chat/room/42", "chat/room/42"],
    ["%61%2F%62", "a/b"],
    ["...", "..."],
    [".a/b.", ".a/b."],
    ["a".repeat(200), "a".repeat(200)],
    [`${"a/".repeat(99)}bc`, `${"a/".repeat(99)}bc`],
  ];
  for (const [path, topic] of accepted) {
    test(`may be ${topic.slice(0, 20)} (written ${path.slice(0, 20)})`, async () => {
      const response = await post(server, path, "x");
      expect(await response.json()).toMatchObject({ published: [{ topic }] });
    });
  }

  // Written to the socket as they stand, because fetch would write some of them otherwise.
  const refused: readonly (readonly [path: string, what: string, why: string])[] = [
    ["", "nothing", "empty"],
    ["a".repeat(201), "201 characters", "200"],
    [`${"a/".repeat(100)}b`, "201 characters in parts", "200"],
    ["a//b", "an empty part", "empty part"],
    ["a/", "an empty part at the end", "empty part"],
    ["%2Fa", "an empty part at the beginning", "empty part"],
    ["a%2F..%2Fb", "a part ..", '".."'],
    ["%2E%2Fa", "a part .", '"."'],
    ["a%20b", "a space", "may contain only"],
    ["a+b", "a plus", "may contain only"],
    ["a*", "a star", "may contain only"],
    ["%F0%9F%94%8C", "a sign that is no letter", "may contain only"],
    ["cafe%CC%81", "a letter that is not composed", "NFC"],
    ["a%2561", "what would be right decoded twice", "may contain only"],
    ["a%2Cb", "a comma that was percent-encoded", "may contain only"],
    ["a%00", "a NUL", "may contain only"],
    ["a%0A", "a line end", "may contain only"],
    ["%E4", "percent-encoding that is not UTF-8", "not percent-encoded"],
    ["a%", "half a percent-encoding", "not percent-encoded"],
    ["a,a", "the same twice", "twice"],
    ["a,%61", "the same twice, written otherwise", "twice"],
    ["a,", "nothing behind a comma", "empty"],
    [",a", "nothing before a comma", "empty"],
  ];
  for (const [path, what, why] of refused) {
    test(`cannot be ${what}`, async () => {
      for (const method of ["POST", "GET"]) {
        const answer = await exchange(
          server.url,
          request(method, `/topics/${path}`, { "Content-Length": "0" }),
        );
        expect(answer.status).toBe(400);
        expect(answer.headers.get("content-type")).toBe("application/problem+json");
        expect(JSON.parse(answer.body).detail).toContain(why);
      }
    });
  }

  test("is taken without the dot segments that a URL resolves", async () => {
    // Every URL parser resolves them before a server sees them, and Bun does for those who send them all the same.
    for (const path of ["/topics/gone/../kept", "/topics/./kept", "/topics/gone/%2e%2E/kept"]) {
      const answer = await exchange(server.url, request("POST", path, { "Content-Length": "0" }));
      expect(JSON.parse(answer.body)).toMatchObject({ published: [{ topic: "kept" }] });
    }
    const beyond = await exchange(server.url, request("POST", "/topics/../kept", { "Content-Length": "0" }));
    expect([400, 404]).toContain(beyond.status);
  });

  test("is one of at most 100", async () => {
    const topics = Array.from({ length: 101 }, newTopic);
    expect((await post(server, topics.slice(1).join(","), "x")).status).toBe(200);
    const detail = await problemOf(await post(server, topics.join(","), "x"), 400, "Bad Request");
    expect(detail).toContain("100");
    expect((await inspect(server, topics[0] as string)).position).toBeNull();
  });
});

describe("methods of /topics", () => {
  test("HEAD answers as GET does, without a body", async () => {
    const topic = newTopic();
    await publish(server, topic, "x");
    for (const [path, contentType, headers] of [
      [`/topics/${topic}`, "application/json;charset=utf-8", {}],
      [`/topics/${topic}?since=all`, "application/cloudevents-batch+json", {}],
      [`/topics/${topic}`, "text/event-stream; charset=utf-8", { Accept: "text/event-stream" }],
    ] as const) {
      const answer = await exchange(server.url, request("HEAD", path, headers));
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toBe(contentType);
      expect(answer.body).toBe("");
    }
    expect((await inspect(server, topic)).subscribers).toBe(0);
    expect((await exchange(server.url, request("HEAD", "/topics/a*"))).status).toBe(400);
  });

  test("OPTIONS answers 204 with what is possible", async () => {
    const response = await fetch(topicsUrl(server, newTopic()), { method: "OPTIONS" });
    expect(response.status).toBe(204);
    expect(response.headers.get("allow")).toBe("GET, HEAD, POST, DELETE, OPTIONS");
    expect(await response.text()).toBe("");
  });

  for (const method of ["PUT", "PATCH"]) {
    test(`${method} is 405, and says what is possible`, async () => {
      const topic = newTopic();
      const response = await fetch(topicsUrl(server, topic), { method });
      expect(response.headers.get("allow")).toBe("GET, HEAD, POST, DELETE, OPTIONS");
      expect(await problemOf(response, 405, "Method Not Allowed")).toContain(method);
      expect((await inspect(server, topic)).position).toBeNull();
    });
  }

  test("a path beside /topics is 404, and its name must follow", async () => {
    await problemOf(await fetch(new URL("/topics", server.url)), 404, "Not Found");
    await problemOf(await fetch(new URL("/topic/a", server.url)), 404, "Not Found");
  });
});

describe("inspecting", () => {
  test("creates nothing", async () => {
    const topic = newTopic();
    const nothing = { topic, position: null, retained: 0, subscribers: 0 };
    for (let count = 0; count < 2; count++) expect(await inspect(server, topic)).toEqual(nothing);
  });

  test("tells position, retained messages and subscribers of each topic, in the order asked", async () => {
    const [silent, busy, unknown] = [newTopic(), newTopic(), newTopic()];
    using _listening = await openEvents(server, silent);
    using _raw = await openTopic(server, silent);
    await publish(server, busy, "1");
    const id = await publish(server, busy, "2");
    const response = await fetch(topicsUrl(server, [silent, busy, unknown].join(",")));
    expect(response.headers.get("content-type")).toStartWith("application/json");
    expect(await response.json()).toEqual({
      topics: [
        { topic: silent, position: expect.stringMatching(/^[0-9a-z]+-0$/), retained: 0, subscribers: 2 },
        { topic: busy, position: id, retained: 2, subscribers: 0 },
        { topic: unknown, position: null, retained: 0, subscribers: 0 },
      ],
    });
  });
});

describe("CORS", () => {
  const page = "http://localhost:1234"; // A loopback page, and so permitted on a loopback server.

  test("is on every answer to a permitted page, errors included", async () => {
    const topic = newTopic();
    const headers = { Origin: page };
    const answers = [
      await post(server, topic, "x", headers),
      await post(server, "a*", "x", headers),
      await post(server, topic, "{", { ...headers, "Content-Type": "application/json" }),
      await fetch(topicsUrl(server, topic), { headers }),
      await fetch(`${topicsUrl(server, topic)}?since=all`, { headers }),
      await fetch(`${topicsUrl(server, topic)}?since=nonsense`, { headers }),
      await fetch(topicsUrl(server, topic), { headers, method: "PUT" }),
      await fetch(topicsUrl(server, topic), { headers, method: "OPTIONS" }),
      await fetch(new URL("/ping", server.url), { headers }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 400, 200, 200, 400, 405, 204, 426]);
    for (const { headers } of answers) {
      expect(headers.get("access-control-allow-origin")).toBe(page);
      expect(headers.get("vary")).toContain("Origin");
      expect(headers.get("access-control-expose-headers")).toBe(
        "ETag, Link, Longwire-Cursor, Longwire-Trimmed, Retry-After",
      );
    }
  });

  test("is not on an answer to no page, which still varies by Origin", async () => {
    const { headers } = await fetch(topicsUrl(server, newTopic()));
    expect(headers.get("access-control-allow-origin")).toBeNull();
    expect(headers.get("vary")).toContain("Origin");
  });

  test("answers a preflight with what a page may send", async () => {
    const { status, headers } = await fetch(topicsUrl(server, newTopic()), {
      method: "OPTIONS",
      headers: {
        Origin: page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "idempotency-key",
      },
    });
    expect(status).toBe(204);
    expect(headers.get("access-control-allow-origin")).toBe(page);
    expect(headers.get("access-control-allow-methods")).toBe("GET, HEAD, POST, DELETE");
    expect(headers.get("access-control-allow-headers")).toBe(
      "Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID",
    );
    expect(headers.get("vary")).toContain("Origin");
  });
});

describe("a page's origin", () => {
  const status = async (running: RunningServer, headers: Record<string, string>): Promise<number> =>
    (await exchange(running.url, request("POST", "/topics/a", { "Content-Length": "0", ...headers }))).status;

  test("is refused in words where it is foreign, and the log has the flag that would allow it", async () => {
    const topic = newTopic();
    const response = await post(server, topic, "x", { Origin: "https://evil.example" });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect(response.headers.get("vary")).toContain("Origin");
    expect(await problemOf(response, 403, "Forbidden")).toContain("--origin https://evil.example");
    expect(await server.logged("another origin was refused")).toMatchObject({
      allow: "--origin https://evil.example",
    });
    expect((await inspect(server, topic)).position).toBeNull();
  });

  test("is refused a preflight, a look and a stream as well", async () => {
    const headers = { Origin: "https://evil.example", "Access-Control-Request-Method": "POST" };
    for (const method of ["OPTIONS", "GET"]) {
      expect((await fetch(topicsUrl(server, newTopic()), { method, headers })).status).toBe(403);
    }
    const stream = { ...headers, Accept: "text/event-stream" };
    expect((await fetch(topicsUrl(server, newTopic()), { headers: stream })).status).toBe(403);
  });

  test("passes where it is the server's own host, a loopback name beside one, or none", async () => {
    await using insecure = await spawnServer(["--insecure"]); // So that it serves a Host that is not loopback, too.
    const { host } = insecure.url;
    expect(await status(insecure, { Host: host, Origin: `http://${host}` })).toBe(200);
    expect(await status(insecure, { Host: host, Origin: "http://app.localhost:3000" })).toBe(200);
    expect(await status(insecure, { Host: host, Origin: "http://127.0.0.1:3000" })).toBe(200);
    expect(await status(insecure, { Host: host, Origin: "http://[::1]:3000" })).toBe(200);
    expect(await status(insecure, { Host: host })).toBe(200);
    expect(await status(insecure, { Host: "chat.example", Origin: "https://chat.example" })).toBe(200);
    expect(await status(insecure, { Host: "chat.example", Origin: "http://localhost:3000" })).toBe(403);
    expect(await status(insecure, { Host: host, Origin: "http://localhost.evil.example" })).toBe(403);
    expect(await status(insecure, { Host: host, Origin: "http://127.0.0.1.evil.example" })).toBe(403);
    expect(await status(insecure, { Host: host, Origin: "null" })).toBe(403);
    expect(await status(insecure, { Host: host, Origin: "nonsense" })).toBe(403);
  });

  test("may not be left out where the browser says that the page is of another site", async () => {
    expect(await status(server, { "Sec-Fetch-Site": "cross-site" })).toBe(403);
    for (const site of ["same-origin", "same-site", "none"])
      expect(await status(server, { "Sec-Fetch-Site": site })).toBe(200);
  });

  test("passes where --origin names it", async () => {
    await using listed = await spawnServer(["--origin", "https://a.example,https://b.example:8443"]);
    expect(await status(listed, { Origin: "https://a.example" })).toBe(200);
    expect(await status(listed, { Origin: "https://b.example:8443" })).toBe(200);
    expect(await status(listed, { Origin: "https://b.example" })).toBe(403);
    expect(await status(listed, { Origin: "http://a.example" })).toBe(403);
    expect(await status(listed, { Origin: "null" })).toBe(403);
    expect(await status(listed, { "Sec-Fetch-Site": "cross-site" })).toBe(403);
  });

  test("passes whatever it is with --origin *, but null only by name", async () => {
    await using any = await spawnServer(["--origin", "*"]);
    expect(await status(any, { Origin: "https://any.example" })).toBe(200);
    expect(await status(any, { "Sec-Fetch-Site": "cross-site" })).toBe(200);
    expect(await status(any, { Origin: "null" })).toBe(403);
    const answer = await post(any, newTopic(), "x", { Origin: "https://any.example" });
    expect(answer.headers.get("access-control-allow-origin")).toBe("https://any.example");
    await using named = await spawnServer(["--origin", "*", "--origin", "null"]);
    expect(await status(named, { Origin: "null" })).toBe(200);
  });
});

test("a topic's name may have letters of every script, percent-encoded or not", async () => {
  const names = ["新闻/२", "café", "Ωμέγα"];
  for (const name of names) {
    using events = await openEvents(server, encodeURI(name));
    const head = `POST /topics/${name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx`;
    expect((await exchange(server.url, head)).status).toBe(200);
    const event = await events.event();
    expect(event).toMatchObject({ topic: name, source: `/topics/${encodeURI(name)}`, data: "x" });
    expect(await everyEvent(server, encodeURIComponent(name))).toEqual([event]);
  }
});
