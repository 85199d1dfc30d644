/** Keyed topics over HTTP and sockets: values, conditions, removals, snapshots, and a fold that no cut makes wrong. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { RawSocket, request } from "../../support/raw-socket.ts";
import { sharedServer } from "../../support/shared-server.ts";
import {
  cloudEvents,
  everyEvent,
  inspect,
  offsetOf,
  openEvents,
  openStream,
  openTopic,
  post,
  type ReceivedEvent,
  topicsUrl,
} from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--keyed", "keyed/*", "--keys-max", "300"]);

let named = 0;
const newKeyed = (): string => `keyed/${++named}`;

const urlOf = (topic: string, key: string, query = ""): string =>
  `${topicsUrl(server, topic)}?key=${encodeURIComponent(key)}${query}`;

type Headers = Readonly<Record<string, string>>;

const put = (topic: string, key: string, body: string, headers: Headers = {}): Promise<Response> =>
  fetch(urlOf(topic, key), { method: "POST", body, headers: { "Content-Type": "text/plain", ...headers } });

const take = (topic: string, key: string, headers: Headers = {}): Promise<Response> =>
  fetch(urlOf(topic, key), { method: "DELETE", headers });

const get = (topic: string, key: string, headers: Headers = {}, query = ""): Promise<Response> =>
  fetch(urlOf(topic, key, query), { headers });

async function idOf(answering: Promise<Response>): Promise<string> {
  const answer = await answering;
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status} ${text}`);
  return JSON.parse(text).published[0].id;
}

async function refused(answering: Promise<Response>): Promise<[number, Record<string, unknown>]> {
  const answer = await answering;
  return [answer.status, (await answer.json()) as Record<string, unknown>];
}

interface KeyedEvent extends ReceivedEvent {
  readonly partitionkey?: string;
}

/** `key=data`, `-key` for a removal, the type of a control event. */
function shown({ type, partitionkey, data }: KeyedEvent): string {
  if (type === "longwire.removed") return `-${partitionkey}`;
  return partitionkey === undefined ? type : `${partitionkey}=${data}`;
}

/** What a client holds: it folds events as docs/protocol.md says. */
class Folder {
  readonly state = new Map<string, unknown>();
  take(event: KeyedEvent): void {
    const { type, partitionkey, data } = event;
    if (type === "longwire.gap") this.state.clear();
    else if (type === "longwire.removed") this.state.delete(partitionkey ?? "");
    else if (partitionkey !== undefined) this.state.set(partitionkey, data);
  }
  get shown(): string[] {
    return [...this.state].map(([key, value]) => `${key}=${value}`).sort();
  }
}

