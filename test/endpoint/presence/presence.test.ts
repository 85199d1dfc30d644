/** Who is on a topic, over HTTP and sockets: what is an entry and what is none, and every way to read it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHandler } from "../../../src/longwire.ts";
import { followPresence, openPresence, presenceOf, shown } from "../../support/presence.ts";
import { sampleOf, samplesOf, scrape } from "../../support/prometheus.ts";
import { sharedServer } from "../../support/shared-server.ts";
import {
  cloudEvents,
  inspect,
  openEvents,
  openSocketAt,
  openStream,
  openTopic,
  post,
  type ReceivedEvent,
} from "../../support/topics.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const rooms = ["--presence", "room/*", "--presence", "房间/*"];
/** Nobody leaves while a test runs: what is no entry here is none because of the grace. */
const patient = sharedServer([...rooms, "--presence-grace", "10m", "--history-messages", "1"]);
/** Whoever has gone leaves after a second. */
const quick = sharedServer([...rooms, "--presence-grace", "1s"]);
const full = sharedServer([...rooms, "--presence-grace", "1s", "--presence-members", "2"]);
const without = sharedServer();

let named = 0;
const newRoom = (): string => `room/${++named}`;

const member = (topic: string, key: string): string => `${topic}?member=${encodeURIComponent(key)}`;

describe("a member of a topic", () => {
  test("joins with its first line and is seen by event stream, WebSocket, poll and inspection", async () => {
    const topic = newRoom();
    await using events = await followPresence(patient, topic);
    using socket = await openPresence(patient, topic);
    expect(await socket.entry()).toBe("longwire.open");
    await using _ = await openStream(patient, member(topic, "ann"));
    expect(await events.next()).toBe("+ann true");
    const joined = await socket.event();
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect<unknown>(joined).toEqual({
      ...{ specversion: "1.0", type: "longwire.join", source: `/presence/${topic}`, topic, time },
      ...{ id: events.cursor, partitionkey: "ann", datacontenttype: "application/json" },
      data: { member: true, since: time },
    });
    expect(await presenceOf(patient, `${topic}?since=all`)).toEqual([200, [joined]]);
    const state = { topic, members: 1, position: joined.id };
    expect(await presenceOf(patient, topic)).toEqual([200, { topics: [state] }]);
  });

  test("is one for all of its lines, and for each topic with presence that one of them has", async () => {
    const [topic, other] = [newRoom(), newRoom()];
    await using events = await followPresence(patient, `${topic},${other}`);
    using one = await openEvents(patient, member(`${topic},news,${other}`, "ann"));
    expect([await events.next(), await events.next()]).toEqual(["+ann true", "+ann true"]);
    using two = await openTopic(patient, member(topic, "ann"));
    await using three = await openStream(patient, member(topic, "ann"));
    using four = await openTopic(patient, member(topic, "bob"));
    expect(await events.next()).toBe("+bob true");
    expect([one.topics.length, two.protocol, three.response.status, four.protocol]).toEqual([3, "", 200, ""]);
  });

  test("that returns within the grace, by another kind of line, is no entry", async () => {
    const topic = newRoom();
    await using events = await followPresence(patient, topic);
    using before = await openTopic(patient, member(topic, "ann"));
    expect(await events.next()).toBe("+ann true");
    before.close(1000);
    await until(async () => (await inspect(patient, topic)).subscribers === 0, "the line to be closed");
    await using _ = await openStream(patient, member(topic, "ann"));
    using sentinel = await openTopic(patient, member(topic, "bob"));
    expect(await events.next()).toBe("+bob true");
    expect(sentinel.protocol).toBe("");
  });

  test("leaves after the grace, when its last line is gone", async () => {
    const topic = newRoom();
    await using events = await followPresence(quick, topic);
    await using _ = await openStream(quick, member(topic, "bob"));
    using one = await openTopic(quick, member(topic, "ann"));
    using two = await openTopic(quick, member(topic, "ann"));
    expect([await events.next(), await events.next()]).toEqual(["+bob true", "+ann true"]);
    one.terminate();
    await using other = await openStream(quick, member(topic, "cid"));
    expect(await events.next()).toBe("+cid true");
    two.terminate();
    await other[Symbol.asyncDispose]();
    expect([await events.next(), await events.next()].sort()).toEqual(["-ann", "-cid"]);
    expect(await presenceOf(quick, topic)).toMatchObject([200, { topics: [{ members: 1 }] }]);
  });

  test("leaves a topic that has ended", async () => {
    const topic = newRoom();
    await using events = await followPresence(quick, topic);
    using line = await openTopic(quick, member(topic, "ann"));
    expect(await events.next()).toBe("+ann true");
    expect((await post(quick, `${topic}?end`, "")).status).toBe(200);
    expect(await within(line.closed, "the end")).toMatchObject({ code: 1000 });
    expect(await events.next()).toBe("-ann");
  });

  test("is not who polls, inspects, or reads who is here", async () => {
    const topic = newRoom();
    await using events = await followPresence(patient, topic);
    await using unnamed = await openStream(patient, topic);
    expect((await fetch(new URL(`/topics/${topic}?since=all`, patient.url))).status).toBe(200);
    await using _ = await openStream(patient, member(topic, "bob"));
    expect(await events.next()).toBe("+bob true");
    expect(unnamed.response.status).toBe(200);
  });

  test("may have a name in any script, on a topic in any script", async () => {
    const topic = "房间/新闻";
    await using events = await followPresence(quick, encodeURI(topic));
    await using _ = await openStream(quick, member(encodeURI(topic), "安娜 🙂"));
    expect(await events.next()).toBe("+安娜 🙂 true");
    const [, [joined]] = (await presenceOf(quick, `${topic}?since=all`)) as [number, ReceivedEvent[]];
    expect(joined).toMatchObject({ topic, source: `/presence/${encodeURI(topic)}`, partitionkey: "安娜 🙂" });
  });
});

