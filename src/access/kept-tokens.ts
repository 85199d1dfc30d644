/** The permissions of verified tokens, each until its token expires. */
import { keptTokensMax } from "../settings/limits.ts";
import type { TopicPermissions } from "./permissions.ts";

export interface KeptToken {
  readonly permissions: TopicPermissions;
  /** Whether the published keys are still those that verified it. */
  isCurrent(): boolean;
}

interface PresentedToken extends KeptToken {
  /** Since it was added or spared. */
  isPresented: boolean;
}

/** Shortest time between two looks for expired tokens: a look is at all of them. */
const lookMillisecondsMin = 1000;

/** A longer timer would fire at once. */
const lookMillisecondsMax = 24 * 3600 * 1000;

export class KeptTokens implements Disposable {
  /** By the digest of the token, the oldest first. */
  readonly #kept = new Map<string, PresentedToken>();
  #timer: Timer | undefined;
  /** When `#timer` fires, in milliseconds since 1970. */
  #lookTime = Number.POSITIVE_INFINITY;
  #isDisposed = false;

  /** @returns undefined for a token that has to be verified */
  get(digest: string): TopicPermissions | undefined {
    const kept = this.#kept.get(digest);
    if (!kept) return undefined;
    if (kept.isCurrent() && !hasExpired(kept)) {
      kept.isPresented = true;
      return kept.permissions;
    }
    this.#kept.delete(digest);
    return undefined;
  }

  /** Past `keptTokensMax` tokens one is dropped. */
  set(digest: string, kept: KeptToken): void {
    if (this.#isDisposed) return;
    if (this.#kept.size >= keptTokensMax) this.#dropOne();
    this.#kept.set(digest, { ...kept, isPresented: false });
    if (kept.permissions.expiresTime < this.#lookTime) this.#lookAt(kept.permissions.expiresTime);
  }

  /** Forgets all, also those that a verification under way is about to add. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    clearTimeout(this.#timer);
    this.#kept.clear();
  }

  /**
   * Drops the oldest token that was not presented, and spares those before it until the next time. To move a token at each
   * request instead would make the Map anew every few requests.
   */
  #dropOne(): void {
    for (const [digest, kept] of this.#kept) {
      this.#kept.delete(digest);
      if (!kept.isPresented) return;
      kept.isPresented = false;
      this.#kept.set(digest, kept);
    }
  }

  #lookAt(time: number): void {
    clearTimeout(this.#timer);
    this.#lookTime = time;
    if (time === Number.POSITIVE_INFINITY) return;
    const milliseconds = Math.min(Math.max(time - Date.now(), lookMillisecondsMin), lookMillisecondsMax);
    this.#timer = setTimeout(() => this.#forgetExpired(), milliseconds).unref();
  }

  #forgetExpired(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const [digest, kept] of this.#kept) {
      if (hasExpired(kept)) this.#kept.delete(digest);
      else next = Math.min(next, kept.permissions.expiresTime);
    }
    this.#lookAt(next);
  }
}

const hasExpired = ({ permissions }: KeptToken): boolean => Date.now() >= permissions.expiresTime;
