/** Why a data directory cannot be used, and what to do. */
export class DataDirectoryError extends Error {
  override readonly name = "DataDirectoryError";

  /** @param what without the full stop that ends it */
  constructor(what: string) {
    super(`${what}.`);
  }
}
