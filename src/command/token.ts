/** `longwire token`: a token for a client, signed with the server's own secret. */
import { SignJWT } from "jose";

/** The claims of a token. */
export interface TokenClaims {
  /** The secret of the server that will check it (HS256). */
  readonly secret: string;
  /** Topic names, or prefixes that end in `*`. */
  readonly subscribe: readonly string[];
  readonly publish: readonly string[];
  readonly end: readonly string[];
  /** Topics of which it may read who is there. */
  readonly presence?: readonly string[];
  /** What others may see of the member that its subject is. */
  readonly member?: true | object | undefined;
  /** Whether it may read GET /status. */
  readonly status?: boolean;
  readonly ttlSeconds: number;
  /** The claim `sub`. */
  readonly subject: string | undefined;
}

export async function makeToken({
  secret,
  subscribe,
  publish,
  end,
  presence = [],
  member,
  status,
  ttlSeconds,
  subject,
}: TokenClaims): Promise<string> {
  const issuedSeconds = Math.floor(Date.now() / 1000);
  const topics = { subscribe: [...subscribe], publish: [...publish], end: [...end] };
  const token = new SignJWT({
    ...topics,
    ...(presence.length > 0 && { presence: [...presence] }),
    ...(member && { member }),
    ...(status && { status }),
  })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setIssuedAt(issuedSeconds)
    .setExpirationTime(issuedSeconds + ttlSeconds);
  if (subject !== undefined) token.setSubject(subject);
  return await token.sign(new TextEncoder().encode(secret));
}
