/** A topic over WebSocket: the raw form, where a frame is the message, and cloudevents.json, where each frame is an event. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { startServer } from "../../../src/server.ts";
import { completeConfig, settings } from "../../../src/settings/config.ts";
import { TopicSocket } from "../../../src/subscriber/socket.ts";
import type { Since } from "../../../src/topic/message.ts";
import { samplesOf, scrape } from "../../support/prometheus.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../../support/raw-socket.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { textEvent } from "../../support/text-event.ts";
import {
  cloudEvents,
  inspect,
  newTopic,
  openEvents,
  openTopic,
  post,
  publish,
  publishEach,
  untilKnownFor,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

/** A permitted page: one on the same machine. */
const page = { Origin: "http://localhost:1234" } as const;

const server = sharedServer();
/** Keeps three messages of a topic. */
const forgetful = sharedServer(["--history-messages", "3"]);

/** Sends a handshake of its own making. @returns the status and the body of its refusal */
async function handshake(
  running: RunningServer,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: Headers; body: string }> {
  return exchange(running.url, request("GET", `/topics/${path}`, { ...handshakeHeaders, ...headers }));
}

describe("the raw form", () => {
  test("delivers text as text and bytes as bytes, also to the sender", async () => {
    const topic = newTopic();
    using sender = await openTopic(server, topic);
    using other = await openTopic(server, topic, ["longwire.raw"]);
    using events = await openEvents(server, topic);
    const bytes = Buffer.of(0, 0xff, 0xc3, 0x28);
    const messages = ["hällo\0", "", bytes, Buffer.alloc(0), "{", "pong", " ping"];
    for (const message of messages) sender.send(message);
    for (const message of messages) {
      for (const client of [sender, other]) expect(await client.next()).toEqual(message);
      expect(await events.event()).toMatchObject(
        typeof message === "string"
          ? { datacontenttype: "text/plain", data: message }
          : { datacontenttype: "application/octet-stream", data_base64: message.toString("base64") },
      );
    }
  });

  test("answers the text ping with pong, only to its sender, and does not publish it", async () => {
    const topic = newTopic();
    using one = await openTopic(server, topic);
    using other = await openTopic(server, topic);
    one.send("ping");
    expect(await one.next()).toBe("pong");
    expect((await inspect(server, topic)).retained).toBe(0);
    one.send(Buffer.from("ping")); // Only text is a heartbeat.
    expect(await one.next()).toEqual(Buffer.from("ping"));
    expect(await other.next()).toEqual(Buffer.from("ping"));
  });

  test("keeps the order of one socket's frames, pings included", async () => {
    const topic = newTopic();
    using sender = await openTopic(server, topic);
    using other = await openTopic(server, topic);
    const count = 2000;
    for (let number = 0; number < count; number++) sender.send(number % 100 === 0 ? "ping" : String(number));
    const published = Array.from({ length: count }, (_, number) => String(number)).filter(
      (number) => Number(number) % 100 !== 0,
    );
    const received: unknown[] = [];
    while (received.length < published.length) received.push(await other.next());
    expect(received).toEqual(published);
    const own: unknown[] = [];
    while (own.length < count) own.push(await sender.next());
    expect(own.filter((message) => message !== "pong")).toEqual(published);
  });

  test("delivers a message that was published by POST unchanged", async () => {
    const topic = newTopic();
    using raw = await openTopic(server, topic);
    await post(server, topic, '{"a": 1.0}', { "Content-Type": "application/json" });
    expect(await raw.next()).toBe('{"a": 1.0}');
  });

  test("carries one topic; several are refused with a reason", async () => {
    const { status, body } = await handshake(server, `${newTopic()},${newTopic()}`);
    expect(status).toBe(400);
    expect(JSON.parse(body).detail).toContain("cloudevents.json");
    using refused = await openTopic(server, `${newTopic()},${newTopic()}`, [], page);
    expect(await refused.closed).toMatchObject({
      code: 1008,
      reason: expect.stringContaining("cloudevents.json"),
    });
  });

  test("cuts a reason that is too long for a Close frame", async () => {
    const topic = "x".repeat(200);
    using refused = await openTopic(server, `${topic},${topic}`, cloudEvents, page);
    const { code, reason } = await refused.closed;
    expect(code).toBe(1008);
    expect(reason.length).toBeLessThanOrEqual(123);
    expect(reason).toStartWith('The topic "xxx');
  });
});

