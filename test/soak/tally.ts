/** The counts of a soak so far. */
export class Tally {
  /** Messages that followers received, each the next one of its topic. */
  received = 0;
  /** Connections that began with a last id and missed nothing. */
  resumed = 0;
  /** Gaps that were reported. */
  gaps = 0;
  published = 0;
  /** Requests that were repeated with their key and answered with the first id. */
  repeated = 0;
  echoes = 0;
  /** Connections that the server closed because their token expired. */
  expired = 0;
  slowReaders = 0;
  refused = 0;
  /** Connections that were opened and dropped without a Close frame. */
  dropped = 0;
  passingTopics = 0;
  /** Kills of the server, after which it was started again. */
  restarts = 0;
  faultCount = 0;
  /** The first faults, in words. */
  readonly faults: string[] = [];

  fault(what: string): void {
    this.faultCount++;
    if (this.faults.length < 20) this.faults.push(what);
  }
}
