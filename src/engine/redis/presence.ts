/**
 * Who is here, in Redis (members.lua). A node has a name there for as long as what it has said counts. It makes another one, and
 * says everything again, where another node has declared it dead, or the server may have lost what it said.
 */
import type { Logger } from "../../log.ts";
import { BrokerUnavailable } from "../../topic/broker.ts";
import {
  boundOfMembers,
  type Presence,
  type PresenceRegister,
  type RefusedMember,
} from "../../topic/presence.ts";
import type { HistoryLimits } from "../../topic/retention.ts";
import type { KindsOfTopics, PresenceLimits } from "../engine.ts";
import { Epochs } from "../epochs.ts";
import type { RedisKeys } from "./keys.ts";
import type { Argument, Reply } from "./link.ts";
import type { Primary } from "./primary.ts";
import { NodesWatch } from "./watch.ts";

const lookMilliseconds = 1000;

const closeMilliseconds = 1000;

export interface RedisPresenceDeps {
  readonly limits: PresenceLimits & HistoryLimits & Pick<KindsOfTopics, "keysMax">;
  readonly keys: RedisKeys;
  readonly primary: Primary;
  readonly log: Logger;
}

export class RedisPresence implements PresenceRegister {
  readonly #deps: RedisPresenceDeps;
  readonly #epochs = new Epochs();
  readonly #watch = new NodesWatch();
  readonly #timer: Timer;
  #forgotten: () => void = () => undefined;
  #name = newName();
  /** Of the last call. It grows with each, also of another name. */
  #number = 0;
  /** Of the last call that was answered. A server that lacks it has lost what this node had said. */
  #answered = 0;
  /** Settles when the name is known to Redis; undefined before it is asked. */
  #registering: Promise<void> | undefined;
  /** Since when it has watched without a break, by the clock of Redis; empty before the first look. */
  #watchedTime = "";
  #isLooking = false;
  #hasFailed = false;

  constructor(deps: RedisPresenceDeps) {
    this.#deps = deps;
    this.#timer = setInterval(() => this.look(), lookMilliseconds).unref();
  }

  onForgotten(forgotten: () => void): void {
    this.#forgotten = forgotten;
  }

  async present(topic: string, members: readonly Presence[]): Promise<readonly RefusedMember[]> {
    await this.#registered();
    const values = members.flatMap((member) =>
      member.isHere
        ? [member.key, new Date(member.sinceTime).toISOString(), String(member.issuedSeconds), member.info]
        : [member.key, "-"],
    );
    const name = this.#name;
    const reply = await this.#script("present", [topic, ...values]);
    if (Array.isArray(reply)) {
      const bound = boundOfMembers(this.#deps.limits.presenceMembersMax);
      return reply.map((key) => ({ key: String(key), bound }));
    }
    if (String(reply) === "DEAD") this.#beginAnew(name);
    throw new BrokerUnavailable("what this node had said of its members does not count any more");
  }

  /** Another connection to the server is used. */
  connected(): void {
    this.#watchAnew();
    this.look();
  }

  /** Shows that this node lives, and looks after what is left to do for all nodes. */
  look(): void {
    if (this.#isLooking || !this.#deps.primary.isUp) return;
    this.#isLooking = true;
    this.#lookUntilDone()
      .then(
        () => {
          this.#hasFailed = false;
        },
        (error) => this.#failed(error),
      )
      .finally(() => {
        this.#isLooking = false;
      });
  }

  /** Its members leave when their grace is over, unless they have come to another node. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (!this.#registering || !this.#deps.primary.isUp) return;
    const stopped = this.#script("watch", ["stop", ""]).catch((error) =>
      this.#deps.log.debug({ err: error }, "this node's members wait for its lease"),
    );
    await Promise.race([stopped, Bun.sleep(closeMilliseconds)]);
  }

  #registered(): Promise<void> {
    if (!this.#registering) {
      this.#registering = this.#script("watch", ["register", ""]).then(() => undefined);
      this.#registering.catch(() => {
        this.#registering = undefined;
      });
    }
    return this.#registering;
  }

  /**
   * Takes another name: what was said with the last one is taken back by the others, member by member.
   * @param name the one that is dead. Several calls may find it out
   */
  #beginAnew(name: string): void {
    if (name !== this.#name) return;
    this.#deps.log.warn(
      {},
      "what this node had said of its members does not count any more: it says it again",
    );
    this.#name = newName();
    this.#registering = undefined;
    this.#watchAnew();
    this.#forgotten();
  }

  #watchAnew(): void {
    this.#watch.restart();
    this.#watchedTime = "";
  }

  async #lookUntilDone(): Promise<void> {
    await this.#registered();
    for (let hasMore = true; hasMore; ) {
      const name = this.#name;
      const reply = await this.#script("watch", ["watch", this.#watchedTime, ...this.#watch.dead()]);
      if (!Array.isArray(reply)) {
        this.#beginAnew(name);
        return;
      }
      const [more, time = "", ...states] = reply.map(String);
      this.#watchedTime ||= time;
      hasMore = more === "1";
      if (!hasMore) this.#sawNodes(states);
    }
  }

  /** Once in a row. Where Redis is away the log has that already. */
  #failed(error: unknown): void {
    const { log, primary } = this.#deps;
    if (!this.#hasFailed && primary.isUp)
      log.warn({ err: error }, "a look at who is here failed: nobody leaves until one succeeds");
    this.#hasFailed = true;
    this.#watchedTime = "";
  }

  #sawNodes(states: readonly string[]): void {
    const others = new Map<string, string>();
    for (let at = 0; at < states.length; at += 2)
      if (states[at] !== this.#name) others.set(states[at] ?? "", states[at + 1] ?? "");
    this.#watch.look(others, this.#deps.primary.fence?.generation ?? 0);
  }

  async #script(name: "present" | "watch", values: readonly Argument[]): Promise<Reply> {
    const { keys, limits, primary } = this.#deps;
    const kept = Math.max(limits.keysMax, limits.presenceMembersMax);
    const number = ++this.#number;
    const reply = await primary.script(
      name,
      [],
      [
        ...[this.#epochs.next(), keys.channelsBegin, this.#name, String(number), String(this.#answered)],
        ...[keys.begin, `${kept} ${limits.historyAgeSeconds * 1000} 0`],
        ...values,
      ],
    );
    if (Array.isArray(reply)) this.#answered = Math.max(this.#answered, number);
    return reply;
  }
}

/** No other node has it, nor had it ever. */
const newName = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(12))).toString("base64url");
