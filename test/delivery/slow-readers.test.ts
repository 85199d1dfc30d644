/**
 * A reader that is too slow is cut before it misses a message, and can resume. It never gets a message after one that it
 * was not given. `bun run test/fuzz/slow-readers.ts` runs this for longer.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { Random } from "../support/random.ts";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type LogLine, type RunningServer, residentBytes, root, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { type Form, forms, noSightings, numbered, SlowReader } from "../support/slow-reader.ts";
import { starve } from "../support/starvation.ts";
import { everyEvent, inspect, newTopic, openEvents, openTopic, publish } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const seed = 20_261_122;
/** A reader exceeds this limit a hundred times a second. */
const narrow = ["--max-buffered", "8KiB", "--max-message", "4KiB", "--log-level", "warn"];

describe("readers that stall and readers that drain half, while publishing never stops", () => {
  const server = sharedServer(narrow);

  for (const form of forms) {
    test(`see no hole, and readers that keep up notice nothing: ${form}`, async () => {
      const { holes, cuts, messages } = await starve({
        server,
        topic: newTopic(),
        readers: Array<typeof form>(25).fill(form),
        random: new Random(seed),
        bytes: (random) => random.between(20, 600), // Bun gathers many small frames before it writes them.
        enough: (seen) => seen.cuts >= 30,
      });
      expect({ form, holes }).toEqual({ form, holes: [] });
      expect(cuts).toBeGreaterThanOrEqual(30);
      expect(messages).toBeGreaterThan(cuts);
      expect(server.log().filter(({ msg }) => msg !== "listening")).toEqual([]);
    });
  }

  test("see no hole in messages of any size, in all forms at once", async () => {
    await using roomier = await spawnServer([
      ...["--max-buffered", "64KiB", "--max-message", "32KiB", "--log-level", "warn"],
      ...["--history-messages", "10"],
    ]);
    const { holes } = await starve({
      server: roomier,
      topic: "busy",
      readers: Array.from({ length: 40 }, (_, index) => forms[index % forms.length] ?? "raw"),
      random: new Random(seed),
      // Bun gathers frames under 16 KiB and writes larger ones at once.
      bytes: (random) => (random.chance(0.9) ? random.between(20, 2000) : random.between(10_000, 32_000)),
      enough: (seen) => seen.cuts >= 60,
    });
    expect(holes).toEqual([]);
  });
});

test("stalled readers cost no more memory than the limit allows, and no other reader misses a message", async () => {
  await using server = await spawnServer([
    "--max-buffered",
    "64KiB",
    "--max-message",
    "16KiB",
    "--log-level",
    "warn",
  ]);
  const before = await residentBytes(server.process.pid);
  const stalled = 60;
  const { published } = await starve({
    server,
    topic: "busy",
    readers: Array.from({ length: stalled }, (_, index) => forms[index % forms.length] ?? "raw"),
    random: new Random(seed),
    bytes: () => 4 * KiB,
    // Each takes nothing for about 50 rounds, long enough to be cut; then it comes back and stalls again.
    act: (reader, random) => {
      if (!reader.connected) reader.take(4 * KiB);
      else if (random.chance(0.02)) reader.takeAll();
    },
    enough: (_, { bytes }) => bytes >= 5 * MiB,
  });
  expect(published.bytes).toBeGreaterThanOrEqual(5 * MiB);
  const grownBytes = (await residentBytes(server.process.pid, "most")) - before;
  // The unsent bytes of each, those published between two checks, and the server's own: history, encodings, garbage.
  expect(grownBytes).toBeLessThan(stalled * 2 * 64 * KiB + 160 * MiB);
});