describe("one member too many", () => {
  test("is told with 1013 and the setting's name, on a WebSocket and an event stream, and is counted", async () => {
    const topic = newRoom();
    await using events = await followPresence(full, topic);
    using ann = await openTopic(full, member(topic, "ann"));
    await using bob = await openStream(full, member(topic, "bob"));
    expect([await events.next(), await events.next()]).toEqual(["+ann true", "+bob true"]);
    const reason = `The topic ${topic} takes no further member: it has 2, and that is --presence-members.`;
    using socket = await openTopic(full, member(topic, "cid"), cloudEvents);
    expect(await within(socket.closed, "the refusal")).toEqual({ code: 1013, reason });
    await using stream = await openStream(full, member(topic, "cid"));
    expect(await stream.next()).toMatchObject({ event: "longwire.open" });
    const { event, data } = await stream.next();
    expect([event, JSON.parse(data)]).toEqual(["longwire.close", { code: 1013, reason }]);
    await stream.ended;
    const metrics = await scrape(full);
    expect(samplesOf(metrics, "longwire_refused_total")).toMatchObject({ presence_full: 2 });
    expect(sampleOf(metrics, "longwire_presence_members")).toBe(2);
    expect(sampleOf(metrics, "longwire_presence_pending")).toBe(0);
    // A second line of a member is none too many, and a place that becomes free is given away.
    await using again = await openStream(full, member(topic, "ann"));
    await bob[Symbol.asyncDispose]();
    expect(await events.next()).toBe("-bob");
    using later = await openTopic(full, member(topic, "cid"));
    expect(await events.next()).toBe("+cid true");
    expect([ann.protocol, again.response.status, later.protocol]).toEqual(["", 200, ""]);
  });
});

