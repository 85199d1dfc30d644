/** The end of a topic, in every form: each subscriber is told it once, after every message, and late readers too. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { EventSource } from "eventsource";
import { createParser } from "eventsource-parser";
import { createHandler, TopicEnded } from "../../../src/longwire.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { bearer, sign } from "../../support/tokens.ts";
import {
  everyEvent,
  inspect,
  newTopic,
  offsetOf,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  publishEach,
  topicsUrl,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer();
const brief = sharedServer(["--history-messages", "2"]);

interface Ended {
  readonly topic: string;
  readonly id: string;
  readonly message?: string;
}

/** Ends a topic, after a message if there is one. */
async function end(topic: string, text?: string, on = server): Promise<Ended> {
  const response = await fetch(`${topicsUrl(on, topic)}?end`, {
    method: "POST",
    ...(text !== undefined && { body: text }),
  });
  expect(response.status).toBe(200);
  return ((await response.json()) as { published: [Ended] }).published[0];
}

const ended = { code: 1000, reason: "ended" };

describe("POST ?end", () => {
  test("publishes the body, and then ends the topic with an id of its own", async () => {
    const topic = newTopic();
    const first = await publish(server, topic, "1");
    const { id, message } = await end(topic, "2");
    expect([offsetOf(first), offsetOf(message ?? ""), offsetOf(id)]).toEqual([1, 2, 3]);
    expect(await inspect(server, topic)).toMatchObject({ position: id, retained: 2, ended: id });
    const late = await post(server, topic, "late");
    expect(late.status).toBe(409);
    expect(await late.json()).toMatchObject({
      ended: id,
      published: [],
      detail: expect.stringContaining(topic),
    });
  });

  test("without a body only ends it; an open topic has no such member", async () => {
    const topic = newTopic();
    await publish(server, topic, "1");
    expect(await inspect(server, topic)).not.toHaveProperty("ended");
    expect(await end(topic)).not.toHaveProperty("message");
    expect((await everyEvent(server, topic)).map(({ type }) => type)).toEqual([
      "longwire.message",
      "longwire.end",
    ]);
  });

  test("repeated with its key answers with the first ids, and 422 without the end", async () => {
    const topic = newTopic();
    const once = { "Idempotency-Key": "k" };
    const ending = () => post(server, `${topic}?end`, "last", once);
    const first = await (await ending()).json();
    const again = await ending();
    expect([again.status, await again.json()]).toEqual([200, first]);
    expect((await post(server, topic, "last", once)).status).toBe(422);
  });

  test("of several topics ends each, and a final failure is 409 with what was published", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const { id } = await end(one);
    const response = await post(server, `${one},${other}?end`, "last");
    expect(response.status).toBe(409);
    expect(await response.json()).toMatchObject({ ended: id, published: [{ topic: other }] });
    expect(await inspect(server, other)).toMatchObject({ retained: 1, ended: expect.any(String) });
  });

  test("takes no other value", async () => {
    expect((await post(server, `${newTopic()}?end=soon`, "x")).status).toBe(400);
    expect((await post(server, `${newTopic()}?end=false`, "x")).status).toBe(200);
  });
});

