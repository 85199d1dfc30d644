/** Public keys that an identity provider publishes at a URL (RFC 7517), fetched when needed and kept. */
import {
  type CryptoKey,
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type FlattenedJWSInput,
  type JWTHeaderParameters,
  type RemoteJWKSet,
} from "jose";
import { BoundedBody } from "../http/bounded-body.ts";
import {
  keysAnswerBytesMax,
  keysCooldownSeconds,
  keysRefreshSeconds,
  keysRetrySeconds,
} from "../settings/limits.ts";
import { KeysUnavailable } from "./token-errors.ts";

/** When keys are fetched. All times are in seconds. */
export interface FetchTimes {
  /** Age at which the keys are fetched again. They stay valid until that succeeds, and so does a withdrawn key. */
  readonly refreshSeconds: number;
  /** Shortest time between a fetch and the next for an unknown key: anyone can invent names of keys. */
  readonly cooldownSeconds: number;
  /** Shortest time between a failed fetch and the next. */
  readonly retrySeconds: number;
}

const defaultFetchTimes: FetchTimes = {
  refreshSeconds: keysRefreshSeconds,
  cooldownSeconds: keysCooldownSeconds,
  retrySeconds: keysRetrySeconds,
};

export interface FoundKey {
  readonly key: CryptoKey;
  /** The version of the keys that it belongs to. */
  readonly version: string | undefined;
}

export class PublishedKeys {
  readonly #url: URL;
  readonly #times: FetchTimes;
  readonly #onFailure: (error: KeysUnavailable) => void;
  /** Never fetches by itself: jose would fetch for each token while the provider fails, and drop keys that grew old. */
  readonly #set: RemoteJWKSet;
  /** The request in progress. Everything that waits for keys shares it. */
  #fetching: Promise<void> | undefined;
  /** The error of the last fetch; undefined if it succeeded. */
  #failure: KeysUnavailable | undefined;
  /** The keys as text, which is their version: equal text is no change. */
  #keys: string | undefined;
  /** By `performance.now()`: before this nothing is fetched. */
  #nextFetchTime = 0;
  /** By `performance.now()`: from then on the keys are old. */
  #refreshTime = 0;

  /** @param onFailure called for each fetch that failed */
  constructor(url: URL, onFailure: (error: KeysUnavailable) => void, times = defaultFetchTimes) {
    this.#url = url;
    this.#times = times;
    this.#onFailure = onFailure;
    this.#set = createRemoteJWKSet(url, {
      cacheMaxAge: Number.POSITIVE_INFINITY,
      cooldownDuration: Number.POSITIVE_INFINITY,
      [customFetch]: fetchBounded,
    });
  }

  /**
   * The key that a token names.
   * @throws {KeysUnavailable} if it is unknown and the last fetch failed
   * @throws {errors.JOSEError} if none of the published keys fits
   */
  async find(header: JWTHeaderParameters, token: FlattenedJWSInput): Promise<FoundKey> {
    if (this.#keys === undefined) await this.#fetchUnlessJustTried();
    else this.#refresh();
    if (this.#keys === undefined && this.#failure) throw this.#failure;
    try {
      return await this.#lookUp(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#fetchUnlessJustTried();
      if (this.#failure) throw this.#failure;
      return await this.#lookUp(header, token);
    }
  }

  /** Whether the published keys are still those of that version. */
  isCurrent(version: string | undefined): boolean {
    this.#refresh();
    return version === this.#keys;
  }

  async #lookUp(header: JWTHeaderParameters, token: FlattenedJWSInput): Promise<FoundKey> {
    const version = this.#keys; // Read before the lookup, so that a key withdrawn meanwhile is not taken for one of the new keys.
    return { key: await this.#set(header, token), version };
  }

  /** Begins to fetch keys that are old, and waits for nothing: those known stay valid. */
  #refresh(): void {
    if (performance.now() >= this.#refreshTime) void this.#fetchUnlessJustTried();
  }

  /** Never rejects. Afterwards `#failure` has the result of the last fetch. */
  async #fetchUnlessJustTried(): Promise<void> {
    if (!this.#fetching) {
      if (performance.now() < this.#nextFetchTime) return;
      this.#fetching = this.#fetch();
    }
    await this.#fetching;
  }

  async #fetch(): Promise<void> {
    try {
      await this.#set.reload();
      this.#keys = JSON.stringify(this.#set.jwks());
      this.#failure = undefined;
    } catch (cause) {
      const message = `the keys at ${this.#url} cannot be fetched`;
      this.#failure = new KeysUnavailable(message, this.#times.retrySeconds, { cause });
      this.#onFailure(this.#failure);
    }
    const { refreshSeconds, cooldownSeconds, retrySeconds } = this.#times;
    const now = performance.now();
    this.#nextFetchTime = now + (this.#failure ? retrySeconds : cooldownSeconds) * 1000;
    if (!this.#failure) this.#refreshTime = now + refreshSeconds * 1000;
    this.#fetching = undefined;
  }
}

/** Fetches an answer whose size is known before it is parsed. */
const fetchBounded: FetchImplementation = async (url, options) => {
  const response = await fetch(url, options);
  const body = response.body && (await new BoundedBody(response.body, keysAnswerBytesMax).read());
  if (body === undefined) throw new Error(`the answer has more than ${keysAnswerBytesMax} bytes`);
  return new Response(body, { status: response.status });
};