describe("?member=", () => {
  const asStream = { Accept: "text/event-stream" };
  const refusals: Record<
    string,
    { path: string; method?: string; headers?: Record<string, string>; said: string }
  > = {
    "on a topic without presence": {
      ...{ path: "news?member=ann", headers: asStream },
      said: "The topic news has no presence",
    },
    "without a name": { path: "room/x?member=", headers: asStream, said: "1 to 255 bytes" },
    "with a control character": {
      path: "room/x?member=a%07",
      headers: asStream,
      said: "no control characters",
    },
    "with a name of 256 bytes": {
      ...{ path: `room/x?member=${"a".repeat(256)}`, headers: asStream },
      said: "1 to 255 bytes",
    },
    "that is there twice": { path: "room/x?member=a&member=b", headers: asStream, said: "twice" },
    "on a poll": { path: "room/x?since=all&member=ann", said: "a WebSocket or an event stream" },
    "on an inspection": { path: "room/x?member=ann", said: "a WebSocket or an event stream" },
    "on a publication": { path: "room/x?member=ann", method: "POST", said: "a WebSocket or an event stream" },
    "on a removal": { path: "room/x?member=ann", method: "DELETE", said: "a WebSocket or an event stream" },
    "that is mistyped": { path: "room/x?memmber=ann", headers: asStream, said: "member was probably meant" },
  };
  for (const [name, { path, said, ...init }] of Object.entries(refusals)) {
    test(`${name} is 400, in words`, async () => {
      const answer = await fetch(new URL(`/topics/${path}`, patient.url), init);
      expect([answer.status, ((await answer.json()) as { detail: string }).detail]).toEqual([
        400,
        expect.stringContaining(said),
      ]);
    });
  }
});

