/** From a token to the permissions that it gives. Results are kept, because checking a signature takes 30 to 100 µs. */
import type { HandlerConfig } from "../settings/config.ts";
import { keptTokensMax, tokenLengthMax } from "../settings/limits.ts";
import type { TokenVerifier, VerifiedToken } from "./jwt.ts";
import type { TopicPermissions } from "./permissions.ts";
import { readPublicKey } from "./public-key.ts";
import type { FetchTimes } from "./published-keys.ts";
import { type KeysUnavailable, TokenError } from "./token-errors.ts";

interface Kept {
  readonly permissions: TopicPermissions;
  isCurrent(): boolean;
}

export class Tokens {
  readonly #verifier: Promise<TokenVerifier> | undefined;
  readonly #permissionsFor: (token: VerifiedToken) => TopicPermissions;
  /** By the digest of the token. All connections of a token share its permissions. */
  readonly #kept = new Map<string, Kept>();

  /**
   * @param permissionsFor what a token's claims allow
   * @param onFailure called when the keys at one of the URLs cannot be fetched
   * @param fetchTimes when they are fetched
   * @throws {ConfigError} for a public key that cannot verify tokens
   */
  constructor(
    config: HandlerConfig,
    permissionsFor: (token: VerifiedToken) => TopicPermissions,
    onFailure: (error: KeysUnavailable) => void,
    fetchTimes?: FetchTimes,
  ) {
    this.#permissionsFor = permissionsFor;
    const { jwtSecrets, jwtPublicKeys, jwksUrls, jwtAudiences, jwtIssuers, tokenLeewaySeconds } = config;
    if (jwtSecrets.length + jwtPublicKeys.length + jwksUrls.length === 0) return;
    const rules = {
      secrets: jwtSecrets,
      publicKeys: jwtPublicKeys.map(readPublicKey),
      keyUrls: jwksUrls,
      audiences: jwtAudiences,
      issuers: jwtIssuers,
      leewaySeconds: tokenLeewaySeconds,
      onFailure,
      fetchTimes,
    };
    this.#verifier = import("./jwt.ts").then(({ TokenVerifier }) => new TokenVerifier(rules));
  }

  get hasKeys(): boolean {
    return this.#verifier !== undefined;
  }

  /**
   * @throws {TokenError}
   * @throws {KeysUnavailable}
   */
  async permissionsOf(token: string): Promise<TopicPermissions> {
    if (token.length > tokenLengthMax)
      throw new TokenError(`A token has at most ${tokenLengthMax} characters.`);
    const digest = Bun.SHA256.hash(token, "base64url");
    const kept = this.#kept.get(digest);
    if (kept) {
      this.#kept.delete(digest);
      if (kept.isCurrent() && Date.now() < kept.permissions.expiresTime) {
        this.#kept.set(digest, kept);
        return kept.permissions;
      }
    }
    if (!this.#verifier) throw new TokenError("The token is not one that this server takes.");
    const verified = await (await this.#verifier).verify(token);
    const permissions = this.#permissionsFor(verified);
    this.#keep(digest, { permissions, isCurrent: verified.isCurrent });
    return permissions;
  }

  #keep(digest: string, kept: Kept): void {
    if (this.#kept.size >= keptTokensMax) {
      const [oldest] = this.#kept.keys();
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
    this.#kept.set(digest, kept);
  }
}
