/** Requests that never come whole, and connections that say nothing. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { descriptorsMax } from "../bench/process-usage.ts";
import { attack, disposeAll, held, openedMany } from "../support/attack.ts";
import { compiledServer } from "../support/compiled.ts";
import { frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { spawnServer } from "../support/server.ts";
import { inspect } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

/** Bun ends a request that has not come whole after 12 s. A busy machine may take three times as long. */
const requestSecondsMax = 3 * 12;

/** 2,000, or as many as this process may have. */
const halfOpenCount = Math.min(2000, descriptorsMax() - 500);

// These wait for Bun's clock, so they wait together; each has a server of its own.
describe.concurrent("requests that never come whole are ended, and hold up nobody", () => {
  /** Sends a byte a second on each socket until all are ended. @returns the seconds it took */
  async function trickle(sockets: readonly RawSocket[], text: string): Promise<number> {
    const begun = performance.now();
    let next = 0;
    const timer = setInterval(() => {
      for (const socket of sockets) socket.write(text[next % text.length] as string);
      next++;
    }, 1000);
    try {
      await within(
        Promise.all(sockets.map(({ ended }) => ended)),
        "all of them to be ended",
        requestSecondsMax,
      );
    } finally {
      clearInterval(timer);
    }
    return (performance.now() - begun) / 1000;
  }

  test("handshakes of a byte a second", async () => {
    await using attacked = await spawnServer();
    const seconds = await attack(attacked, async () => {
      const sockets = await openedMany(200, () => RawSocket.connect(attacked.url));
      return trickle(sockets, request("GET", "/ping", handshakeHeaders));
    });
    expect(seconds).toBeGreaterThan(5);
  });

  test("bodies of a byte a second, with a length and in chunks", async () => {
    await using attacked = await spawnServer();
    await attack(attacked, async () => {
      const sockets = await openedMany(200, () => RawSocket.connect(attacked.url));
      for (const [index, socket] of sockets.entries()) {
        const length: Record<string, string> =
          index % 2 ? { "Content-Length": "50000" } : { "Transfer-Encoding": "chunked" };
        socket.write(request("POST", "/topics/slow-body", length));
        if (index % 2 === 0) socket.write("C350\r\n");
      }
      await trickle(sockets, "x");
    });
    expect(await inspect(attacked, "slow-body")).toMatchObject({ position: null });
  });

  test(`${halfOpenCount} connections that say nothing`, async () => {
    await using attacked = await spawnServer();
    await attack(attacked, async () => {
      const ended: Promise<void>[] = [];
      while (ended.length < halfOpenCount) {
        const count = Math.min(100, halfOpenCount - ended.length);
        const sockets = await openedMany(count, () => RawSocket.connect(attacked.url));
        ended.push(...sockets.map((socket) => socket.ended));
      }
      const areHeld = async (): Promise<boolean> => (await held(attacked)).descriptors > halfOpenCount;
      await until(areHeld, "all of them to be accepted");
      await within(Promise.all(ended), "all of them to be ended", requestSecondsMax);
    });
  });

  test("connections that say nothing are warned of at 80 % of the descriptors, and counted", async () => {
    const narrow = ["sh", "-c", 'ulimit -n 600; exec "$0" "$@"', await compiledServer()];
    await using attacked = await spawnServer([], { command: narrow });
    const sockets = await openedMany(520, () => RawSocket.connect(attacked.url));
    await attacked.logged("few file descriptors are left; idle HTTP connections were closed");
    disposeAll(sockets);
    const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
    expect(metrics).toMatch(/^longwire_descriptor_shortages_total [1-9]/m);
  });

  test("more connections than there are descriptors, which ends no line that is open", async () => {
    const narrow = ["sh", "-c", 'ulimit -n 300; exec "$0" "$@"', await compiledServer()];
    await using attacked = await spawnServer([], { command: narrow });
    using line = await RawSocket.open(attacked.socketUrl());
    const sockets = await openedMany(400, () => RawSocket.connect(attacked.url));
    line.write(frame(opcodes.text, "ping"));
    expect((await line.frame()).payload.toString()).toBe("pong");
    disposeAll(sockets);
    await until(async () => {
      const response = await fetch(new URL("/healthz", attacked.url), { headers: { Connection: "close" } });
      return response.status === 200;
    }, "the server to take connections again");
    expect(attacked.process.exitCode).toBeNull();
  });
});