describe("a value of a keyed topic", () => {
  test("is answered as it was published, with its id as a tag and its attributes as headers", async () => {
    const topic = newKeyed();
    const headers = { "Content-Type": "application/json", "ce-type": "price", "ce-note": "caf%C3%A9 %25" };
    const id = await idOf(put(topic, "AAPL", '{"price": 187.30}', headers));
    const answer = await get(topic, "AAPL");
    expect([answer.status, await answer.text()]).toEqual([200, '{"price": 187.30}']);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "application/json",
      etag: `"${id}"`,
      "longwire-cursor": id,
      "cache-control": "no-cache",
      "ce-specversion": "1.0",
      "ce-id": id,
      "ce-type": "price",
      "ce-source": `/topics/${topic}`,
      "ce-partitionkey": "AAPL",
      "ce-note": "caf%C3%A9%20%25",
    });
  });

  test("is given as bytes, and none that a browser would run is shown as a page", async () => {
    const topic = newKeyed();
    const shownAs: Record<string, string | null> = {};
    for (const type of [
      "image/png",
      "text/plain",
      "application/problem+json",
      "text/html",
      "image/svg+xml",
    ]) {
      await post(server, `${topic}?key=x`, new Uint8Array([123, 125]), { "Content-Type": type });
      const { headers } = await get(topic, "x");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toBe("sandbox; default-src 'none'");
      expect(headers.get("content-type")).toBe(type);
      shownAs[type] = headers.get("content-disposition");
    }
    expect(shownAs).toEqual({
      "image/png": null,
      "text/plain": null,
      "application/problem+json": null,
      "text/html": "attachment",
      "image/svg+xml": "attachment",
    });
  });

  test("is 304 for who has it, and 404 with the topic's cursor where there is none", async () => {
    const topic = newKeyed();
    expect((await get(topic, "a")).status).toBe(404);
    const id = await idOf(put(topic, "a", "1"));
    for (const tags of [`"${id}"`, `"other", W/"${id}"`, "*"]) {
      const answer = await get(topic, "a", { "If-None-Match": tags });
      expect([answer.status, answer.headers.get("etag")]).toEqual([304, `"${id}"`]);
    }
    expect((await get(topic, "a", { "If-None-Match": '"k3-9"' })).status).toBe(200);
    expect((await get(topic, "a", { "If-None-Match": id })).status).toBe(400);
    const absent = await get(topic, "b");
    expect([absent.status, absent.headers.get("longwire-cursor")]).toEqual([404, id]);
  });

  test("is waited for: a change of its key ends the wait, one of another key does not", async () => {
    const topic = newKeyed();
    const id = await idOf(put(topic, "a", "1"));
    const waiting = get(topic, "a", {}, `&since=${id}&wait=25s`);
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the wait");
    await put(topic, "b", "2");
    const changed = await idOf(put(topic, "a", "3"));
    const answer = await waiting;
    expect([answer.status, await answer.text(), answer.headers.get("etag")]).toEqual([
      200,
      "3",
      `"${changed}"`,
    ]);

    const removal = get(topic, "a", {}, `&since=${changed}&wait=25s`);
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the wait");
    const removed = await idOf(take(topic, "a"));
    const gone = await removal;
    expect([gone.status, gone.headers.get("longwire-cursor")]).toEqual([404, removed]);
  });

  test("is answered at once where it has changed already, or where that is not known", async () => {
    const topic = newKeyed();
    const first = await idOf(put(topic, "a", "1"));
    const second = await idOf(put(topic, "a", "2"));
    for (const since of [first, "other-1", `${first}.${offsetOf(second) + 5}`])
      expect(await (await get(topic, "a", {}, `&since=${since}&wait=25s`)).text()).toBe("2");
    await put(topic, "b", "3");
    expect((await get(topic, "a", {}, `&since=${second}`)).status).toBe(304);
    expect((await get(topic, "a", {}, `&since=${second}&wait=1s`)).status).toBe(304);
    expect((await get(topic, "none", {}, `&since=${second}&wait=1s`)).status).toBe(404);
  });

  test("is asked of one keyed topic, by GET alone", async () => {
    const [keyed, other] = [newKeyed(), newKeyed()];
    await put(keyed, "a", "1");
    const faults: [string, RequestInit, string][] = [
      ["plain?key=a", {}, "is not keyed"],
      ["plain?key=a", { method: "POST", body: "1" }, "is not keyed"],
      [`${keyed},plain?key=a`, { method: "POST", body: "1" }, "is not keyed"],
      [`${keyed},${other}?key=a`, {}, "one keyed topic"],
      [`${keyed}?key=`, {}, "1 to 255 bytes"],
      [`${keyed}?key=${"x".repeat(256)}`, {}, "1 to 255 bytes"],
      [`${keyed}?key=%00`, {}, "control"],
      [`${keyed}?key=%FF`, { method: "POST", body: "1" }, "not UTF-8"],
      [`${keyed}?key=a&wait=5s`, {}, "wait"],
      [`${keyed}?key=a`, { headers: { Accept: "text/event-stream" } }, "one value"],
      [keyed, { method: "DELETE" }, "?key="],
      [`${keyed},${other}?key=a`, { method: "DELETE" }, "one keyed topic"],
      ["plain?key=a", { method: "DELETE" }, "is not keyed"],
    ];
    for (const [path, init, detail] of faults) {
      const [status, problem] = await refused(fetch(topicsUrl(server, path), init));
      expect([path, status, problem.detail]).toEqual([path, 400, expect.stringContaining(detail)]);
    }
    const options = await fetch(topicsUrl(server, keyed), { method: "OPTIONS" });
    expect(options.headers.get("allow")).toBe("GET, HEAD, POST, DELETE, OPTIONS");
  });
});

