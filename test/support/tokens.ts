/** Tokens as an issuer signs them, and forged ones. */
import { type CryptoKey, type JWTPayload, SignJWT } from "jose";

export interface TokenShape {
  readonly algorithm?: string;
  readonly keyId?: string;
  /** Seconds from now; an hour if left out, no `exp` if null. */
  readonly expires?: number | null;
  readonly notBefore?: number;
}

/** @param key a secret for HS256, or a private key */
export async function sign(
  claims: JWTPayload,
  key: string | CryptoKey,
  { algorithm = "HS256", keyId, expires = 3600, notBefore }: TokenShape = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const token = new SignJWT(claims).setProtectedHeader({
    alg: algorithm,
    ...(keyId !== undefined && { kid: keyId }),
  });
  if (expires !== null) token.setExpirationTime(now + expires);
  if (notBefore !== undefined) token.setNotBefore(now + notBefore);
  return await token.sign(typeof key === "string" ? new TextEncoder().encode(key) : key);
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token with any header and any signature. */
export const forge = (header: object, claims: object, signature = ""): string =>
  `${part(header)}.${part(claims)}.${signature}`;

/** Claims that allow everything. */
export const everywhere = { subscribe: ["*"], publish: ["*"] };

export const bearer = (token: string): { readonly Authorization: string } => ({
  Authorization: `Bearer ${token}`,
});

/** Publishes, with the same idempotency key each time. @returns the id of the answer, or the ids of several topics */
export async function publishedId(
  on: { readonly url: URL },
  headers: Record<string, string>,
  topics = "once",
): Promise<string> {
  const request = { method: "POST", body: "x", headers: { ...headers, "Idempotency-Key": "k" } };
  const response = await fetch(new URL(`/topics/${topics}`, on.url), request);
  if (response.status !== 200) throw new Error(`publishing was answered with ${response.status}`);
  const { published } = (await response.json()) as { published: { id: string }[] };
  return published.map(({ id }) => id).join();
}
