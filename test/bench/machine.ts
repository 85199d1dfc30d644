/** The machine of a run: figures mean nothing without it. */
import { cpus, release, totalmem, type } from "node:os";

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly bun: string;
}

export function thisMachine(): Machine {
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model ?? "unknown",
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    bun: Bun.version,
  };
}

export function machineWords({ cores, processor, memoryBytes, kernel, bun }: Machine): string {
  return `${cores} cores of ${processor}, ${Math.round(memoryBytes / 1024 ** 3)} GiB, ${kernel}, Bun ${bun}`;
}
