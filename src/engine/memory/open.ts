/** The engine in memory, as engine.ts has it. */
import type { Engine, EngineDeps, EngineLimits, PresenceLimits } from "../engine.ts";
import { MemoryBroker } from "./broker.ts";

export function open(config: EngineLimits & PresenceLimits, deps: Pick<EngineDeps, "evicted">): Engine {
  const broker = new MemoryBroker(config, { ...deps, presence: config });
  return { kind: "memory", broker, presence: broker, size: broker, metrics: () => [] };
}
