/** Checks JSON Web Tokens (RFC 7519) and reads their claims. Loaded only if a key of tokens is set, and jose with it. */
import type { KeyObject } from "node:crypto";
import { errors, type JWTPayload, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from "jose";
import { type PublicKey, publicKeyAlgorithms } from "../settings/public-key.ts";
import { isNoMember, jsonOfInfo } from "../topic/member-info.ts";
import { isTopicPattern } from "../topic/message.ts";
import type { MemberClaims } from "./client-members.ts";
import { type FetchTimes, PublishedKeys } from "./published-keys.ts";
import { KeysUnavailable, TokenError } from "./token-errors.ts";

/** The keys of tokens, and the claims that a token must have. */
export interface TokenRules {
  /** Keys of HS256. */
  readonly secrets: readonly string[];
  readonly publicKeys: readonly PublicKey[];
  /** URLs at which public keys are published. */
  readonly keyUrls: readonly URL[];
  /** A token must have one of these as its `aud`, unless the list is empty. */
  readonly audiences: readonly string[];
  /** A token must have one of these as its `iss`, unless the list is empty. */
  readonly issuers: readonly string[];
  /** By how many seconds the clock of the issuer may differ. */
  readonly leewaySeconds: number;
  /** Called when the keys at one of the URLs cannot be fetched. */
  onFailure(error: KeysUnavailable): void;
  readonly fetchTimes: FetchTimes | undefined;
}

/** The claims of a token whose signature and times were right. */
export interface VerifiedToken extends MemberClaims {
  /** The claim `exp` in milliseconds since 1970; infinite without one. */
  readonly expiresTime: number;
  /** Topic names, or prefixes that end in `*`. */
  readonly subscribe: readonly string[];
  readonly publish: readonly string[];
  readonly end: readonly string[];
  readonly presence: readonly string[];
  /** Whether GET /status is allowed. */
  readonly status: boolean;
  /** Whether the keys that verified it are still those in use. */
  isCurrent(): boolean;
}

export class TokenVerifier {
  readonly #verifiers: readonly Verifier[];
  readonly #published: readonly Verifier[];
  readonly #options: JWTVerifyOptions;

  private constructor(own: readonly Verifier[], published: readonly Verifier[], options: JWTVerifyOptions) {
    this.#verifiers = [...own, ...published];
    this.#published = published;
    this.#options = options;
  }

  static of(rules: TokenRules): TokenVerifier {
    const { secrets, publicKeys, keyUrls, audiences, issuers, leewaySeconds, onFailure, fetchTimes } = rules;
    const published = keyUrls.map((url) =>
      verifierWithPublishedKeys(new PublishedKeys(url, onFailure, fetchTimes)),
    );
    return new TokenVerifier(ownVerifiers(secrets, publicKeys), published, {
      clockTolerance: leewaySeconds,
      ...(audiences.length > 0 && { audience: [...audiences] }),
      ...(issuers.length > 0 && { issuer: [...issuers] }),
    });
  }

  /** The same with other keys. The published ones are shared, and so not fetched again. */
  withKeys(secrets: readonly string[], publicKeys: readonly PublicKey[]): TokenVerifier {
    return new TokenVerifier(ownVerifiers(secrets, publicKeys), this.#published, this.#options);
  }

  /**
   * @throws {TokenError}
   * @throws {KeysUnavailable}
   */
  async verify(token: string): Promise<VerifiedToken> {
    let reason: unknown;
    let unavailable: KeysUnavailable | undefined;
    for (const verify of this.#verifiers) {
      try {
        return readClaims(await verify(token, this.#options));
      } catch (error) {
        if (error instanceof KeysUnavailable) unavailable = error;
        else if (!(error instanceof errors.JOSEError)) throw error;
        else if (reason === undefined || isOfFittingKey(error)) reason = error;
      }
    }
    throw unavailable ?? new TokenError(whyNot(reason));
  }
}

/** Checks tokens with one key, or with the keys at one URL. @throws {errors.JOSEError | KeysUnavailable} */
type Verifier = (token: string, options: JWTVerifyOptions) => Promise<Verified>;

interface Verified {
  readonly payload: JWTPayload;
  isCurrent(): boolean;
}

const ownVerifiers = (secrets: readonly string[], publicKeys: readonly PublicKey[]): Verifier[] => [
  ...secrets.map((secret) => verifierWith(new TextEncoder().encode(secret), ["HS256"])),
  ...publicKeys.map(({ key, algorithms }) => verifierWith(key, algorithms)),
];

function verifierWith(key: Uint8Array | KeyObject, algorithms: string[]): Verifier {
  const isCurrent = (): boolean => true;
  return async (token, options) => {
    const { payload } = await jwtVerify(token, key, { ...options, algorithms });
    return { payload, isCurrent };
  };
}

function verifierWithPublishedKeys(keys: PublishedKeys): Verifier {
  return async (token, options) => {
    let version: string | undefined;
    const keyOf: JWTVerifyGetKey = async (header, input) => {
      const found = await keys.find(header, input);
      version = found.version;
      return found.key;
    };
    const { payload } = await jwtVerify(token, keyOf, { ...options, algorithms: publicKeyAlgorithms });
    return { payload, isCurrent: () => keys.isCurrent(version) };
  };
}

/** Whether the key did sign the token, so that this reason is better than that of a key that did not. */
const isOfFittingKey = (error: errors.JOSEError): boolean =>
  error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed;

function whyNot(reason: unknown): string {
  if (reason instanceof errors.JWTExpired) return "The token has expired.";
  if (reason instanceof errors.JWTClaimValidationFailed) return `The token's ${reason.claim} is not right.`;
  return "The token is not one that this server takes.";
}

/** @throws {TokenError} */
function readClaims({ payload, isCurrent }: Verified): VerifiedToken {
  const { iss, sub, iat, exp, subscribe, publish, end, presence, status, member } = payload;
  return {
    issuer: text("iss", iss),
    subject: text("sub", sub),
    expiresTime: exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000,
    subscribe: patterns("subscribe", subscribe),
    publish: patterns("publish", publish),
    end: patterns("end", end),
    presence: patterns("presence", presence),
    memberInfo: memberInfo(member),
    issuedSeconds: issuedSeconds(iat),
    status: status === true,
    isCurrent,
  };
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

/** Some issuers write a fraction (RFC 7519 section 2, NumericDate). What is no time is as old as can be. */
const issuedSeconds = (iat: number | undefined): number =>
  iat !== undefined && iat > 0 && iat <= Number.MAX_SAFE_INTEGER ? Math.floor(iat) : 0;

/** @throws {TokenError} */
function memberInfo(member: unknown): string | undefined {
  if (isNoMember(member)) return undefined;
  const info = jsonOfInfo(member);
  if (info === undefined) throw new TokenError("The token's member must be true or an object.");
  return info;
}

/** @throws {TokenError} for a claim that is not a list of topics: ignored, it would allow less than its issuer intends */
function patterns(claim: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string" && isTopicPattern(item)))
    return value;
  throw new TokenError(`The token's ${claim} must be a list of topic names, or of prefixes that end in *.`);
}
