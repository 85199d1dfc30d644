/** Counts latencies per microsecond, so that a percentile is exact and adding is cheap. */
const microsecondsMax = 4_000_000;
const microsecondsFirst = 65_536;

export class Latencies {
  /** As long as the longest latency needs: a whole one would cost more than a quick run. */
  #counts = new Uint32Array(microsecondsFirst);
  #total = 0;

  add(milliseconds: number): void {
    const microseconds = Math.min(microsecondsMax, Math.round(milliseconds * 1000));
    if (microseconds >= this.#counts.length) this.#lengthen(microseconds);
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
    for (let microseconds = 0; microseconds < this.#counts.length; microseconds++) {
      seen += this.#counts[microseconds] ?? 0;
      if (seen >= wanted) return microseconds / 1000;
    }
    return Number.NaN;
  }

  #lengthen(microseconds: number): void {
    const longer = new Uint32Array(2 * microseconds);
    longer.set(this.#counts);
    this.#counts = longer;
  }
}