describe("publishing to a keyed topic", () => {
  test("needs one key, named once or several times alike", async () => {
    const topic = newKeyed();
    const [status, { detail }] = await refused(post(server, topic, "1"));
    expect([status, detail]).toEqual([400, expect.stringContaining("?key=")]);
    expect((await refused(put(topic, "a", "1", { "ce-partitionkey": "b" })))[0]).toBe(400);
    const twice = (other: string) => fetch(urlOf(topic, "a", `&key=${other}`), { method: "POST", body: "1" });
    expect((await refused(twice("b")))[0]).toBe(400);
    await idOf(twice("a"));
    await idOf(put(topic, "a", "1", { "ce-partitionkey": "a" }));
    // A byte order mark is part of the key.
    await idOf(put(topic, "\ufeffa", "0", { "ce-partitionkey": "%EF%BB%BFa" }));
    await idOf(take(topic, "\ufeffa"));
    await idOf(
      post(server, topic, "2", { "Content-Type": "text/plain", "ce-partitionkey": "%E9%94%AE%201" }),
    );
    const event = { specversion: "1.0", id: "1", source: "/", type: "t", partitionkey: "c", data: 3 };
    await idOf(
      post(server, topic, JSON.stringify(event), { "Content-Type": "application/cloudevents+json" }),
    );
    const batch = JSON.stringify([event, { ...event, partitionkey: "d" }]);
    await idOf(post(server, topic, batch, { "Content-Type": "application/cloudevents-batch+json" }));
    expect((await everyEvent(server, topic)).map(shown)).toEqual(["a=1", "键 1=2", "c=3", "d=3"]);
    const numbered = JSON.stringify({ ...event, partitionkey: 7 });
    expect(
      (await refused(post(server, topic, numbered, { "Content-Type": "application/cloudevents+json" })))[0],
    ).toBe(400);
    for (const type of ["application/x-ndjson", "text/event-stream"])
      expect((await refused(post(server, topic, "1\n", { "Content-Type": type })))[1].detail).toContain(
        "Publish a batch",
      );
  });

  test("happens only where its condition is met, and says what the value is", async () => {
    const topic = newKeyed();
    const first = await idOf(put(topic, "a", "1", { "If-None-Match": "*" }));
    const cases: [Headers, unknown][] = [
      [{ "If-None-Match": "*" }, first],
      [{ "If-Match": '"k3-99"' }, first],
      [{ "If-Match": 'W/"nothing"' }, first],
    ];
    for (const [headers, current] of cases) {
      const [status, problem] = await refused(put(topic, "a", "2", headers));
      expect([headers, status, problem.current]).toEqual([headers, 412, current]);
    }
    expect((await refused(put(topic, "b", "2", { "If-Match": "*" })))[1].current).toBeNull();
    const second = await idOf(put(topic, "a", "2", { "If-Match": `"x", "${first}"` }));
    expect((await refused(take(topic, "a", { "If-Match": `"${first}"` })))[1].current).toBe(second);
    await idOf(take(topic, "a", { "If-Match": `"${second}"` }));
    expect((await refused(take(topic, "a")))[0]).toBe(404);
    const wrong: Headers[] = [
      { "If-None-Match": `"${first}"` },
      { "If-Match": first },
      { "If-Match": '""x' },
      { "If-Match": "*", "If-None-Match": "*" },
    ];
    for (const headers of wrong)
      expect([headers, (await refused(put(topic, "a", "3", headers)))[0]]).toEqual([headers, 400]);
    const plain = post(server, "plain", "1", { "If-Match": "*" });
    expect((await refused(plain))[1].detail).toContain("keyed");
    const end = `${topicsUrl(server, topic)}?end`;
    for (const [url, headers] of [
      [end, { "If-Match": '"k3-99"' }],
      [`${end}&key=a`, {}],
    ] as const)
      expect((await refused(fetch(url, { method: "POST", headers })))[1].detail).toContain("has none");
    await idOf(put(topic, "a", "3"));
  });

  test("is repeated by its idempotency key, whatever the value is by then", async () => {
    const topic = newKeyed();
    const once = { "Idempotency-Key": crypto.randomUUID(), "If-None-Match": "*" };
    const first = await idOf(put(topic, "a", "1", once));
    await put(topic, "a", "2");
    expect(await idOf(put(topic, "a", "1", once))).toBe(first);
    const removal = { "Idempotency-Key": crypto.randomUUID() };
    const removed = await idOf(take(topic, "a", removal));
    await put(topic, "a", "3");
    expect(await idOf(take(topic, "a", removal))).toBe(removed);
    expect(await (await get(topic, "a")).text()).toBe("3");
    expect((await refused(put(topic, "a", "1", removal)))[0]).toBe(422);
  });

  test("is 507 in words for one key too many", async () => {
    const topic = newKeyed();
    const event = { specversion: "1.0", id: "1", source: "/", type: "t", data: 1 };
    const batch = Array.from({ length: 300 }, (_, index) => ({ ...event, partitionkey: `k${index}` }));
    const headers = { "Content-Type": "application/cloudevents-batch+json" };
    await idOf(post(server, topic, JSON.stringify(batch), headers));
    const [status, { detail }] = await refused(put(topic, "new", "1"));
    expect([status, detail]).toEqual([507, expect.stringContaining("--keys-max is 300")]);
    await idOf(put(topic, "k7", "again"));
    await idOf(take(topic, "k8"));
    await idOf(put(topic, "new", "1"));
    expect((await inspect(server, topic)).retained).toBe(300);
  });
});