describe("a live subscriber is told the end after every message", () => {
  test("by cloudevents.json, and closed with 1000", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    const { id, message } = await end(topic, "last");
    expect(await client.event()).toMatchObject({ type: "longwire.message", id: message, data: "last" });
    const event = await client.event();
    expect(event).toMatchObject({ type: "longwire.end", id, topic });
    expect(event.source).toStartWith("/connections/");
    expect(await client.closed).toEqual(ended);
  });

  test("on a raw socket by the close alone", async () => {
    const topic = newTopic();
    using client = await openTopic(server, topic);
    await end(topic, "last");
    expect(await client.next()).toBe("last");
    expect(await client.closed).toEqual(ended);
  });

  test("by an event stream, as its last event", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, topic);
    await stream.next();
    const { id, message } = await end(topic, "last");
    expect(await stream.next()).toMatchObject({ id: message, data: "last" });
    const last = await stream.next();
    expect(last).toMatchObject({ event: "longwire.end", id });
    expect(JSON.parse(last.data)).toEqual({ topic, id });
    await within(stream.ended, "the end of the stream");
  });

  test("by a stream of several topics, which lasts until all have ended", async () => {
    const [one, other] = [newTopic(), newTopic()];
    await using stream = await openStream(server, `${one},${other}?format=cloudevents`);
    await stream.next();
    const first = await end(one);
    const told = await stream.next();
    expect(JSON.parse(told.data)).toMatchObject({ type: "longwire.end", topic: one, id: first.id });
    const id = await publish(server, other, "on");
    expect((await stream.next()).id).toBe(`${first.id},${id}`);
    const second = await end(other);
    expect(await stream.next()).toMatchObject({ id: `${first.id},${second.id}` });
    await within(stream.ended, "the end of the stream");
  });

  test("by a socket of several topics, which lasts until all have ended", async () => {
    const [one, other] = [newTopic(), newTopic()];
    using client = await openEvents(server, `${one},${other}`);
    await end(one);
    expect(await client.event()).toMatchObject({ type: "longwire.end", topic: one });
    await publish(server, other, "on");
    expect(await client.event()).toMatchObject({ topic: other, data: "on" });
    await end(other);
    expect(await client.event()).toMatchObject({ type: "longwire.end", topic: other });
    expect(await client.closed).toEqual(ended);
  });

  test("of a program, whose iteration ends", async () => {
    await using longwire = createHandler({ logLevel: "silent" });
    const received: unknown[] = [];
    const reading = (async () => {
      for await (const { data } of longwire.subscribe("a", { since: "all" })) received.push(data);
    })();
    await longwire.publish("a", "1");
    const { id, end } = await longwire.publish("a", "2", { end: true });
    expect(offsetOf(end ?? "")).toBe(offsetOf(id) + 1);
    await within(reading, "the end of the iteration");
    expect(received).toEqual(["1", "2"]);
    const late = await longwire.publish("a", "3").catch((error: unknown) => error);
    expect(late).toBeInstanceOf(TopicEnded);
    const again: unknown[] = [];
    for await (const { data } of longwire.subscribe("a", { since: "last:1" })) again.push(data);
    for await (const { data } of longwire.subscribe("a")) again.push(data);
    expect(again).toEqual(["2"]);
  });

  test("however many there are, and nothing of them is left", async () => {
    const topic = newTopic();
    const clients = await Promise.all(Array.from({ length: 300 }, () => openEvents(server, topic)));
    await end(topic, "last");
    for (const client of clients) {
      expect(await client.event()).toMatchObject({ data: "last" });
      expect(await client.event()).toMatchObject({ type: "longwire.end" });
      expect(await client.closed).toEqual(ended);
    }
    await until(async () => (await inspect(server, topic)).subscribers === 0, "all to have left");
  });
});

describe("a late reader of an ended topic", () => {
  test("gets all of it and the end, from wherever it begins", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3"]);
    const { id } = await end(topic);
    for (const [since, count] of [
      ["all", 3],
      ["last:2", 2],
      [ids[1], 1],
      [ids[2], 0],
    ] as const) {
      using client = await openTopic(server, `${topic}?since=${since}`, ["cloudevents.json"]);
      expect(await client.event()).toMatchObject({ type: "longwire.open" });
      for (let left = count; left > 0; left--) expect((await client.event()).type).toBe("longwire.message");
      expect(await client.event()).toMatchObject({ type: "longwire.end", id });
      expect(await client.closed).toEqual(ended);
    }
  });

  test("from now on is told the end, and no id that it may store is past it before", async () => {
    const topic = newTopic();
    const last = await publish(server, topic, "1");
    const { id } = await end(topic);
    using client = await openTopic(server, topic, ["cloudevents.json"]);
    const open = (await client.event()) as unknown as { data: { topics: [{ id: string }] } };
    expect(open.data.topics[0].id).toBe(last);
    expect(await client.event()).toMatchObject({ type: "longwire.end", id });
    using raw = await openTopic(server, topic);
    expect(await raw.closed).toEqual(ended);
  });

  test("is told a gap, what is left, and the end", async () => {
    const topic = newTopic();
    const [first] = await publishEach(brief, topic, ["1", "2", "3", "4"]);
    const { id } = await end(topic, undefined, brief);
    await using stream = await openStream(brief, topic, { "Last-Event-ID": first ?? "" });
    const events = [];
    for (let count = 0; count < 5; count++) events.push(await stream.next());
    expect(events.map(({ event, data }) => event ?? data)).toEqual([
      "longwire.open",
      "longwire.gap",
      "3",
      "4",
      "longwire.end",
    ]);
    expect(events[4]?.id).toBe(id);
    await within(stream.ended, "the end of the stream");
  });

  test("that has seen the end is told again on a socket, and nothing follows on an event stream or a poll", async () => {
    const topic = newTopic();
    await publish(server, topic, "1");
    const { id } = await end(topic);
    using client = await openTopic(server, `${topic}?since=${id}`, ["cloudevents.json"]);
    const open = (await client.event()) as unknown as { data: { topics: [{ resumed: boolean }] } };
    expect(open.data.topics[0].resumed).toBe(true);
    expect(await client.event()).toMatchObject({ type: "longwire.end", id });
    expect(await client.closed).toEqual(ended);
    const stream = await fetch(topicsUrl(server, topic), {
      headers: { Accept: "text/event-stream", "Last-Event-ID": id },
    });
    expect([stream.status, await stream.text()]).toEqual([204, ""]);
    const poll = await fetch(`${topicsUrl(server, topic)}?since=${id}&wait=60s`);
    expect([poll.status, await poll.text()]).toEqual([204, ""]);
  });

  test("of several topics gets 204 only with the ends of all", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const first = await end(one);
    const position = await publish(server, other, "1");
    const status = async (cursor: string): Promise<number> => {
      const abort = new AbortController();
      const path = `${one},${other}?format=cloudevents`;
      const headers = { Accept: "text/event-stream", "Last-Event-ID": cursor };
      const response = await fetch(topicsUrl(server, path), { headers, signal: abort.signal });
      abort.abort();
      return response.status;
    };
    expect(await status(`${first.id},${position}`)).toBe(200);
    const second = await end(other);
    expect(await status(`${first.id},${position}`)).toBe(200);
    expect(await status(`${first.id},${second.id}`)).toBe(204);
  });

  test("an EventSource stops by itself after the end", async () => {
    const topic = newTopic();
    const source = new EventSource(topicsUrl(server, topic));
    try {
      const opened = Promise.withResolvers<void>();
      source.addEventListener("longwire.open", () => opened.resolve());
      await within(opened.promise, "the start");
      await end(topic, "last");
      await until(() => source.readyState === EventSource.CLOSED, "the EventSource to be closed");
    } finally {
      source.close();
    }
  });
});

