/** A silent peer is cut also while it is being sent to, and one that reads slowly is not silent. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { openWs } from "../support/clients.ts";
import { NarrowSocket } from "../support/narrow-socket.ts";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { residentBytes, spawnServer } from "../support/server.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;
const heartbeatAfter = (timeout: string) => ["--heartbeat-interval", "1s", "--heartbeat-timeout", timeout];

test("a peer that never reads is cut, and the memory it held is given back", async () => {
  await using fresh = await spawnServer([
    ...heartbeatAfter("16s"), // On a busy machine the bytes that it holds take seconds to arrive.
    ...["--max-buffered", "64MiB", "--max-message", "16MiB"],
  ]);
  const idleBytes = await residentBytes(fresh.process.pid);

  using socket = await RawSocket.open(fresh.socketUrl());
  socket.pause();
  const message = frame(opcodes.binary, Buffer.alloc(16 * MiB));
  for (let count = 0; count < 8; count++) socket.write(message);

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
  const seen = new Set<number>();
  const readAll = async (): Promise<never> => {
    for (;;) seen.add((await socket.frame()).opcode);
  };
  await expect(readAll()).rejects.toThrow("the connection ended");
  expect(seen.has(opcodes.close)).toBe(false);
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
  using socket = new NarrowSocket(Number(fresh.url.port), "wide");
  socket.write(Buffer.from(request("GET", "/ping", handshakeHeaders)));
  const message = frame(opcodes.binary, Buffer.alloc(64 * 1024));
  let sentBytes = 0;
  let receivedBytes = 0;
  const end = performance.now() + 5500; // Longer than the silence after which it would be cut.
  while (performance.now() < end || receivedBytes < 4 * MiB) {
    for (let taken = 1; taken > 0; sentBytes += taken)
      taken = socket.tryWrite(message.subarray(sentBytes % message.length));
    const bytes = socket.read(8 * 1024);
    if (!bytes) throw new Error(`it was cut after ${receivedBytes} bytes`);
    receivedBytes += bytes.length;
    await Bun.sleep(10);
  }
});
