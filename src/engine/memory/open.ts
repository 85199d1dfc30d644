/** The engine in memory, as engine.ts has it. */
import type { Engine, EngineDeps, EngineLimits } from "../engine.ts";
import { MemoryBroker } from "./broker.ts";

export function open(limits: EngineLimits, deps: Pick<EngineDeps, "evicted">): Engine {
  const broker = new MemoryBroker(limits, deps);
  return { kind: "memory", broker, size: broker, metrics: () => [] };
}
