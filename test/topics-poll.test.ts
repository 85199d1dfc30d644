/** GET /topics/…?since=…: the messages since then, as a CloudEvents batch. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RunningServer } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import {
  inspect,
  newTopic,
  post,
  publish,
  publishEach,
  type ReceivedEvent,
  topicsUrl,
} from "./support/topics.ts";

setDefaultTimeout(30_000);

const server = sharedServer(["--history-messages", "2000"]);
const forgetful = sharedServer(["--history-messages", "3"]);

async function poll(running: RunningServer, path: string): Promise<ReceivedEvent[]> {
  const response = await fetch(topicsUrl(running, path));
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/cloudevents-batch+json");
  return (await response.json()) as ReceivedEvent[];
}

const dataOf = (events: readonly ReceivedEvent[]): unknown[] => events.map(({ data }) => data);

describe("a poll", () => {
  test("since all gives everything retained, each as the event that a subscriber gets", async () => {
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2"]);
    expect(await poll(server, `${topic}?since=all`)).toEqual(
      ids.map((id, index) => ({
        specversion: "1.0",
        type: "longwire.message",
        source: `/topics/${topic}`,
        id,
        topic,
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        datacontenttype: "text/plain",
        data: String(index + 1),
      })),
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
    await publishEach(server, topic, ["1", "2"]);
    expect(dataOf(await poll(server, `${topic}?since=1h`))).toEqual(["1", "2"]);
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

  test("of a topic that is not there is empty, or a gap where an id was asked for, and creates nothing", async () => {
    const topic = newTopic();
    expect(await poll(server, `${topic}?since=all`)).toEqual([]);
    expect(await poll(server, `${topic}?since=1h`)).toEqual([]);
    expect(await poll(server, `${topic}?since=abc-7`)).toMatchObject([
      { type: "longwire.gap", data: { topic, requested: "abc-7", from: null } },
    ]);
    expect((await inspect(server, topic)).position).toBeNull();
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

  test("gives more than a page of history, in order and each once", async () => {
    const topic = newTopic();
    const texts = Array.from({ length: 1000 }, (_, index) => String(index));
    const ids = await publishEach(server, topic, texts);
    const events = await poll(server, `${topic}?since=all`);
    expect(events.map(({ id }) => id)).toEqual(ids);
    expect(dataOf(events)).toEqual(texts);
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
    for (const since of ["", "hello", "-", "all,all", "90"]) {
      const response = await fetch(`${topicsUrl(server, newTopic())}?since=${since}`);
      expect(response.status).toBe(400);
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      expect(((await response.json()) as { detail: string }).detail).toContain("since");
    }
  });
});
