/** Why a data directory cannot be used, and what to do, in words that end without a full stop. */
export class DataDirectoryError extends Error {
  override readonly name = "DataDirectoryError";
}
