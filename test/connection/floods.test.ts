/** Sockets that send as fast as TCP takes it, or never read, and that others notice nothing of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { attack, disposeAll, openedMany } from "../support/attack.ts";
import { beginCompanion } from "../support/companion.ts";
import type { Flood } from "../support/flooder.ts";
import { NarrowSocket } from "../support/narrow-socket.ts";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { closePayload, frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { stalledForms, stalledReaders } from "../support/stalled-readers.ts";
import { everyEvent, inspect, publish } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * 1024;

const server = sharedServer(["--max-message", "64KiB", "--max-buffered", "128KiB"]);

/** Opens sockets on /ping that read nothing, and sends on each what the server takes within a second. */
async function sendUnread(count: number, frames: Buffer, bytesMax: number): Promise<void> {
  const peers = Array.from({ length: count }, () => ({
    socket: new NarrowSocket(Number(server.url.port)),
    sentBytes: 0,
  }));
  for (const { socket } of peers) socket.write(Buffer.from(request("GET", "/ping", handshakeHeaders)));
  // The server reads until it stops; nothing announces that it has.
  for (const end = performance.now() + 1000; performance.now() < end; await Bun.sleep(10))
    for (const peer of peers)
      for (let taken = 1; taken > 0 && peer.sentBytes < bytesMax; peer.sentBytes += taken)
        taken = peer.socket.tryWrite(frames.subarray(peer.sentBytes % frames.length));
  for (const { socket } of peers) socket[Symbol.dispose]();
}

describe("a socket that sends small frames as fast as TCP takes them does not slow others down", () => {
  for (const [what, path, opcode] of [
    ["echoes", "/ping", opcodes.text],
    ["publications", "/topics/flooded", opcodes.text],
    ["pings", "/ping", opcodes.ping],
    ["pongs", "/topics/flooded", opcodes.pong],
  ] as const) {
    test(what, async () => {
      await using attacked = await spawnServer(["--log-level", "warn"]);
      const flood = async (servedOthers: () => Promise<unknown>): Promise<Flood> => {
        const args = [new URL(path, attacked.url).href, String(opcode), "1"];
        const flooder = await beginCompanion<Flood>("test/support/flooder.ts", args);
        await servedOthers();
        return flooder.end();
      };
      const { sentBytes } = await attack(attacked, flood, { medianMillisecondsMax: 40 });
      expect(sentBytes).toBeGreaterThan(MiB);
      const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
      expect(metrics).toMatch(/^longwire_paused_total\{reason="flood"\} [1-9]/m);
    });
  }

  test("frames that came before the client left are handled", async () => {
    using socket = await RawSocket.open(server.socketUrl("/topics/sent-and-left"));
    const frames = Buffer.concat(Array<Buffer>(2000).fill(frame(opcodes.text, "x")));
    socket.write(Buffer.concat([frames, frame(opcodes.close, closePayload(1000))]));
    await until(
      async () => (await inspect(server, "sent-and-left")).position?.endsWith("-2000") ?? false,
      "all of them to be published",
    );
  });

  test("frames that came after one that is refused are not handled, though the client has left", async () => {
    const topic = "refused-and-left";
    const malformed = async (): Promise<number> =>
      sampleOf(await scrape(server), "longwire_refused_total", 'reason="malformed"');
    const before = await malformed();
    using socket = await RawSocket.connect(server.url);
    socket.write(
      request("GET", `/topics/${topic}`, {
        ...handshakeHeaders,
        "Sec-WebSocket-Protocol": "cloudevents.json",
      }),
    );
    await socket.response();
    const event = (data: string): Buffer =>
      frame(opcodes.text, `{"specversion":"1.0","type":"test","data":"${data}"}`);
    const frames = [...Array<Buffer>(200).fill(event("x")), frame(opcodes.text, "no event"), event("late")];
    socket.write(Buffer.concat([...frames, frame(opcodes.close, closePayload(1000))]));
    await until(async () => (await malformed()) > before, "the refusal");
    await until(
      async () => (await inspect(server, topic)).retained === 200,
      "those before it to be published",
    );
    await publish(server, topic, "last");
    const data = (await everyEvent(server, topic)).map((received) => received.data);
    expect(data).toEqual([...Array(200).fill("x"), "last"]);
  });
});

describe("a flood of pings", () => {
  const pings = Buffer.concat(Array<Buffer>(1000).fill(frame(opcodes.ping, Buffer.alloc(125))));

  test("is answered pong for ping where no rate is set", async () => {
    await attack(server, async () => {
      using socket = await RawSocket.open(server.socketUrl());
      for (let batch = 0; batch < 10; batch++) {
        socket.write(pings);
        for (let pong = 0; pong < 1000; pong++) expect((await socket.frame()).opcode).toBe(opcodes.pong);
      }
    });
  });

  test("whose pongs nobody reads pauses its socket, and the counter tells", async () => {
    await using attacked = await spawnServer(["--max-message", "64KiB", "--max-buffered", "256KiB"]);
    using socket = await RawSocket.open(attacked.socketUrl());
    socket.pause();
    await until(async () => {
      for (let batch = 0; batch < 10; batch++) socket.write(pings); // Until it is more than the kernel takes.
      const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
      return /^longwire_paused_total\{reason="unread"\} [1-9]/m.test(metrics);
    }, "reading from it to pause");
  });

  test("whose pongs nobody reads holds no more memory than the limit", async () => {
    await attack(server, () => sendUnread(1, pings, 128 * MiB));
  });

  test("ends the line with 1013 where a rate is set, and the counter tells", async () => {
    await using strict = await spawnServer(["--max-rate", "500"]);
    await attack(strict, async () => {
      using socket = await RawSocket.open(strict.socketUrl());
      socket.write(pings);
      let last = await socket.frame();
      while (last.opcode !== opcodes.close) last = await socket.frame();
      expect(last.payload.readUInt16BE()).toBe(1013);
      expect(last.payload.toString()).toContain("--max-rate");
    });
    const metrics = await (await fetch(new URL("/metrics", strict.url))).text();
    expect(metrics).toContain('longwire_cut_total{reason="rate"} 1\n');
  });
});

describe("a client that never reads", () => {
  test("its own echoes is slowed down, and costs a bounded memory", async () => {
    const messages = Buffer.concat(Array<Buffer>(20).fill(frame(opcodes.binary, Buffer.alloc(60 * KiB))));
    await attack(server, () => sendUnread(10, messages, 12 * MiB));
  });

  for (const form of stalledForms) {
    test(`a topic as ${form} is cut`, async () => {
      const topic = `unread-${form.replaceAll(" ", "-")}`;
      await attack(server, async () => {
        using _ = await stalledReaders(server, topic, form, 10);
        const text = "x".repeat(60 * KiB);
        await until(async () => {
          await publish(server, topic, text);
          return (await inspect(server, topic)).subscribers === 0;
        }, "all of them to be cut");
      });
    });
  }

  test("the answers to its requests costs a bounded memory", async () => {
    for (let index = 0; index < 100; index++) await publish(server, "unread-history", "x".repeat(60 * KiB));
    await attack(server, async () => {
      const sockets = await openedMany(20, () => RawSocket.connect(server.url));
      for (const socket of sockets) {
        socket.pause();
        socket.write(request("GET", "/topics/unread-history?since=all").repeat(10));
      }
      await Bun.sleep(1000); // For the server to answer what it will.
      disposeAll(sockets);
    });
  });
});

test("after all of it the log has no error", () => {
  expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
