/**
 * Who publishes: the name that idempotency keys belong to, and the attributes that the server stamps on each message.
 *
 * By the names publishers are told apart, so that one cannot use or see the idempotency keys of another. A name is
 * JSON of a kind and what identifies a publisher of that kind: no two kinds and no two publishers can share one.
 */

import type { Attributes } from "../topic/attributes.ts";

/** One publisher. All its messages share the object. */
export interface Sender {
  readonly name: string;
  /** A token's `sub`, or the subject that `authorize` named, for the log. */
  readonly subject?: string | undefined;
  /** `authtype`, and `authid` with `--stamp-sender` (CloudEvents Auth Context extension). */
  readonly stamp: Attributes;
}

/** All senders without an identity are one publisher. */
export const anonymous: Sender = { name: "", stamp: { authtype: "unauthenticated" } };

/** The program that Longwire runs in. */
export const program: Sender = { name: JSON.stringify(["program"]), stamp: { authtype: "system" } };

/**
 * Two issuers can use the same subject for two people, so the name has both.
 * @param isStamped whether readers are shown the subject
 */
export function tokenSender(
  issuer: string | undefined,
  subject: string | undefined,
  isStamped: boolean,
): Sender {
  const name = subject ? JSON.stringify(["token", issuer ?? null, subject]) : anonymous.name;
  return { name, subject, stamp: stampOf("app_user", subject, isStamped) };
}

/** @param digest of the API key, because a name is kept for minutes and the key itself must not be */
export const keySender = (digest: string): Sender => ({
  name: JSON.stringify(["key", digest]),
  stamp: { authtype: "api_key" },
});

/** @param subject as an application's own `authorize` returned it */
export function authorizedSender(subject: string | undefined, isStamped: boolean): Sender {
  if (!subject) return anonymous;
  return {
    name: JSON.stringify(["authorize", subject]),
    subject,
    stamp: stampOf("app_user", subject, isStamped),
  };
}

const stampOf = (authtype: string, subject: string | undefined, isStamped: boolean): Attributes =>
  isStamped && subject ? { authtype, authid: subject } : { authtype };
