/** The log's account of refusals: numbers, because one line for each would let a flood of requests flood the log. */
import { type Logger, sampleSeconds } from "../log.ts";
import type { Counters } from "../metrics.ts";

/**
 * Logs one line for each period with refusals or cut connections: how many, by reason. Disposing it logs the last line.
 * Examples of what was refused are logged where it happens, by a `sampled` logger.
 */
export function logRefusals({ refused, cut }: Counters, log: Logger): Disposable {
  let logged: Record<string, number> = { ...refused, ...cut };
  const write = (): void => {
    const now: Record<string, number> = { ...refused, ...cut };
    const since = Object.entries(now).map(([reason, count]) => [reason, count - (logged[reason] ?? 0)]);
    const counts = Object.fromEntries(since.filter(([, count]) => count !== 0));
    logged = now;
    if (Object.keys(counts).length > 0) log.info(counts, "refused or cut since the last such line");
  };
  const timer = setInterval(write, sampleSeconds * 1000).unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      write();
    },
  };
}
