/** The limit on file descriptors. Each connection takes one, and a server without a free one can accept nobody. */
import { readFileSync } from "node:fs";
import { connectionsAssumed, descriptorsReserved } from "../settings/limits.ts";

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
