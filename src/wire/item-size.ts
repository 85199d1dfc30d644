/** An item of a stream is larger than a message may be. */
export class ItemSizeError extends Error {
  override readonly name = "ItemSizeError";
}
