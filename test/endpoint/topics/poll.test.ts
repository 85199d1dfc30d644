/** GET /topics/…?since=…: the messages since then, as a CloudEvents batch. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { textEvent } from "../../support/text-event.ts";
import {
  inspect,
  newTopic,
  nextPage,
  post,
  publish,
  publishEach,
  type ReceivedEvent,
  topicsUrl,
  untilKnownFor,
} from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--history-messages", "2000"]);
const forgetful = sharedServer(["--history-messages", "3"]);

async function poll(running: RunningServer, path: string): Promise<ReceivedEvent[]> {
  const response = await fetch(topicsUrl(running, path));
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/cloudevents-batch+json");
  return (await response.json()) as ReceivedEvent[];
}

const dataOf = (events: readonly ReceivedEvent[]): unknown[] => events.map(({ data }) => data);

describe("the parameters of /topics", () => {
  test("refuses a parameter that is nearly one of its own, and ignores all others", async () => {
    const topic = newTopic();
    await publish(server, topic, "1");
    const statusOf = async (query: string): Promise<[number, string]> => {
      const response = await fetch(`${topicsUrl(server, topic)}?${query}`);
      return [response.status, await response.text()];
    };
    for (const [mistyped, meant] of [
      ["sinse", "since"],
      ["Since", "since"],
      ["snice", "since"],
      ["lmit", "limit"],
      ["limits", "limit"],
      ["wiat", "wait"],
      ["fromat", "format"],
      ["acces_token", "access_token"],
      ["lasteventid", "lastEventId"],
    ] as const) {
      const [status, body] = await statusOf(`since=all&${mistyped}=1`);
      expect([mistyped, status]).toEqual([mistyped, 400]);
      expect(JSON.parse(body).detail).toContain(`${meant} was probably meant`);
    }
    for (const other of [
      "id",
      "at",
      "form",
      "size",
      "time",
      "ts",
      "_",
      "rnd",
      "v",
      "utm_source",
      "fbclid",
      "page",
      "offset",
    ])
      expect([other, (await statusOf(`since=all&${other}=1`))[0]]).toEqual([other, 200]);
  });

  test("refuses wait without its unit, and without since", async () => {
    const url = topicsUrl(server, newTopic());
    for (const query of ["since=-&wait=25", "wait=25s"]) {
      const response = await fetch(`${url}?${query}`);
      expect(response.status).toBe(400);
      expect(((await response.json()) as { detail: string }).detail).toContain("wait");
    }
  });
});

describe("a poll", () => {
  test("since all gives everything retained, each as the event that a subscriber gets", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2"]);
    expect(await poll(server, `${topic}?since=all`)).toEqual(
      ids.map((id, index) => textEvent(topic, id, String(index + 1))),
    );
  });

  test("gives JSON as it was sent and bytes in base64", async () => {
    const topic = newTopic();
    await post(server, topic, '{"n": 1.0, "big":12345678901234567890}', {
      "Content-Type": "application/json",
    });
    await post(server, topic, Buffer.of(0, 255), { "Content-Type": "image/png" });
    const text = await (await fetch(`${topicsUrl(server, topic)}?since=all`)).text();
    expect(text).toContain('"data":{"n": 1.0, "big":12345678901234567890}}');
    expect(text).toContain('"datacontenttype":"image/png","data_base64":"AP8="}');
  });

  test("since an id gives what came after it, and nothing where nothing did", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3"]);
    expect(dataOf(await poll(server, `${topic}?since=${ids[0]}`))).toEqual(["2", "3"]);
    expect(await poll(server, `${topic}?since=${ids[2]}`)).toEqual([]);
  });

  test("since a time gives what was published since then", async () => {
    const topic = newTopic();
    await untilKnownFor(server, "3s");
    await publishEach(server, topic, ["1", "2"]);
    expect(dataOf(await poll(server, `${topic}?since=3s`))).toEqual(["1", "2"]);
  });

  test("since a time before the server's start tells a gap: what was published then is unknown", async () => {
    const topic = newTopic();
    const [first] = await publishEach(server, topic, ["1"]);
    const [gap, message] = await poll(server, `${topic}?since=1d`);
    expect(gap).toMatchObject({
      type: "longwire.gap",
      data: { topic, requested: "1d", from: (first as string).replace(/1$/, "0") },
    });
    expect(message).toMatchObject({ id: first as string });
  });

  test("tells a gap before what is retained", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
    for (const requested of [ids[0] as string, "abc-1", "1h"]) {
      const [gap, ...messages] = await poll(forgetful, `${topic}?since=${requested}`);
      expect(gap).toMatchObject({
        specversion: "1.0",
        type: "longwire.gap",
        source: expect.stringMatching(/^\/connections\//),
        data: { topic, requested, from: ids[1] },
      });
      expect(dataOf(messages)).toEqual(["3", "4", "5"]);
    }
    expect(dataOf(await poll(forgetful, `${topic}?since=all`))).toEqual(["3", "4", "5"]);
    expect(dataOf(await poll(forgetful, `${topic}?since=${ids[1]}`))).toEqual(["3", "4", "5"]);
  });

  test("says where the beginning is missing, to all by a header and to first by a gap", async () => {
    const topic = newTopic();
    const ids = await publishEach(forgetful, topic, ["1", "2", "3"]);
    const trimmedOf = async (since: string): Promise<string | null> =>
      (await fetch(`${topicsUrl(forgetful, topic)}?since=${since}`)).headers.get("longwire-trimmed");
    expect(await trimmedOf("all")).toBeNull();
    expect(dataOf(await poll(forgetful, `${topic}?since=first`))).toEqual(["1", "2", "3"]);
    const fourth = await publish(forgetful, topic, "4");
    expect(await trimmedOf("all")).toBe("1");
    expect(await trimmedOf("last:3")).toBeNull();
    expect(await trimmedOf(ids[0] as string)).toBeNull();
    const [gap, ...messages] = await poll(forgetful, `${topic}?since=first`);
    expect(gap).toMatchObject({ type: "longwire.gap", data: { topic, requested: "first", from: ids[0] } });
    expect(messages.at(-1)).toMatchObject({ id: fourth });
  });

  test("that tells only a gap has a cursor after it, so that the gap is told once", async () => {
    await using keepsNothing = await spawnServer(["--history-messages", "0"]);
    const [first, second] = await publishEach(keepsNothing, "news", ["1", "2"]);
    const response = await fetch(`${topicsUrl(keepsNothing, "news")}?since=${first}`);
    expect((await response.json()).map(({ type }: ReceivedEvent) => type)).toEqual(["longwire.gap"]);
    expect(response.headers.get("longwire-cursor")).toBe(second as string);
    expect(await poll(keepsNothing, `news?since=${second}`)).toEqual([]);
  });

  test("brings a topic into being, so that its cursor leads to the first message", async () => {
    const topic = newTopic();
    const empty = await fetch(`${topicsUrl(server, topic)}?since=all`);
    expect(await empty.json()).toEqual([]);
    const cursor = empty.headers.get("longwire-cursor") as string;
    expect((await inspect(server, topic)).position).toBe(cursor);
    await publish(server, topic, "first");
    expect(dataOf(await poll(server, `${topic}?since=${cursor}`))).toEqual(["first"]);
    const other = newTopic();
    const [gap] = await poll(server, `${other}?since=abc-7`);
    const from = (await inspect(server, other)).position;
    expect(gap).toMatchObject({ type: "longwire.gap", data: { topic: other, requested: "abc-7", from } });
  });

  test("since - gives nothing, and the cursor that new messages follow", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2"]);
    const response = await fetch(`${topicsUrl(server, topic)}?since=-`);
    expect(await response.json()).toEqual([]);
    expect(response.headers.get("longwire-cursor")).toBe(ids[1] as string);
  });

  test("has a Content-Length, so that an answer that breaks off is noticed", async () => {
    const topic = newTopic();
    await publishEach(server, topic, ["1", "2"]);
    const asItIs = { headers: { "Accept-Encoding": "identity" } };
    const response = await fetch(`${topicsUrl(server, topic)}?since=all`, asItIs);
    const body = await response.arrayBuffer();
    expect(Number(response.headers.get("content-length"))).toBe(body.byteLength);
  });

  test("of several topics gives each as it was asked for, and of - nothing", async () => {
    const [one, other, third] = [newTopic(), newTopic(), newTopic()];
    const [first] = await publishEach(server, one, ["a1", "a2"]);
    await publishEach(server, other, ["b1"]);
    await publishEach(server, third, ["c1", "c2"]);
    const events = await poll(server, `${one},${other},${third}?since=${first},-,all`);
    expect(events.map(({ topic, data }) => [topic, data])).toEqual([
      [one, "a2"],
      [third, "c1"],
      [third, "c2"],
    ]);
    expect(await poll(server, `${one},${other}?since=-,-`)).toEqual([]);
  });

  test("since last:N gives the last N that are left, and is no gap", async () => {
    const topic = newTopic();
    await publishEach(forgetful, topic, ["1", "2", "3", "4", "5"]);
    expect(dataOf(await poll(forgetful, `${topic}?since=last:2`))).toEqual(["4", "5"]);
    expect(dataOf(await poll(forgetful, `${topic}?since=last:100`))).toEqual(["3", "4", "5"]);
  });

  test("of several topics applies one value to all of them, unless it is an id", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const [, second] = await publishEach(server, one, ["a1", "a2"]);
    await publishEach(server, other, ["b1", "b2"]);
    const path = `${one},${other}`;
    expect(dataOf(await poll(server, `${path}?since=last:1`))).toEqual(["a2", "b2"]);
    expect(dataOf(await poll(server, `${path}?since=all`))).toHaveLength(4);
    expect(await poll(server, `${path}?since=-`)).toEqual([]);
    expect((await fetch(`${topicsUrl(server, path)}?since=${second}`)).status).toBe(400);
  });

  test("since a time in RFC 3339 gives what was published from then on", async () => {
    const topic = newTopic();
    await untilKnownFor(server, "3s");
    await publish(server, topic, "1");
    const [event] = await poll(server, `${topic}?since=all`);
    const time = (event as { time: string }).time;
    expect(dataOf(await poll(server, `${topic}?since=${time}`))).toEqual(["1"]);
    const later = new Date(Date.parse(time) + 1).toISOString().replace("Z", "+00:00");
    expect(await poll(server, `${topic}?since=${later}`)).toEqual([]);
  });

  test("of pages evaluates last:N once", async () => {
    const topic = newTopic();
    await publishEach(server, topic, ["1", "2", "3", "4"]);
    const first = await fetch(`${topicsUrl(server, topic)}?since=last:3&limit=1`);
    expect(dataOf((await first.json()) as ReceivedEvent[])).toEqual(["2"]);
    await publish(server, topic, "5");
    const next = nextPage(first, server) ?? "";
    expect(
      dataOf((await (await fetch(next.replace("limit=1", "limit=9"))).json()) as ReceivedEvent[]),
    ).toEqual(["3", "4", "5"]);
  });

  test("ends where the topic stood, though publishing never stops", async () => {
    const topic = newTopic();
    await publishEach(
      server,
      topic,
      Array.from({ length: 300 }, (_, index) => String(index)),
    );
    let stop = false;
    const publishing = (async () => {
      for (let number = 300; !stop; number++) await publish(server, topic, String(number));
    })();
    for (let count = 0; count < 10; count++) {
      const events = await poll(server, `${topic}?since=all`);
      expect(events.length).toBeGreaterThanOrEqual(300);
      const numbers = events.map(({ data }) => Number(data));
      expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] as number) + index));
    }
    stop = true;
    await publishing;
  });

  test("takes Last-Event-ID as a subscriber does", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2"]);
    const response = await fetch(`${topicsUrl(server, topic)}?since=all`, {
      headers: { "Last-Event-ID": ids[0] as string },
    });
    expect(dataOf((await response.json()) as ReceivedEvent[])).toEqual(["2"]);
  });

  test("with a malformed since is 400, and names what is wrong", async () => {
    for (const since of ["", "hello", "all,all", "90"]) {
      const response = await fetch(`${topicsUrl(server, newTopic())}?since=${since}`);
      expect(response.status).toBe(400);
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      expect(((await response.json()) as { detail: string }).detail).toContain("since");
    }
  });
});

describe("the pages of a poll", () => {
  test("have as many messages as the limit says, and link to the next ones until there are none", async () => {
    const topic = newTopic();
    const texts = Array.from({ length: 7 }, (_, index) => String(index));
    await publishEach(server, topic, texts);
    let next: string | undefined = `${topicsUrl(server, topic)}?since=all&limit=3`;
    const pages: unknown[][] = [];
    while (next) {
      const response: Response = await fetch(next);
      pages.push(dataOf((await response.json()) as ReceivedEvent[]));
      next = nextPage(response, server);
    }
    expect(pages).toEqual([["0", "1", "2"], ["3", "4", "5"], ["6"]]);
  });

  test("of several topics continue each where its page ended, and a topic not reached where it began", async () => {
    const [one, other] = [newTopic(), newTopic()];
    const oneIds = await publishEach(server, one, ["a1", "a2", "a3"]);
    const otherIds = await publishEach(server, other, ["b1", "b2"]);
    const response = await fetch(`${topicsUrl(server, `${one},${other}`)}?since=all,${otherIds[0]}&limit=2`);
    expect(dataOf((await response.json()) as ReceivedEvent[])).toEqual(["a1", "a2"]);
    expect(response.headers.get("longwire-cursor")).toBe(`${oneIds[1]},${otherIds[0]}`);
    await publish(server, other, "b3");
    const rest = await poll(server, `${one},${other}?since=${response.headers.get("longwire-cursor")}`);
    expect(dataOf(rest)).toEqual(["a3", "b2", "b3"]);
  });

  test("stay within --max-buffered, but have at least one message", async () => {
    await using narrow = await spawnServer(["--max-buffered", "64KiB", "--max-message", "32KiB"]);
    const topic = newTopic();
    const texts = Array.from({ length: 10 }, (_, index) => `${index} `.padEnd(20_000, "x"));
    await publishEach(narrow, topic, texts);
    let next: string | undefined = `${topicsUrl(narrow, topic)}?since=all`;
    const received: unknown[] = [];
    while (next) {
      const response: Response = await fetch(next);
      const body = await response.text();
      expect(body.length).toBeLessThan(64 * 1024);
      received.push(...dataOf(JSON.parse(body) as ReceivedEvent[]));
      next = nextPage(response, narrow);
    }
    expect(received).toEqual(texts);
  });

  test("give more than a page of history, in order and each once", async () => {
    const topic = newTopic();
    const texts = Array.from({ length: 1000 }, (_, index) => String(index));
    const ids = await publishEach(server, topic, texts);
    const events = await poll(server, `${topic}?since=all`);
    expect(events.map(({ id }) => id)).toEqual(ids);
    expect(dataOf(events)).toEqual(texts);
  });
});

describe("a poll with a wait", () => {
  test("is held until a message comes, and gives the messages of that turn together", async () => {
    const topic = newTopic();
    const waiting = fetch(`${topicsUrl(server, topic)}?since=-&wait=60s`);
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the poll to wait");
    const id = await publish(server, topic, "news");
    const response = await waiting;
    expect(dataOf((await response.json()) as ReceivedEvent[])).toEqual(["news"]);
    expect(response.headers.get("longwire-cursor")).toBe(id);
    expect((await inspect(server, topic)).subscribers).toBe(0);
  });

  test("is answered empty when the wait is over", async () => {
    const topic = newTopic();
    const response = await fetch(`${topicsUrl(server, topic)}?since=-&wait=1s`);
    expect(await response.json()).toEqual([]);
    expect(response.headers.get("longwire-cursor")).toBe((await inspect(server, topic)).position as string);
  });

  test("that its client gives up leaves its topic", async () => {
    const topic = newTopic();
    const client = new AbortController();
    const waiting = fetch(`${topicsUrl(server, topic)}?since=-&wait=60s`, { signal: client.signal });
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the poll to wait");
    client.abort();
    await expect(waiting).rejects.toThrow();
    await until(async () => (await inspect(server, topic)).subscribers === 0, "the poll to leave");
  });

  test("is a connection: limits refuse it, and a drain answers it with its cursor", async () => {
    await using small = await spawnServer(["--max-connections", "2", "--drain-window", "0s"]);
    const url = `${topicsUrl(small, "a")}?since=-&wait=60s`;
    const waiting = [fetch(url), fetch(url)];
    await until(async () => (await inspect(small, "a")).subscribers === 2, "both polls to wait");
    const refused = await fetch(url);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
    small.process.kill("SIGTERM");
    for (const response of await Promise.all(waiting)) {
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual([]);
      expect(response.headers.get("longwire-cursor")).toMatch(/^[0-9a-z]+-0$/);
    }
  });

  test("with a limit or a wait that is none is 400", async () => {
    for (const query of ["limit=0", "limit=1001", "limit=x", "wait=61s", "wait=-1s", "wait=1m"]) {
      const response = await fetch(`${topicsUrl(server, newTopic())}?since=all&${query}`);
      expect(response.status).toBe(400);
    }
  });
});