describe("the subprotocol", () => {
  test("is the first offered one that the server knows, or none", async () => {
    const chosen = async (offered: string): Promise<string | null> => {
      using socket = await RawSocket.connect(server.url);
      const headers = offered === "" ? {} : { "Sec-WebSocket-Protocol": offered };
      socket.write(request("GET", `/topics/${newTopic()}`, { ...handshakeHeaders, ...headers }));
      const answer = await socket.response();
      expect(answer.status).toBe(101);
      return answer.headers.get("sec-websocket-protocol");
    };
    expect(await chosen("")).toBeNull();
    expect(await chosen("longwire.raw")).toBe("longwire.raw");
    expect(await chosen("cloudevents.json")).toBe("cloudevents.json");
    expect(await chosen("graphql-ws, cloudevents.json, longwire.raw")).toBe("cloudevents.json");
    expect(await chosen("longwire.raw,cloudevents.json")).toBe("longwire.raw");
    expect(await chosen("bearer.abc.def.ghi, longwire.raw")).toBe("longwire.raw");
    expect(await chosen("bearer.abc.def.ghi")).toBeNull();
    expect(await chosen("CloudEvents.JSON")).toBeNull();
  });

  test("decides the form; an unknown one means the raw form", async () => {
    const topic = newTopic();
    using socket = await RawSocket.connect(server.url);
    const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.avro" };
    socket.write(request("GET", `/topics/${topic}`, headers));
    expect((await socket.response()).status).toBe(101);
    await publish(server, topic, "raw");
    expect((await socket.frame()).payload.toString()).toBe("raw");
  });
});

describe("a handshake", () => {
  test("that is malformed is refused with a reason", async () => {
    for (const [name, value, status] of [
      ["Sec-WebSocket-Version", "8", 426],
      ["Sec-WebSocket-Key", "short", 400],
    ] as const) {
      const topic = newTopic();
      const answer = await handshake(server, topic, { [name]: value });
      expect(answer.status).toBe(status);
      expect(answer.headers.get("content-type")).toBe("application/problem+json");
      expect((await inspect(server, topic)).subscribers).toBe(0); // Its subscription is closed again.
    }
  });

  test("from a page of another origin is refused", async () => {
    expect((await handshake(server, newTopic(), { Origin: "https://evil.example" })).status).toBe(403);
  });

  test("is subscribed when it is answered", async () => {
    for (let count = 0; count < 50; count++) {
      const topic = newTopic();
      using raw = await RawSocket.open(server.socketUrl(`/topics/${topic}`));
      await publish(server, topic, "first");
      expect((await raw.frame()).payload.toString()).toBe("first");
    }
  });

  test("is unsubscribed when its socket closes", async () => {
    const topic = newTopic();
    const one = await openTopic(server, topic);
    using other = await openEvents(server, topic);
    expect((await inspect(server, topic)).subscribers).toBe(2);
    one.close(1000);
    expect((await one.closed).code).toBe(1000);
    expect((await inspect(server, topic)).subscribers).toBe(1);
    expect(other.topics).toHaveLength(1);
  });
});

