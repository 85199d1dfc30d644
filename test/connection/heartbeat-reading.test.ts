/** A silent peer is cut also while it is being sent to, and one that reads slowly is not silent. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { openWs, ws } from "../support/clients.ts";
import { residentBytes, spawnServer } from "../support/server.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;
const heartbeatAfter = (timeout: string) => ["--heartbeat-interval", "1s", "--heartbeat-timeout", timeout];

test("a peer that never reads is cut, and the memory it held is given back", async () => {
  await using fresh = await spawnServer([
    ...heartbeatAfter("16s"), // On a busy machine the bytes that it holds take seconds to arrive.
    ...["--max-buffered", "64MiB", "--max-message", "16MiB"],
  ]);
  const idleBytes = await residentBytes(fresh.process.pid);

  const socket = new ws.WebSocket(fresh.socketUrl());
  const closed = Promise.withResolvers<number>();
  socket.on("close", closed.resolve);
  socket.on("error", () => undefined); // A cut may arrive as a reset.
  await until(() => socket.readyState === socket.OPEN, "the ws package to open");
  socket.pause();
  for (let i = 0; i < 8; i++) {
    socket.send(Buffer.alloc(16 * MiB, i));
    await nextTurn();
  }

  await until(
    async () => (await residentBytes(fresh.process.pid)) - idleBytes > 48 * MiB,
    "the server to hold what is not read",
    60,
  );
  await fresh.logged("a silent peer is cut");
  await until(
    async () => (await residentBytes(fresh.process.pid)) - idleBytes < 32 * MiB,
    "the memory to be given back",
    60,
  );
  socket.resume();
  expect(await within(closed.promise, "a close")).toBe(1006);
  using next = await openWs(fresh.socketUrl());
  next.send("ping");
  expect(await next.next()).toBe("pong");
});

test("a peer that reads slowly stays for as long as it reads", async () => {
  await using fresh = await spawnServer([
    ...heartbeatAfter("3s"),
    "--max-buffered",
    "128KiB",
    "--max-message",
    "64KiB",
  ]);
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
  for (let i = 0; i < messageCount; i++) {
    socket.send(Buffer.alloc(64 * 1024));
    await nextTurn(); // Or it would be silent while it sends, as it answers no ping meanwhile.
  }
  await until(() => received === messageCount || closedWith !== undefined, "every message", 60);
  expect({ received, closedWith }).toEqual({ received: messageCount, closedWith: undefined });
  // Longer than the silence after which it would be cut.
  expect(performance.now() - start).toBeGreaterThan(5000);
  socket.terminate();
});
