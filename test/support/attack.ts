/** Runs an attack, and checks that others are served meanwhile and that its memory and descriptors are released. */
import { expect } from "bun:test";
import { readdir } from "node:fs/promises";
import { beginCompanion } from "./companion.ts";
import type { Experience } from "./honest-client.ts";
import { type RunningServer, residentBytes } from "./server.ts";

const MiB = 1024 * 1024;

/** For a round trip of another client, on a machine that is busy with the attack. */
const worstMillisecondsMaxDefault = 2000;

/** Bun's allocator may keep this much; a thousand attacks must not keep more than one. */
const memoryKeptBytesMax = 64 * MiB;

/** The server may take this much meanwhile; the attackers send several times as much. */
const memoryTakenBytesMax = 96 * MiB;

/** Connections that are still closing. */
const descriptorsKeptMax = 8;

/** Bun keeps the unsent bytes of a closed socket for up to this long. */
const returnSecondsMax = 25;

/** How long another client may wait for an answer meanwhile. */
export interface Patience {
  readonly medianMillisecondsMax?: number;
  readonly worstMillisecondsMax?: number;
  /**
   * How long the server's event loop may be held up, by its own histogram; one of its bounds. Unlike the round trips of
   * another client it does not grow with the load that the attackers put on the machine.
   */
  readonly loopSecondsMax?: number;
}

/** @returns what the attack returned */
export async function attack<Result>(
  server: RunningServer,
  act: () => Promise<Result>,
  patience: Patience = {},
): Promise<Result> {
  const {
    medianMillisecondsMax = worstMillisecondsMaxDefault,
    worstMillisecondsMax = worstMillisecondsMaxDefault,
    loopSecondsMax,
  } = patience;
  const before = await held(server);
  const mostBefore = await residentBytes(server.process.pid, "most");
  const honest = await beginCompanion<Experience>("test/support/honest-client.ts", [server.socketUrl("/")]);
  const lateBefore = loopSecondsMax === undefined ? 0 : await lateTurns(server, loopSecondsMax);
  let result: Result;
  try {
    result = await act();
  } finally {
    const { medianMilliseconds, worstMilliseconds } = await honest.end();
    expect(medianMilliseconds).toBeLessThan(medianMillisecondsMax);
    expect(worstMilliseconds).toBeLessThan(worstMillisecondsMax);
  }
  if (loopSecondsMax !== undefined) expect(await lateTurns(server, loopSecondsMax)).toBe(lateBefore);
  expect(server.process.exitCode).toBeNull();
  const mostAllowed = Math.max(mostBefore, before.bytes + memoryTakenBytesMax);
  expect(await residentBytes(server.process.pid, "most")).toBeLessThanOrEqual(mostAllowed);
  await comesBack(server, before);
  return result;
}

/** Samples of the event loop's delay over a bound. */
async function lateTurns(server: RunningServer, bound: number): Promise<number> {
  const metrics = await (await fetch(new URL("/metrics", server.url))).text();
  const below = (le: string): number =>
    Number(metrics.split(`longwire_event_loop_delay_seconds_bucket{le="${le}"} `)[1]?.split("\n")[0]);
  return below("+Inf") - below(String(bound));
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
