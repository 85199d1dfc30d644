/** Places the load generator on one core and the server under test on the others. */
import { readFileSync } from "node:fs";

export interface Placement {
  /** The words before a server's command. */
  readonly serverPrefix: readonly string[];
  /** For the report. */
  readonly words: string;
}

/** Pins this process, which generates the load, if `taskset` and a second core exist. */
export function placeLoadGenerator(): Placement {
  const [own, ...others] = allowedProcessors();
  if (own === undefined || others.length === 0 || Bun.which("taskset") === null) {
    return { serverPrefix: [], words: "the load generator and the servers pinned to no core" };
  }
  const pinned = Bun.spawnSync(["taskset", "--all-tasks", "--cpu-list", "--pid", `${own}`, `${process.pid}`]);
  if (!pinned.success) throw new Error(`taskset: ${pinned.stderr}`);
  const list = others.join(",");
  return {
    serverPrefix: ["taskset", "--cpu-list", list],
    words: `the load generator pinned to core ${own}, the server under test to core ${list}`,
  };
}

/** `Cpus_allowed_list: 0-2,5` → 0, 1, 2, 5 */
function allowedProcessors(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