describe("cloudevents.json", () => {
  test("opens with the id of each topic, in the order asked", async () => {
    const [silent, busy] = [newTopic(), newTopic()];
    const id = await publish(server, busy, "1");
    using client = await openTopic(server, `${silent},${busy}`, cloudEvents);
    expect(client.protocol).toBe("cloudevents.json");
    const before = Date.now();
    const open = await client.event();
    expect(open).toEqual({
      specversion: "1.0",
      type: "longwire.open",
      source: expect.stringMatching(/^\/connections\/[0-9a-z-]{16,}$/),
      id: expect.stringMatching(/./),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      datacontenttype: "application/json",
      data: {
        topics: [
          { topic: silent, id: expect.stringMatching(/^[0-9a-z]+-0$/), resumed: false },
          { topic: busy, id, resumed: false },
        ],
      },
    });
    expect(Math.abs(Date.parse(open.time) - before)).toBeLessThan(10_000);
    using again = await openTopic(server, silent, cloudEvents);
    expect((await again.event()).source).not.toBe(open.source);
  });

  test("sends every attribute of a message, and no other", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    const id = await publish(server, topic, "text");
    const event = await client.event();
    expect(event).toEqual(textEvent(topic, id, "text"));
    expect(Math.abs(Date.parse(event.time) - Date.now())).toBeLessThan(10_000);
  });

  test("names the topic of each message if a connection has several", async () => {
    const [one, other] = [newTopic(), newTopic()];
    using client = await openEvents(server, `${one},${other}`);
    const ids = [
      await publish(server, other, "a"),
      await publish(server, one, "b"),
      await publish(server, other, "c"),
    ];
    expect([await client.event(), await client.event(), await client.event()]).toMatchObject([
      { source: `/topics/${other}`, topic: other, id: ids[0], data: "a" },
      { source: `/topics/${one}`, topic: one, id: ids[1], data: "b" },
      { source: `/topics/${other}`, topic: other, id: ids[2], data: "c" },
    ]);
  });

  test("carries at most 100 topics", async () => {
    const topics = Array.from({ length: 101 }, newTopic);
    using client = await openEvents(server, topics.slice(1).join(","));
    expect(client.topics).toHaveLength(100);
    const { status, body } = await handshake(server, topics.join(","), {
      "Sec-WebSocket-Protocol": "cloudevents.json",
    });
    expect(status).toBe(400);
    expect(JSON.parse(body).detail).toContain("100");
  });

  test("answers longwire.ping with longwire.pong, only to its sender", async () => {
    const topic = newTopic();
    using one = await openEvents(server, topic);
    using other = await openEvents(server, topic);
    one.send('{"specversion":"1.0","type":"longwire.ping","source":"/me","id":"1"}');
    expect(await one.event()).toEqual({
      specversion: "1.0",
      type: "longwire.pong",
      source: expect.stringMatching(/^\/connections\//),
      id: expect.stringMatching(/./),
      time: expect.any(String),
    });
    await publish(server, topic, "x");
    expect(await other.event()).toMatchObject({ data: "x" });
  });

  test("numbers its control events, so that source and id are unique", async () => {
    using client = await openTopic(server, newTopic(), cloudEvents);
    const events = [await client.event()];
    for (let count = 0; count < 2; count++) {
      client.send('{"specversion":"1.0","type":"longwire.ping"}');
      events.push(await client.event());
    }
    expect(new Set(events.map(({ id }) => id)).size).toBe(3);
    expect(new Set(events.map(({ source }) => source)).size).toBe(1);
  });
});

