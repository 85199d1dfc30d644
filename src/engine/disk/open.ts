/** The engine on disk, as engine.ts has it. */
import { count, gauge, histogram, type Metric } from "../../metrics.ts";
import type { Engine, EngineDeps, EngineLimits } from "../engine.ts";
import { DiskBroker } from "./broker.ts";
import type { DiskMeter } from "./meter.ts";

/** Settings of this engine. */
interface DiskConfig extends EngineLimits {
  /** The directory. */
  readonly data: string;
}

/** @throws {DataDirectoryError} if the directory cannot be used */
export function open({ data: directory, ...config }: DiskConfig, deps: EngineDeps): Engine {
  const { historyMessages, historyAgeSeconds, historyBytesMax, retain } = config;
  const { positionAgeSeconds, positionBytesMax, idempotencyBytesMax, keyed, keysMax, feeds } = config;
  const history = { historyMessages, historyAgeSeconds, historyBytesMax, retain };
  // Only these, since they are copied to the Worker: other settings are secrets and keys.
  const limits = {
    ...history,
    positionAgeSeconds,
    positionBytesMax,
    idempotencyBytesMax,
    keyed,
    keysMax,
    feeds,
  };
  const broker = new DiskBroker({ ...deps, directory, limits });
  return { kind: "disk", broker, size: broker, metrics: () => metricsOf(broker.meter) };
}

/** The size of a transaction is its operations divided by its commits. */
const metricsOf = (meter: DiskMeter): Metric[] => [
  histogram("longwire_disk_commit_seconds", "Time of a transaction, with its fsync.", meter.commitSeconds),
  count(
    "longwire_disk_operations_total",
    "Publications, subscriptions and their ends in these transactions.",
    () => meter.operations,
  ),
  count("longwire_disk_commit_failures_total", "Transactions that failed.", () => meter.failures),
  gauge(
    "longwire_disk_unmerged_bytes",
    "Bytes of messages that are committed and not merged into segments.",
    () => meter.usage.unmergedBytes,
  ),
  gauge("longwire_disk_file_bytes", "Size of the data file.", () => meter.usage.fileBytes),
  gauge("longwire_disk_wal_bytes", "Size of its write-ahead log.", () => meter.usage.walBytes),
];
