/** Why a message cannot be published, in words for its publisher. */
export class DraftError extends Error {
  override readonly name = "DraftError";
}