describe("a WebSocket of a keyed topic", () => {
  test("gets the values, that it is live, and then each change; it publishes and removes by events", async () => {
    const topic = newKeyed();
    await put(topic, "a", "1");
    await put(topic, "b", "2");
    const last = await idOf(put(topic, "a", "3"));
    using client = await openEvents(server, `${topic}?since=all`);
    const base = offsetOf(last);
    expect(client.topics).toEqual([
      { topic, id: last.replace(/-\d+$/, `-0.${base}`), resumed: true, base } as never,
    ]);
    expect([shown(await client.event()), shown(await client.event())]).toEqual(["b=2", "a=3"]);
    expect(await client.event()).toMatchObject({
      type: "longwire.live",
      data: { topic, id: last, whole: true },
    });
    const event = { specversion: "1.0", id: "1", source: "/", type: "t", partitionkey: "c", data: "4" };
    client.send(JSON.stringify(event));
    expect(shown(await client.event())).toBe("c=4");
    const removal = JSON.stringify({
      ...event,
      type: "longwire.removed",
      partitionkey: "b",
      data: undefined,
    });
    client.send(removal);
    client.send(removal); // What is gone already is no fault of the client's.
    const removed = await client.event();
    expect(removed).toEqual({
      specversion: "1.0",
      type: "longwire.removed",
      source: `/topics/${topic}`,
      id: last.replace(/-\d+$/, `-${base + 2}`),
      topic,
      time: expect.any(String),
      partitionkey: "b",
      authtype: "unauthenticated",
    } as never);
    client.send(JSON.stringify({ ...event, partitionkey: "d", data: "5" }));
    expect(shown(await client.event())).toBe("d=5");
    client.send(JSON.stringify({ ...event, partitionkey: undefined }));
    expect(await client.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("is keyed") });
  });

  test("gets data alone in the raw form, without removals, and cannot publish there", async () => {
    const topic = newKeyed();
    const first = await idOf(put(topic, "a", "1"));
    await take(topic, "a");
    await put(topic, "b", "2");
    using client = await openTopic(server, `${topic}?since=${first}`);
    expect(await client.next()).toBe("2");
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the subscription");
    await put(topic, "a", "3");
    await take(topic, "a");
    await put(topic, "b", "4");
    expect([await client.next(), await client.next()]).toEqual(["3", "4"]);
    client.send("5");
    expect(await client.closed).toMatchObject({ code: 1008 });
  });

  test("cannot remove from a topic that is not keyed", async () => {
    using client = await openTopic(server, "plain", cloudEvents);
    await client.event();
    client.send(JSON.stringify({ specversion: "1.0", type: "longwire.removed", partitionkey: "a" }));
    expect(await client.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("not keyed") });
  });
});

