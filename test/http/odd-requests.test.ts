/** Requests that are allowed and rarely seen: what they ask for is found in them all the same, or they are refused in words. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { exchange, type RawResponse, RawSocket } from "../support/raw-socket.ts";
import { sharedServer } from "../support/shared-server.ts";
import { everyEvent, inspect, newTopic } from "../support/topics.ts";

setDefaultTimeout(120_000);

const server = sharedServer();

/** Sends a POST with a body of three bytes. @param target the request target, as the first line has it */
function ask(target: string, headers: readonly string[] = [], version = "HTTP/1.1"): Promise<RawResponse> {
  const lines = [`POST ${target} ${version}`, ...headers, "Content-Length: 3"];
  return exchange(server.url, `${lines.join("\r\n")}\r\n\r\none`);
}

const host = (): string => `Host: ${server.url.host}`;

const detailOf = ({ body }: RawResponse): string => JSON.parse(body).detail;

const topicsOf = ({ status, body }: RawResponse): string[] => {
  expect({ status, body }).toMatchObject({ status: 200 });
  return JSON.parse(body).published.map(({ topic }: { topic: string }) => topic);
};

describe("a topic is found in", () => {
  for (const [what, targetOf, expected = "odd/name"] of [
    ["a path with percent-encoded letters", () => "/topics/%6fdd/n%61me"],
    ["a path with a percent-encoded slash", () => "/topics/odd%2Fname"],
    ["a path with dots that a URL resolves", () => "/topics/x/%2e%2E/./odd/name"],
    ["a path with a backslash, which a URL reads as a slash", () => "/topics/odd\\name"],
    ["a target with an empty query", () => "/topics/odd/name?"],
    ["a target with parameters that mean nothing here", () => "/topics/odd/name?&a=b&&_=1"],
    ["a target with a fragment, which no client should send", () => "/topics/odd/name#x?end"],
    ["a target with a query and a fragment", () => "/topics/odd/name?a=/topics/b#x"],
    ["a target in absolute form", () => `http://${server.url.host}/topics/odd/name`],
    ["a target in absolute form, of which the Host counts", () => "http://evil.example/topics/odd/name"],
    ["a percent-encoded name of another script", () => "/topics/%E6%96%B0%E9%97%BB", "新闻"],
  ] as const satisfies readonly (readonly [string, () => string, string?])[]) {
    test(what, async () => {
      expect(topicsOf(await ask(targetOf(), [host()]))).toEqual([expected]);
    });
  }

  test("a request of HTTP/1.0 with a Host", async () => {
    expect(topicsOf(await ask("/topics/odd/name", [host()], "HTTP/1.0"))).toEqual(["odd/name"]);
  });

  test("a request whose Host is in capitals, or has no port", async () => {
    for (const name of [`LOCALHOST:${server.url.port}`, "localhost", "127.0.0.1", "[::1]:1"])
      expect(topicsOf(await ask("/topics/odd/name", [`Host: ${name}`]))).toEqual(["odd/name"]);
  });
});

describe("a request is refused in words, and publishes nothing,", () => {
  test("without a Host, as HTTP/1.0 allows, though health checks are answered", async () => {
    const answer = await ask("/topics/odd/hostless", [], "HTTP/1.0");
    expect({ status: answer.status, detail: detailOf(answer) }).toEqual({
      status: 400,
      detail: "A request needs one Host header, with a host name and an optional port.",
    });
    expect((await exchange(server.url, "GET /healthz HTTP/1.0\r\n\r\n")).status).toBe(200);
    expect((await inspect(server, "odd/hostless")).position).toBeNull();
  });

  for (const name of ["", "a/b", "a?b", "a#b", "user@localhost", "1.2.3.999", "localhost,localhost", "x y"]) {
    test(`with the Host "${name}"`, async () => {
      const answer = await ask("/topics/odd/host", [`Host: ${name}`]);
      expect(answer.status).toBe(400);
      expect(detailOf(answer)).toContain("Host header");
      expect((await inspect(server, "odd/host")).position).toBeNull();
    });
  }

  test("with two Content-Types", async () => {
    const types = ["Content-Type: text/plain", "content-type: application/json"];
    const answer = await ask("/topics/odd/types", [host(), ...types]);
    expect(answer.status).toBe(400);
    expect(detailOf(answer)).toContain("media type");
    expect((await inspect(server, "odd/types")).position).toBeNull();
  });

  test("with an attribute that has a name of JavaScript's own", async () => {
    for (const name of ["__proto__", "constructor_", "data"]) {
      const answer = await ask("/topics/odd/attribute", [host(), `ce-${name}: x`]);
      expect(answer.status).toBe(400);
      expect(detailOf(answer)).toContain(`"${name}" is no name of an attribute`);
    }
    expect((await inspect(server, "odd/attribute")).position).toBeNull();
  });
});

