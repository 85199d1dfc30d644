/** The time that a test waits in: the machine's, or one that moves on by itself as soon as nothing is left to do in it. */

import { drainMicrotasks } from "bun:jsc";

export interface Time {
  /** Milliseconds since 1970. They never go back. */
  now(): number;
  /** @returns a function that stops the timer */
  setTimer(milliseconds: number, task: () => void): () => void;
}

export const realTime: Time = {
  now: () => performance.timeOrigin + performance.now(),
  setTimer: (milliseconds, task) => {
    const timer = setTimeout(task, milliseconds);
    return () => clearTimeout(timer);
  },
};

/**
 * A time in which waiting takes none: whenever the event loop has nothing else to do, the timers that are due first are run
 * and their moment is now. What happens in it depends on nothing outside, as long as all of it waits for timers of this time
 * alone.
 */
export class SimulatedTime implements Time {
  #now = Date.UTC(2027, 0);
  /** By their moment, in the order in which they were set. */
  readonly #timers = new Map<number, Set<{ readonly task: () => void }>>();
  #isMoving = false;

  now(): number {
    return this.#now;
  }

  setTimer(milliseconds: number, task: () => void): () => void {
    const moment = this.#now + milliseconds;
    const timer = { task };
    const timers = this.#timers.get(moment) ?? new Set();
    this.#timers.set(moment, timers.add(timer));
    this.#moveOn();
    return () => {
      timers.delete(timer);
      if (timers.size === 0 && this.#timers.get(moment) === timers) this.#timers.delete(moment);
    };
  }

  #moveOn(): void {
    if (this.#isMoving || this.#timers.size === 0) return;
    this.#isMoving = true;
    setImmediate(() => {
      this.#isMoving = false;
      if (this.#timers.size === 0) return;
      const moment = Math.min(...this.#timers.keys());
      const timers = this.#timers.get(moment) ?? [];
      this.#timers.delete(moment);
      this.#now = moment;
      for (const { task } of timers) {
        task();
        drainMicrotasks(); // What waited for this timer goes on before the next one.
      }
      this.#moveOn();
    });
  }
}
