/** Why `longwire check` has no connection, and what to do: a sentence for each cause that a person meets. */
import { checkPatienceSeconds } from "../settings/limits.ts";

const unknownIssuer =
  "the certificate is not signed by an authority that this machine knows: serve the whole chain, or name a file with a certificate of your own in NODE_EXTRA_CA_CERTS";

/** By the code of the error, as Node names it. */
const words: Readonly<Record<string, (host: string) => string>> = {
  ECONNREFUSED: (host) => `nothing listens at ${host}: start the server, or correct the address`,
  ENOTFOUND: (host) => `the name of ${host} is not known: correct it`,
  EAI_AGAIN: (host) => `the name of ${host} cannot be looked up: is this machine on the network?`,
  EHOSTUNREACH: (host) => `there is no way to ${host}: look at the network and its firewalls`,
  ENETUNREACH: (host) => `there is no way to ${host}: look at the network and its firewalls`,
  DEPTH_ZERO_SELF_SIGNED_CERT: () => unknownIssuer,
  SELF_SIGNED_CERT_IN_CHAIN: () => unknownIssuer,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: () => unknownIssuer,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: () => unknownIssuer,
  CERT_HAS_EXPIRED: () => "the certificate has expired: renew it",
  ERR_TLS_CERT_ALTNAME_INVALID: (host) =>
    `the certificate is for another name than ${host}: use one of its names`,
};

export function whyNotConnected(error: unknown, base: string): string {
  const { host, protocol } = new URL(base);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = error instanceof Error ? error.message : String(error);
  const known = words[code];
  if (known) return known(host);
  if (text.startsWith("waited"))
    return `${text}: ${host} gives no answer within ${checkPatienceSeconds} s, so look at firewalls in the way`;
  if (protocol === "https:" && /EPROTO|ERR_SSL|WRONG_VERSION|ECONNRESET/.test(`${code} ${text}`))
    return `no TLS is spoken at ${host} (${code || text}): try http://${host}`;
  if (protocol === "http:" && code === "ECONNRESET")
    return `${host} closed the connection without an answer: if it speaks TLS, try https://${host}`;
  return text;
}
