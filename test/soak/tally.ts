/** What a soak has seen so far. */
export class Tally {
  /** Messages that followers received and found to be the next one. */
  received = 0;
  /** Visits that began with a last id and missed nothing. */
  resumed = 0;
  /** Gaps that were told. */
  gaps = 0;
  published = 0;
  /** Publications repeated with their key, and answered with the first id. */
  repeated = 0;
  echoes = 0;
  /** Lines closed by the server because their token expired. */
  expired = 0;
  slowReaders = 0;
  refused = 0;
  /** Connections opened and dropped without a word. */
  dropped = 0;
  passingTopics = 0;
  faultCount = 0;
  /** The first of them, in words. */
  readonly faults: string[] = [];

  fault(what: string): void {
    this.faultCount++;
    if (this.faults.length < 20) this.faults.push(what);
  }
}
