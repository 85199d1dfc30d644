/** A silent client is pinged, and one that stays silent is cut. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { openBun } from "../support/bun-client.ts";
import { openWs } from "../support/clients.ts";
import { frame, opcodes, RawSocket } from "../support/raw-socket.ts";
import { sharedServer } from "../support/shared-server.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--heartbeat-interval", "3s", "--heartbeat-timeout", "3s"]);

/** Longer than the time after which a silent peer is cut. */
const stayMilliseconds = 9500;

// Each of these waits for the server's clock, so they run at the same time.

test.concurrent("a peer that answers nothing is pinged, then cut, and the log says so", async () => {
  const start = performance.now();
  using silent = await RawSocket.open(server.socketUrl());
  expect((await silent.frame()).opcode).toBe(opcodes.ping);
  await within(silent.ended, "the end of the connection");
  const seconds = (performance.now() - start) / 1000;
  // It is pinged after 3 s and cut after 6 s, by a clock that ticks once a second.
  expect(seconds).toBeGreaterThan(5);
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
  for (let count = 0; count < 3; count++) {
    const { opcode, payload } = await patient.frame();
    expect(opcode).toBe(opcodes.ping);
    patient.write(frame(opcodes.pong, payload));
  }
  patient.write(frame(opcodes.text, "ping"));
  expect((await patient.frame()).payload.toString()).toBe("pong");
});

test.concurrent("a peer that sends messages stays, and is not pinged", async () => {
  using talking = await RawSocket.open(server.socketUrl());
  const end = performance.now() + stayMilliseconds;
  while (performance.now() < end) {
    talking.write(frame(opcodes.text, "talk"));
    expect((await talking.frame()).opcode).toBe(opcodes.text);
    await Bun.sleep(300); // The pause between two messages.
  }
});

test.concurrent("a peer that sends pings of its own stays, and is not pinged", async () => {
  using pinging = await RawSocket.open(server.socketUrl());
  const end = performance.now() + stayMilliseconds;
  while (performance.now() < end) {
    pinging.write(frame(opcodes.ping, "here"));
    expect((await pinging.frame()).opcode).toBe(opcodes.pong);
    await Bun.sleep(300);
  }
});

test.concurrent("the clients that people use stay by themselves", async () => {
  using one = await openWs(server.socketUrl());
  using other = await openBun(server.socketUrl());
  await Bun.sleep(stayMilliseconds);
  for (const client of [one, other]) {
    client.send("ping");
    expect(await client.next()).toBe("pong");
  }
});
