/** The two clocks of an engine, which tests set. */

export interface Clock {
  /** Milliseconds since 1970. It may be set forward and back. */
  now(): number;
  /** Milliseconds since some moment. It never goes back. */
  monotonic(): number;
}

export const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };
