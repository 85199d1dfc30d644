/** CloudEvents attributes: into a message by every way of publishing, out of it in every form, and who stamped it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { CloudEvent, HTTP } from "cloudevents";
import { createHandler, createServer, DraftError } from "../../src/longwire.ts";
import { exchange } from "../support/raw-socket.ts";
import { sharedServer } from "../support/shared-server.ts";
import { bearer, sign } from "../support/tokens.ts";
import {
  everyEvent,
  newTopic,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  type ReceivedEvent,
  topicsUrl,
} from "../support/topics.ts";

setDefaultTimeout(120_000);

const server = sharedServer();

const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const headers = {
  "Content-Type": "application/json",
  "ce-specversion": "1.0",
  "ce-id": "ignored",
  "ce-source": "/ignored",
  "ce-time": "2001-01-01T00:00:00Z",
  "ce-type": "content_block_delta",
  "ce-subject": "%E9%95%BF%E8%BF%9E%E6%8E%A5 50%25",
  "ce-partitionkey": "7",
  "ce-dataschema": "https://example.org/schema",
  "ce-authid": "not me",
  traceparent: trace,
  tracestate: "vendor=1",
};
const attributes = {
  type: "content_block_delta",
  subject: "长连接 50%",
  partitionkey: "7",
  dataschema: "https://example.org/schema",
  traceparent: trace,
  tracestate: "vendor=1",
  authtype: "unauthenticated",
};

/** What was published last, as a poll shows it. */
async function last(topic: string, on = server): Promise<Record<string, unknown>> {
  return { ...(await everyEvent(on, topic)).at(-1) };
}

const published = async (topic: string, headers: Record<string, string>, body = "x") => {
  const response = await post(server, topic, body, headers);
  return { status: response.status, detail: ((await response.json()) as { detail?: string }).detail };
};

describe("attributes in headers", () => {
  test("come out in every form", async () => {
    const topic = newTopic();
    using events = await openEvents(server, topic);
    using raw = await openTopic(server, topic);
    await using plain = await openStream(server, topic);
    await using cloud = await openStream(server, `${topic}?format=cloudevents`);
    await plain.next();
    await cloud.next();
    expect((await post(server, topic, '{"a": 1.0}', headers)).status).toBe(200);
    const event = await events.event();
    expect(event).toMatchObject({ ...attributes, topic, data: { a: 1 } });
    expect(event.id).not.toBe("ignored");
    expect(event.source).toBe(`/topics/${topic}`);
    expect(event.authid).toBeUndefined();
    expect(await raw.next()).toBe('{"a": 1.0}');
    expect(await plain.next()).toMatchObject({ event: "content_block_delta", data: '{"a": 1.0}' });
    expect(JSON.parse((await cloud.next()).data)).toEqual(event);
    expect(await last(topic)).toEqual({ ...event });
  });

  test("are percent-decoded, and taken as UTF-8 where they are not encoded", async () => {
    const topic = newTopic();
    const head = `POST /topics/${topic} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nConnection: close\r\n`;
    await exchange(server.url, `${head}ce-subject: "a \\"quoted\\" 长"\r\nce-other: 100%25 %zz 50%\r\n\r\nx`);
    expect(await last(topic)).toMatchObject({ subject: 'a "quoted" 长', other: "100% %zz 50%" });
  });

  test("of a trace: those of the event outrank those of the request, and a malformed one is left out", async () => {
    const topic = newTopic();
    await post(server, topic, "x", { traceparent: trace, "ce-traceparent": "its own" });
    expect(await last(topic)).toMatchObject({ traceparent: "its own" });
    await post(server, topic, "x", { traceparent: "garbage", tracestate: "a=1" });
    const event = await last(topic);
    expect([event.traceparent, event.tracestate]).toEqual([undefined, undefined]);
  });

  for (const [what, given, said] of [
    ["a control character", { "ce-subject": "a%0Ab" }, "control character"],
    ["a type of the server's own", { "ce-type": "longwire.gap" }, "longwire."],
    ["that type behind a space", { "ce-type": "%20longwire.end" }, "space"],
    ["that type behind what cannot be seen", { "ce-type": "%E2%80%8Blongwire.end" }, "cannot be seen"],
    ["a name that objects have of themselves", { "ce-__proto__": "x" }, "__proto__"],
    ["an empty type", { "ce-type": "" }, "empty"],
    ["no UTF-8", { "ce-subject": "%ff" }, "UTF-8"],
    ["another topic", { "ce-topic": "elsewhere" }, "topic"],
    ["another version", { "ce-specversion": "2.0" }, "specversion"],
    ["the name data", { "ce-data": "x" }, "data"],
    ["a name with a dash", { "ce-my-name": "x" }, "name"],
    ["too many", Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`ce-a${n}`, "x"])), "20"],
    ["too much", { "ce-a": "x".repeat(1024) }, "1024"],
  ] as const) {
    test(`are refused with ${what}, and nothing is published`, async () => {
      const topic = newTopic();
      const answer = await published(topic, given as Record<string, string>);
      expect(answer).toMatchObject({ status: 400, detail: expect.stringContaining(said) });
      expect(await everyEvent(server, topic)).toEqual([]);
    });
  }

  test("type longwire.message is no type", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, topic);
    await stream.next();
    expect(await published(topic, { "ce-type": "longwire.message" })).toMatchObject({ status: 200 });
    expect(await stream.next()).toMatchObject({ event: undefined, data: "x" });
  });

  test("belong to an idempotency key, and a trace does not", async () => {
    const topic = newTopic();
    const once = { "Idempotency-Key": "k", "ce-type": "a" };
    expect(await published(topic, { ...once, traceparent: trace })).toMatchObject({ status: 200 });
    expect(await published(topic, once)).toMatchObject({ status: 200 });
    expect(await published(topic, { ...once, "ce-type": "b" })).toMatchObject({ status: 422 });
    expect(await everyEvent(server, topic)).toHaveLength(1);
  });
});

describe("attributes in an event", () => {
  test("of a socket keep their types", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    const sent = { type: "progress", subject: "s", sequence: 7, final: false, other: null };
    client.send(JSON.stringify({ specversion: "1.0", ...sent, authtype: "system", data: 1 }));
    const event = await client.event();
    expect(event).toMatchObject({ type: "progress", subject: "s", sequence: 7, final: false });
    expect(event.authtype).toBe("unauthenticated");
    expect(event).not.toHaveProperty("other");
  });

  test("of a socket close it where they break a rule", async () => {
    for (const broken of [
      { sequence: 1.5 },
      { subject: 1 },
      { sequence: 2 ** 31 },
      { nested: {} },
      { BIG: "x" },
    ]) {
      using client = await openEvents(server, newTopic());
      client.send(JSON.stringify({ specversion: "1.0", type: "t", data: 1, ...broken }));
      expect(await client.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("attribute") });
    }
  });

  test("of a program come back to it", async () => {
    await using longwire = createHandler({ logLevel: "silent" });
    const sent = { type: "token", sequence: 1, final: true };
    await longwire.publish("a", "x", { attributes: sent });
    for await (const message of longwire.subscribe("a", { since: "all" })) {
      expect(message.attributes).toEqual({ ...sent, authtype: "system" });
      break;
    }
    const refused = longwire.publish("a", "x", { attributes: { type: "longwire.end" } });
    expect(await refused.catch((error: unknown) => error)).toBeInstanceOf(DraftError);
  });
});

describe("the CloudEvents HTTP binding, with its SDK", () => {
  const event = (data: unknown, more: object = {}): CloudEvent<unknown> =>
    new CloudEvent({ source: "/me", type: "mine", subject: "s", partitionkey: "7", data, ...more });
  const send = async (topic: string, { headers, body }: { headers: object; body: unknown }) => {
    const response = await post(server, topic, body as string, headers as Record<string, string>);
    return { status: response.status, answer: (await response.json()) as { published: object[] } };
  };

  for (const [mode, write] of [
    ["binary", HTTP.binary],
    ["structured", HTTP.structured],
  ] as const) {
    test(`takes what it writes in ${mode} mode, and reads it back`, async () => {
      const topic = newTopic();
      const data = { text: "长连接", n: 1 };
      const sent = event(data, { datacontenttype: "application/json; charset=utf-8" });
      const { status, answer } = await send(topic, write(sent));
      expect(status).toBe(200);
      const response = await fetch(`${topicsUrl(server, topic)}?since=all`);
      const events = HTTP.toEvent({
        headers: { "content-type": response.headers.get("content-type") ?? "" },
        body: await response.text(),
      });
      const [received] = (Array.isArray(events) ? events : [events]) as CloudEvent<unknown>[];
      expect(received?.validate()).toBe(true);
      expect(received).toMatchObject({ type: "mine", subject: "s", partitionkey: "7", data, topic });
      expect(received?.source).toBe(`/topics/${topic}`);
      expect(answer.published).toEqual([{ topic, id: received?.id }]);
    });
  }

  test("takes bytes in structured mode", async () => {
    const topic = newTopic();
    const sent = event(Uint8Array.of(0, 255), { datacontenttype: "image/png" });
    expect((await send(topic, HTTP.structured(sent))).status).toBe(200);
    expect(await last(topic)).toMatchObject({ datacontenttype: "image/png", data_base64: "AP8=" });
  });

  const batch = (events: readonly unknown[]) => ({
    headers: { "Content-Type": "application/cloudevents-batch+json" },
    body: JSON.stringify(events),
  });

  test("takes a batch in its order, with JSON as it was written", async () => {
    const topic = newTopic();
    const body = `[ {"specversion":"1.0","type":"a","data":{"n": 1.0, "s":"]}\\""}} ,\n${JSON.stringify(event("b", { datacontenttype: "text/plain" }))}]`;
    const { status, answer } = await send(topic, { ...batch([]), body });
    expect(status).toBe(200);
    const text = await (await fetch(`${topicsUrl(server, topic)}?since=all`)).text();
    expect(text).toContain('"data":{"n": 1.0, "s":"]}\\""}}');
    const events = JSON.parse(text) as ReceivedEvent[];
    expect(events.map(({ type }) => type)).toEqual(["a", "mine"]);
    expect(answer.published).toEqual([{ topic, first: events[0]?.id, last: events[1]?.id, count: 2 }]);
    expect((await send(topic, batch([]))).answer.published).toEqual([{ topic, count: 0 }]);
  });

  test("publishes nothing of a batch with an event that is none", async () => {
    const topic = newTopic();
    for (const broken of [
      {},
      1,
      event(1, { topic: "elsewhere" }),
      { specversion: "1.0", type: "longwire.end", data: 1 },
    ])
      expect((await send(topic, batch([event("x"), broken]))).status).toBe(400);
    expect((await send(topic, { ...batch([]), body: '{"specversion":"1.0"}' })).status).toBe(400);
    expect((await send(`${topic},${newTopic()}`, batch([event("x")]))).status).toBe(400);
    expect(await everyEvent(server, topic)).toEqual([]);
  });

  test("publishes a batch once for its key", async () => {
    const topic = newTopic();
    const once = (events: readonly unknown[]) => {
      const { headers, body } = batch(events);
      return { headers: { ...headers, "Idempotency-Key": "k" }, body };
    };
    const first = await send(topic, once([event("1"), event("2")]));
    expect(await send(topic, once([event("1"), event("2")]))).toEqual(first);
    expect((await send(topic, once([event("1")]))).status).toBe(422);
    expect((await send(topic, once([event("1"), event("other")]))).status).toBe(422);
    const longer = await send(topic, once([event("1"), event("2"), event("3")]));
    expect(longer.answer.published).toMatchObject([{ count: 3 }]);
    expect((await everyEvent(server, topic)).map(({ data }) => data)).toEqual(["1", "2", "3"]);
  });
});