describe("a header counts", () => {
  test("in capitals, and one that was sent twice has both values", async () => {
    const topic = newTopic();
    const headers = ["CE-TYPE: order", "Ce-Subject: one", "ce-subject: two", "TraceParent: no trace"];
    topicsOf(await ask(`/topics/${topic}`, [host(), ...headers, "CONTENT-TYPE: Text/Plain"]));
    const [event] = await everyEvent(server, topic);
    expect(event).toMatchObject({ type: "order", subject: "one, two", datacontenttype: "Text/Plain" });
    expect(event).not.toHaveProperty("traceparent");
  });

  test("with names of JavaScript's own beside it, which mean nothing", async () => {
    const topic = newTopic();
    const headers = [
      "__proto__: x",
      "constructor: y",
      "1: z",
      "toString: q",
      "Set-Cookie: a=1",
      "ce-type: order",
    ];
    topicsOf(await ask(`/topics/${topic}`, [host(), ...headers]));
    expect(await everyEvent(server, topic)).toMatchObject([{ type: "order", data: "one" }]);
  });

  test("with the same Content-Length twice", async () => {
    const topic = newTopic();
    topicsOf(await ask(`/topics/${topic}`, [host(), "Content-Length: 3"]));
    expect(await everyEvent(server, topic)).toMatchObject([{ data: "one" }]);
  });
});

describe("a body", () => {
  test("that is missing is an empty message, and with ?end none", async () => {
    for (const length of ["", "Content-Length: 0\r\n"]) {
      const topic = newTopic();
      const head = (target: string): string => `POST ${target} HTTP/1.1\r\n${host()}\r\n${length}\r\n`;
      topicsOf(await exchange(server.url, head(`/topics/${topic}`)));
      const { published } = JSON.parse((await exchange(server.url, head(`/topics/${topic}?end`))).body);
      expect(published).toEqual([{ topic, id: expect.stringMatching(/-2$/) }]);
      expect(await everyEvent(server, topic)).toMatchObject([{ data: "" }, { type: "longwire.end" }]);
    }
  });

  test("may come long after its head, in pieces", async () => {
    const topic = newTopic();
    using raw = await RawSocket.connect(server.url);
    raw.write(`POST /topics/${topic} HTTP/1.1\r\n${host()}\r\nContent-Length: 6\r\n\r\n`);
    topicsOf(await ask("/topics/odd/between", [host()])); // The turn in which the head came is over.
    raw.write("abc");
    topicsOf(await ask("/topics/odd/between", [host()]));
    raw.write("def");
    topicsOf(await raw.response());
    expect(await everyEvent(server, topic)).toMatchObject([{ data: "abcdef" }]);
  });

  test("of two requests in one packet is that of each", async () => {
    const [one, other] = [newTopic(), newTopic()];
    using raw = await RawSocket.connect(server.url);
    const post = (topic: string, body: string): string =>
      `POST /topics/${topic} HTTP/1.1\r\n${host()}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    raw.write(post(one, "first") + post(other, "second"));
    expect(topicsOf(await raw.response())).toEqual([one]);
    expect(topicsOf(await raw.response())).toEqual([other]);
    expect(await everyEvent(server, one)).toMatchObject([{ data: "first" }]);
    expect(await everyEvent(server, other)).toMatchObject([{ data: "second" }]);
  });
});
