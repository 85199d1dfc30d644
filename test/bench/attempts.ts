/** Repeats a measurement that other processes disturbed, as long as there is time. */
import { watchDisturbance } from "./disturbance.ts";

/** The share of all cores that other processes may take: about that of an idle system on a quiet host. */
const disturbanceMax = 0.05;
const attemptsMax = 3;

export class Attempts {
  #repeatsLeft: number;
  #disturbed = 0;
  #made = 0;

  /** @param repeatsMax in the whole run, which bounds its time */
  constructor(repeatsMax: number) {
    this.#repeatsLeft = repeatsMax;
  }

  /** @returns the figures of the least disturbed attempt */
  async best<Figures>(
    serverPid: number,
    measure: () => Promise<Figures>,
  ): Promise<Figures & { disturbance: number }> {
    this.#made++;
    let best: (Figures & { disturbance: number }) | undefined;
    for (let attempt = 1; ; attempt++) {
      const finish = watchDisturbance([serverPid, process.pid]);
      const figures = await measure();
      const disturbance = finish();
      if (best === undefined || disturbance < best.disturbance) best = { ...figures, disturbance };
      if (best.disturbance <= disturbanceMax) return best;
      if (attempt === attemptsMax || this.#repeatsLeft === 0) break;
      this.#repeatsLeft--;
    }
    this.#disturbed++;
    return best;
  }

  /** For the report. */
  get words(): string {
    const limit = `${disturbanceMax * 100} % of all cores`;
    if (this.#disturbed === 0)
      return `in no measurement others (processes, or the host) took more than ${limit}`;
    const found = `in ${this.#disturbed} of ${this.#made} measurements others (processes, or the host) took more than ${limit}, also when repeated`;
    if (this.#disturbed * 4 < this.#made) return found;
    return `${found}. That is too many: of this run only the ratios of CPU and the memory are to be relied on, and those roughly`;
  }
}
