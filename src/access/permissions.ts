/** What the sender of a request may do. */
import { matchesTopic } from "../topic/message.ts";

export type Action = "subscribe" | "publish";

/** What the sender of one request may do, for as long as its connection lasts. */
export interface Permissions {
  /** The owner of the sender's idempotency keys: equal keys of two publishers are different keys. */
  readonly publisher: string;
  /** Milliseconds since 1970 at which the sender's connections are closed; infinite without a token that expires. */
  readonly expiresTime: number;
  /** @throws {Refusal} if the sender may not do this */
  require(action: Action, topic: string): void | Promise<void>;
}

/**
 * An application's own rule, asked for each topic that no token allows. With `privatePing` and no keys it is asked for
 * the action `subscribe` on `ping` when a client connects to /ping.
 * @returns whether the sender of `request` may do it
 */
export type Authorize = (
  request: Request,
  wanted: { readonly topic: string; readonly action: Action },
) => boolean | Promise<boolean>;

/** Topic names, or prefixes that end in `*`, for each action. */
export type TopicPatterns = Readonly<Record<Action, readonly string[]>>;

/** Permissions for the topics that match a pattern. */
export class PatternPermissions implements Permissions {
  readonly #patterns: TopicPatterns;
  readonly #refuse: Permissions["require"];

  /** @param refuse called for every other topic; it throws, or resolves if the topic is allowed after all */
  constructor(
    readonly publisher: string,
    readonly expiresTime: number,
    patterns: TopicPatterns,
    refuse: Permissions["require"],
  ) {
    this.#patterns = patterns;
    this.#refuse = refuse;
  }

  require(action: Action, topic: string): void | Promise<void> {
    if (!matchesTopic(this.#patterns[action], topic)) return this.#refuse(action, topic);
  }
}

/** Permissions for every topic, without an end. */
export const allPermissions = (publisher: string): Permissions => ({
  publisher,
  expiresTime: Number.POSITIVE_INFINITY,
  require: () => undefined,
});
