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
    if ((await isClaimed(port)) && isFree(port)) return port;
  }
  throw new Error("no port is free");
}

async function isClaimed(port: number): Promise<boolean> {
  try {
    (await Bun.udpSocket({ hostname: "127.0.0.1", port })).unref();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  }
}

function isFree(port: number): boolean {
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return false;
    throw error;
  }
}
