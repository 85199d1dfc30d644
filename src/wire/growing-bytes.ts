/** Bytes that are collected from pieces, in one buffer that doubles: an array of pieces takes 100 bytes for each of them. */

/** Room that is kept when the bytes are forgotten, since the next ones are mostly as few. */
const keptBytesMax = 4096;

export class GrowingBytes {
  #buffer = new Uint8Array(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Memory of the buffer: at most twice as much as was in it, or `keptBytesMax`. */
  get heldBytes(): number {
    return this.#buffer.length;
  }

  append(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(2 * this.#buffer.length, length, 64));
      larger.set(this.view());
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = length;
  }

  /** All bytes so far, in place: valid until the next `append`. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length);
  }

  clear(): void {
    this.#length = 0;
    if (this.#buffer.length > keptBytesMax) this.#buffer = new Uint8Array(0);
  }
}
