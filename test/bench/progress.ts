/** The progress of a run: one line that is rewritten on a terminal, else a line per step. */
export class Progress {
  readonly #steps: number;
  readonly #beganAt = performance.now();
  #step = 0;

  constructor(steps: number) {
    this.#steps = steps;
  }

  /** @param words the step that begins */
  next(words: string): void {
    const elapsedSeconds = (performance.now() - this.#beganAt) / 1000;
    const leftSeconds = (elapsedSeconds / this.#step) * (this.#steps - this.#step);
    const left = Number.isFinite(leftSeconds) ? `, about ${durationWords(leftSeconds)} left` : "";
    this.#step++;
    this.#write(`[${this.#step}/${this.#steps}${left}] ${words}`);
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }

  #write(line: string): void {
    if (process.stderr.isTTY)
      process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
    else process.stderr.write(`${line}\n`);
  }
}

function durationWords(seconds: number): string {
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