describe("a stalled reader", () => {
  const narrowed = ["--max-buffered", "64KiB", "--max-message", "32KiB"];

  test("is cut, the log has a line, and its subscription ends", async () => {
    await using server = await spawnServer(narrowed);
    using stalled = await RawSocket.open(server.socketUrl("/topics/a"));
    stalled.pause();
    expect(await publishUntilCut(server, "a", 32 * KiB)).toMatchObject({ address: "127.0.0.1" });
    await until(async () => (await inspect(server, "a")).subscribers === 0, "the end of its subscription");
  });

  test("is cut for the messages of one of its topics, and leaves all of them", async () => {
    await using server = await spawnServer(narrowed);
    using stalled = await RawSocket.connect(server.url);
    const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" };
    stalled.write(request("GET", "/topics/busy,silent", headers));
    expect((await stalled.response()).status).toBe(101);
    stalled.pause();
    using healthy = await openEvents(server, "silent,busy");
    // The healthy reader takes each message before the next is published, so it never lags.
    await publishUntilCut(server, "busy", 32 * KiB, async () => {
      expect((await healthy.event()).topic).toBe("busy");
    });
    await until(
      async () => (await inspect(server, "silent")).subscribers === 1,
      "the end of its subscription",
    );
    await publish(server, "silent", "still");
    expect(await healthy.event()).toMatchObject({ topic: "silent", data: "still" });
  });

  test("that publishes without reading is cut like any other, and no fault is logged", async () => {
    await using server = await spawnServer([...narrowed, "--history-messages", "1000"]);
    using greedy = await RawSocket.open(server.socketUrl("/topics/a"));
    greedy.pause();
    for (let number = 0; !slowReaderCut(server); number++) {
      greedy.write(frame(opcodes.text, numbered(number, 32 * KiB)));
      await inspect(server, "a"); // Meanwhile the server reads.
    }
    // The frames that the server read before the cut are published without a hole.
    const events = await everyEvent(server, "a");
    expect(events.map(({ data }) => Number.parseInt(String(data), 10))).toEqual(
      events.map((_, index) => index),
    );
    expect(events.length).toBeGreaterThan(10);
    expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  test("is cut, and an echo socket that holds more than the limit is not", async () => {
    await using server = await spawnServer(narrowed);
    using echo = await RawSocket.open(server.socketUrl("/ping"));
    echo.pause();
    // More than the kernel takes, so the server pauses reading from the socket at the limit.
    const sent = 400;
    for (let number = 0; number < sent; number++) echo.write(frame(opcodes.text, numbered(number, 32 * KiB)));
    using stalled = await RawSocket.open(server.socketUrl("/topics/a"));
    stalled.pause();
    await publishUntilCut(server, "a", 32 * KiB);
    echo.resume();
    for (let number = 0; number < sent; number++)
      expect((await echo.frame()).payload.toString()).toStartWith(`${number} `);
  });

  test("is cut at its own limit beside a program, whose sockets keep theirs", async () => {
    const application = resolve(root, "test/support/application.ts");
    await using server = await spawnServer([], { command: [process.execPath, application] });
    using theirs = await RawSocket.open(server.socketUrl("/chat"));
    theirs.pause();
    const sent = 40; // Of 256 KiB: 4 MiB for the kernel, and more for Bun than a subscriber of ours may hold.
    for (let number = 0; number < sent; number++)
      theirs.write(frame(opcodes.text, numbered(number, 256 * KiB)));
    using stalled = await RawSocket.open(server.socketUrl("/topics/a"));
    stalled.pause();
    const before = await residentBytes(server.process.pid);
    const { bufferedBytes } = await publishUntilCut(server, "a", 256 * KiB);
    expect(Number(bufferedBytes)).toBeLessThan(4 * MiB);
    expect((await residentBytes(server.process.pid, "most")) - before).toBeLessThan(128 * MiB);
    theirs.resume();
    for (let number = 0; number < sent; number++)
      expect((await theirs.frame()).payload.toString()).toStartWith(`${number} `);
  });

  test("is not cut for an empty message, for which Bun reports 0 as for a dropped one", async () => {
    await using server = await spawnServer(narrowed);
    using one = await openTopic(server, "a");
    using other = await openTopic(server, "a");
    for (let count = 0; count < 500; count++) one.send("");
    one.send("end");
    for (const client of [one, other]) {
      for (let count = 0; count < 500; count++) expect(await client.next()).toBe("");
      expect(await client.next()).toBe("end");
    }
    expect(server.log().filter(({ msg }) => msg !== "listening")).toEqual([]);
  });
});

describe("a replay that its reader does not take", () => {
  const server = sharedServer([
    ...["--max-buffered", "48KiB", "--max-message", "4KiB", "--history-messages", "1000"],
  ]);

  for (const form of forms) {
    test(`waits for it, and does not count as slowness while publishing goes on: ${form}`, async () => {
      using publisher = await openEvents(server, "publisher");
      const publishMore = async (topic: string, from: number, count: number): Promise<void> => {
        for (let number = from; number < from + count; number++) {
          const data = numbered(number, KiB);
          publisher.send(
            `{"specversion":"1.0","topic":"${topic}","datacontenttype":"text/plain","data":"${data}"}`,
          );
        }
        const isKept = async (): Promise<boolean> => (await inspect(server, topic)).retained === from + count;
        await until(isKept, "the last message");
      };
      // The kernel decides how much the server sends before it waits for the reader.
      const long = newTopic();
      await publishMore(long, 0, 1000);
      const sent = await replayedToStalledReader(server, long, form);
      expect(sent).toBeLessThan(1000);
      // A reader is live once the whole history was sent. The worst case is one that holds as much of it as possible.
      for (let history = Math.max(1, sent - 80); history <= sent + 20; history += 20) {
        const topic = newTopic();
        await publishMore(topic, 0, history);
        const sightings = noSightings();
        using reader = new SlowReader(server, topic, form, sightings, { since: "all", width: "narrow" });
        await until(async () => (await inspect(server, topic)).subscribers === 1, "the reader to be there");
        await publishMore(topic, history, 2); // At these a reader that holds too much is cut.
        await until(() => {
          reader.takeAll();
          return reader.last === history + 1;
        }, "the last message at the reader");
        expect(sightings).toEqual({ cuts: 0, messages: history + 2, holes: [] });
      }
    });
  }
});

test("messages of the largest size reach readers with the smallest limit that it allows", async () => {
  await using server = await spawnServer(["--max-buffered", "8MiB", "--max-message", "4MiB"]);
  using raw = await openTopic(server, "a");
  using events = await openEvents(server, "a");
  const bytes = Buffer.alloc(4 * MiB, 7);
  for (let count = 0; count < 2; count++) {
    raw.send(bytes);
    expect(await within(raw.next(), "the message")).toEqual(bytes);
    const { data_base64 } = await events.event();
    expect(Buffer.from(data_base64 ?? "", "base64").equals(bytes)).toBe(true);
  }
});

/** @returns how many messages of a history the server sends to a reader that takes none */
async function replayedToStalledReader(server: RunningServer, topic: string, form: Form): Promise<number> {
  const replayed = async (): Promise<number> =>
    sampleOf(await scrape(server), "longwire_replayed_messages_total");
  const before = await replayed();
  using _stalled = new SlowReader(server, topic, form, noSightings(), { since: "all", width: "narrow" });
  await until(async () => (await replayed()) > before, "the replay to begin");
  let seen = before;
  await until(async () => {
    const last = seen;
    seen = await replayed();
    return seen === last;
  }, "the replay to wait for its reader");
  return seen - before;
}

/**
 * Publishes messages one after the other until a reader is cut, however much the kernel takes for it.
 * @param taken called after each message
 * @returns the log line
 */
async function publishUntilCut(
  server: RunningServer,
  topic: string,
  messageBytes: number,
  taken?: () => Promise<void>,
): Promise<LogLine> {
  const text = "x".repeat(messageBytes);
  for (let cut: LogLine | undefined; ; cut = slowReaderCut(server)) {
    if (cut) return cut;
    await publish(server, topic, text);
    await taken?.();
  }
}

function slowReaderCut(server: RunningServer): LogLine | undefined {
  return server.log().find(({ msg }) => msg === "a slow reader is cut");
}
