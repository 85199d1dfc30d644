/** A topic as server-sent events, compared line by line. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { RawSocket, request } from "../../support/raw-socket.ts";
import { spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { textEvent } from "../../support/text-event.ts";
import {
  inspect,
  newTopic,
  openStream,
  post,
  publish,
  publishEach,
  type ReceivedEvent,
  topicsUrl,
  untilKnownFor,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer();
/** Keeps three messages of a topic, and sends a comment after 1 s of silence. */
const forgetful = sharedServer(["--history-messages", "3", "--heartbeat-interval", "1s"]);

const asEvent = ({ data }: { data: string }): ReceivedEvent => JSON.parse(data);

describe("the plain form", () => {
  test("has headers that keep a proxy from buffering it", async () => {
    await using stream = await openStream(server, newTopic());
    const { headers } = stream.response;
    expect(headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(headers.get("cache-control")).toBe("no-store, no-transform");
    expect(headers.get("x-accel-buffering")).toBe("no");
    expect(headers.get("vary")).toBe("Accept, Accept-Encoding, Origin");
  });

  test("is what Accept names, unless with q=0, and not for a range of types", async () => {
    const typeFor = async (Accept: string): Promise<string | undefined> => {
      const controller = new AbortController();
      const options = { headers: { Accept }, signal: controller.signal };
      const response = await fetch(topicsUrl(server, newTopic()), options);
      controller.abort();
      return response.headers.get("content-type")?.split(";", 1)[0];
    };
    for (const accept of [
      "text/event-stream",
      "text/html, Text/Event-Stream;q=0.1",
      "text/event-stream ; q=1",
    ])
      expect({ accept, type: await typeFor(accept) }).toEqual({ accept, type: "text/event-stream" });
    for (const accept of [
      "text/event-stream;q=0",
      "text/event-stream; Q=0.000",
      "*/*",
      "text/*",
      "text/event-streams",
      "",
    ])
      expect({ accept, type: await typeFor(accept) }).toEqual({ accept, type: "application/json" });
  });

  test("carries CORS for a permitted page", async () => {
    const Origin = "http://localhost:1234";
    await using stream = await openStream(server, newTopic(), { Origin });
    expect(stream.response.headers.get("access-control-allow-origin")).toBe(Origin);
  });

  test("begins with the time to reconnect, longwire.open and its id", async () => {
    const topic = newTopic();
    await using fresh = await openStream(server, topic);
    const start = await fresh.next();
    expect(start.text).toMatch(
      /^retry: \d+\nevent: longwire.open\ndata: \{"topics":\[\{"topic":"[^"]+","id":"[0-9a-z]+-0","resumed":false\}\]\}\nid: [0-9a-z]+-0$/,
    );
    const id = await publish(server, topic, "1");
    await using later = await openStream(server, topic);
    const { data, ...again } = await later.next();
    expect(again).toMatchObject({ event: "longwire.open", id });
    expect(JSON.parse(data)).toEqual({ topics: [{ topic, id, resumed: false }] });
  });

  test("sends the text of a message, and its id at the end", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, topic);
    await stream.next();
    const id = await publish(server, topic, "hällo");
    expect((await stream.next()).text).toBe(`data: hällo\nid: ${id}`);
  });

  for (const { what, sent, lines } of [
    { what: "LF", sent: "a\nb\n", lines: ["a", "b", ""] },
    { what: "CR", sent: "a\rb\r\rc", lines: ["a", "b", "", "c"] },
    { what: "CRLF", sent: "a\r\nb\r\n", lines: ["a", "b", ""] },
    { what: "all three", sent: "\r\n\n\r", lines: ["", "", "", ""] },
    { what: "no line end", sent: "", lines: [""] },
    {
      what: "what looks like a field",
      sent: "a\nid: 7\nevent: x\n: c",
      lines: ["a", "id: 7", "event: x", ": c"],
    },
    { what: "spaces at the ends of lines", sent: " a \n  b", lines: [" a ", "  b"] },
    { what: "other line ends of Unicode", sent: "a\u2028b\u0085c\vd", lines: ["a\u2028b\u0085c\vd"] },
  ]) {
    test(`sends each line of a text as a field of its own: ${what}`, async () => {
      const topic = newTopic();
      await using stream = await openStream(server, topic);
      await stream.next();
      const id = await publish(server, topic, sent);
      const { text, data } = await stream.next();
      expect(text).toBe([...lines.map((line) => `data: ${line}`), `id: ${id}`].join("\n"));
      expect(data).toBe(sent.replaceAll(/\r\n|\r/g, "\n"));
    });
  }

  test("sends bytes in base64 under the name longwire.binary", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, topic);
    await stream.next();
    await post(server, topic, Buffer.of(0, 0xff, 0xc3, 10, 13), { "Content-Type": "image/png" });
    const { id, text } = await stream.next();
    expect(text).toBe(`event: longwire.binary\ndata: AP/DCg0=\nid: ${id}`);
    await post(server, topic, "", { "Content-Type": "image/png" });
    expect(await stream.next()).toMatchObject({ event: "longwire.binary", data: "" });
  });

  test("sends JSON as it was published", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, topic);
    await stream.next();
    await post(server, topic, '{"a": 1.0,\n "b":2}', { "Content-Type": "application/json" });
    expect((await stream.next()).data).toBe('{"a": 1.0,\n "b":2}');
  });

  test("is subscribed when its first byte is sent", async () => {
    for (let count = 0; count < 50; count++) {
      const topic = newTopic();
      await using stream = await openStream(server, topic);
      const id = await publish(server, topic, "first");
      expect((await stream.next()).event).toBe("longwire.open");
      expect(await stream.next()).toMatchObject({ id, data: "first" });
    }
  });

  test("is unsubscribed when its reader leaves", async () => {
    const topic = newTopic();
    const stream = await openStream(server, topic);
    expect((await inspect(server, topic)).subscribers).toBe(1);
    await stream[Symbol.asyncDispose]();
    await until(async () => (await inspect(server, topic)).subscribers === 0, "the end of the subscription");
    await publish(server, topic, "to nobody");
  });
});