describe("publishing by an event", () => {
  const event = (members: string): string =>
    `{"specversion":"1.0","type":"mine","source":"/me","id":"1",${members}}`;

  const right: readonly (readonly [
    what: string,
    members: string,
    data: string,
    contentType: string,
    raw: string,
  ])[] = [
    ["text", '"datacontenttype":"text/plain","data":"h\\u00e4\\n"', '"data":"hä\\n"', "text/plain", "hä\n"],
    [
      "JSON as it was written",
      '"datacontenttype":"application/json" , "data" : { "n": 1.0, "big":12345678901234567890 }',
      '"data":{ "n": 1.0, "big":12345678901234567890 }',
      "application/json",
      '{ "n": 1.0, "big":12345678901234567890 }',
    ],
    [
      "JSON where no type is given",
      '"data":[1, "\\u0041"]',
      '"data":[1, "\\u0041"]',
      "application/json",
      '[1, "\\u0041"]',
    ],
    ["null", '"data":null', '"data":null', "application/json", "null"],
    ["a JSON text", '"datacontenttype":"a/b+json","data":"x"', '"data":"x"', "a/b+json", '"x"'],
    [
      "text in base64",
      '"datacontenttype":"text/plain","data_base64":"aMOk"',
      '"data":"hä"',
      "text/plain",
      "hä",
    ],
    [
      "JSON in base64",
      `"datacontenttype":"application/json","data_base64":"${btoa('{"a": 1.0}')}"`,
      '"data":{"a": 1.0}',
      "application/json",
      '{"a": 1.0}',
    ],
    ["empty text", '"datacontenttype":"text/plain","data":""', '"data":""', "text/plain", ""],
  ];
  for (const [what, members, data, contentType, expected] of right) {
    test(`takes ${what}`, async () => {
      const topic = newTopic();
      using client = await openEvents(server, topic);
      using raw = await openTopic(server, topic);
      client.send(event(members));
      const received = (await client.next()) as string;
      expect(received).toContain(data);
      expect(JSON.parse(received)).toMatchObject({
        type: "mine",
        topic,
        datacontenttype: contentType,
      });
      expect(await raw.next()).toBe(expected);
    });
  }

  test("takes bytes in base64", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    using raw = await openTopic(server, topic);
    client.send(event('"data_base64":"AP/DKA=="'));
    expect(await client.event()).toMatchObject({
      datacontenttype: "application/octet-stream",
      data_base64: "AP/DKA==",
    });
    expect(await raw.next()).toEqual(Buffer.of(0, 0xff, 0xc3, 0x28));
    client.send(event('"datacontenttype":"image/png","data_base64":""'));
    expect(await client.event()).toMatchObject({ datacontenttype: "image/png", data_base64: "" });
    expect(await raw.next()).toEqual(Buffer.alloc(0));
  });

  test("goes to the topic that it names, also to one that the connection does not have", async () => {
    const [one, other, foreign] = [newTopic(), newTopic(), newTopic()];
    using client = await openEvents(server, `${one},${other}`);
    using elsewhere = await openTopic(server, foreign);
    client.send(event(`"topic":"${other}","datacontenttype":"text/plain","data":"a"`));
    expect(await client.event()).toMatchObject({ topic: other, data: "a" });
    client.send(event(`"topic":"${foreign}","datacontenttype":"text/plain","data":"b"`));
    expect(await elsewhere.next()).toBe("b");
  });

  test("keeps the order of one socket's events", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    for (let number = 0; number < 1000; number++) client.send(event(`"data":${number}`));
    for (let number = 0; number < 1000; number++) expect((await client.event()).data).toBe(number);
  });

  const wrong: readonly (readonly [what: string, frame: string | Uint8Array, reason: string])[] = [
    ["a binary frame", Buffer.from(event('"data":1')), "must be text"],
    ["what is not JSON", "hello", "not JSON"],
    ["an array", "[]", "not a JSON object"],
    ["null", "null", "not a JSON object"],
    ["an event without a specversion", '{"type":"mine","data":1}', "specversion"],
    ["another specversion", '{"specversion":"0.3","type":"mine","data":1}', "specversion"],
    ["a specversion that is a number", '{"specversion":1.0,"type":"mine","data":1}', "specversion"],
    ["an event without data", event('"subject":"x"'), "must have data or data_base64"],
    ["a topic that is no name", event('"topic":"a b","data":1'), "topic"],
    ["a topic that is no text", event('"topic":7,"data":1'), "topic"],
    ["a datacontenttype that is none", event('"datacontenttype":"text","data":1'), "media type"],
    ["a datacontenttype that is no text", event('"datacontenttype":1,"data":1'), "media type"],
    ["text that is a number", event('"datacontenttype":"text/plain","data":1'), "must be a string"],
    ["bytes that are not in base64", event('"datacontenttype":"image/png","data":"x"'), "data_base64"],
    ["base64 that is none", event('"data_base64":"%"'), "not base64"],
    ["base64 that is no text", event('"data_base64":1'), "must be a string"],
    [
      "text in base64 that is not UTF-8",
      event('"datacontenttype":"text/plain","data_base64":"/w=="'),
      "UTF-8",
    ],
    [
      "JSON in base64 that does not parse",
      event('"datacontenttype":"a/json+json","data_base64":"ew=="'),
      "not JSON",
    ],
    ["half a surrogate pair", event('"datacontenttype":"text/plain","data":"\\ud800"'), "surrogate"],
  ];
  for (const [what, sent, reason] of wrong) {
    test(`closes with 1008 at ${what}, and publishes nothing after it`, async () => {
      const topic = newTopic();
      using socket = await RawSocket.connect(server.url);
      const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" };
      socket.write(request("GET", `/topics/${topic}`, headers));
      expect((await socket.response()).status).toBe(101);
      expect(JSON.parse((await socket.frame()).payload.toString()).type).toBe("longwire.open");
      // In one packet, so that the server has read the last one when it refuses the second.
      socket.write(
        Buffer.concat([
          frame(opcodes.text, event('"data":"before"')),
          frame(typeof sent === "string" ? opcodes.text : opcodes.binary, sent),
          frame(opcodes.text, event('"data":"behind"')),
        ]),
      );
      expect(JSON.parse((await socket.frame()).payload.toString()).data).toBe("before");
      const close = await socket.closeFrame();
      expect(close.code).toBe(1008);
      expect(close.reason).toContain(reason);
      expect((await inspect(server, topic)).retained).toBe(1);
    });
  }

  test("must name its topic if the connection has several", async () => {
    using client = await openEvents(server, `${newTopic()},${newTopic()}`);
    client.send(event('"data":1'));
    expect(await client.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("topic") });
  });
});

