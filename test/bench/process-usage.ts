/** The CPU time and memory of another process, as the Linux kernel counts them. */

import { dlopen, ptr } from "bun:ffi";
import { readFileSync } from "node:fs";

/**
 * The CPU clock of a process: user and system time of all its threads, ended ones included, in nanoseconds.
 * /proc/PID/stat counts the same in ticks of 10 ms, too coarse for a short round. schedstat leaves out ended threads.
 */
const libc = dlopen("libc.so.6", {
  clock_getcpuclockid: { args: ["i32", "ptr"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
});

export function cpuMicroseconds(pid: number): number {
  const clockId = new Int32Array(1);
  const time = new BigInt64Array(2); // struct timespec: seconds, nanoseconds
  const failed =
    libc.symbols.clock_getcpuclockid(pid, ptr(clockId)) !== 0 ||
    libc.symbols.clock_gettime(clockId[0] ?? 0, ptr(time)) !== 0;
  if (failed) throw new Error(`process ${pid} has no CPU clock: it has ended`);
  return Number(time[0]) * 1e6 + Number(time[1]) / 1e3;
}

/** From smaps_rollup, which walks the pages. VmRSS in status lags by up to 64 pages a thread. */
export function residentBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Rss:\s+(\d+) kB$/m.exec(rollup)?.[1]) * 1024;
}

/** The most that the process held at once. */
export function peakResidentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** File descriptors that this process and those it starts may have. Bun, Node and Go raise the soft limit to it. */
export function descriptorsMax(): number {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return hard === "unlimited" ? Number.POSITIVE_INFINITY : Number(hard);
}