describe("a poll", () => {
  test("has the end as its last event, and the cursor of it", async () => {
    const topic = newTopic();
    await publishEach(server, topic, ["1", "2"]);
    const { id } = await end(topic);
    const response = await fetch(`${topicsUrl(server, topic)}?since=all`);
    const events = (await response.json()) as { type: string; id: string }[];
    expect(events.map(({ type }) => type)).toEqual(["longwire.message", "longwire.message", "longwire.end"]);
    expect(events[2]?.id).toBe(id);
    expect(response.headers.get("longwire-cursor")).toBe(id);
    expect(response.headers.get("link")).toBeNull();
  });

  test("of pages has it on the last", async () => {
    const topic = newTopic();
    await publishEach(server, topic, ["1", "2", "3"]);
    const { id } = await end(topic);
    let url: string | undefined = `${topicsUrl(server, topic)}?since=all&limit=1`;
    const pages: string[][] = [];
    while (url) {
      const response: Response = await fetch(url);
      pages.push(((await response.json()) as { type: string }[]).map(({ type }) => type));
      const link: string | undefined = /<([^>]+)>/.exec(response.headers.get("link") ?? "")?.[1];
      url = link && new URL(link, server.url).href;
      if (!url) expect(response.headers.get("longwire-cursor")).toBe(id);
    }
    expect(pages).toEqual([["longwire.message"], ["longwire.message"], ["longwire.message", "longwire.end"]]);
  });

  test("that waits is answered by the end at once", async () => {
    const topic = newTopic();
    const last = await publish(server, topic, "1");
    const polled = fetch(`${topicsUrl(server, topic)}?since=${last}&wait=60s`);
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the poll to wait");
    const { id } = await end(topic);
    const events = (await (await within(polled, "the answer")).json()) as { type: string }[];
    expect(events).toMatchObject([{ type: "longwire.end", id }]);
  });
});

