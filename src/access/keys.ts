/** The keys that tokens are verified with: secrets, public keys, and keys that a provider publishes. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { type JWTPayload, type JWTVerifyOptions, jwtVerify } from "jose";
import { ConfigError } from "../settings/config.ts";
import { type KeysUnavailable, PublishedKeys } from "./published-keys.ts";

export type Verifier = (token: string, options: JWTVerifyOptions) => Promise<JWTPayload>;

// Each kind of key is pinned to its algorithms: a public key must never be taken for a secret, nor `none` for a signature.

export function verifierOfSecret(secret: string): Verifier {
  const key = new TextEncoder().encode(secret);
  return async (token, options) =>
    (await jwtVerify(token, key, { ...options, algorithms: ["HS256"] })).payload;
}

export function verifierOfPublicKey(pem: string): Verifier {
  const key = readPublicKey(pem);
  const algorithms = algorithmsOf(key);
  return async (token, options) => (await jwtVerify(token, key, { ...options, algorithms })).payload;
}

function readPublicKey(pem: string): KeyObject {
  try {
    return createPublicKey(pem);
  } catch (error) {
    throw new ConfigError(`a public key cannot be read: ${error instanceof Error ? error.message : error}`);
  }
}

/** RFC 7518 section 3.3. */
const rsaBitsMin = 2048;

const rsaAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const curveAlgorithms: Record<string, string> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

function algorithmsOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string[] {
  if (asymmetricKeyType === "rsa") {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits >= rsaBitsMin) return rsaAlgorithms;
    throw new ConfigError(`an RSA key of ${bits} bits is too weak; use ${rsaBitsMin} or more`);
  }
  if (asymmetricKeyType === "ed25519") return ["EdDSA", "Ed25519"];
  const algorithm = curveAlgorithms[asymmetricKeyDetails?.namedCurve ?? ""];
  if (asymmetricKeyType === "ec" && algorithm) return [algorithm];
  throw new ConfigError(
    `a public key of type ${asymmetricKeyType} signs no token; use RSA, P-256, P-384, P-521 or Ed25519`,
  );
}

export function verifierOfJwks(url: string, onFailure: (error: KeysUnavailable) => void): Verifier {
  const { keyOf } = new PublishedKeys(url, onFailure);
  const algorithms = [...rsaAlgorithms, ...Object.values(curveAlgorithms), "EdDSA", "Ed25519"];
  return async (token, options) => (await jwtVerify(token, keyOf, { ...options, algorithms })).payload;
}
