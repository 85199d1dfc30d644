/** Memory for the unsent bytes of all connections together, and what happens when they are too many. */
import { heldAfterCutShare } from "../settings/limits.ts";
import type { Cutter, Holder } from "./cutter.ts";
import { mayHold } from "./rule.ts";

/** All open connections. */
export interface Holders {
  /** Memory for the unsent bytes of all of them. Costs a walk. */
  heldBytes(): number;
  /** Those that hold something. */
  holders(): Holder[];
}

/**
 * Bun reports the unsent bytes of one socket at a time, and counts frames under 16 KiB only when it writes them, at the end
 * of the turn. So the total is an estimate: the last measurement, and everything that was given since.
 */
export class HeldBytes {
  readonly #holders: Holders;
  readonly #totalMax: number;
  readonly #cutter: Cutter;
  #estimate = 0;
  /** Given in this turn of the event loop, which Bun may not count yet. */
  #givenInTurn = 0;

  /** @param totalMax `--max-buffered-total`, in bytes */
  constructor(holders: Holders, totalMax: number, cutter: Cutter) {
    this.#holders = holders;
    this.#totalMax = totalMax;
    this.#cutter = cutter;
  }

  /** Whether connections may be given so many more bytes. Costs a walk over them only near the limit. */
  mayHold(bytes: number): boolean {
    if (mayHold(this.#estimate, bytes, this.#totalMax)) return true;
    this.#measure();
    return mayHold(this.#estimate, bytes, this.#totalMax);
  }

  /** Counts bytes that connections were given. */
  add(bytes: number): void {
    this.#estimate += bytes;
    if (this.#givenInTurn === 0 && bytes > 0) {
      setImmediate(() => {
        this.#givenInTurn = 0;
      });
    }
    this.#givenInTurn += bytes;
  }

  /** Counts bytes that a connection itself says it holds, and makes room if they are too many. */
  addHeld(bytes: number): void {
    this.#estimate += bytes;
    this.makeRoom(0);
  }

  /** Called once a second, for what is held besides published messages: echoes, replays, bodies. */
  check(): void {
    this.#measure();
    this.makeRoom(0);
  }

  /**
   * Cuts the connections that hold most, if `bytes` more are too many. One that holds nothing is not cut.
   * @returns false while some are being cut, whose bytes are still in memory
   */
  makeRoom(bytes: number): boolean {
    if (this.mayHold(bytes)) return true;
    if (!this.#cutter.isBusy) this.#cutLargest(bytes);
    return !this.#cutter.isBusy;
  }

  #measure(): void {
    this.#estimate = this.#holders.heldBytes() + this.#givenInTurn;
  }

  #cutLargest(bytes: number): void {
    const holders = this.#holders.holders().sort((one, other) => other.heldBytes - one.heldBytes);
    let heldBytes = 0;
    for (const holder of holders) heldBytes += holder.heldBytes;
    const target = this.#totalMax * heldAfterCutShare - bytes;
    for (const holder of holders) {
      if (heldBytes <= target) return;
      heldBytes -= holder.heldBytes;
      this.#cutter.cut(holder, "buffered_total");
    }
  }
}
