/** How long things took, counted to the microsecond, so that a percentile is exact and adding costs next to nothing. */
const microsecondsMax = 4_000_000;

export class Latencies {
  /** Pages of it that are never touched take no memory. */
  readonly #counts = new Uint32Array(microsecondsMax + 1);
  #total = 0;

  add(milliseconds: number): void {
    const microseconds = Math.min(microsecondsMax, Math.round(milliseconds * 1000));
    this.#counts[microseconds] = (this.#counts[microseconds] ?? 0) + 1;
    this.#total++;
  }

  /** @param share 0.5 for the median @returns milliseconds; not a number where nothing was added */
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
