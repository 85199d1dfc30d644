/** Public keys in PEM, and the algorithms that each kind of key verifies (RFC 7518, RFC 8037). */
import type { KeyObject } from "node:crypto";
import { UnitError } from "./unit-error.ts";

/** A key pinned to its algorithms: a public key must never be taken for a secret, nor `none` for a signature. */
export interface PublicKey {
  readonly key: KeyObject;
  readonly algorithms: string[];
}

/** @throws {UnitError} for text that is not a public key, and for a key that signs no tokens or is too weak */
export function readPublicKey(pem: string): PublicKey {
  const { createPublicKey } = process.getBuiltinModule("node:crypto"); // Not at start, where it costs 10 ms.
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw new UnitError(`has a key that cannot be read: ${error instanceof Error ? error.message : error}`);
  }
  return { key, algorithms: algorithmsOf(key) };
}

/** RFC 7518 section 3.3. */
const rsaBitsMin = 2048;

const rsaAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const curveAlgorithms: Record<string, string> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

/** RFC 9864 gives EdDSA with this curve a name of its own. */
const edwardsAlgorithms = ["EdDSA", "Ed25519"];

function algorithmsOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string[] {
  if (asymmetricKeyType === "rsa") {
    const bits = asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits >= rsaBitsMin) return rsaAlgorithms;
    throw new UnitError(`has an RSA key of ${bits} bits, which is too weak; use ${rsaBitsMin} or more`);
  }
  if (asymmetricKeyType === "ed25519") return edwardsAlgorithms;
  const algorithm = curveAlgorithms[asymmetricKeyDetails?.namedCurve ?? ""];
  if (asymmetricKeyType === "ec" && algorithm) return [algorithm];
  throw new UnitError(
    `has a key of type ${asymmetricKeyType}, which signs no token; use RSA, P-256, P-384, P-521 or Ed25519`,
  );
}

/** The algorithms of every kind of public key. */
export const publicKeyAlgorithms = [
  ...rsaAlgorithms,
  ...Object.values(curveAlgorithms),
  ...edwardsAlgorithms,
];
