/** Joins the parts of delivery for one handler. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { Encodings } from "../wire/encodings.ts";
import type { BufferLimits } from "./buffer-limits.ts";
import { Cutter } from "./cutter.ts";
import { HeldBytes, type Holders } from "./held-bytes.ts";
import { NativeTopics } from "./native-topics.ts";
import { type DeliveryDeps, TopicReaders } from "./topic-readers.ts";

export interface Delivery extends DeliveryDeps {
  /** Makes the live readers of a topic. */
  live(): TopicReaders;
}

/** @param holders the open connections */
export function openDelivery(
  buffers: BufferLimits,
  holders: Holders,
  encodings: Encodings,
  counters: Counters,
  log: Logger,
): Delivery {
  const cutter = new Cutter(counters, log);
  const deps: DeliveryDeps = {
    buffers,
    cutter,
    encodings,
    counters,
    held: new HeldBytes(holders, buffers.totalBytesMax, cutter),
    native: new NativeTopics(counters),
  };
  return { ...deps, live: () => new TopicReaders(deps) };
}