describe("a refused frame is counted once,", () => {
  const counting = sharedServer(["--max-message", "1KiB"]);
  const refusals = async (): Promise<Record<string, number>> => {
    const counts = samplesOf(await scrape(counting), "longwire_refused_total");
    return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  };
  let before: Record<string, number> = {};

  const { text, binary } = opcodes;
  const refused: Record<string, { bytes: Uint8Array; raw?: true; code: number; counted: string }> = {
    "no JSON": { bytes: frame(text, "ping"), code: 1008, counted: "malformed" },
    "bytes, not text": { bytes: frame(binary, "{}"), code: 1008, counted: "malformed" },
    "without data": { bytes: frame(text, '{"specversion":"1.0"}'), code: 1008, counted: "malformed" },
    "with a topic that is no name": {
      bytes: frame(text, '{"specversion":"1.0","data":1,"topic":"a b"}'),
      code: 1008,
      counted: "malformed",
    },
    "over the limit": {
      bytes: frame(binary, Buffer.alloc(1025)),
      raw: true,
      code: 1009,
      counted: "message_size",
    },
    "not masked": { bytes: frame(text, "a", { masked: false }), raw: true, code: 1002, counted: "malformed" },
    "not UTF-8": { bytes: frame(text, Buffer.of(0xff)), raw: true, code: 1007, counted: "malformed" },
  };
  for (const [what, { bytes, raw, code, counted }] of Object.entries(refused)) {
    test(`one that is ${what}: ${code}, as ${counted}`, async () => {
      before = await refusals();
      using socket = await RawSocket.connect(counting.url);
      const subprotocol: Record<string, string> = raw ? {} : { "Sec-WebSocket-Protocol": "cloudevents.json" };
      socket.write(request("GET", "/topics/refused", { ...handshakeHeaders, ...subprotocol }));
      await socket.response();
      if (!raw) await socket.frame(); // longwire.open
      socket.write(bytes);
      expect((await socket.closeFrame()).code).toBe(code);
      await until(async () => !Bun.deepEquals(await refusals(), before), "the refusal to be counted");
      expect(await refusals()).toEqual({ ...before, [counted]: (before[counted] ?? 0) + 1 });
    });
  }

  test("not at all when a client closes or breaks the connection", async () => {
    before = await refusals();
    using closing = await openTopic(counting, "refused");
    closing.close(4000, "Received enough");
    await closing.closed;
    using leaving = await openTopic(counting, "refused");
    leaving.terminate();
    await until(async () => (await inspect(counting, "refused")).subscribers === 0, "both to be gone");
    expect(await refusals()).toEqual(before);
  });
});

