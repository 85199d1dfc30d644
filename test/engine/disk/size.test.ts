/** How much the engine on disk keeps, on disk and in memory, and how fast it starts with much. */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { checksumOf, EntryWriter, entryKinds } from "../../../src/engine/disk/entry.ts";
import { rowChecksum } from "../../../src/engine/disk/topic-table.ts";
import { cpuMicroseconds } from "../../bench/process-usage.ts";
import { type DiskServer, spawnDiskServer } from "../../support/disk-server.ts";
import { sampleOf, scrape } from "../../support/prometheus.ts";
import { residentBytes } from "../../support/server.ts";
import { everyEvent, inspect, offsetOf, publish, topicsUrl } from "../../support/topics.ts";
import { until } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const sizeOf = ({ data }: DiskServer): number => statSync(join(data, "longwire.db")).size;

/** So few at once that what is not merged yet is little beside the limits. */
const atOnce = 10;

const publishMany = async ({ running }: DiskServer, topics: number, count: number, bytes: number) => {
  for (let first = 0; first < count; first += atOnce)
    await Promise.all(
      Array.from({ length: atOnce }, (_, index) =>
        publish(running, `t/${(first + index) % topics}`, `${first + index} `.padEnd(bytes, "x")),
      ),
    );
};

test("--history-bytes holds on disk: the oldest messages go, the rest is complete", async () => {
  await using server = await spawnDiskServer(["--history-bytes", "2MiB", "--history-messages", "100000"]);
  await publishMany(server, 20, 500, 16_000);
  const metrics = await scrape(server.running);
  expect(sampleOf(metrics, "longwire_history_bytes")).toBeLessThan(3 * MiB);
  expect(sizeOf(server)).toBeLessThan(5 * MiB); // 8 MB were published.
  let kept = 0;
  for (let topic = 0; topic < 20; topic++) {
    const events = await everyEvent(server.running, `t/${topic}`);
    kept += events.length;
    expect(offsetOf(events.at(-1)?.id ?? "")).toBe(25);
    expect(events.map(({ id }) => offsetOf(id))).toEqual(
      Array.from({ length: events.length }, (_, index) => 25 - events.length + 1 + index),
    );
  }
  expect(kept * 16_000).toBeGreaterThan(1 * MiB); // And not more goes than must.
});

test("a smaller limit at a restart gives the space back", async () => {
  await using server = await spawnDiskServer(["--history-messages", "100000"]);
  await publishMany(server, 10, 250, 32_000);
  expect(sizeOf(server)).toBeGreaterThan(5 * MiB); // The rest is in the write-ahead log.
  await server.kill();
  await server.start(["--history-bytes", "1MiB"]);
  await until(() => sizeOf(server) < 2.5 * MiB, "the file to shrink", 30);
  expect((await inspect(server.running, "t/1")).position).toEndWith("-25");
});

test("--position-bytes bounds the topics without messages, and counts those that it forgets", async () => {
  await using server = await spawnDiskServer(["--position-bytes", "64KiB", "--history-messages", "0"]);
  await publishMany(server, 500, 500, 10);
  await until(async () => {
    const metrics = await scrape(server.running);
    const evicted = metrics.get("longwire_evicted_total")?.samples.get('what="positions"') ?? 0;
    return evicted > 150 && sampleOf(metrics, "longwire_topics") < 350;
  }, "positions to be forgotten");
  expect((await inspect(server.running, "t/499")).position).toEndWith("-1");
});

