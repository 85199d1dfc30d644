/** What an open connection that says nothing costs a server in memory. */
import { descriptorsMax, residentBytes } from "./process-usage.ts";
import { openMany, Wire } from "./wire.ts";

export interface MemoryFigures {
  readonly bytesPerConnection: number;
}

/** Files that this process or the server has open besides the connections. */
const otherDescriptors = 200;
/** So that code is compiled and pools exist before the first reading. */
const warmUpConnections = 50;

/** As many as wanted, or as this machine allows. */
export function idleConnections(wanted: number): number {
  return Math.min(wanted, descriptorsMax() - otherDescriptors);
}

/**
 * @param settleSeconds after which a collector that is going to run has run
 * @param server a fresh one: what an earlier load left behind would be handed out again and so cost nothing
 */
export async function measureIdleMemory(
  server: { pid: number; port: number },
  opening: { path: string; subprotocol?: string },
  connections: number,
  settleSeconds: number,
): Promise<MemoryFigures> {
  const open = (): Promise<Wire> => Wire.open({ port: server.port, ...opening });
  for (const wire of await openMany(warmUpConnections, open)) wire.end();
  await Bun.sleep(settleSeconds * 1000);
  const before = residentBytes(server.pid);
  let lost: Error | undefined;
  const wires = await openMany(connections, () =>
    Wire.open({ port: server.port, ...opening }, undefined, (error) => {
      lost = error;
    }),
  );
  await Bun.sleep(settleSeconds * 1000);
  const bytesPerConnection = (residentBytes(server.pid) - before) / connections;
  if (lost) throw lost;
  for (const wire of wires) wire.end();
  return { bytesPerConnection };
}
