/** The memory that an open, idle connection costs a server. */
import type { Measurement } from "./benchmark.ts";
import type { Target } from "./load.ts";
import { descriptorsMax, residentBytes } from "./process-usage.ts";
import type { Measure, Row } from "./samples.ts";
import { type Opening, openMany, Wire } from "./wire.ts";

interface MemoryFigures {
  readonly bytesPerConnection: number;
}

/** Open files of this process or the server besides the connections. */
const otherDescriptors = 200;
/** Let the server compile its code and fill its pools before the first reading. */
const warmUpConnections = 50;

/** The number wanted, or what this machine allows. */
export function connectionsWithin(wanted: number): number {
  return Math.min(wanted, descriptorsMax() - otherDescriptors);
}

export interface IdleMemory {
  readonly row: Row;
  readonly measure: Measure<keyof MemoryFigures>;
  readonly measurement: Measurement;
}

/**
 * @param kind of connection, in the plural
 * @param peers all if left out
 */
export function idleMemory(
  kind: string,
  opening: Omit<Opening, "port">,
  quick: boolean,
  peers?: readonly string[],
): IdleMemory {
  const connections = connectionsWithin(quick ? 10 : 5000);
  const row = { key: `idle-${kind}`, heading: `${connections.toLocaleString("en-US")} idle ${kind}` };
  return {
    row,
    measure: {
      key: "bytesPerConnection",
      heading: "memory, bytes each",
      better: "less",
    },
    measurement: {
      row,
      fresh: !quick,
      ...(peers ? { peers } : {}),
      measure: (server) => measureIdleMemory(server, opening, connections, quick ? 0.2 : 2),
    },
  };
}

/**
 * @param server a fresh one: memory that an earlier load released would be used again and so cost nothing
 * @param settleSeconds after which the garbage collector has run
 */
async function measureIdleMemory(
  server: Target,
  opening: Omit<Opening, "port">,
  connections: number,
  settleSeconds: number,
): Promise<MemoryFigures> {
  const open = (): Promise<Wire> => Wire.open({ port: server.port, ...opening });
  for (const wire of await openMany(Math.min(warmUpConnections, connections), open)) wire.end();
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
