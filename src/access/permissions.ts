/** What the sender of a request may do. */
import type { Refusal } from "../http/refusal.ts";
import { matchesTopic } from "../topic/message.ts";
import { anonymous, authorizedSender, type Sender } from "./publishers.ts";

/** To end a topic is a permission of its own: otherwise anyone who may write could close a room for good. */
export type Action = "subscribe" | "publish" | "end";

/** What the sender of one request may do, for as long as its connection lasts. */
export interface Permissions {
  /** Milliseconds since 1970 at which the sender's connections are closed; infinite without a token that expires. */
  readonly expiresTime: number;
  /** A token's `sub`, or the subject that `authorize` named last, for the log. */
  readonly subject: string | undefined;
  /**
   * @returns the sender as a publisher
   * @throws {Refusal} if the sender may not do this
   */
  require(action: Action, topic: string): Sender | Promise<Sender>;
}

/**
 * An application's own rule, asked for each topic that no token allows. With `privatePing` and no keys it is asked for
 * the action `subscribe` on `ping` when a client connects to /ping.
 *
 * ```ts
 * import { type Authorize, createHandler } from "longwire";
 *
 * const authorize: Authorize = (request, { topic, action }) => {
 *   const user = request.headers.get("x-user"); // Set by a proxy that knows its users.
 *   return user !== null && (action === "subscribe" || topic === `users/${user}`) ? { subject: user } : false;
 * };
 * await using longwire = createHandler({ authorize });
 * ```
 *
 * @returns whether the sender of `request` may do it; `{ subject }` allows it and names the sender. Idempotency keys of
 * two subjects are different keys. Senders without a subject share theirs.
 */
export type Authorize = (
  request: Request,
  wanted: { readonly topic: string; readonly action: Action },
) => Authorization | Promise<Authorization>;

/** `subject` is a stable name of the sender, such as a user's id. */
export type Authorization = boolean | { readonly subject: string };

/** Topic names, or prefixes that end in `*`, for each action. */
export type TopicPatterns = Readonly<Record<Action, readonly string[]>>;

/** Permissions for the topics that match a pattern. */
export class TopicPermissions implements Permissions {
  readonly #patterns: TopicPatterns;

  /** @param refusal of every other topic */
  constructor(
    readonly sender: Sender,
    readonly expiresTime: number,
    patterns: TopicPatterns,
    readonly refusal: (action: Action, topic: string) => Refusal,
    /** Whether GET /status is allowed. */
    readonly allowsStatus = false,
  ) {
    this.#patterns = patterns;
  }

  get subject(): string | undefined {
    return this.sender.subject;
  }

  allows(action: Action, topic: string): boolean {
    return matchesTopic(this.#patterns[action], topic);
  }

  require(action: Action, topic: string): Sender {
    if (this.allows(action, topic)) return this.sender;
    throw this.refusal(action, topic);
  }
}

/** Permissions of a token, extended by `authorize`. The request is kept while its connection lasts, to ask with it. */
export class AuthorizedPermissions implements Permissions {
  readonly #granted: TopicPermissions;
  readonly #authorize: Authorize;
  readonly #request: Request;
  readonly #isStamped: boolean;
  /** The permissions of the subject that `authorize` named last, which is mostly the only one. */
  #asked: { readonly subject: string | undefined; readonly sender: Sender } | undefined;

  /** @param isStamped whether readers are shown the subject that `authorize` names */
  constructor(granted: TopicPermissions, authorize: Authorize, request: Request, isStamped: boolean) {
    this.#granted = granted;
    this.#authorize = authorize;
    this.#request = request;
    this.#isStamped = isStamped;
  }

  get expiresTime(): number {
    return this.#granted.expiresTime;
  }

  get subject(): string | undefined {
    return this.#granted.subject ?? this.#asked?.subject;
  }

  require(action: Action, topic: string): Sender | Promise<Sender> {
    return this.#granted.allows(action, topic) ? this.#granted.sender : this.#ask(action, topic);
  }

  async #ask(action: Action, topic: string): Promise<Sender> {
    const answer = await this.#authorize(this.#request, { topic, action });
    if (!answer) throw this.#granted.refusal(action, topic);
    if (this.#granted.sender.name !== anonymous.name) return this.#granted.sender;
    const subject = answer === true ? undefined : answer.subject;
    if (this.#asked?.subject !== subject || !this.#asked)
      this.#asked = { subject, sender: authorizedSender(subject, this.#isStamped) };
    return this.#asked.sender;
  }
}
