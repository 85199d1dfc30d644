/** A silent client is pinged. One that stays silent is cut, also while it is being sent to. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { openBun, openWs, ws } from "./support/clients.ts";
import { frame, opcodes, RawSocket } from "./support/raw-socket.ts";
import { residentBytes, spawnServer } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(30_000);

const MiB = 1024 * 1024;
const heartbeat = ["--heartbeat-interval", "1s", "--heartbeat-timeout", "1s"];

const server = sharedServer(heartbeat);

// Each of these waits for the server's clock, so they run at the same time.

test.concurrent("a peer that answers nothing is pinged, then cut, and the log says so", async () => {
  const start = performance.now();
  using silent = await RawSocket.open(server.socketUrl());
  expect((await silent.frame()).opcode).toBe(opcodes.ping);
  await within(silent.ended, "the end of the connection");
  const seconds = (performance.now() - start) / 1000;
  // It may be pinged after 1 s and cut after 2 s, by a clock that ticks once a second.
  expect(seconds).toBeGreaterThan(2);
  expect(seconds).toBeLessThan(6);
  expect(await server.logged("a silent peer is cut")).toMatchObject({ address: "127.0.0.1" });
});

test.concurrent("a peer that begins a message and never ends it counts as silent", async () => {
  using silent = await RawSocket.open(server.socketUrl());
  silent.write(frame(opcodes.text, "half").subarray(0, -1));
  expect((await silent.frame()).opcode).toBe(opcodes.ping);
  await within(silent.ended, "the end of the connection");
});

test.concurrent("a peer that only answers pings stays", async () => {
  using patient = await RawSocket.open(server.socketUrl());
  for (let count = 0; count < 4; count++) {
    const { opcode, payload } = await patient.frame();
    expect(opcode).toBe(opcodes.ping);
    patient.write(frame(opcodes.pong, payload));
  }
  patient.write(frame(opcodes.text, "ping"));
  expect((await patient.frame()).payload.toString()).toBe("pong");
});

test.concurrent("a peer that sends messages stays, and is not pinged", async () => {
  using talking = await RawSocket.open(server.socketUrl());
  const end = performance.now() + 4500;
  while (performance.now() < end) {
    talking.write(frame(opcodes.text, "talk"));
    expect((await talking.frame()).opcode).toBe(opcodes.text);
    await Bun.sleep(300); // The pause between two messages.
  }
});

test.concurrent("a peer that sends pings of its own stays, and is not pinged", async () => {
  using pinging = await RawSocket.open(server.socketUrl());
  const end = performance.now() + 4500;
  while (performance.now() < end) {
    pinging.write(frame(opcodes.ping, "here"));
    expect((await pinging.frame()).opcode).toBe(opcodes.pong);
    await Bun.sleep(300);
  }
});

test.concurrent("the clients that people use stay by themselves", async () => {
  using one = await openWs(server.socketUrl());
  using other = await openBun(server.socketUrl());
  await Bun.sleep(4500); // Longer than the time after which they would be cut.
  for (const client of [one, other]) {
    client.send("ping");
    expect(await client.next()).toBe("pong");
  }
});

test("a peer that never reads is cut, and the memory it held is given back", async () => {
  await using fresh = await spawnServer([...heartbeat, "--max-buffered", "64MiB", "--max-message", "16MiB"]);
  const idleBytes = await residentBytes(fresh.process.pid);

  const socket = new ws.WebSocket(fresh.socketUrl());
  const closed = Promise.withResolvers<number>();
  socket.on("close", closed.resolve);
  socket.on("error", () => undefined); // A cut may arrive as a reset.
  await until(() => socket.readyState === socket.OPEN, "the ws package to open");
  socket.pause();
  for (let i = 0; i < 12; i++) socket.send(Buffer.alloc(16 * MiB, i));

  await until(
    async () => (await residentBytes(fresh.process.pid)) - idleBytes > 48 * MiB,
    "the server to hold what is not read",
  );
  await fresh.logged("a silent peer is cut");
  await until(
    async () => (await residentBytes(fresh.process.pid)) - idleBytes < 32 * MiB,
    "the memory to be given back",
    20,
  );
  socket.resume();
  expect(await within(closed.promise, "a close")).toBe(1006);
  using next = await openWs(fresh.socketUrl());
  next.send("ping");
  expect(await next.next()).toBe("pong");
});

test("a peer that reads slowly stays for as long as it reads", async () => {
  await using fresh = await spawnServer([...heartbeat, "--max-buffered", "128KiB", "--max-message", "64KiB"]);
  const socket = new ws.WebSocket(fresh.socketUrl());
  let closedWith: number | undefined;
  socket.on("close", (code) => {
    closedWith = code;
  });
  await until(() => socket.readyState === socket.OPEN, "the ws package to open");
  const start = performance.now();
  const bytesPerMillisecond = (16 * MiB) / 1000;
  const messageCount = 1536;
  let received = 0;
  socket.on("message", () => {
    received++;
    const early = (received * 64 * 1024) / bytesPerMillisecond - (performance.now() - start);
    if (early <= 0 || socket.isPaused) return;
    socket.pause();
    setTimeout(() => socket.resume(), early);
  });
  for (let i = 0; i < messageCount; i++) socket.send(Buffer.alloc(64 * 1024));
  await until(() => received === messageCount || closedWith !== undefined, "every message", 25);
  expect({ received, closedWith }).toEqual({ received: messageCount, closedWith: undefined });
  // Longer than the silence after which it would be cut.
  expect(performance.now() - start).toBeGreaterThan(5000);
  socket.terminate();
});