/** Writes what a server would have, faster: topics that have the same messages, in one segment for each topic and part. */
function fill({ data }: DiskServer, topics: number, messages: number, bytes: number): void {
  using database = new Database(join(data, "longwire.db"));
  const now = Date.now();
  const each = messages / topics;
  const perSegment = Math.max(1, Math.min(each, Math.floor((64 * KiB) / bytes)));
  const insertTopic = database.query("INSERT INTO topic VALUES (?, ?, ?, 0, ?, 0, NULL, ?, ?)");
  const insertSegment = database.query("INSERT INTO segment VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)");
  const writer = new EntryWriter();
  database.transaction(() => {
    for (let id = 1; id <= topics; id++) {
      const merged = { last: each, ended: 0, time: now } as const;
      const row = { id, name: `filled/${id}`, dropped: 0, merged } as const;
      insertTopic.run(id, row.name, each, now, now, rowChecksum(row));
    }
    for (let first = 1; first <= each; first += perSegment) {
      const last = Math.min(each, first + perSegment - 1);
      writer.length = 0;
      const places = Array.from({ length: last - first + 1 }, (_, index) => {
        const data = `${first + index} `.padEnd(bytes, "x");
        return writer.write({ kind: entryKinds.text, contentType: "text/plain", data }, true);
      });
      for (let id = 1; id <= topics; id++) {
        for (const [index, at] of places.entries())
          writer.entries.placeAt(at, { topic: id, offset: first + index, time: now, received: now });
        const run = writer.entries.bytes;
        insertSegment.run(id, first, last, now, now, checksumOf([id, first, last], run), run);
      }
    }
    database.run(`UPDATE state SET topics = ${topics}, commits = commits + 1`);
  })();
}

test("1,000,000 retained messages start within 2 s", async () => {
  await using server = await spawnDiskServer(["--history-messages", "1000000"]);
  await server.kill();
  fill(server, 100_000, 1_000_000, 10);
  const { process } = await server.start();
  // The time on a processor: a machine that is busy with other tests makes a start wait.
  expect(cpuMicroseconds(process.pid) / 1e6).toBeLessThan(2);
  const io = readFileSync(`/proc/${process.pid}/io`, "utf8");
  expect(Number(/^rchar: (\d+)$/m.exec(io)?.[1])).toBeLessThan(sizeOf(server) / 4); // It does not look at what is kept.
  expect(sampleOf(await scrape(server.running), "longwire_topics")).toBe(100_000);
  for (const topic of [1, 77_777, 100_000])
    expect((await everyEvent(server.running, `filled/${topic}`)).length).toBe(10);
});

/** Of a stream that is too much to be decoded. */
async function* idsOf(body: ReadableStream<Uint8Array> | null): AsyncGenerator<string> {
  const [mark, longestBytes] = ["\nid: ", 64];
  let rest = Buffer.alloc(0);
  for await (const chunk of body ?? []) {
    const bytes = Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const begin = bytes.indexOf(mark, at);
      const end = begin < 0 ? -1 : bytes.indexOf("\n", begin + mark.length);
      if (end < 0) break;
      yield bytes.toString("latin1", begin + mark.length, end);
      at = end;
    }
    rest = Buffer.from(bytes.subarray(Math.max(at, bytes.length - longestBytes)));
  }
}

test("a client that was away for long is replayed to at its own pace, and not from memory", async () => {
  await using server = await spawnDiskServer(["--history-messages", "1000000"]);
  await server.kill();
  const count = 4000;
  fill(server, 1, count, 30_000); // 120 MB.
  const running = await server.start();
  const before = await residentBytes(running.process.pid);
  const { position } = await inspect(running, "filled/1");
  const epoch = position?.slice(0, position.lastIndexOf("-"));
  const headers = { Accept: "text/event-stream", "Last-Event-ID": `${epoch}-0` };
  const { body } = await fetch(topicsUrl(running, "filled/1"), { headers });
  const offsets: number[] = [];
  for await (const id of idsOf(body)) if (offsets.push(offsetOf(id)) > count) break;
  expect(offsets).toEqual(Array.from({ length: count + 1 }, (_, offset) => offset)); // The first is that of the opening event.
  // Measured: 72 MiB, since two heaps collect their garbage late; both would hold all of it, if it were read at once.
  expect((await residentBytes(running.process.pid, "most")) - before).toBeLessThan(160 * MiB);
});
