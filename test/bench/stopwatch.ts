/** Reads the clock and the CPU clocks of a server and of this process, the load generator, together. */
import { cpuMicroseconds } from "./process-usage.ts";

export interface Elapsed {
  readonly seconds: number;
  readonly serverCpuMicroseconds: number;
  /** Of one core: near 1 the load generator, not the server, limits the rate. */
  readonly generatorShare: number;
}

/** @returns ends the measurement */
export function startStopwatch(serverPid: number): () => Elapsed {
  const read = () => ({
    atMilliseconds: performance.now(),
    serverCpuMicroseconds: cpuMicroseconds(serverPid),
    ownCpuMicroseconds: cpuMicroseconds(process.pid),
  });
  const begin = read();
  return () => {
    const end = read();
    const seconds = (end.atMilliseconds - begin.atMilliseconds) / 1000;
    return {
      seconds,
      serverCpuMicroseconds: end.serverCpuMicroseconds - begin.serverCpuMicroseconds,
      generatorShare: (end.ownCpuMicroseconds - begin.ownCpuMicroseconds) / (seconds * 1e6),
    };
  };
}
