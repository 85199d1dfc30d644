/**
 * Whether the next commit waits for those who were just answered. Most clients send again at once: a commit that begins without
 * them carries the half of them that came during the last one, and so does each commit after it. No clock, no Worker.
 */

/** No timer is shorter. It may take twice as long, where nobody comes any more. */
export const gatheringMillisecondsMax = 1;

/** Of those who were answered. A commit must not wait for the last one: some do not come back. */
const returningShare = 0.8;

/** Most commits in a row that do not wait. */
const pauseMax = 1024;

export interface EndedCommit {
  /** Operations that it has answered. */
  readonly answered: number;
  /** Operations that came meanwhile. */
  readonly waiting: number;
  /** Time that it took. */
  readonly milliseconds: number;
}

export class Gathering {
  /** Operations that the next commit waits for; 0 where it does not wait. */
  #wanted = 0;
  /** When it waits no longer. */
  #endMilliseconds = 0;
  /** Commits that do not wait after the next wait in vain. A wait that is worth it halves them, one in vain makes them four times as many. */
  #pause = 1;
  /** Commits that do not wait, from now on. */
  #pauseLeft = 0;

  begin({ answered, waiting, milliseconds }: EndedCommit, nowMilliseconds: number): void {
    this.#learn(answered);
    this.#wanted = this.#isPaused() ? 0 : waiting + Math.ceil(returningShare * answered);
    // Who comes later than a commit takes had better have the next one.
    this.#endMilliseconds = nowMilliseconds + Math.min(milliseconds, gatheringMillisecondsMax);
  }

  isGoingOn(waiting: number, nowMilliseconds: number): boolean {
    return waiting < this.#wanted && nowMilliseconds < this.#endMilliseconds;
  }

  /** Goes on where two of three waits are worth it: among clients that come at random, half of them seem to be. */
  #learn(committed: number): void {
    if (this.#wanted <= 1) return; // The first to come is enough.
    if (committed >= this.#wanted) {
      this.#pause = Math.max(1, this.#pause / 2);
    } else {
      this.#pauseLeft = this.#pause;
      this.#pause = Math.min(pauseMax, this.#pause * 4);
    }
  }

  #isPaused(): boolean {
    if (this.#pauseLeft === 0) return false;
    this.#pauseLeft--;
    return true;
  }
}
