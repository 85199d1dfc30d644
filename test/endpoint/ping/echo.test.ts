/** The echo line, spoken to by clients that no one here wrote. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Client } from "../../support/bun-client.ts";
import { clients, openWs, ws } from "../../support/clients.ts";
import { NarrowSocket } from "../../support/narrow-socket.ts";
import { sampleOf, scrape } from "../../support/prometheus.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { until, within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;

const server = sharedServer();

for (const { name, open } of clients) {
  describe(name, () => {
    test("a text ping is answered with a text pong, a binary ping with a binary pong", async () => {
      using client = await open(server.socketUrl());
      client.send("ping");
      client.send(Buffer.from("ping"));
      expect(await client.next()).toBe("pong");
      expect(await client.next()).toEqual(Buffer.from("pong"));
    });

    test("only exactly ping is answered with pong", async () => {
      using client = await open(server.socketUrl());
      const others = ["Ping", "ping ", "ping\n", "pingping", "pin", "pong"];
      for (const text of others) {
        client.send(text);
        client.send(Buffer.from(text));
      }
      for (const text of others) {
        expect(await client.next()).toBe(text);
        expect(await client.next()).toEqual(Buffer.from(text));
      }
    });

    test("a message comes back with the same bytes in the same type", async () => {
      using client = await open(server.socketUrl());
      const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const text = "Hello, 长连接 🔌 \u0000 \ufeff end";
      client.send(text);
      client.send(everyByte);
      expect(await client.next()).toBe(text);
      expect(await client.next()).toEqual(everyByte);
    });

    test("an empty message comes back empty, as text and as binary", async () => {
      using client = await open(server.socketUrl());
      client.send("");
      client.send(new Uint8Array());
      client.send("after");
      expect(await client.next()).toBe("");
      expect(await client.next()).toEqual(Buffer.alloc(0));
      expect(await client.next()).toBe("after");
    });

    test("a message of the largest size comes back whole", async () => {
      using client = await open(server.socketUrl());
      const bytes = Buffer.alloc(MiB);
      for (let i = 0; i < bytes.length; i += 65_536) crypto.getRandomValues(bytes.subarray(i, i + 65_536));
      const text = "长连接!".repeat(MiB / 10); // Ten bytes of UTF-8 each time.
      client.send(bytes);
      client.send(text);
      expect(Bun.SHA256.hash(await client.next(), "hex")).toBe(Bun.SHA256.hash(bytes, "hex"));
      expect((await client.next()) === text).toBe(true);
    });

    test("2,000 messages of both types come back in order", async () => {
      using client = await open(server.socketUrl());
      for (let i = 0; i < 2000; i++) client.send(i % 2 === 0 ? `${i}` : Buffer.from(`${i}`));
      for (let i = 0; i < 2000; i++) {
        const message = await client.next();
        if (typeof message === "string" ? i % 2 !== 0 : i % 2 === 0) throw new Error(`${i} changed its type`);
        if (message.toString() !== `${i}`) throw new Error(`${message} came in place of ${i}`);
      }
      client.send("the last");
      expect(await client.next()).toBe("the last");
    });

    test("a message one byte over --max-message ends that connection with 1009 and no other", async () => {
      using client = await open(server.socketUrl());
      using other = await open(server.socketUrl());
      client.send(Buffer.alloc(MiB + 1));
      expect((await within(client.closed, "a close")).code).toBe(1009);
      other.send("still here");
      expect(await other.next()).toBe("still here");
    });

    test("a close is answered with the code that was sent", async () => {
      using client = await open(server.socketUrl());
      client.close(4321, "enough");
      expect((await within(client.closed, "a close")).code).toBe(4321);
    });

    test("longwire.raw is chosen among the subprotocols offered, wherever it stands", async () => {
      using client = await open(server.socketUrl(), ["bearer.secret", "longwire.raw"]);
      expect(client.protocol).toBe("longwire.raw");
    });
  });
}

test("of subprotocols that are all unknown none is chosen", async () => {
  const headers = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "bearer.secret, chat" };
  const response = await exchange(server.url, request("GET", "/ping", headers));
  expect(response.status).toBe(101);
  expect(response.headers.get("Sec-WebSocket-Protocol")).toBeNull();
});

test("--max-message counts a fragmented message as a whole", async () => {
  await using small = await spawnServer(["--max-message", "1KiB"]);
  const socket = new ws.WebSocket(small.socketUrl());
  const closed = Promise.withResolvers<number>();
  socket.on("close", closed.resolve);
  await within(new Promise((resolve) => socket.on("open", resolve)), "the ws package to open");
  using other = await openWs(small.socketUrl());

  const echoed = new Promise((resolve) => socket.once("message", resolve));
  socket.send(Buffer.alloc(512, 1), { fin: false });
  socket.send(Buffer.alloc(512, 2), { fin: true });
  expect(await within(echoed, "an echo")).toEqual(
    Buffer.concat([Buffer.alloc(512, 1), Buffer.alloc(512, 2)]),
  );

  for (const fin of [false, false, true]) socket.send(Buffer.alloc(400), { fin });
  expect(await within(closed.promise, "a close")).toBe(1009);
  other.send("still here");
  expect(await other.next()).toBe("still here");
});

test("messages of --max-message come back though they are more than --max-buffered together", async () => {
  await using tight = await spawnServer(["--max-message", "4MiB", "--max-buffered", "8MiB"]);
  using client = await RawSocket.open(tight.socketUrl());
  const messages = Array.from({ length: 8 }, (_, i) => Buffer.alloc(4 * MiB - i, i));
  for (const message of messages) client.write(frame(opcodes.binary, message));
  for (const message of messages) expect(message.equals((await client.frame()).payload)).toBe(true);
});

test("96 MiB queued before anything is read comes back whole while the server's memory stays bounded", async () => {
  await using fresh = await spawnServer();
  const { socket, hash } = await openHashing(fresh);
  const idleBytes = await residentBytes(fresh.process.pid);

  socket.pause();
  const sent = new Bun.CryptoHasher("sha256");
  const messageBytes = 64 * 1024;
  const messageCount = (96 * MiB) / messageBytes;
  for (let i = 0; i < messageCount; i++) {
    const message = Buffer.alloc(messageBytes, i);
    message.writeUInt32BE(i);
    sent.update(message);
    socket.send(message);
  }
  await untilSteady(() => socket.bufferedAmount);
  expect(socket.bufferedAmount).toBeGreaterThan(64 * MiB);
  const pausedBytes = (await residentBytes(fresh.process.pid)) - idleBytes;

  socket.resume();
  expect(await hash(messageCount)).toBe(sent.digest("hex"));
  const mostBytes = (await residentBytes(fresh.process.pid, "most")) - idleBytes;
  socket.terminate();

  // Measured: 3 to 6 MiB held for a peer that does not read.
  expect(pausedBytes / MiB).toBeLessThan(10);
  // Measured: 13 to 30 MiB while 96 to 256 MiB pass through, and as much for a peer that reads at once: it is what waits for
  // the garbage collector.
  expect(mostBytes / MiB).toBeLessThan(64);
}, 60_000);

test("a reader that drains only a little at a time gets every message, in order", async () => {
  await using tight = await spawnServer(["--max-buffered", "16KiB", "--max-message", "8KiB"]);
  const { socket, hash } = await openHashing(tight);
  socket.on("message", () => {
    socket.pause();
    setImmediate(() => socket.resume());
  });
  const sent = new Bun.CryptoHasher("sha256");
  // Odd sizes, so that the limit is met at ever other places; few enough to stay far from the deadline.
  const messageCount = 2000;
  for (let i = 0; i < messageCount; i++) {
    const message = Buffer.alloc((i * 7919) % 8191, i);
    sent.update(message);
    socket.send(message);
  }
  expect(await hash(messageCount)).toBe(sent.digest("hex"));
  socket.terminate();
}, 60_000);

test("a reader that drains only a little at a time is never owed more than --max-buffered and a message", async () => {
  const [limitBytes, messageBytes] = [512 * 1024, 256 * 1024];
  await using small = await spawnServer(["--max-buffered", "512KiB", "--max-message", "256KiB"]);
  using peer = new NarrowSocket(Number(small.url.port), "wide");
  peer.write(Buffer.from(request("GET", "/ping", handshakeHeaders)));
  const message = frame(opcodes.binary, Buffer.alloc(messageBytes));
  let next = 0;
  let mostBytes = 0;
  for (let takenBytes = 0; takenBytes < 2 * MiB; ) {
    for (let sentBytes = -1; sentBytes !== 0; next = (next + sentBytes) % message.length)
      sentBytes = peer.tryWrite(message.subarray(next));
    takenBytes += peer.read(16 * 1024)?.length ?? 0;
    mostBytes = Math.max(mostBytes, sampleOf(await scrape(small), "longwire_buffered_bytes"));
  }
  // The memory of an unsent byte is 4/3.
  expect(mostBytes).toBeGreaterThan((limitBytes * 4) / 3);
  expect(mostBytes).toBeLessThan(((limitBytes + messageBytes + 1024) * 4) / 3);
});

test("readers that come and go in the middle of their echo leave the others' intact", async () => {
  await using tight = await spawnServer(["--max-buffered", "16KiB", "--max-message", "8KiB"]);
  using steady: Client = await openWs(tight.socketUrl());
  for (let round = 0; round < 3; round++) {
    const { socket } = await openHashing(tight);
    socket.pause();
    for (let i = 0; i < 1000; i++) socket.send(Buffer.alloc(8 * 1024));
    steady.send(`round ${round}`);
    expect(await steady.next()).toBe(`round ${round}`);
    socket.terminate();
  }
  expect(tight.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});

/** A client of the `ws` package that hashes what comes back in place of keeping it. */
async function openHashing(target: RunningServer) {
  const socket = new ws.WebSocket(target.socketUrl());
  const received = new Bun.CryptoHasher("sha256");
  let count = 0;
  let failure: Error | undefined;
  socket.on("error", (error) => {
    failure ??= error;
  });
  socket.on("close", (code) => {
    failure ??= new Error(`closed with ${code} after ${count} messages`);
  });
  socket.on("message", (data) => {
    received.update(data as Buffer);
    count++;
  });
  await until(() => socket.readyState === socket.OPEN, "the ws package to open");
  const hash = async (messageCount: number): Promise<string> => {
    await until(
      () => {
        if (failure) throw failure;
        return count >= messageCount;
      },
      `${messageCount} messages`,
      50,
    );
    return received.digest("hex");
  };
  return { socket, hash };
}

/** What is sent has no end to wait for when the other side stops reading, except that it stops. */
async function untilSteady(read: () => number): Promise<void> {
  let last = Number.NaN;
  let since = performance.now();
  await until(
    () => {
      const now = read();
      if (now !== last) since = performance.now();
      last = now;
      return performance.now() - since > 500;
    },
    "an amount to become steady",
    30,
  );
}
