/** Readers that take nothing, together: what they may hold is bounded, and nobody else notices. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { nextTurn } from "../../src/next-turn.ts";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { type RunningServer, residentBytes, root, spawnServer } from "../support/server.ts";
import { noSightings, numbered, SlowReader } from "../support/slow-reader.ts";
import { stalledForms, stalledReaders } from "../support/stalled-readers.ts";
import { openEvents, openStream, openTopic, publish } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const burstingProgram = [process.execPath, resolve(root, "test/support/bursting-program.ts")];

const stalledCount = 80;
// Their own limit is more than they are given.
const flags = ["--max-buffered-total", "24MiB", "--max-buffered", "4MiB", "--log-level", "warn"];

async function cutForTotal(server: RunningServer): Promise<number> {
  const metrics = await (await fetch(new URL("/metrics", server.url))).text();
  return Number(/^longwire_cut_total\{reason="buffered_total"\} (\d+)$/m.exec(metrics)?.[1]);
}

describe("a crowd of stalled readers", () => {
  for (const form of stalledForms) {
    test(`as ${form} holds no more than --max-buffered-total, and healthy readers miss nothing`, async () => {
      await using server = await spawnServer(flags);
      using _ = await stalledReaders(server, "busy", form, stalledCount);
      using healthy = await openEvents(server, "busy");
      using raw = await openTopic(server, "busy");
      const before = await residentBytes(server.process.pid);
      const texts = Array.from({ length: 48 }, (_, number) => `${number} `.padEnd(64 * KiB, "x"));
      const received = (async () => {
        for (const text of texts) {
          expect((await healthy.event()).data).toBe(text);
          expect(await raw.next()).toBe(text);
        }
      })();
      for (const text of texts) await publish(server, "busy", text);
      await received;
      // 48 x 64 KiB for each of 80 readers are 240 MiB. Garbage and history come on top of the limit.
      const grownBytes = (await residentBytes(server.process.pid, "most")) - before;
      expect(grownBytes).toBeLessThan(24 * MiB + 160 * MiB);
      expect(await cutForTotal(server)).toBeGreaterThan(0);
    });
  }

  test("takes no more memory than --max-buffered-total, in which Bun's buffers are counted as large as they are", async () => {
    await using server = await spawnServer(["--max-buffered-total", "64MiB", "--log-level", "warn"]);
    using _ = await stalledReaders(server, "busy", "raw", 600);
    const before = await residentBytes(server.process.pid);
    for (let number = 0; number < 8; number++) await publish(server, "busy", numbered(number, 64 * KiB));
    await until(async () => (await cutForTotal(server)) > 400, "most of them to be cut");
    await until(async () => (await residentBytes(server.process.pid)) - before < 64 * MiB, "the memory");
  });

  test("as event streams holds no more of one large message each, which Bun has taken and not sent", async () => {
    await using server = await spawnServer(["--max-buffered-total", "32MiB", "--log-level", "warn"]);
    using _ = await stalledReaders(server, "busy", "event streams", 300);
    const before = await residentBytes(server.process.pid);
    await publish(server, "busy", "x".repeat(1_000_000)); // 286 MiB for all of them.
    await until(async () => (await cutForTotal(server)) >= 200, "most of them to be cut");
    expect((await residentBytes(server.process.pid, "most")) - before).toBeLessThan(32 * MiB + 96 * MiB);
  });

  test("costs a reader nothing that keeps up, however fast a program publishes", async () => {
    await using server = await spawnServer([], { command: [...burstingProgram, "64", "2", "16"] });
    using _ = await stalledReaders(server, "busy", "cloudevents.json", 150);
    const sightings = noSightings();
    using reader = new SlowReader(server, "busy", "cloudevents", sightings);
    await takeBurst(server, reader, () => reader.last === 63 || sightings.cuts > 0);
    expect(sightings).toEqual({ cuts: 0, messages: 64, holes: [] });
  });

  test("that is cut keeps others waiting for no longer than 150 ms of the server's time", async () => {
    await using server = await spawnServer(["--max-buffered", "256KiB", "--max-message", "128KiB"]);
    using _ = await stalledReaders(server, "busy", "raw", 700);
    using bystander = await openTopic(server, "other");
    let isCut = false;
    let worstSeconds = 0;
    const waits = (async () => {
      while (!isCut) {
        const before = processorSeconds(server.process.pid);
        bystander.send("ping");
        expect(await bystander.next()).toBe("pong");
        worstSeconds = Math.max(worstSeconds, processorSeconds(server.process.pid) - before);
        await nextTurn();
      }
    })();
    for (let number = 0; !isCut; number++) {
      await publish(server, "busy", numbered(number, 64 * KiB));
      isCut = sampleOf(await scrape(server), "longwire_cut_total", 'reason="slow"') === 700;
    }
    await waits;
    expect(worstSeconds).toBeLessThan(3 * 0.15); // The kernel counts in steps of 10 ms.
  });
});

describe("readers that keep up", () => {
  for (const form of ["raw", "stream"] as const) {
    test(`are waited for by a publisher that is faster, and get everything: ${form}`, async () => {
      // Its buffer lasts for 8 s at the 2 MiB a second that lagging readers are given: a busy machine does not cut it.
      await using server = await spawnServer([], { command: [...burstingProgram, "384", "16", "64"] });
      const sightings = noSightings();
      using reader = new SlowReader(server, "busy", form, sightings);
      await takeBurst(server, reader, () => reader.last === 383 || sightings.cuts > 0);
      expect(sightings).toEqual({ cuts: 0, messages: 384, holes: [] });
    });
  }

  test("as event streams are not cut for what they could hold together", async () => {
    await using server = await spawnServer([
      ...["--max-buffered-total", "2MiB", "--max-buffered", "512KiB", "--max-message", "256KiB"],
      ...["--log-level", "warn"],
    ]);
    const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(server, "busy")));
    for (const stream of streams) await stream.next();
    using publisher = await openEvents(server, "other");
    const texts = [1, 2, 3, 4].map((number) => numbered(number, 125_000));
    for (const data of texts)
      publisher.send(
        JSON.stringify({ specversion: "1.0", topic: "busy", datacontenttype: "text/plain", data }),
      );
    for (const text of texts)
      for (const { data } of await Promise.all(streams.map((stream) => stream.next())))
        expect(data).toBe(text);
    expect(await cutForTotal(server)).toBe(0);
    for (const stream of streams) await stream[Symbol.asyncDispose]();
  });
});

/** Begins the burst once the reader is there, which takes all it can until it is enough. */
async function takeBurst(server: RunningServer, reader: SlowReader, enough: () => boolean): Promise<void> {
  await until(() => {
    if (!reader.connected) reader.take(4096);
    return reader.connected;
  }, "the reader to be there");
  await publish(server, "begin", "now");
  await until(async () => {
    for (let looks = 0; looks < 500 && !enough(); looks++) {
      reader.takeAll(); // The kernel holds 100 KB for it: a message takes many steps.
      await nextTurn();
    }
    return enough();
  }, "the last message at the reader");
}

/** The time that a process has run on a processor, in steps of 10 ms: what others do on this machine is not in it. */
function processorSeconds(pid: number): number {
  const [, fields = ""] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
  const [user, system] = fields.split(" ").slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}
