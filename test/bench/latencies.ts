/** Counts latencies per microsecond, so that a percentile is exact and adding is cheap. */
const microsecondsMax = 4_000_000;

export class Latencies {
  /** The kernel gives no memory to pages that are never touched. */
  readonly #counts = new Uint32Array(microsecondsMax + 1);
  #total = 0;

  add(milliseconds: number): void {
    const microseconds = Math.min(microsecondsMax, Math.round(milliseconds * 1000));
    this.#counts[microseconds] = (this.#counts[microseconds] ?? 0) + 1;
    this.#total++;
  }

  get isEmpty(): boolean {
    return this.#total === 0;
  }

  /** @param share 0.5 for the median @returns milliseconds; NaN if nothing was added */
  percentile(share: number): number {
    if (this.#total === 0) return Number.NaN;
    const wanted = Math.ceil(this.#total * share);
    let seen = 0;
    for (let microseconds = 0; microseconds <= microsecondsMax; microseconds++) {
      seen += this.#counts[microseconds] ?? 0;
      if (seen >= wanted) return microseconds / 1000;
    }
    return Number.NaN;
  }
}
