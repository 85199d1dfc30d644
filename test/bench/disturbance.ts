/** The share of the machine that others took during a measurement: other processes, and the host of a virtual machine. */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { cpuMicroseconds } from "./process-usage.ts";

/** USER_HZ is 100 on every Linux that Bun runs on. */
const tickMicroseconds = 10_000;

/** @param measured the processes that are part of the measurement @returns ends it: the share of all cores that others took */
export function watchDisturbance(measured: readonly number[]): () => number {
  const cores = availableParallelism();
  const read = () => ({
    atMicroseconds: performance.now() * 1000,
    ownMicroseconds: measured.reduce((sum, pid) => sum + cpuMicroseconds(pid), 0),
    takenMicroseconds: takenMicroseconds(),
  });
  const begin = read();
  return () => {
    const end = read();
    const others =
      end.takenMicroseconds - begin.takenMicroseconds - (end.ownMicroseconds - begin.ownMicroseconds);
    return Math.max(0, others / ((end.atMicroseconds - begin.atMicroseconds) * cores));
  };
}

/** CPU time of all processes, and the time that the host kept for itself ("steal"). */
function takenMicroseconds(): number {
  const line = /^cpu +(.*)$/m.exec(readFileSync("/proc/stat", "utf8"))?.[1] ?? "";
  const [user = 0, nice = 0, system = 0, , , interrupts = 0, softInterrupts = 0, stolen = 0] = line
    .split(" ")
    .map(Number);
  return (user + nice + system + interrupts + softInterrupts + stolen) * tickMicroseconds;
}
