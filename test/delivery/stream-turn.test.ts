/** Messages of one turn of the event loop, which an event stream writes together. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { noSightings, numbered, SlowReader } from "../support/slow-reader.ts";
import { inspect, newTopic, openStream, publish, type StreamClient } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--history-messages", "1000"]);

/** Opens a WebSocket that publishes to several topics. */
async function openPublisher(server: RunningServer, topics: readonly string[]): Promise<RawSocket> {
  const socket = await RawSocket.connect(server.url);
  const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" };
  socket.write(request("GET", `/topics/${topics.join(",")}`, headers));
  expect((await socket.response()).status).toBe(101);
  return socket;
}

/** Frames that the server receives in few turns, because they are sent together. */
const inOneWrite = (topics: readonly string[], texts: readonly string[]): Buffer =>
  Buffer.concat(
    texts.map((data, index) => {
      const topic = topics[index % topics.length];
      const event = { specversion: "1.0", topic, datacontenttype: "text/plain", data };
      return frame(opcodes.text, JSON.stringify(event));
    }),
  );

const numbers = (count: number): string[] => Array.from({ length: count }, (_, index) => String(index));

async function take(stream: StreamClient, count: number): Promise<string[]> {
  const received: string[] = [];
  while (received.length < count) received.push((await stream.next()).data);
  return received;
}

describe("many messages of one turn", () => {
  test("come in few chunks to each stream of the topic, whole and in order", async () => {
    const topic = newTopic();
    using reader = await RawSocket.connect(server.url);
    reader.write(request("GET", `/topics/${topic}`, { Accept: "text/event-stream" }));
    await reader.response();
    await until(async () => (await inspect(server, topic)).subscribers === 1, "the stream to open");
    await using other = await openStream(server, topic);
    await other.next();
    using publisher = await openPublisher(server, [topic]);
    const texts = numbers(60); // Fewer than the frames of a socket at which reading from it pauses.
    publisher.write(inOneWrite([topic], texts));
    expect(await take(other, 60)).toEqual(texts);
    let body = "";
    while (!body.includes("\ndata: 59\n")) body += await reader.some();
    expect([...body.matchAll(/^data: (\d+)$/gm)].map(([, text]) => text)).toEqual(texts);
    const chunks = [...body.matchAll(/^[0-9a-f]+\r\n/gm)].length;
    expect(chunks).toBeLessThan(20);
  });

  test("are not mixed up in a stream of several topics, and each leaves a cursor that resumes", async () => {
    const topics = [newTopic(), newTopic(), newTopic()];
    await using stream = await openStream(server, `${topics.join(",")}?format=cloudevents`);
    await stream.next();
    using publisher = await openPublisher(server, topics);
    const texts = numbers(300);
    publisher.write(inOneWrite(topics, texts));
    const cursors: string[] = [];
    for (const [index, text] of texts.entries()) {
      const { id, data } = await stream.next();
      const event = JSON.parse(data) as { topic: string; id: string; data: string };
      expect(event).toMatchObject({ topic: topics[index % 3], data: text });
      expect(id?.split(",")[index % 3]).toBe(event.id);
      cursors.push(id as string);
    }
    await using resumed = await openStream(server, `${topics.join(",")}?format=cloudevents`, {
      "Last-Event-ID": cursors[249] as string,
    });
    await resumed.next();
    const missed = (await take(resumed, 50)).map((data) => JSON.parse(data).data);
    expect(missed.toSorted()).toEqual(texts.slice(250).toSorted());
  });

  test("meet streams that resume among them without a hole and without a copy", async () => {
    const topic = newTopic();
    const first = await publish(server, topic, "before");
    using publisher = await openPublisher(server, [topic]);
    const texts = numbers(300);
    const opening: Promise<StreamClient>[] = [];
    for (let start = 0; start < 300; start += 15) {
      publisher.write(inOneWrite([topic], texts.slice(start, start + 15)));
      opening.push(openStream(server, `${topic}?since=${first}`));
      await Promise.race([opening.at(-1), new Promise(setImmediate)]); // So that openings meet publications.
    }
    for (const stream of await Promise.all(opening)) {
      await using reader = stream;
      await reader.next();
      expect(await take(reader, 300)).toEqual(texts);
    }
  });
});

test("a reader that is cut in the middle of a turn sees no hole, and the others of the topic miss nothing", async () => {
  await using narrow = await spawnServer(["--max-buffered", "8KiB", "--max-message", "4KiB"]);
  const topic = newTopic();
  const sightings = noSightings();
  using stalled = new SlowReader(narrow, topic, "stream", sightings);
  await until(async () => (await inspect(narrow, topic)).subscribers === 1, "the stream to open");
  await using healthy = await openStream(narrow, topic);
  await healthy.next();
  using publisher = await openPublisher(narrow, [topic]);
  const texts = Array.from({ length: 600 }, (_, number) => numbered(number, 1024));
  publisher.write(inOneWrite([topic], texts));
  expect(await take(healthy, 600)).toEqual(texts);
  await narrow.logged("a slow reader");
  const cuts = narrow.log().filter(({ msg }) => String(msg).startsWith("a slow reader"));
  expect(cuts).toHaveLength(1);
  await until(() => {
    stalled.takeAll();
    return sightings.cuts === 1;
  }, "the reader to find that it was cut");
  expect(sightings.holes).toEqual([]);
  expect(sightings.messages).toBeLessThan(600);
});