describe("GET /presence", () => {
  test("of a topic without presence is 404 and names the flag, also where none has any", async () => {
    const said = { detail: expect.stringContaining("--presence <pattern>") };
    expect(await presenceOf(patient, "news")).toMatchObject([404, said]);
    expect(await presenceOf(patient, `${newRoom()},news`)).toMatchObject([404, said]);
    expect(await presenceOf(without, "room/1")).toMatchObject([404, said]);
    expect(await presenceOf(without, "room/1?since=all")).toMatchObject([404, said]);
  });

  test("where nobody ever was brings nothing into being", async () => {
    const topic = newRoom();
    const nobody = { topics: [{ topic, members: 0, position: null }] };
    expect(await presenceOf(patient, topic)).toEqual([200, nobody]);
    expect(await presenceOf(patient, topic)).toEqual([200, nobody]);
  });

  test("begins with who is here, in one snapshot, and names the topic as its URL does", async () => {
    const topic = newRoom();
    await using ann = await openStream(patient, member(topic, "ann"));
    await using bob = await openStream(patient, member(topic, "bob"));
    using socket = await openPresence(patient, `${topic}?since=all`);
    const open = await socket.event();
    expect(open.data).toMatchObject({ topics: [{ topic, resumed: true }] });
    expect([await socket.entry(), await socket.entry()]).toEqual(["+ann true", "+bob true"]);
    expect(await socket.event()).toMatchObject({ type: "longwire.live", data: { topic, whole: true } });
    socket.send('{"specversion":"1.0","type":"longwire.ping"}');
    expect(await socket.entry()).toBe("longwire.pong");
    expect([ann.response.status, bob.response.status]).toEqual([200, 200]);
  });

  test("continues after Last-Event-ID with exactly what has changed", async () => {
    const topic = newRoom();
    await using ann = await openStream(quick, member(topic, "ann"));
    const reader = await followPresence(quick, `${topic}?since=all`);
    expect([await reader.next(), await reader.next()]).toEqual(["+ann true", "longwire.live"]);
    await reader[Symbol.asyncDispose]();
    await using meanwhile = await followPresence(quick, topic);
    await using bob = await openStream(quick, member(topic, "bob"));
    expect(await meanwhile.next()).toBe("+bob true");
    await ann[Symbol.asyncDispose]();
    expect(await meanwhile.next()).toBe("-ann");
    await using resumed = await followPresence(quick, topic, { "Last-Event-ID": reader.cursor });
    expect([await resumed.next(), await resumed.next()]).toEqual(["+bob true", "-ann"]);
    expect([await resumed.next(), resumed.cursor]).toEqual(["longwire.live", meanwhile.cursor]);
    expect(bob.response.status).toBe(200);
  });

  test("after an id of another past tells a gap, then who is here", async () => {
    const topic = newRoom();
    await using _ = await openStream(patient, member(topic, "ann"));
    using socket = await openPresence(patient, `${topic}?since=other-7`);
    expect(await socket.entry()).toBe("longwire.open");
    expect(await socket.event()).toMatchObject({
      type: "longwire.gap",
      data: { topic, requested: "other-7" },
    });
    expect([await socket.entry(), await socket.entry()]).toEqual(["+ann true", "longwire.live"]);
  });

  test("of several topics has one cursor with a place in each, in the order of the URL", async () => {
    const [first, second] = [newRoom(), newRoom()];
    await using _ = await openStream(patient, member(second, "ann"));
    const idOf = async (topic: string): Promise<string> => {
      const [, { topics }] = (await presenceOf(patient, topic)) as [
        number,
        { topics: { position: string }[] },
      ];
      return topics[0]?.position ?? "";
    };
    await using events = await followPresence(patient, `${first},${second}?since=all`);
    expect([await events.next(), await events.next(), await events.next()].sort()).toEqual([
      "+ann true",
      "longwire.live",
      "longwire.live",
    ]);
    expect(events.cursor).toBe(`${await idOf(first)},${await idOf(second)}`);
  });

  test("as a poll has pages, waits for a change, and names the URL of the next", async () => {
    const topic = newRoom();
    await using ann = await openStream(patient, member(topic, "ann"));
    await using bob = await openStream(patient, member(topic, "bob"));
    const page = await fetch(new URL(`/presence/${topic}?since=all&limit=1`, patient.url));
    expect(((await page.json()) as ReceivedEvent[]).map(shown)).toEqual(["+ann true"]);
    expect(page.headers.get("link")).toMatch(new RegExp(`^</presence/${topic}\\?since=`));
    const [, { topics }] = (await presenceOf(patient, topic)) as [number, { topics: { position: string }[] }];
    const waiting = presenceOf(patient, `${topic}?since=${topics[0]?.position}&wait=60s`);
    await using cid = await openStream(patient, member(topic, "cid"));
    const [status, events] = (await within(waiting, "the poll")) as [number, ReceivedEvent[]];
    expect([status, events.map(shown)]).toEqual([200, ["+cid true"]]);
    for (const { response } of [ann, bob, cid]) expect(response.status).toBe(200);
  });

  test("has HEAD and OPTIONS, and no method that changes anything", async () => {
    const url = new URL(`/presence/${newRoom()}`, patient.url);
    const statuses = ["HEAD", "OPTIONS", "POST", "PUT", "DELETE"].map(async (method) => {
      const { status, headers } = await fetch(url, { method });
      return [method, status, headers.get("allow")];
    });
    expect(await Promise.all(statuses)).toEqual([
      ["HEAD", 200, null],
      ["OPTIONS", 204, "GET, HEAD, OPTIONS"],
      ["POST", 405, "GET, HEAD, OPTIONS"],
      ["PUT", 405, "GET, HEAD, OPTIONS"],
      ["DELETE", 405, "GET, HEAD, OPTIONS"],
    ]);
    const stream = await fetch(url, { method: "HEAD", headers: { Accept: "text/event-stream" } });
    expect(stream.headers.get("content-type")).toStartWith("text/event-stream");
  });

  for (const [name, path, said] of [
    ["one key", "room/x?key=ann", "read all members"],
    ["a member of its own", "room/x?member=ann", "no member of the topic"],
    ["another format", "room/x?format=plain", "cloudevents"],
    ["a name that is none", "a//b", "empty part"],
    ["a topic twice", "room/x,room/x", "twice"],
    ["a wait without since", "room/x?wait=5s", "since"],
    ["a place that is none", "room/x?since=never", "since must be"],
  ] as const) {
    test(`with ${name} is 400, in words`, async () => {
      const headers = name === "another format" ? { Accept: "text/event-stream" } : undefined;
      expect(await presenceOf(patient, path, headers)).toMatchObject([
        400,
        { detail: expect.stringContaining(said) },
      ]);
    });
  }

  for (const subprotocols of [[], ["longwire.raw"]]) {
    test(`by a WebSocket with ${subprotocols[0] ?? "no subprotocol"} closes a page with 1008 and the words`, async () => {
      const page = { Origin: "http://localhost:1234" };
      const url = `/presence/${newRoom()}`;
      using client = await openSocketAt(patient, url, subprotocols, page);
      expect(await within(client.closed, "the refusal")).toEqual({
        code: 1008,
        reason: "A WebSocket needs the subprotocol cloudevents.json here: there is no raw form.",
      });
    });
  }
});

