/** `longwire token`: a token for a client, signed with the server's own secret. */
import { SignJWT } from "jose";

/** What a token says. */
export interface TokenClaims {
  /** The secret of the server that is to take it (HS256). */
  readonly secret: string;
  /** Topic names, or prefixes that end in `*`. */
  readonly subscribe: readonly string[];
  readonly publish: readonly string[];
  readonly ttlSeconds: number;
  /** Whose it is. */
  readonly subject: string | undefined;
}

export async function makeToken({
  secret,
  subscribe,
  publish,
  ttlSeconds,
  subject,
}: TokenClaims): Promise<string> {
  const issuedSeconds = Math.floor(Date.now() / 1000);
  const token = new SignJWT({ subscribe: [...subscribe], publish: [...publish] })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuedAt(issuedSeconds)
    .setExpirationTime(issuedSeconds + ttlSeconds);
  if (subject !== undefined) token.setSubject(subject);
  return await token.sign(new TextEncoder().encode(secret));
}
