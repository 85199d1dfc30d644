/** From a token to the permissions that it gives. Results are kept, because checking a signature takes 30 to 100 µs. */
import { ConfigError, type HandlerConfig } from "../settings/config.ts";
import { tokenLengthMax } from "../settings/limits.ts";
import type { TokenVerifier, VerifiedToken } from "./jwt.ts";
import { KeptTokens } from "./kept-tokens.ts";
import type { TopicPermissions } from "./permissions.ts";
import type { FetchTimes } from "./published-keys.ts";
import { type KeysUnavailable, TokenError } from "./token-errors.ts";

export class Tokens {
  #verifier: Promise<TokenVerifier> | undefined;
  /** Keys that are settings, beside those published at URLs. */
  readonly #hasOwnKeys: boolean;
  readonly #permissionsFor: (token: VerifiedToken) => TopicPermissions;
  /** All connections of a token share its permissions. */
  #kept = new KeptTokens();

  /**
   * @param permissionsFor what a token's claims allow
   * @param onFailure called when the keys at one of the URLs cannot be fetched
   * @param fetchTimes when they are fetched
   */
  constructor(
    config: HandlerConfig,
    permissionsFor: (token: VerifiedToken) => TopicPermissions,
    onFailure: (error: KeysUnavailable) => void,
    fetchTimes?: FetchTimes,
  ) {
    this.#permissionsFor = permissionsFor;
    const { jwtSecrets, jwtPublicKeys, jwksUrls, jwtAudiences, jwtIssuers, tokenLeewaySeconds } = config;
    this.#hasOwnKeys = jwtSecrets.length + jwtPublicKeys.length > 0;
    if (jwtSecrets.length + jwtPublicKeys.length + jwksUrls.length === 0) return;
    const rules = {
      secrets: jwtSecrets,
      publicKeys: jwtPublicKeys,
      keyUrls: jwksUrls,
      audiences: jwtAudiences,
      issuers: jwtIssuers,
      leewaySeconds: tokenLeewaySeconds,
      onFailure,
      fetchTimes,
    };
    this.#verifier = import("./jwt.ts").then(({ TokenVerifier }) => TokenVerifier.of(rules));
  }

  get hasKeys(): boolean {
    return this.#verifier !== undefined;
  }

  /**
   * From now on tokens are verified with these keys, and with those published at the URLs, which stay.
   * @throws {ConfigError} before anything is changed, if these would be the first keys or the last would be taken away
   */
  useKeys({ jwtSecrets, jwtPublicKeys }: Pick<HandlerConfig, "jwtSecrets" | "jwtPublicKeys">): void {
    const isSet = jwtSecrets.length + jwtPublicKeys.length > 0;
    if (isSet !== this.#hasOwnKeys)
      throw new ConfigError(
        "The first key of tokens can be set, and the last one taken away, only by a restart",
      );
    this.#verifier = this.#verifier?.then((verifier) => verifier.withKeys(jwtSecrets, jwtPublicKeys));
    // Others, because a verification under way adds to those that it began with.
    this.#kept[Symbol.dispose]();
    this.#kept = new KeptTokens();
  }

  /** The permissions of a token that was verified before; undefined for one that has to be verified. */
  known(token: string): TopicPermissions | undefined {
    return token.length > tokenLengthMax ? undefined : this.#kept.get(digestOf(token));
  }

  /**
   * @throws {TokenError}
   * @throws {KeysUnavailable}
   */
  async permissionsOf(token: string): Promise<TopicPermissions> {
    if (token.length > tokenLengthMax)
      throw new TokenError(`A token has at most ${tokenLengthMax} characters.`);
    const all = this.#kept;
    const known = this.known(token);
    if (known) return known;
    if (!this.#verifier) throw new TokenError("The token is not one that this server takes.");
    const verified = await (await this.#verifier).verify(token);
    const permissions = this.#permissionsFor(verified);
    all.set(digestOf(token), { permissions, isCurrent: verified.isCurrent });
    return permissions;
  }
}

const digestOf = (token: string): string => Bun.SHA256.hash(token, "base64url");
