/** Ports for what is told its port, or gives it up and comes back to it. */

/**
 * Below the ports that kernels give to connections and to listeners on port 0 (from 32,768 on Linux, 49,152 elsewhere), so that
 * nothing takes a port while its server is down.
 */
const first = 20_000;
const count = 12_000;

let next = process.pid * 61; // Test processes run side by side: each begins elsewhere.

/**
 * A TCP port of 127.0.0.1 on which nobody listens. It is this process's until its end: among test processes a port belongs to who
 * holds the UDP port of the same number.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < count; tries++) {
    const port = first + (next++ % count);
    if ((await isFreeFor(() => claim(port))) && (await isFreeFor(() => listenOnce(port)))) return port;
  }
  throw new Error("no port is free");
}

/** Keeps a port to this process, and does not keep the process alive. */
async function claim(port: number): Promise<void> {
  (await Bun.udpSocket({ hostname: "127.0.0.1", port })).unref();
}

function listenOnce(port: number): void {
  Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop();
}

/** @returns false where another has the port */
async function isFreeFor(listen: () => void | Promise<void>): Promise<boolean> {
  try {
    await listen();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  }
}
