/** Ends readers in slices. Ending one closes its socket and frees its bytes, which takes up to some milliseconds. */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { sliceMilliseconds } from "../settings/limits.ts";

/** A connection that may hold bytes that are not sent. */
export interface Holder {
  /** In memory for it. */
  readonly heldBytes: number;
  /** For the log. */
  readonly address: string | undefined;
  /** Takes it off all its topics, so that it gets no later message. */
  leave(): void;
  /** Ends it without a word, and frees what it holds. */
  abandon(): void;
}

const reasons = {
  slow: "a slow reader is cut",
  buffered_total: "a slow reader is cut: all unsent bytes exceed --max-buffered-total",
} as const;

export class Cutter {
  readonly #counters: Pick<Counters, "cut">;
  readonly #log: Logger;
  /** They have left their topics and are not ended yet. */
  readonly #leaving: Holder[] = [];

  constructor(counters: Pick<Counters, "cut">, log: Logger) {
    this.#counters = counters;
    this.#log = log;
  }

  /** True while readers are left to be ended. */
  get isBusy(): boolean {
    return this.#leaving.length > 0;
  }

  /** From this call on the reader gets no message. It is ended soon after. */
  cut(holder: Holder, reason: keyof typeof reasons): void {
    this.#counters.cut[reason]++;
    const line = { address: holder.address, bufferedBytes: holder.heldBytes };
    this.#log[reason === "slow" ? "info" : "warn"](line, reasons[reason]);
    holder.leave();
    if (this.#leaving.push(holder) === 1) setImmediate(() => this.#endSome());
  }

  #endSome(): void {
    const endMilliseconds = performance.now() + sliceMilliseconds;
    try {
      while (this.isBusy && performance.now() < endMilliseconds) this.#leaving.pop()?.abandon();
    } finally {
      if (this.isBusy) setImmediate(() => this.#endSome());
    }
  }
}
