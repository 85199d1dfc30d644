/** Readers that take nothing, together: what they may hold is bounded, and nobody else notices. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { NarrowSocket } from "./support/narrow-socket.ts";
import { handshakeHeaders, request } from "./support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "./support/server.ts";
import { inspect, openEvents, openTopic, publish } from "./support/topics.ts";
import { until } from "./support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * KiB;

const stalledCount = 150;
const flags = ["--max-buffered-total", "24MiB", "--history-messages", "2000", "--log-level", "warn"];

const forms: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  raw: handshakeHeaders,
  "cloudevents.json": { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" },
  "event streams": { Accept: "text/event-stream" },
};

async function stalledReaders(
  server: RunningServer,
  topic: string,
  headers: Readonly<Record<string, string>>,
): Promise<Disposable> {
  const sockets = Array.from({ length: stalledCount }, () => {
    const socket = new NarrowSocket(Number(server.url.port));
    socket.write(Buffer.from(request("GET", `/topics/${topic}`, headers)));
    return socket;
  });
  await until(async () => (await inspect(server, topic)).subscribers === stalledCount, "all readers");
  return {
    [Symbol.dispose]: () => {
      for (const socket of sockets) socket[Symbol.dispose]();
    },
  };
}

async function cutForTotal(server: RunningServer): Promise<number> {
  const metrics = await (await fetch(new URL("/metrics", server.url))).text();
  return Number(/^longwire_cut_total\{reason="buffered_total"\} (\d+)$/m.exec(metrics)?.[1]);
}

describe("a crowd of stalled readers", () => {
  for (const [form, headers] of Object.entries(forms)) {
    test(`as ${form} holds no more than --max-buffered-total, and healthy readers miss nothing`, async () => {
      await using server = await spawnServer(flags);
      using _ = await stalledReaders(server, "busy", headers);
      using healthy = await openEvents(server, "busy");
      using raw = await openTopic(server, "busy");
      const before = await residentBytes(server.process.pid);
      const texts = Array.from({ length: 60 }, (_, number) => `${number} `.padEnd(64 * KiB, "x"));
      const received = (async () => {
        for (const text of texts) {
          expect((await healthy.event()).data).toBe(text);
          expect(await raw.next()).toBe(text);
        }
      })();
      for (const text of texts) await publish(server, "busy", text);
      await received;
      // 60 x 64 KiB for each of 150 readers are 560 MiB. Garbage and history come on top of the limit.
      const grownBytes = (await residentBytes(server.process.pid, "most")) - before;
      expect(grownBytes).toBeLessThan(24 * MiB + 160 * MiB);
      expect(await cutForTotal(server)).toBeGreaterThan(0);
    });
  }
});
