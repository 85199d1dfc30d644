/** A token that this server does not accept. The message gives the reason and never holds the token. */
export class TokenError extends Error {}

/** A token that cannot be checked now, because its keys are published at a URL that does not answer. */
export class KeysUnavailable extends Error {
  /** @param retrySeconds when the keys are fetched again at the earliest */
  constructor(
    message: string,
    readonly retrySeconds: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