describe("an event stream of a keyed topic", () => {
  test("is of CloudEvents, whose ids name the place in the snapshot until it is live", async () => {
    const topic = newKeyed();
    for (const [key, value] of ["a1", "b2", "c3", "a4"]) await put(topic, key ?? "", value ?? "");
    await using stream = await openStream(server, `${topic}?since=all`);
    const blocks = [];
    for (let count = 0; count < 5; count++) blocks.push(await stream.next());
    const events = blocks.map(({ data }) => JSON.parse(data) as KeyedEvent);
    expect(events.map(shown)).toEqual(["longwire.open", "b=2", "c=3", "a=4", "longwire.live"]);
    const epoch = events[1]?.id.split("-")[0];
    expect(blocks.map(({ id }) => id)).toEqual(
      [0, 2, 3, 4].map((offset) => `${epoch}-${offset}.4`).concat(`${epoch}-4`),
    );
    await put(topic, "b", "5");
    expect((await stream.next()).id).toBe(`${epoch}-5`);
  });

  test("is of CloudEvents also where it has a plain topic, too, whose places have no base", async () => {
    const topic = newKeyed();
    const value = await idOf(put(topic, "a", "1"));
    const plain = await idOf(post(server, "beside", "2"));
    await using stream = await openStream(server, `${topic},beside?since=all`);
    const ids: (string | undefined)[] = [];
    for (let count = 0; count < 4; count++) ids.push((await stream.next()).id);
    const [epoch] = value.split("-");
    const start = plain.replace(/-1$/, "-0");
    expect(ids.toSorted()).toEqual(
      [`${epoch}-0.1,${start}`, `${epoch}-1.1,${start}`, `${value},${start}`, `${value},${plain}`].toSorted(),
    );
  });

  test("says whether what it replayed was the whole state", async () => {
    const topic = newKeyed();
    const first = await idOf(put(topic, "a", "1"));
    const wholes: Record<string, unknown> = {};
    for (const since of ["all", "first", first, "last:1", "2026-01-01T00:00:00Z", "other-3"]) {
      await using stream = await openStream(server, `${topic}?since=${since}`);
      for (;;) {
        const { type, data } = JSON.parse((await stream.next()).data) as KeyedEvent;
        if (type !== "longwire.live") continue;
        wholes[since] = (data as { whole: boolean }).whole;
        break;
      }
    }
    expect(wholes).toEqual({
      all: true,
      first: true,
      [first]: true,
      "last:1": false,
      "2026-01-01T00:00:00Z": true, // Before the server's start: a gap, and then everything.
      "other-3": true,
    });
  });

  test("tells that it is live before the topic's end", async () => {
    const topic = newKeyed();
    await put(topic, "a", "1");
    await fetch(`${topicsUrl(server, topic)}?end`, { method: "POST" });
    await using stream = await openStream(server, `${topic}?since=all`);
    const types: string[] = [];
    for (let count = 0; count < 4; count++)
      types.push((JSON.parse((await stream.next()).data) as KeyedEvent).type);
    expect(types).toEqual(["longwire.open", "longwire.message", "longwire.live", "longwire.end"]);
    await stream.ended;
  });

  test("is folded into what the server holds, wherever it was cut and whatever changed meanwhile", async () => {
    const topic = newKeyed();
    for (let index = 0; index < 12; index++) await put(topic, `k${index}`, "old");
    await take(topic, "k3");
    const bytes = await bytesUntilLive(topic);
    for (const key of ["k1", "k11", "new"]) await put(topic, key, "new");
    for (const key of ["k0", "k10"]) await take(topic, key);
    await put(topic, "k3", "back");
    const held = new Folder();
    for (const event of await everyEvent(server, topic)) held.take(event);
    expect(held.shown).toHaveLength(11);
    let repeated = 0;
    for (let length = 0; length <= bytes.length; length++) {
      const client = new Folder();
      const cursor = foldStream(bytes.subarray(0, length), client);
      const before = client.state.size;
      const events = await everyEvent(server, topic, cursor ?? "all");
      for (const event of events) client.take(event);
      expect([length, client.shown]).toEqual([length, held.shown]);
      // What it had of the snapshot does not come again: at most the keys that it lacks, and the six that changed.
      if (cursor !== undefined && events.length > 12 - before + 6) repeated++;
    }
    expect(repeated).toBe(0);
  });
});

/** The bytes of an event stream from the beginning to `longwire.live`. */
async function bytesUntilLive(topic: string): Promise<Buffer> {
  using socket = await RawSocket.connect(server.url);
  socket.write(
    request("GET", `/topics/${topic}?since=all`, {
      Accept: "text/event-stream",
      Host: new URL(server.url).host,
    }),
  );
  let bytes = Buffer.alloc(0);
  while (!/longwire\.live[\s\S]*\n\n/.test(bytes.toString()))
    bytes = Buffer.concat([bytes, await socket.some()]);
  return bytes;
}

/** Folds whole events, as an EventSource does. @returns the id that it would return with */
function foldStream(bytes: Buffer, client: Folder): string | undefined {
  let cursor: string | undefined;
  const blocks = bytes.toString().replaceAll("\r\n", "\n").split("\n\n");
  for (const block of blocks.slice(0, -1)) {
    const [, data] = /^data: (.*)$/m.exec(block) ?? [];
    const [, id] = /^id: (.*)$/m.exec(block) ?? [];
    if (id !== undefined) cursor = id;
    if (data !== undefined) client.take(JSON.parse(data));
  }
  return cursor;
}