describe("the format cloudevents", () => {
  test("sends every event as a CloudEvent without an event: line, so that all reach onmessage", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, `${topic}?format=cloudevents`);
    const start = await stream.next();
    expect(start.event).toBeUndefined();
    expect(start.id).toMatch(/^[0-9a-z]+-0$/);
    expect(start.retry).toMatch(/^\d+$/);
    expect(asEvent(start)).toMatchObject({
      specversion: "1.0",
      type: "longwire.open",
      source: expect.stringMatching(/^\/connections\//),
      data: { topics: [{ topic, id: start.id, resumed: false }] },
    });
    const id = await publish(server, topic, "hällo");
    const message = await stream.next();
    expect(message.event).toBeUndefined();
    expect(message.id).toBe(id);
    expect(asEvent(message)).toEqual(textEvent(topic, id, "hällo"));
  });

  test("keeps JSON of several lines as it was published", async () => {
    const topic = newTopic();
    await using stream = await openStream(server, `${topic}?format=cloudevents`);
    await stream.next();
    await post(server, topic, '{"n":1.0,\r\n"big":12345678901234567890}', {
      "Content-Type": "application/json",
    });
    expect((await stream.next()).data).toEndWith('"data":{"n":1.0,\n"big":12345678901234567890}}');
  });

  test("of several topics has a cursor of all their ids, which resumes after any event", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const path = `${one},${other}?format=cloudevents`;
    await using stream = await openStream(server, path);
    const start = await stream.next();
    const [oneFrom, otherFrom] = asEvent(start).data
      ? (asEvent(start).data as { topics: { id: string }[] }).topics.map(({ id }) => id)
      : [];
    expect(start.id).toBe(`${oneFrom},${otherFrom}`);
    const b1 = await publish(server, other, "b1");
    const a1 = await publish(server, one, "a1");
    const b2 = await publish(server, other, "b2");
    const events = [await stream.next(), await stream.next(), await stream.next()];
    expect(events.map(({ id }) => id)).toEqual([`${oneFrom},${b1}`, `${a1},${b1}`, `${a1},${b2}`]);
    expect(events.map((event) => asEvent(event).data)).toEqual(["b1", "a1", "b2"]);

    await using resumed = await openStream(server, path, { "Last-Event-ID": events[0]?.id as string });
    expect(asEvent(await resumed.next()).data).toEqual({
      topics: [
        { topic: one, id: oneFrom, resumed: true },
        { topic: other, id: b1, resumed: true },
      ],
    });
    const missed = [await resumed.next(), await resumed.next()];
    expect(missed.map((event) => asEvent(event).data).toSorted()).toEqual(["a1", "b2"]);
    expect(missed.at(-1)?.id).toBe(`${a1},${b2}`);
  });

  test("has the cursor of its own topics, though another stream with other topics gets the same message", async () => {
    const [shared, left, right] = [newTopic(), newTopic(), newTopic()];
    await using one = await openStream(server, `${shared},${left}?format=cloudevents`);
    await using other = await openStream(server, `${shared},${right}?format=cloudevents`);
    for (const stream of [one, other]) await stream.next();
    const id = await publish(server, shared, "for both");
    const positions = [await inspect(server, left), await inspect(server, right)];
    const cursors = [await one.next(), await other.next()].map((event) => event.id);
    expect(cursors).toEqual(positions.map(({ position }) => `${id},${position}`));
  });

  test("reports a gap only of the topic that has it", async () => {
    const [trimmed, whole] = [newTopic(), newTopic()];
    const trimmedIds = await publishEach(forgetful, trimmed, ["1", "2", "3", "4", "5"]);
    const wholeIds = await publishEach(forgetful, whole, ["a", "b"]);
    await using stream = await openStream(forgetful, `${trimmed},${whole}?format=cloudevents`, {
      "Last-Event-ID": `${trimmedIds[0]},${wholeIds[0]}`,
    });
    const start = await stream.next();
    expect(start.id).toBe(`${trimmedIds[0]},${wholeIds[0]}`);
    expect(asEvent(start).data).toMatchObject({
      topics: [
        { id: trimmedIds[0], resumed: false },
        { id: wholeIds[0], resumed: true },
      ],
    });
    const events: ReceivedEvent[] = [];
    for (let count = 0; count < 5; count++) events.push(asEvent(await stream.next()));
    expect(events.filter(({ type }) => type === "longwire.gap").map(({ data }) => data)).toEqual([
      { topic: trimmed, requested: trimmedIds[0], from: trimmedIds[1] },
    ]);
    const messages = events.filter(({ type }) => type === "longwire.message");
    expect(messages.filter(({ topic }) => topic === trimmed).map(({ data }) => data)).toEqual([
      "3",
      "4",
      "5",
    ]);
    expect(messages.filter(({ topic }) => topic === whole).map(({ data }) => data)).toEqual(["b"]);
  });

  test("is the only format, and several topics need it", async () => {
    const refused = async (path: string): Promise<string> => {
      const response = await fetch(topicsUrl(server, path), { headers: { Accept: "text/event-stream" } });
      expect(response.status).toBe(400);
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      return ((await response.json()) as { detail: string }).detail;
    };
    expect(await refused(`${newTopic()}?format=xml`)).toContain("cloudevents");
    expect(await refused(`${newTopic()},${newTopic()}`)).toContain("format=cloudevents");
    const topics = Array.from({ length: 21 }, newTopic);
    expect(await refused(`${topics.join(",")}?format=cloudevents`)).toContain("20");
    await using most = await openStream(server, `${topics.slice(1).join(",")}?format=cloudevents`);
    expect((asEvent(await most.next()).data as { topics: object[] }).topics).toHaveLength(20);
  });
});