describe("the sender", () => {
  const secret = "the secret of tokens that is in use";
  const apiKey = "api-key-that-is-in-use";
  const keys = ["--jwt-secret", secret, "--api-key", apiKey, "--public", "*"];
  const open = sharedServer([...keys, "--stamp-sender"]);
  const discreet = sharedServer(keys);
  const token = (claims: object): Promise<string> => sign({ publish: ["*"], ...claims }, secret);
  const senderOf = async (on: typeof open, credentials: string) => {
    const topic = newTopic();
    const forged = { "ce-authid": "root", "ce-authtype": "service_account" };
    expect((await post(on, topic, "x", { ...bearer(credentials), ...forged })).status).toBe(200);
    const { authtype, authid } = await last(topic, on);
    return { authtype, authid };
  };

  test("is stamped with --stamp-sender, and cannot be forged", async () => {
    const ann = await token({ sub: "ann" });
    expect(await senderOf(open, ann)).toEqual({ authtype: "app_user", authid: "ann" });
    expect(await senderOf(open, await token({}))).toEqual({ authtype: "app_user", authid: undefined });
    expect(await senderOf(open, apiKey)).toEqual({ authtype: "api_key", authid: undefined });
  });

  test("is only a kind without it", async () => {
    const ann = await token({ sub: "ann" });
    expect(await senderOf(discreet, ann)).toEqual({ authtype: "app_user", authid: undefined });
  });

  test("of a socket is that of its token", async () => {
    const topic = newTopic();
    const headers = bearer(await token({ sub: "ann" }));
    using client = await openTopic(open, topic, ["cloudevents.json"], headers);
    await client.event();
    client.send('{"specversion":"1.0","type":"t","authid":"bob","authtype":"user","data":1}');
    expect(await client.event()).toMatchObject({ authtype: "app_user", authid: "ann" });
  });

  test("is the subject that authorize named", async () => {
    await using own = await createServer({
      port: 0,
      logLevel: "silent",
      stampSender: true,
      authorize: (request) => ({ subject: request.headers.get("x-user") ?? "nobody" }),
    });
    const url = new URL("/topics/a", own.url).href;
    for (const user of ["ann", "bob"])
      await fetch(url, { method: "POST", body: "x", headers: { "X-User": user } });
    const events = (await (await fetch(`${url}?since=all`)).json()) as ReceivedEvent[];
    expect(events.map(({ authtype, authid }) => [authtype, authid])).toEqual([
      ["app_user", "ann"],
      ["app_user", "bob"],
    ]);
  });
});

test("attributes survive from one Longwire to another by a socket's own events", async () => {
  const [from, to] = [newTopic(), newTopic()];
  await post(server, from, "x", { "ce-type": "token", "ce-subject": "s", traceparent: trace });
  const [event] = await everyEvent(server, from);
  const forwarded = { ...event, topic: to };
  const response = await post(server, to, JSON.stringify(forwarded), {
    "Content-Type": "application/cloudevents+json",
  });
  expect(response.status).toBe(200);
  expect(await last(to)).toMatchObject({ type: "token", subject: "s", traceparent: trace, data: "x" });
  expect(await publish(server, to, "y")).toBeDefined();
});

test("a type and a topic of any characters reach a subscriber as one valid CloudEvent", async () => {
  const topic = `新闻/${newTopic()}`;
  const client = await openEvents(server, topic);
  const type = 'says "hi" \\ 你好';
  const response = await post(server, topic, "x", { "ce-type": encodeURIComponent(type) });
  expect(response.status).toBe(200);
  const { type: received, source, topic: named } = await client.event();
  expect([received, source, named]).toEqual([type, `/topics/%E6%96%B0%E9%97%BB/${topic.slice(3)}`, topic]);
});
