/**
 * The names by which publishers are told apart, so that one cannot use or see the idempotency keys of another. A name is
 * JSON of a kind and what identifies a publisher of that kind: no two kinds and no two publishers can share one.
 */

/** All senders without an identity are one publisher. */
export const anonymous = "";

/** Two issuers can use the same subject for two people, so the name has both. */
export const tokenPublisher = (issuer: string | undefined, subject: string | undefined): string =>
  subject ? JSON.stringify(["token", issuer ?? null, subject]) : anonymous;

/** @param digest of the API key, because a name is kept for minutes and the key itself must not be */
export const keyPublisher = (digest: string): string => JSON.stringify(["key", digest]);

/** @param subject as an application's own `authorize` returned it */
export const authorizedPublisher = (subject: string | undefined): string =>
  subject ? JSON.stringify(["authorize", subject]) : anonymous;