describe("nobody can publish who is here", () => {
  test("by POST and DELETE, nor can anyone read its topic by /topics", async () => {
    const at = new URL("/topics/!presence/room/1", patient.url);
    for (const method of ["GET", "POST", "DELETE"])
      expect((await fetch(`${at}?key=ann`, { method })).status).toBe(400);
    expect(
      (await fetch(new URL("/topics/%21presence%2Froom%2F1", patient.url), { method: "POST" })).status,
    ).toBe(400);
  });

  const event = (members: string): string =>
    `{"specversion":"1.0","type":"longwire.join","partitionkey":"eve","data":true${members}}`;
  for (const [name, frame, code] of [
    ["its own name", event(""), 1008],
    ["another type", event("").replace("longwire.join", "joined"), 4403],
    ["the topic", event(',"topic":"room/1"').replace("longwire.join", "joined"), 4403],
    ["the removal of a member", event("").replace("longwire.join", "longwire.removed"), 4403],
    ["its end", event("").replace("longwire.join", "longwire.end"), 4403],
    ["the name of its topic", event(',"topic":"!presence/room/1"').replace("longwire.join", "joined"), 1008],
    ["no event", "hello", 1008],
  ] as const) {
    test(`by a frame on /presence with ${name}: ${code}`, async () => {
      using client = await openPresence(patient, newRoom());
      client.send(frame);
      expect(await within(client.closed, "the refusal")).toMatchObject({ code });
    });
  }

  test("by a frame on /topics with the name of its topic: 1008", async () => {
    using client = await openTopic(patient, newRoom(), cloudEvents);
    client.send(event(',"topic":"!presence/room/1"').replace("longwire.join", "joined"));
    expect(await within(client.closed, "the refusal")).toMatchObject({ code: 1008 });
  });
});

test("a handler below a prefix has /presence there, with the prefix in the source of its events", async () => {
  await using longwire = createHandler({ prefix: "/rt", presence: ["room"], logLevel: "silent" });
  await using server = Bun.serve({ port: 0, routes: longwire.routes, websocket: longwire.websocket() });
  await using stream = await openStream({ url: new URL(server.url) }, "../rt/topics/room?member=ann");
  const read = async (path: string) => (await fetch(new URL(path, server.url))).json();
  expect(await read("/rt/presence/room?since=all")).toMatchObject([
    { topic: "room", source: "/rt/presence/room", partitionkey: "ann" },
  ]);
  expect(await read("/rt/presence/room")).toMatchObject({ topics: [{ topic: "room", members: 1 }] });
  expect(stream.response.status).toBe(200);
});
