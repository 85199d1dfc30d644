/** Tokens (RFC 7519): from their text to what they claim. */
import { errors, type JWTPayload, type JWTVerifyOptions } from "jose";
import type { HandlerConfig } from "../settings/config.ts";
import { isTopicPattern } from "../topic/message.ts";
import { type Verifier, verifierOfJwks, verifierOfPublicKey, verifierOfSecret } from "./keys.ts";
import { KeysUnavailable } from "./published-keys.ts";

/** The claims of a token whose signature and times were right. */
export interface VerifiedToken {
  /** The claims `iss` and `sub`. */
  readonly issuer: string | undefined;
  readonly subject: string | undefined;
  /** The claim `exp` in milliseconds since 1970; infinite without one. */
  readonly expiresTime: number;
  /** Topic names, or prefixes that end in `*`. */
  readonly subscribe: readonly string[];
  readonly publish: readonly string[];
}

/** A token that this server does not accept. The message gives the reason and never holds the token. */
export class TokenError extends Error {}

/** The clock of the machine that signs tokens may be ahead of this one. */
const clockToleranceSeconds = 5;

/** Real tokens are shorter; checking a longer one would only cost time. */
const tokenLengthMax = 8192;

export type TokenConfig = Pick<
  HandlerConfig,
  "jwtSecrets" | "jwtPublicKeys" | "jwksUrls" | "jwtAudiences" | "jwtIssuers"
>;

export class Tokens {
  readonly #verifiers: readonly Verifier[];
  readonly #options: JWTVerifyOptions;

  /**
   * @param onFailure called when the keys at one of the URLs cannot be fetched
   * @throws {ConfigError} for a public key that cannot verify tokens
   */
  constructor(
    { jwtSecrets, jwtPublicKeys, jwksUrls, jwtAudiences, jwtIssuers }: TokenConfig,
    onFailure: (error: KeysUnavailable) => void,
  ) {
    this.#verifiers = [
      ...jwtSecrets.map(verifierOfSecret),
      ...jwtPublicKeys.map(verifierOfPublicKey),
      ...jwksUrls.map((url) => verifierOfJwks(url, onFailure)),
    ];
    this.#options = {
      clockTolerance: clockToleranceSeconds,
      ...(jwtAudiences.length > 0 && { audience: [...jwtAudiences] }),
      ...(jwtIssuers.length > 0 && { issuer: [...jwtIssuers] }),
    };
  }

  get hasKeys(): boolean {
    return this.#verifiers.length > 0;
  }

  /**
   * @throws {TokenError}
   * @throws {KeysUnavailable}
   */
  async verify(token: string): Promise<VerifiedToken> {
    if (token.length > tokenLengthMax)
      throw new TokenError(`A token has at most ${tokenLengthMax} characters.`);
    const { iss, sub, exp, subscribe, publish } = await this.#payloadOf(token);
    return {
      issuer: text("iss", iss),
      subject: text("sub", sub),
      expiresTime: exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000,
      subscribe: patterns("subscribe", subscribe),
      publish: patterns("publish", publish),
    };
  }

  async #payloadOf(token: string): Promise<JWTPayload> {
    let reason: unknown;
    let unavailable: KeysUnavailable | undefined;
    for (const verify of this.#verifiers) {
      try {
        return await verify(token, this.#options);
      } catch (error) {
        if (error instanceof KeysUnavailable) {
          unavailable = error;
          continue;
        }
        // The reason of the key that fits says most: that the token expired, not that another key did not sign it.
        if (!(error instanceof errors.JOSEError)) throw error;
        if (
          reason === undefined ||
          error instanceof errors.JWTExpired ||
          error instanceof errors.JWTClaimValidationFailed
        ) {
          reason = error;
        }
      }
    }
    throw unavailable ?? new TokenError(whyNot(reason));
  }
}

function whyNot(reason: unknown): string {
  if (reason instanceof errors.JWTExpired) return "The token has expired.";
  if (reason instanceof errors.JWTClaimValidationFailed) return `The token's ${reason.claim} is not right.`;
  return "The token is not one that this server takes.";
}

/**
 * Some issuers write whole numbers where RFC 7519 section 4.1 wants text.
 * @throws {TokenError} for a claim that is neither. Numbers that a double rounds would make two subjects one
 */
function text(claim: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  if (Number.isSafeInteger(value)) return String(value);
  throw new TokenError(`The token's ${claim} must be text.`);
}

/** @throws {TokenError} for a claim that is not a list of topics: ignored, it would allow less than its issuer intends */
function patterns(claim: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string" && isTopicPattern(item)))
    return value;
  throw new TokenError(`The token's ${claim} must be a list of topic names, or of prefixes that end in *.`);
}
