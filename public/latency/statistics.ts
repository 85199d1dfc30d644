/** Percentiles of round trips. */

export interface Statistics {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** @returns undefined for no values */
export function statisticsOf(values: readonly (number | null)[]): Statistics | undefined {
  const sorted = values.filter((value) => value !== null).sort((one, other) => one - other);
  const last = sorted.at(-1);
  if (last === undefined) return undefined;
  // The nearest rank: a value that was measured, and not one between two.
  const percentile = (percent: number): number =>
    sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? last;
  return { p50: percentile(50), p95: percentile(95), p99: percentile(99), max: last };
}
