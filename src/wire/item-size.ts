/** A message, or an item of a stream of them, is larger than a message may be. */
export class ItemSizeError extends Error {
  override readonly name = "ItemSizeError";

  constructor(readonly bytesMax: number) {
    super();
  }
}
