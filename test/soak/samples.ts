/** The memory, descriptors and counts of the server, from the kernel and from its metrics. */
import { readdir } from "node:fs/promises";
import { type RunningServer, residentBytes } from "../support/server.ts";
import { apiKey, bearer } from "./stage.ts";

export interface Sample {
  readonly seconds: number;
  readonly residentBytes: number;
  readonly descriptors: number;
  readonly connections: number;
  readonly topics: number;
  readonly historyBytes: number;
  readonly cpuSeconds: number;
}

/** @returns reads a metric: the sum over its labels, or one sample if the name includes labels */
export async function metrics(server: RunningServer): Promise<(name: string) => number> {
  const response = await fetch(new URL("/metrics", server.url), { headers: bearer(apiKey) });
  if (response.status !== 200) throw new Error(`/metrics was answered ${response.status}`);
  const lines = (await response.text()).split("\n");
  return (name) => {
    const found = lines.filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    if (found.length === 0) throw new Error(`there is no metric ${name}`);
    return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  };
}

export async function takeSample(server: RunningServer, seconds: number): Promise<Sample> {
  const { pid } = server.process;
  const read = await metrics(server);
  return {
    seconds,
    residentBytes: await residentBytes(pid),
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
    connections: read("longwire_connections"),
    topics: read("longwire_topics"),
    historyBytes: read("longwire_history_bytes"),
    cpuSeconds: read("process_cpu_seconds_total"),
  };
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