describe("a socket", () => {
  test("ends its topic by an event, and its later frames are not published", async () => {
    const topic = newTopic();
    using client = await openEvents(server, topic);
    client.send('{"specversion":"1.0","type":"t","data":1}');
    client.send('{"specversion":"1.0","type":"longwire.end"}');
    client.send('{"specversion":"1.0","type":"t","data":2}');
    expect((await client.event()).type).toBe("t");
    expect((await client.event()).type).toBe("longwire.end");
    expect(await client.closed).toEqual(ended);
    expect((await everyEvent(server, topic)).map(({ type }) => type)).toEqual(["t", "longwire.end"]);
  });

  test("that publishes to an ended topic is closed with 4409", async () => {
    const [one, other] = [newTopic(), newTopic()];
    await end(one);
    using client = await openTopic(server, `${one},${other}`, ["cloudevents.json"]);
    expect((await client.event()).type).toBe("longwire.open");
    expect((await client.event()).type).toBe("longwire.end");
    client.send(JSON.stringify({ specversion: "1.0", type: "t", topic: one, data: 1 }));
    expect(await client.closed).toMatchObject({ code: 4409 });
  });
});

describe("the permission to end", () => {
  const secret = "the secret of tokens that is in use";
  const own = sharedServer(["--jwt-secret", secret, "--public", "*"]);
  const tokenFor = async (claims: object) => bearer(await sign({ sub: "ann", ...claims }, secret));
  const ending = async (topic: string, claims: object, body?: string): Promise<number> => {
    const headers = await tokenFor(claims);
    const init = { method: "POST", headers, ...(body !== undefined && { body }) };
    return (await fetch(`${topicsUrl(own, topic)}?end`, init)).status;
  };

  test("is one of its own: neither publishing nor ending includes the other", async () => {
    const topic = newTopic();
    expect(await ending(topic, { publish: ["*"] })).toBe(403);
    expect(await ending(topic, { publish: ["*"] }, "x")).toBe(403);
    expect(await ending(topic, { end: ["*"] }, "x")).toBe(403);
    expect(await inspect(own, topic)).toMatchObject({ position: null });
    expect(await ending(topic, { end: ["other"] })).toBe(403);
    expect(await ending(topic, { end: ["test/*"] })).toBe(200);
    expect(await ending(newTopic(), { publish: ["*"], end: ["*"] }, "x")).toBe(200);
  });

  test("is asked of a socket that sends the event", async () => {
    const topic = newTopic();
    using client = await openTopic(own, topic, ["cloudevents.json"], await tokenFor({ publish: ["*"] }));
    await client.event();
    client.send('{"specversion":"1.0","type":"longwire.end"}');
    expect(await client.closed).toMatchObject({ code: 4403 });
  });

  test("is an action of authorize", async () => {
    const asked: string[] = [];
    await using longwire = createHandler({
      logLevel: "silent",
      authorize: (_, { topic, action }) => {
        asked.push(`${action} ${topic}`);
        return action === "end";
      },
    });
    await using running = Bun.serve({ port: 0, routes: longwire.routes, websocket: longwire.websocket() });
    const response = await fetch(new URL("/topics/a?end", running.url), { method: "POST" });
    expect(response.status).toBe(200);
    expect(new Set(asked)).toEqual(new Set(["end a"]));
  });
});

test("a stream that breaks at any byte is continued to the end, with each message once", async () => {
  const topic = newTopic();
  await publishEach(server, topic, ["1", "two\nlines"]);
  await fetch(`${topicsUrl(server, topic)}?end`, { method: "POST", body: "长", headers: { "ce-type": "t" } });
  const received = (text: string) => {
    const events: string[] = [];
    let lastId: string | undefined;
    const parser = createParser({
      onEvent: ({ event, data, id }) => {
        if (event !== "longwire.open") events.push(event === "longwire.end" ? event : data);
        lastId = id ?? lastId;
      },
    });
    parser.feed(text);
    return { events, lastId };
  };
  const read = async (lastId: string | undefined) => {
    const headers = { Accept: "text/event-stream", ...(lastId !== undefined && { "Last-Event-ID": lastId }) };
    const response = await fetch(`${topicsUrl(server, topic)}?since=all`, { headers });
    return { status: response.status, bytes: await response.bytes() };
  };
  const answers = new Map<string | undefined, ReturnType<typeof read>>();
  const { bytes } = await read(undefined);
  const whole = ["1", "two\nlines", "长", "longwire.end"];
  for (let length = 0; length <= bytes.length; length++) {
    const before = received(new TextDecoder().decode(bytes.subarray(0, length)));
    const answer = answers.get(before.lastId) ?? read(before.lastId);
    answers.set(before.lastId, answer);
    const { status, bytes: rest } = await answer;
    const after = received(new TextDecoder().decode(rest));
    expect([...before.events, ...after.events]).toEqual(whole);
    expect(status).toBe(before.events.includes("longwire.end") ? 204 : 200);
  }
  expect(answers.size).toBe(6); // None, that of the start, of three messages, and of the end.
});