describe("the beginning of a topic", () => {
  test("that is missing is told to a reader of all when the stream opens, and not to others", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4"]);
    const openedSince = async (since: string): Promise<unknown> => {
      await using stream = await openStream(forgetful, `${topic}?since=${since}`);
      return JSON.parse((await stream.next()).data).topics;
    };
    expect(await openedSince("all")).toEqual([{ topic, id: ids[0], resumed: true, trimmed: true }]);
    expect(await openedSince("last:3")).toEqual([{ topic, id: ids[0], resumed: true }]);
    expect(await openedSince("first")).toEqual([{ topic, id: "0-0", resumed: false }]);
  });

  test("that is there is what first begins with; once it is gone, first is told a gap and then what is left", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3"]);
    await using whole = await openStream(forgetful, `${topic}?since=first`);
    expect(JSON.parse((await whole.next()).data).topics).toMatchObject([{ resumed: true }]);
    expect(await whole.next()).toMatchObject({ data: "1", id: ids[0] });
    await publish(forgetful, topic, "4");
    await using late = await openStream(forgetful, `${topic}?since=first`);
    await late.next();
    const gap = await late.next();
    expect(gap).toMatchObject({ event: "longwire.gap", id: ids[0] });
    expect(JSON.parse(gap.data)).toEqual({ topic, requested: "first", from: ids[0] });
    expect(await late.next()).toMatchObject({ data: "2" });
  });
});