describe("coming back", () => {
  test("with the last id sends exactly the missed messages, then new ones", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3", "4"]);
    using client = await openEvents(server, `${topic}?since=${ids[1]}`);
    expect(client.topics).toEqual([{ topic, id: ids[1] as string, resumed: true }]);
    expect(await client.event()).toMatchObject({ id: ids[2], data: "3" });
    expect(await client.event()).toMatchObject({ id: ids[3], data: "4" });
    ids.push(await publish(server, topic, "5"));
    expect(await client.event()).toMatchObject({ id: ids[4], data: "5" });
    using raw = await openTopic(server, `${topic}?since=${ids[3]}`);
    expect(await raw.next()).toBe("5");
    await publish(server, topic, "6");
    expect(await raw.next()).toBe("6");
  });

  test("with the position itself sends only new messages", async () => {
    const topic = newTopic();
    const id = await publish(server, topic, "1");
    using client = await openEvents(server, `${topic}?since=${id}`);
    expect(client.topics).toEqual([{ topic, id, resumed: true }]);
    await publish(server, topic, "2");
    expect(await client.event()).toMatchObject({ data: "2" });
  });

  test("with the position before the first message sends all of them", async () => {
    const topic = newTopic();
    const before = await openEvents(server, topic);
    const from = before.topics[0]?.id;
    before.terminate();
    await publishEach(server, topic, ["1", "2"]);
    using client = await openEvents(server, `${topic}?since=${from}`);
    expect(client.topics[0]).toMatchObject({ id: from, resumed: true });
    expect([(await client.event()).data, (await client.event()).data]).toEqual(["1", "2"]);
  });

  test("with all sends everything retained, and is never a gap", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
    using client = await openEvents(forgetful, `${topic}?since=all`);
    expect<unknown>(client.topics).toEqual([{ topic, id: ids[1], resumed: true, trimmed: true }]);
    using raw = await openTopic(forgetful, `${topic}?since=all`);
    for (const text of ["3", "4", "5"]) {
      expect(await client.event()).toMatchObject({ type: "longwire.message", data: text });
      expect(await raw.next()).toBe(text);
    }
  });

  test("with a span sends the messages since then, and is a gap only if some of them are gone", async () => {
    const topic = newTopic();
    await untilKnownFor(forgetful, "3s");
    await publishEach(forgetful, topic, ["1", "2", "3"]);
    using raw = await openTopic(forgetful, `${topic}?since=3s`);
    expect([await raw.next(), await raw.next(), await raw.next()]).toEqual(["1", "2", "3"]);
    await publish(forgetful, topic, "4");
    const { status } = await handshake(forgetful, `${topic}?since=1h`);
    expect(status).toBe(410);
    using events = await openEvents(forgetful, `${topic}?since=1h`);
    expect(events.topics[0]?.resumed).toBe(false);
    expect(await events.event()).toMatchObject({ type: "longwire.gap", data: { requested: "1h" } });
    expect(await events.event()).toMatchObject({ data: "2" });
  });

  test("to several topics takes one value each, and - for none", async () => {
    const [one, other] = [newTopic(), newTopic()];
    await untilKnownFor(server, "3s");
    const [first] = await publishEach(server, one, ["a1", "a2"]);
    const [, last] = await publishEach(server, other, ["b1", "b2"]);
    using client = await openEvents(server, `${one},${other}?since=${first},-`);
    expect(client.topics).toEqual([
      { topic: one, id: first as string, resumed: true },
      { topic: other, id: last as string, resumed: false },
    ]);
    expect(await client.event()).toMatchObject({ data: "a2" });
    await publish(server, other, "b3");
    expect(await client.event()).toMatchObject({ data: "b3" });
    using both = await openEvents(server, `${one},${other}?since=all,3s`);
    const received: unknown[] = [];
    for (let count = 0; count < 5; count++) received.push((await both.event()).data);
    expect(received.toSorted()).toEqual(["a1", "a2", "b1", "b2", "b3"]);
  });

  test("works with Last-Event-ID, which outranks since", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3"]);
    using client = await openTopic(server, `${topic}?since=all`, cloudEvents, {
      "Last-Event-ID": ids[1] as string,
    });
    expect((await client.event()).data).toEqual({ topics: [{ topic, id: ids[1], resumed: true }] });
    expect(await client.event()).toMatchObject({ data: "3" });
  });

  for (const { what, since } of [
    { what: "an id that is trimmed", since: (ids: readonly string[]) => ids[0] as string },
    { what: "an id of another past", since: () => "abc-3" },
    {
      what: "an id that is not there yet",
      since: (ids: readonly string[]) => (ids[4] as string).replace(/5$/, "9"),
    },
  ]) {
    test(`with ${what} reports a gap, then sends everything retained, then new messages`, async () => {
      const topic = newTopic();
      const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
      const requested = since(ids);
      using client = await openEvents(forgetful, `${topic}?since=${requested}`);
      expect(client.topics).toMatchObject([{ topic, resumed: false }]);
      expect(await client.event()).toMatchObject({
        specversion: "1.0",
        type: "longwire.gap",
        source: expect.stringMatching(/^\/connections\//),
        datacontenttype: "application/json",
        data: { topic, requested, from: ids[1] },
      });
      for (const text of ["3", "4", "5"]) expect(await client.event()).toMatchObject({ data: text });
      await publish(forgetful, topic, "6");
      expect(await client.event()).toMatchObject({ data: "6" });
    });

    test(`with ${what} is refused to a raw socket: 410 to a program, 4410 to a page`, async () => {
      const topic = newTopic();
      const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
      const path = `${topic}?since=${since(ids)}`;
      const refusal = await handshake(forgetful, path);
      expect(refusal.status).toBe(410);
      expect(refusal.headers.get("content-type")).toBe("application/problem+json");
      expect(JSON.parse(refusal.body)).toMatchObject({ title: "Gone", status: 410 });
      for (const subprotocols of [[], ["longwire.raw"]]) {
        using shown = await openTopic(forgetful, path, subprotocols, page);
        const { code, reason } = await shown.closed;
        expect(code).toBe(4410);
        expect(reason).toContain(topic);
      }
      expect((await inspect(forgetful, topic)).subscribers).toBe(0);
    });
  }

  test("with a malformed since is 400 to a program and 1008 to a page", async () => {
    const topic = newTopic();
    for (const since of [
      "",
      "7",
      "k3",
      "k3-",
      "-7",
      "k3-07",
      "K3-7",
      "90",
      "90x",
      "-5s",
      "k3-7,k3-8",
      "1e3s",
    ]) {
      const path = `${topic}?since=${since}`;
      const { status, body } = await handshake(server, path);
      expect({ since, status }).toEqual({ since, status: 400 });
      expect(JSON.parse(body).detail).toContain("since");
      using shown = await openTopic(server, path, cloudEvents, page);
      expect(await shown.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("since") });
    }
    const { status } = await handshake(server, `${topic},${newTopic()}?since=k3-7`, {
      "Sec-WebSocket-Protocol": "cloudevents.json",
    });
    expect(status).toBe(400);
    expect((await inspect(server, topic)).position).toBeNull();
  });
});

