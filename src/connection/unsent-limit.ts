/** When a reader is too slow: the limit on its unsent bytes. */

/**
 * A reader that had caught up is never cut for the size of one message. So neither the last message that it was given
 * counts, nor the last large one while it still holds a part of it: small messages that follow must not cut it either.
 */
export class UnsentLimit {
  readonly #bytesMax: number;
  /** All frames so far. */
  #givenBytes = 0;
  #lastBytes = 0;
  #largeBytes = 0;
  /** The frames up to the end of the last large one. */
  #givenBytesWithLarge = 0;

  /** @param bytesMax `--max-buffered`. A frame larger than half of it is large. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Notes a frame that was given to the reader, or to all readers of a topic. */
  gave(frameBytes: number): void {
    this.#givenBytes += frameBytes;
    this.#lastBytes = frameBytes;
    if (frameBytes <= this.#bytesMax / 2) return;
    this.#largeBytes = frameBytes;
    this.#givenBytesWithLarge = this.#givenBytes;
  }

  /** Whether a reader with so many unsent bytes is too slow to be given another message. */
  isExceededBy(unsentBytes: number): boolean {
    if (unsentBytes <= this.#bytesMax) return false;
    const holdsLarge = unsentBytes > this.#givenBytes - this.#givenBytesWithLarge;
    const exempt = holdsLarge ? Math.max(this.#lastBytes, this.#largeBytes) : this.#lastBytes;
    return unsentBytes - exempt > this.#bytesMax;
  }
}
