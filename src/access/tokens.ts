/** Who may do what: API keys, tokens (RFC 7519), and what each of them allows. */
import { createHash, createPublicKey, type KeyObject, timingSafeEqual } from "node:crypto";
import {
  createRemoteJWKSet,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from "jose";
import { ConfigError, type HandlerConfig } from "../settings/config.ts";
import { isTopicPattern, matchesTopic } from "../topic/message.ts";

export type Action = "subscribe" | "publish";

/** What one client may do. */
export interface Grant {
  /** Whose it is: two publishers' idempotency keys are different keys. */
  readonly subject: string;
  /** Milliseconds since 1970 at which its connections end; never where there is none. */
  readonly expiresTime: number;
  allows(action: Action, topic: string): boolean;
}

/** The keys, tokens and topics of a server. */
export type AccessConfig = Pick<
  HandlerConfig,
  "apiKeys" | "jwtSecrets" | "jwtPublicKeys" | "jwksUrls" | "jwtAudiences" | "jwtIssuers" | "publicTopics"
>;

/** A token that is none of ours, or no longer. The message says why and never holds the token. */
export class TokenError extends Error {}

/** Whether a token is one of ours cannot be told now: its keys are published where nothing answers. */
export class KeysUnavailable extends Error {}

/** A clock of another machine may be ahead of ours. */
const clockToleranceSeconds = 5;

/** Tokens are short; to look at more is work for whoever sends it. */
const tokenLengthMax = 8192;

export class Access {
  /** False with no key of any kind: then no token can be told from another. */
  readonly hasKeys: boolean;
  readonly #apiKeyDigests: readonly Buffer[];
  readonly #verifiers: readonly Verifier[];
  readonly #options: JWTVerifyOptions;
  readonly #publicTopics: readonly string[];

  /** @throws {ConfigError} for a public key that signs no token */
  constructor(config: AccessConfig) {
    const { apiKeys, jwtSecrets, jwtPublicKeys, jwksUrls } = config;
    this.hasKeys = apiKeys.length + jwtSecrets.length + jwtPublicKeys.length + jwksUrls.length > 0;
    this.#apiKeyDigests = apiKeys.map(digest);
    this.#verifiers = [
      ...jwtSecrets.map(verifierOfSecret),
      ...jwtPublicKeys.map(verifierOfPublicKey),
      ...jwksUrls.map(verifierOfJwks),
    ];
    this.#options = {
      clockTolerance: clockToleranceSeconds,
      ...(config.jwtAudiences.length > 0 && { audience: [...config.jwtAudiences] }),
      ...(config.jwtIssuers.length > 0 && { issuer: [...config.jwtIssuers] }),
    };
    this.#publicTopics = config.publicTopics;
  }

  get hasApiKey(): boolean {
    return this.#apiKeyDigests.length > 0;
  }

  /** Compares with every key in the same time, whether one is right or not. */
  isApiKey(key: string): boolean {
    const given = digest(key);
    return this.#apiKeyDigests.map((known) => timingSafeEqual(known, given)).includes(true);
  }

  /**
   * What whoever presents this may do.
   * @param token nothing where none came
   * @throws {TokenError}
   * @throws {KeysUnavailable}
   */
  async grantOf(token: string | undefined): Promise<Grant> {
    if (token === undefined || !this.hasKeys) return this.#grant("", [], [], Number.POSITIVE_INFINITY);
    if (this.isApiKey(token)) return everything("an API key");
    if (token.length > tokenLengthMax)
      throw new TokenError(`A token has at most ${tokenLengthMax} characters.`);
    const { sub, exp, subscribe, publish } = await this.#verify(token);
    const expiresTime = exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000;
    return this.#grant(
      `sub ${sub ?? ""}`,
      patterns("subscribe", subscribe),
      patterns("publish", publish),
      expiresTime,
    );
  }

  async #verify(token: string): Promise<JWTPayload> {
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

  #grant(
    subject: string,
    subscribe: readonly string[],
    publish: readonly string[],
    expiresTime: number,
  ): Grant {
    const readable = [...this.#publicTopics, ...subscribe];
    return {
      subject,
      expiresTime,
      allows: (action, topic) => matchesTopic(action === "subscribe" ? readable : publish, topic),
    };
  }
}

type Verifier = (token: string, options: JWTVerifyOptions) => Promise<JWTPayload>;

// Each kind of key is pinned to its algorithms: a public key must never be taken for a secret, nor `none` for a signature.

function verifierOfSecret(secret: string): Verifier {
  const key = new TextEncoder().encode(secret);
  return async (token, options) =>
    (await jwtVerify(token, key, { ...options, algorithms: ["HS256"] })).payload;
}

function verifierOfPublicKey(pem: string): Verifier {
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

function verifierOfJwks(url: string): Verifier {
  const published = createRemoteJWKSet(new URL(url));
  const algorithms = [...rsaAlgorithms, ...Object.values(curveAlgorithms), "EdDSA", "Ed25519"];
  const keyOf: JWTVerifyGetKey = async (header, token) => {
    try {
      return await published(header, token);
    } catch (error) {
      if (keyErrors.some((kind) => error instanceof kind)) throw error;
      throw new KeysUnavailable(`the keys at ${url} cannot be fetched`, { cause: error });
    }
  };
  return async (token, options) => (await jwtVerify(token, keyOf, { ...options, algorithms })).payload;
}

/** What is wrong with a token when its keys were fetched. */
const keyErrors = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported];

function whyNot(reason: unknown): string {
  if (reason instanceof errors.JWTExpired) return "The token has expired.";
  if (reason instanceof errors.JWTClaimValidationFailed) return `The token's ${reason.claim} is not right.`;
  return "The token is not one that this server takes.";
}

/** @throws {TokenError} for a claim that is no list of topics, which would otherwise grant less than its maker thinks */
function patterns(claim: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string" && isTopicPattern(item)))
    return value;
  throw new TokenError(`The token's ${claim} must be a list of topic names, or of prefixes that end in *.`);
}

function everything(subject: string): Grant {
  return { subject, expiresTime: Number.POSITIVE_INFINITY, allows: () => true };
}

/** Of equal length whatever was given, as a comparison in constant time needs it. */
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