describe("coming back", () => {
  test("with Last-Event-ID sends exactly the missed messages, then new ones", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3", "4"]);
    await using stream = await openStream(server, topic, { "Last-Event-ID": ids[1] as string });
    const start = await stream.next();
    expect(start.id).toBe(ids[1]);
    expect(JSON.parse(start.data)).toEqual({ topics: [{ topic, id: ids[1], resumed: true }] });
    expect((await stream.next()).text).toBe(`data: 3\nid: ${ids[2]}`);
    expect((await stream.next()).text).toBe(`data: 4\nid: ${ids[3]}`);
    const id = await publish(server, topic, "5");
    expect((await stream.next()).text).toBe(`data: 5\nid: ${id}`);
  });

  for (const name of ["lastEventId", "lastEventID", "last-event-id", "Last-Event-ID"]) {
    test(`with ${name} in the query does the same, outranked by since and by the header`, async () => {
      const topic = newTopic();
      const [first, second, third] = await publishEach(server, topic, ["1", "2", "3"]);
      const beginsAt = async (query: string, headers = {}): Promise<string> => {
        await using stream = await openStream(server, `${topic}?${query}`, headers);
        return (await stream.next()).id ?? "";
      };
      expect(await beginsAt(`${name}=${first}`)).toBe(first as string);
      expect(await beginsAt(`${name}=${first}&since=${second}`)).toBe(second as string);
      expect(await beginsAt(`${name}=${first}`, { "Last-Event-ID": third as string })).toBe(third as string);
      expect(await beginsAt(`${name}=strange`)).toBe("0-0");
      expect(await beginsAt(`${name}=`)).toBe(third as string);
    });
  }

  test("with since does the same, and Last-Event-ID outranks it", async () => {
    const topic = newTopic();
    await untilKnownFor(server, "3s");
    const ids = await publishEach(server, topic, ["1", "2", "3"]);
    for (const since of ["all", "3s"]) {
      await using everything = await openStream(server, `${topic}?since=${since}`);
      await everything.next();
      const received = [await everything.next(), await everything.next(), await everything.next()];
      expect(received.map(({ id }) => id)).toEqual(ids);
    }
    await using outranked = await openStream(server, `${topic}?since=all`, {
      "Last-Event-ID": ids[1] as string,
    });
    await outranked.next();
    expect((await outranked.next()).id).toBe(ids[2]);
    // An EventSource that has seen no id yet sends none, or an empty one.
    await using empty = await openStream(server, `${topic}?since=${ids[1]}`, { "Last-Event-ID": "" });
    await empty.next();
    expect((await empty.next()).id).toBe(ids[2]);
  });

  test("after messages that are gone reports a gap, whose id resumes", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
    await using stream = await openStream(forgetful, topic, { "Last-Event-ID": ids[0] as string });
    expect(JSON.parse((await stream.next()).data).topics).toEqual([{ topic, id: ids[0], resumed: false }]);
    expect((await stream.next()).text).toBe(
      `event: longwire.gap\ndata: {"topic":"${topic}","requested":"${ids[0]}","from":"${ids[1]}"}\nid: ${ids[1]}`,
    );
    for (const data of ["3", "4", "5"]) expect((await stream.next()).data).toBe(data);
    await using again = await openStream(forgetful, topic, { "Last-Event-ID": ids[1] as string });
    expect(JSON.parse((await again.next()).data).topics).toEqual([{ topic, id: ids[1], resumed: true }]);
  });

  for (const strange of ["hello", "7", "a-1,b-2", "x".repeat(500), "-", "all", "90s"]) {
    test(`with the strange Last-Event-ID ${strange.slice(0, 10)} is a gap and no error`, async () => {
      const topic = newTopic();
      const [id] = await publishEach(server, topic, ["1"]);
      await using stream = await openStream(server, topic, { "Last-Event-ID": strange });
      expect(await stream.next()).toMatchObject({ event: "longwire.open", id: "0-0" });
      const gap = await stream.next();
      expect(gap.event).toBe("longwire.gap");
      expect(strange).toStartWith(JSON.parse(gap.data).requested);
      expect(await stream.next()).toMatchObject({ id, data: "1" });
    });
  }

  test("with a malformed since is 400", async () => {
    for (const since of ["", "hello", "7", "a-1,b-2"]) {
      const response = await fetch(`${topicsUrl(server, newTopic())}?since=${since}`, {
        headers: { Accept: "text/event-stream" },
      });
      expect(response.status).toBe(400);
    }
  });

  test("sends more than a page of history, in order", async () => {
    await using ample = await spawnServer(["--history-messages", "10000"]);
    const topic = newTopic();
    const texts = Array.from({ length: 1000 }, (_, index) => String(index));
    const ids = await publishEach(ample, topic, texts);
    await using stream = await openStream(ample, `${topic}?since=${ids[0]}`);
    await stream.next();
    const received: string[] = [];
    while (received.length < 999) received.push((await stream.next()).data);
    expect(received).toEqual(texts.slice(1));
  });
});