describe("with history turned off", () => {
  test("a client that missed nothing resumes, and one that missed something gets a gap", async () => {
    await using bare = await spawnServer(["--history-messages", "0"]);
    const topic = newTopic();
    const [first, last] = await publishEach(bare, topic, ["1", "2"]);
    using nothing = await openEvents(bare, `${topic}?since=${last}`);
    expect(nothing.topics).toEqual([{ topic, id: last as string, resumed: true }]);
    using something = await openEvents(bare, `${topic}?since=${first}`);
    expect(await something.event()).toMatchObject({
      type: "longwire.gap",
      data: { requested: first, from: last },
    });
    await publish(bare, topic, "3");
    for (const client of [nothing, something]) expect(await client.event()).toMatchObject({ data: "3" });
  });
});

test("a message over the limit closes only its sender, with 1009", async () => {
  await using small = await spawnServer(["--max-message", "1KiB"]);
  const topic = newTopic();
  using sender = await openTopic(small, topic);
  using other = await openTopic(small, topic);
  sender.send("x".repeat(1025));
  expect((await within(sender.closed, "the close")).code).toBe(1009);
  await publish(small, topic, "x".repeat(1024));
  expect(await other.next()).toBe("x".repeat(1024));
});

describe("the topics of an open socket", () => {
  const opened = async (topics: string) => {
    const running = await startServer(
      completeConfig(settings, { port: 0, historyMessages: 3 }),
      recordingLog(),
      undefined,
    );
    const socketUrl = (path: string): string => running.url.href.replace("http", "ws") + path.slice(1);
    const events = await openEvents({ socketUrl }, topics);
    const [socket] = running.parts.connections.sockets();
    const handler = socket?.data.handler;
    if (!(handler instanceof TopicSocket)) throw new Error("the socket is not one of topics");
    const add = async (topic: string, since?: Since): Promise<void> =>
      handler.addTopic(await running.parts.hub.open(topic, since, "all"));
    return { running, events, handler, add, [Symbol.asyncDispose]: running.stop };
  };

  test("can become more, with a replay, and fewer, while the others stay as they are", async () => {
    await using stage = await opened("a");
    const { running, events, handler, add } = stage;
    for (const text of ["b1", "b2"]) await publish(running, "b", text);
    await add("b", { kind: "all" });
    for (const data of ["b1", "b2"]) expect(await events.event()).toMatchObject({ topic: "b", data });
    await publish(running, "b", "b3");
    await publish(running, "a", "a1");
    for (const data of ["b3", "a1"]) expect(await events.event()).toMatchObject({ data });
    expect(handler.purpose().topics).toBe(2);

    handler.removeTopic("b");
    expect((await inspect(running, "b")).subscribers).toBe(0);
    for (const topic of ["b", "a"]) await publish(running, topic, "later");
    expect(await events.event()).toMatchObject({ topic: "a", data: "later" });

    await add("b");
    await publish(running, "b", "again");
    expect(await events.event()).toMatchObject({ topic: "b", data: "again" });
  });

  test("begin with the gap of a topic whose messages are gone", async () => {
    await using stage = await opened("a");
    await publishEach(stage.running, "b", ["1", "2", "3", "4"]);
    const epoch = (await inspect(stage.running, "b")).position?.split("-")[0] ?? "";
    await stage.add("b", { kind: "position", position: { epoch, offset: 0 } });
    expect(await stage.events.event()).toMatchObject({ type: "longwire.gap" });
    for (const data of ["2", "3", "4"])
      expect(await stage.events.event()).toMatchObject({ topic: "b", data });
  });

  test("can become none, and the last that ends closes it", async () => {
    await using stage = await opened("a");
    const { running, events, handler, add } = stage;
    handler.removeTopic("a");
    await post(running, "a?end", "");
    await add("b");
    await publish(running, "b", "still open");
    expect(await events.event()).toMatchObject({ data: "still open" });
    await post(running, "b?end", "");
    expect(await events.event()).toMatchObject({ type: "longwire.end" });
    expect((await within(events.closed, "the close")).code).toBe(1000);
  });

  test("hold nothing that is added after its close", async () => {
    await using stage = await opened("a");
    stage.events.terminate();
    await until(
      async () => (await inspect(stage.running, "a")).subscribers === 0,
      "the end of its subscription",
    );
    await stage.add("b");
    expect((await inspect(stage.running, "b")).subscribers).toBe(0);
  });
});

for (const [signal, code] of [
  ["SIGINT", 1001],
  ["SIGTERM", 1012],
] as const) {
  test(`a server that stops on ${signal} closes its sockets with ${code}`, async () => {
    await using stopping = await spawnServer();
    using raw = await openTopic(stopping, "a");
    using events = await openEvents(stopping, "a");
    stopping.process.kill(signal);
    for (const { closed } of [raw, events]) expect((await within(closed, "the close")).code).toBe(code);
    expect(await stopping.process.exited).toBe(0);
  });
}
