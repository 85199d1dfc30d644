/** Names that are never used again: a random one for the process, and a count. */
export class Epochs {
  readonly #process = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) =>
    word.toString(36).padStart(7, "0"),
  ).join("");
  #count = 0;

  next(): string {
    return this.#process + (this.#count++).toString(36);
  }
}
