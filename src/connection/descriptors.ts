/** The limit on file descriptors. Each connection takes one, and a server without a free one can accept nobody. */
import { readFileSync, statSync } from "node:fs";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { connectionsAssumed, descriptorsReserved, descriptorsShareMax } from "../settings/limits.ts";

/**
 * The hard limit, to which Bun raises the soft one.
 * @returns undefined on a system other than Linux
 */
export function descriptorsMax(): number | undefined {
  if (process.platform !== "linux") return undefined;
  const line = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return line ? Number(line[1]) : undefined;
}

/** How many connections may be open at once, so that the server can still refuse one more in words. */
export function connectionsAllowed(): number {
  const allowed = descriptorsMax();
  return allowed === undefined ? connectionsAssumed : Math.max(1, allowed - descriptorsReserved);
}

/**
 * Once a second: when few descriptors are left, logs a warning and closes connections that wait for their next request.
 * Bun shows no connection before its first request, so those that never send one cannot be closed here: Bun ends them
 * after 12 s. Nothing is done before Linux 6.2, whose kernel does not report the number of open descriptors.
 */
export function watchDescriptors(
  closeIdleConnections: () => number,
  counters: Counters,
  log: Logger,
): Disposable {
  const allowed = descriptorsMax();
  if (allowed === undefined) return { [Symbol.dispose]: () => undefined };
  const check = (): void => {
    const open = statSync("/proc/self/fd").size;
    if (open <= allowed * descriptorsShareMax) return;
    counters.descriptorShortages++;
    const closed = closeIdleConnections();
    log.warn({ open, allowed, closed }, "few file descriptors are left; idle HTTP connections were closed");
  };
  const timer = setInterval(check, 1000).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