describe("a stream that lives long", () => {
  test("gets a comment when nothing else was sent for the heartbeat interval", async () => {
    await using stream = await openStream(forgetful, newTopic());
    expect((await stream.block()).event).toBe("longwire.open");
    for (let count = 0; count < 3; count++)
      expect(await stream.block()).toMatchObject({ text: ":", comment: true });
  });

  for (const [signal, code, reason] of [
    ["SIGINT", 1001, "the server stops"],
    ["SIGTERM", 1012, "this node is draining: come back, elsewhere"],
  ] as const) {
    test(`is closed with ${code} and a reason when the server stops on ${signal}, and ends as HTTP ends`, async () => {
      await using stopping = await spawnServer();
      await using plain = await openStream(stopping, "a");
      await using events = await openStream(stopping, "a?format=cloudevents");
      await plain.next();
      await events.next();
      stopping.process.kill(signal);
      const { event, data, id } = await plain.next();
      expect({ event, id }).toEqual({ event: "longwire.close", id: undefined });
      expect(JSON.parse(data)).toEqual({ code, reason });
      expect(asEvent(await events.next())).toMatchObject({ type: "longwire.close", data: { code, reason } });
      await within(Promise.all([plain.ended, events.ended]), "the end of both streams");
      expect(await stopping.process.exited).toBe(0);
    });
  }

  test("is ended when its reader takes nothing for too long, even if nothing new is published", async () => {
    const topic = newTopic();
    await using patient = await spawnServer([
      ...["--heartbeat-interval", "1s", "--heartbeat-timeout", "1s"],
      ...["--max-message", "1MiB", "--max-buffered", "64MiB", "--history-messages", "1000"],
    ]);
    using stalled = await RawSocket.connect(patient.url);
    stalled.write(request("GET", `/topics/${topic}`, { Accept: "text/event-stream" }));
    await within(
      until(async () => (await inspect(patient, topic)).subscribers === 1, "the stream to open"),
      "the stream to open",
    );
    stalled.pause();
    // More than the kernel buffers for a reader that does not read.
    const megabyte = "x".repeat(1024 * 1024);
    for (let count = 0; count < 24; count++) await publish(patient, topic, megabyte);
    await until(async () => (await inspect(patient, topic)).subscribers === 0, "the end of the stream");
  });
});
