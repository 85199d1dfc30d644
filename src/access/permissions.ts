/** What the sender of a request may do. */
import type { Refusal } from "../http/refusal.ts";
import { matchesTopic } from "../topic/message.ts";
import type { Member } from "../topic/presence.ts";
import type { ClientMembers } from "./client-members.ts";
import { anonymous, authorizedSender, type Sender } from "./publishers.ts";

/**
 * To end a topic is a permission of its own: otherwise anyone who may write could close a room for good. So is to read who is
 * there (`presence`): otherwise anyone who may read a public topic would learn the names of its readers.
 */
export type Action = "subscribe" | "publish" | "end" | "presence";

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
  /**
   * Whom a line of the sender on the topic stands for; undefined for a line that others do not see. Valid after
   * `require("subscribe", topic)`.
   */
  memberOn(topic: string): Member | undefined;
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
 * two subjects are different keys. Senders without a subject share theirs. For `subscribe`, `{ subject, member }` makes the
 * line a member of the topic, if the topic has presence.
 */
export type Authorize = (
  request: Request,
  wanted: { readonly topic: string; readonly action: Action },
) => Authorization | Promise<Authorization>;

/**
 * `subject` is a stable name of the sender, such as a user's id. `member` is what those who may read the presence of the topic
 * see of it beside the subject: `true`, or an object of at most 1 KiB as JSON.
 */
export type Authorization = boolean | { readonly subject: string; readonly member?: boolean | object };

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
    readonly member: Member | undefined = undefined,
  ) {
    this.#patterns = patterns;
  }

  get subject(): string | undefined {
    return this.sender.subject;
  }

  allows(action: Action, topic: string): boolean {
    return matchesTopic(this.#patterns[action], topic);
  }

  memberOn(): Member | undefined {
    return this.member;
  }

  require(action: Action, topic: string): Sender {
    if (this.allows(action, topic)) return this.sender;
    throw this.refusal(action, topic);
  }
}

/** An application's own rule, and what its answers mean. */
export interface AuthorizeRule {
  readonly authorize: Authorize;
  /** Whether readers are shown the subject that it names. */
  readonly isStamped: boolean;
  readonly members: ClientMembers;
}

/** Permissions of a token, extended by `authorize`. The request is kept while its connection lasts, to ask with it. */
export class AuthorizedPermissions implements Permissions {
  readonly #granted: TopicPermissions;
  readonly #request: Request;
  readonly #rule: AuthorizeRule;
  /** The permissions of the subject that `authorize` named last, which is mostly the only one. */
  #asked: { readonly subject: string | undefined; readonly sender: Sender } | undefined;

  /** The members that `authorize` named, by topic. Set once there is one. */
  #members: Map<string, Member> | undefined;

  constructor(granted: TopicPermissions, request: Request, rule: AuthorizeRule) {
    this.#granted = granted;
    this.#request = request;
    this.#rule = rule;
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

  memberOn(topic: string): Member | undefined {
    return this.#members?.get(topic) ?? this.#granted.member;
  }

  async #ask(action: Action, topic: string): Promise<Sender> {
    const { authorize, isStamped, members } = this.#rule;
    const answer = await authorize(this.#request, { topic, action });
    if (!answer) throw this.#granted.refusal(action, topic);
    const member = answer === true || action !== "subscribe" ? undefined : members.ofAuthorization(answer);
    if (member) {
      this.#members ??= new Map();
      this.#members.set(topic, member);
    }
    if (this.#granted.sender.name !== anonymous.name) return this.#granted.sender;
    const subject = answer === true ? undefined : answer.subject;
    if (this.#asked?.subject !== subject || !this.#asked)
      this.#asked = { subject, sender: authorizedSender(subject, isStamped) };
    return this.#asked.sender;
  }
}
