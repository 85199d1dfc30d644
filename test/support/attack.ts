/** Runs an attack, and checks that others are served meanwhile and that its memory and descriptors are released. */
import { expect } from "bun:test";
import { readdir } from "node:fs/promises";
import { beginCompanion, type Companion } from "./companion.ts";
import type { Experience } from "./honest-client.ts";
import type { RawSocket } from "./raw-socket.ts";
import { type RunningServer, residentBytes } from "./server.ts";

const MiB = 1024 * 1024;

/** The server may work so long before it answers another client. */
const worstMillisecondsMaxDefault = 2000;

/** Bun's allocator may keep this much; a thousand attacks must not keep more than one. */
const memoryKeptBytesMax = 64 * MiB;

/** The server may take this much meanwhile; the attackers send several times as much. */
const memoryTakenBytesMax = 96 * MiB;

/** Connections that are still closing. */
const descriptorsKeptMax = 8;

/** Bun keeps the unsent bytes of a closed socket for up to 20 s. A busy machine may take three times as long. */
const returnSecondsMax = 3 * 20;

/** How long the server may work, by its processor time, before it answers another client meanwhile. */
export interface Patience {
  readonly medianMillisecondsMax?: number;
  readonly worstMillisecondsMax?: number;
}

/** Those that no attack uses. Each lives as long as this process. */
const idleClients: Companion<never>[] = [];

/**
 * @param act is given how to wait until others were served often enough, from then on, for the median
 * @returns what the attack returned
 */
export async function attack<Result>(
  server: RunningServer,
  act: (servedOthers: () => Promise<unknown>) => Promise<Result>,
  patience: Patience = {},
): Promise<Result> {
  const {
    medianMillisecondsMax = worstMillisecondsMaxDefault,
    worstMillisecondsMax = worstMillisecondsMaxDefault,
  } = patience;
  const before = await held(server);
  const mostBefore = await residentBytes(server.process.pid, "most");
  const honest = idleClients.pop() ?? (await beginCompanion("test/support/honest-client.ts", []));
  await honest.ask(`begin ${server.socketUrl("/")} ${server.process.pid}`);
  let result: Result;
  try {
    result = await act(() => honest.ask("anew"));
  } finally {
    const { medianMilliseconds, worstMilliseconds }: Experience = JSON.parse(await honest.ask("end"));
    idleClients.push(honest);
    expect(medianMilliseconds).toBeLessThan(medianMillisecondsMax);
    expect(worstMilliseconds).toBeLessThan(worstMillisecondsMax);
  }
  expect(server.process.exitCode).toBeNull();
  const mostAllowed = Math.max(mostBefore, before.bytes + memoryTakenBytesMax);
  expect(await residentBytes(server.process.pid, "most")).toBeLessThanOrEqual(mostAllowed);
  await comesBack(server, before);
  return result;
}

interface Held {
  readonly descriptors: number;
  readonly bytes: number;
}

export async function held({ process: { pid } }: RunningServer): Promise<Held> {
  return { descriptors: (await readdir(`/proc/${pid}/fd`)).length, bytes: await residentBytes(pid) };
}

async function comesBack(server: RunningServer, before: Held): Promise<void> {
  const deadline = performance.now() + returnSecondsMax * 1000;
  let now = await held(server);
  const isBack = (): boolean =>
    now.descriptors <= before.descriptors + descriptorsKeptMax &&
    now.bytes <= before.bytes + memoryKeptBytesMax;
  while (!isBack() && performance.now() < deadline) {
    await Bun.sleep(100);
    now = await held(server);
  }
  expect(now.descriptors).toBeLessThanOrEqual(before.descriptors + descriptorsKeptMax);
  expect(now.bytes).toBeLessThanOrEqual(before.bytes + memoryKeptBytesMax);
}

export const openedMany = (count: number, open: () => Promise<RawSocket>): Promise<RawSocket[]> =>
  Promise.all(Array.from({ length: count }, open));

export function disposeAll(sockets: readonly RawSocket[]): void {
  for (const socket of sockets) socket[Symbol.dispose]();
}
