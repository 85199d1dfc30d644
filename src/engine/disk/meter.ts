/** What the engine on disk counts for /metrics. */
import { Histogram } from "../../metrics.ts";
import { emptyUsage } from "./protocol.ts";

export class DiskMeter {
  /** Time of a transaction. An fsync takes 0.4 to 7 ms on the disks that were measured. */
  readonly commitSeconds = new Histogram([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]);
  /** Publications, subscriptions and their ends in all transactions. */
  operations = 0;
  failures = 0;
  usage = emptyUsage;

  committed(operations: number, milliseconds: number, hasFailed: boolean): void {
    if (hasFailed) this.failures++;
    this.operations += operations;
    this.commitSeconds.observe(milliseconds / 1000);
  }
}
