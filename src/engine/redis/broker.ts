/**
 * The engine of many nodes: topics in Redis. Each step is one script at the primary (scripts.ts), so that nothing can be kept
 * and not announced, and so that each step notices a server that may have lost something (fence.lua).
 *
 * Two connections: one for commands (primary.ts), one for announcements (announcements.ts); with a replica one more.
 * docs/clustering.md says what is promised and why.
 */
import type { Logger } from "../../log.ts";
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  type History,
  IdempotencyConflict,
  type KeyState,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../../topic/broker.ts";
import type { Position, Since, TopicPosition } from "../../topic/message.ts";
import { type HistoryLimits, limitsOf } from "../../topic/retention.ts";
import { isKeyed, type KindsOfTopics, type PresenceLimits } from "../engine.ts";
import { Epochs } from "../epochs.ts";
import { Announcements } from "./announcements.ts";
import { Appends } from "./appends.ts";
import { Counts } from "./counts.ts";
import { RedisKeys } from "./keys.ts";
import { Near } from "./near.ts";
import { piecesOf, topicsPerCommandMax } from "./pieces.ts";
import { RedisPresence } from "./presence.ts";
import { Primary } from "./primary.ts";
import { arrayOf, historyOf, keyedHistoryOf, keyStateOf, placeOf, positionOf } from "./replies.ts";
import { Testimony } from "./testimony.ts";
import { translated, wordsOf } from "./unavailable.ts";

export interface RedisBrokerSettings extends HistoryLimits, KindsOfTopics {
  /** `redis://`, `rediss://` or `unix://`, with user, password and database, as settings/redis-url.ts takes it. */
  readonly url: string;
  /** Its database, which channels are not divided by. */
  readonly database: number;
  /** Begins the name of every key and channel. */
  readonly prefix: string;
  /** Replicas that must have a message before its publisher is answered. */
  readonly acknowledge: number;
  /** Whether a promotion is a possible loss only if a node proves it. */
  readonly losslessFailover: boolean;
  /** The nearest replica, for announcements and history; undefined for none. */
  readonly replicaUrl?: string;
  readonly positionAgeSeconds: number;
  /** Undefined where no topic has presence. */
  readonly presenceLimits?: PresenceLimits | undefined;
  /** Milliseconds to add to the clock of Redis, in Lua. Only tests have it. */
  readonly clockAhead?: string;
}

/** Topics in one `inspect` script, which looks into each log. */
const inspectedPerCommandMax = 100;

/** How often a node compares its positions with Redis though nothing was missed: a belt for faults that no one foresaw. */
const comparisonSeconds = 60;

/** How often topics that this node hears are given another `positionAgeSeconds`, at least. */
const renewalSecondsMax = 3600;

export class RedisBroker implements Broker {
  readonly traits: BrokerTraits = { isShared: true, isInProcess: false, comparisonSeconds };
  /** Undefined where no topic has presence. */
  readonly presence: RedisPresence | undefined;
  /** How often a connection ended. */
  disconnects = 0;
  readonly #settings: RedisBrokerSettings;
  readonly #log: Logger;
  readonly #keys: RedisKeys;
  readonly #epochs = new Epochs();
  readonly #primary: Primary;
  readonly #announcements: Announcements;
  readonly #counts: Counts;
  readonly #testimony = new Testimony();
  readonly #renewal: Timer;
  readonly #near: Near | undefined;
  readonly #appends: Appends;
  #listener: BrokerListener | undefined;
  #reason = "Redis was not reached yet";

  constructor(settings: RedisBrokerSettings, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    const { url, replicaUrl } = settings;
    const node = crypto.randomUUID();
    const keys = new RedisKeys(settings.prefix, settings.database);
    this.#keys = keys;
    const testimony = this.#testimony;
    this.#counts = new Counts({
      node,
      keys,
      publish: (channel, message) => this.#primary.command(["PUBLISH", channel, message]),
      subscriberCount: (topic) => this.#listener?.subscriberCount(topic) ?? 0,
    });
    if (replicaUrl)
      this.#near = new Near({
        keys,
        settings,
        kindsOf: (topics) => this.#kindsOf(topics),
        connection: () => (this.#primary.isUp ? this.#announcements.replica : undefined),
        generation: () => this.#primary.fence?.generation,
        known: (topic) => testimony.known(topic),
      });
    const down = (reason: string): void => this.#down(reason);
    const missed = (): void => this.#missed();
    this.#primary = new Primary({
      ...{ settings, log, node, keys, testimony },
      up: () => {
        this.#up();
        missed();
        this.presence?.connected();
      },
      down,
      replaced: missed,
    });
    const { presenceLimits } = settings;
    if (presenceLimits) {
      const limits = { ...settings, ...presenceLimits };
      this.presence = new RedisPresence({ limits, keys, primary: this.#primary, log });
    }
    this.#appends = new Appends({ limits: settings, keys, primary: this.#primary, testimony });
    this.#announcements = new Announcements({
      ...{ url, replicaUrl, log, node, keys, testimony },
      announced: (entry) => this.#listener?.announced(entry),
      asked: (question) => this.#counts.asked(question),
      answered: (answer) => this.#counts.answered(answer),
      sendBeat: (beat) => (this.#primary.isUp ? this.#primary.beat(beat) : undefined),
      prepareReplica: async (connection) => this.#near?.prepare(connection),
      up: () => this.#up(),
      missed,
      down,
      inBackground: (task) => this.#inBackground(task),
    });
    const renewalSeconds = Math.min(settings.positionAgeSeconds / 4, renewalSecondsMax);
    this.#renewal = setInterval(() => this.#renew(), renewalSeconds * 1000).unref();
  }

  get state(): BrokerState {
    const sinceTime = this.#primary.fence?.lossyTime ?? Date.now();
    if (!this.#primary.isUp || !this.#announcements.isUp)
      return {
        ...{ available: false, reason: this.#reason, sinceTime },
        isSuperseded: this.#primary.isSuperseded,
      };
    const { refusal } = this.#primary;
    const delaySeconds = this.announcementDelaySeconds;
    return { available: true, ...(refusal !== undefined && { reason: refusal }), sinceTime, delaySeconds };
  }

  /** Rises with each takeover of the server. */
  get generation(): number {
    return this.#primary.fence?.generation ?? 0;
  }

  /** Takeovers with a possible loss that this node saw. */
  get losses(): number {
    return this.#primary.losses;
  }

  /** How long the last beat took from this node through Redis and back. */
  get announcementDelaySeconds(): number {
    return this.#announcements.delayMilliseconds / 1000;
  }

  /** Whether announcements come from the replica, and how many reads it and the primary answered; undefined without one. */
  get near(): { readonly isNear: boolean; readonly reads: Near["reads"] } | undefined {
    return this.#near && { isNear: this.#announcements.isNear, reads: this.#near.reads };
  }

  get publishesInFlight(): number {
    return this.#appends.inFlight;
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  publish(topic: string, publication: Publication): Promise<Appended> {
    return this.#appends.publish(topic, publication);
  }

  async takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    const keys = [this.#keys.record(topic, once)];
    const reply = await this.#primary.acknowledged(() =>
      this.#primary.script("take", keys, [encodeURIComponent(writer)]),
    );
    if (!Array.isArray(reply)) throw new IdempotencyConflict();
    const [items, first, last, end, digest] = reply.map(String);
    return {
      items: Number(items),
      digest: digest ?? "",
      ...placeOf("first", first),
      ...placeOf("last", last),
      ...placeOf("end", end),
    };
  }

  async subscribe(topic: string): Promise<TopicPosition> {
    this.#testimony.subscribed(topic);
    for (;;) {
      const connection = await this.#announcements.subscribe(topic);
      const position = await this.#positionOf(topic);
      // Else announcements after the position may have been lost before the topic was heard elsewhere.
      if (this.#announcements.isHeardOn(connection)) return position;
    }
  }

  /** The position of a topic, which is brought into being, or kept for another while. */
  async #positionOf(topic: string): Promise<TopicPosition> {
    const near = await this.#near?.position(topic);
    if (!near) return await this.#enter(topic);
    this.#testimony.heard(topic, near);
    this.#inBackground(this.#touch(topic, near));
    return near;
  }

  /** Brings the topic into being at the primary, or keeps it for another while. */
  async #enter(topic: string): Promise<TopicPosition> {
    const keys = [this.#keys.position(topic), this.#keys.log(topic)];
    const values = [this.#epochs.next(), this.#kindsOf([topic])];
    const position = positionOf(topic, await this.#primary.script("subscribe", keys, values));
    this.#testimony.heard(topic, position);
    return position;
  }

  /** The same for a topic whose position a replica gave. */
  async #touch(topic: string, near: Position): Promise<void> {
    const { epoch } = await this.#enter(topic);
    if (epoch !== near.epoch) this.#listener?.missed(); // It was forgotten meanwhile, and begins anew.
  }

  unsubscribe(topic: string): void {
    if (!this.#testimony.unsubscribed(topic)) return;
    this.#announcements.unsubscribe(topic);
    // The position lives for its age from now on.
    if (this.#primary.isUp) this.#inBackground(this.#positions([topic], true));
  }

  async history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    if (this.#isKeyed(topic)) return await this.#keyedHistory(topic, since, page);
    const keptMilliseconds = this.#keptMillisecondsOf(topic);
    if (this.#near && since.kind === "position") {
      const found = await this.#near.history(topic, since.position, page, keptMilliseconds);
      if (found) return found;
    }
    const keys = [this.#keys.position(topic), this.#keys.log(topic)];
    const limits = [page.messagesMax, page.bytesMax, keptMilliseconds].map(String);
    const reply = await this.#primary.script("read", keys, [...sinceArguments(since), ...limits]);
    if (!Array.isArray(reply)) return undefined;
    const history = historyOf(topic, reply);
    this.#testimony.heard(topic, history.position); // A replica that is not that far is not believed from here on.
    return history;
  }

  /**
   * Always read at the primary: a replica that lags may have a key at an offset that the replay has passed, and not yet at the
   * one that it has now.
   */
  async #keyedHistory(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const base = since.kind === "position" ? since.position.base : undefined;
    const limits = [page.messagesMax, page.bytesMax, this.#keptMillisecondsOf(topic), base ?? "-"].map(
      String,
    );
    const values = [...sinceArguments(since), ...limits];
    const reply = await this.#primary.script("readKeyed", [this.#keys.position(topic)], values);
    if (!Array.isArray(reply)) return undefined;
    const history = keyedHistoryOf(topic, reply);
    this.#testimony.heard(topic, history.position);
    return history;
  }

  async value(topic: string, key: string): Promise<KeyState | undefined> {
    const values = [key, String(this.#keptMillisecondsOf(topic))];
    const reply = await this.#primary.script("value", [this.#keys.position(topic)], values);
    return Array.isArray(reply) ? keyStateOf(topic, reply) : undefined;
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    return this.#positions(topics, false);
  }

  async inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    const states: (Omit<TopicState, "subscribers"> | undefined)[] = [];
    for (const piece of piecesOf(topics, inspectedPerCommandMax)) {
      const keys = piece.flatMap((topic) => [this.#keys.position(topic), this.#keys.log(topic)]);
      const ages = piece.map((topic) => String(this.#keptMillisecondsOf(topic)));
      const found = arrayOf(await this.#primary.script("inspect", keys, [this.#kindsOf(piece), ...ages]));
      for (const [index, state] of found.entries())
        states.push(
          Array.isArray(state)
            ? { position: positionOf(piece[index] ?? "", state), retained: Number(state[3]) }
            : undefined,
        );
    }
    const counts = await translated(this.#counts.of(topics));
    return states.map((state, index) => state && { ...state, subscribers: counts[index] ?? 0 });
  }

  async close(): Promise<void> {
    clearInterval(this.#renewal);
    this.#listener = undefined;
    this.#appends.flush();
    await this.presence?.close();
    await Promise.all([this.#primary.close(), this.#announcements.close()]);
  }

  async #positions(topics: readonly string[], renew: boolean): Promise<(TopicPosition | undefined)[]> {
    const positions: (Position | undefined)[] = [];
    for (const piece of piecesOf(topics, topicsPerCommandMax)) {
      const keys = piece.map((topic) => this.#keys.position(topic));
      const values = [renew ? "1" : "0", this.#kindsOf(piece)];
      const answers = arrayOf(await this.#primary.script("positions", keys, values));
      for (const [index, topic] of piece.entries()) {
        const position = answers[index];
        const found = Array.isArray(position) ? positionOf(topic, position) : undefined;
        if (found) this.#testimony.heard(topic, found);
        positions.push(found);
      }
    }
    return positions;
  }

  #isKeyed(topic: string): boolean {
    return isKeyed(this.#settings, topic);
  }

  /** A digit for each topic, 1 for a keyed one, as the scripts take it. */
  #kindsOf(topics: readonly string[]): string {
    return topics.map((topic) => (this.#isKeyed(topic) ? "1" : "0")).join("");
  }

  #keptMillisecondsOf(topic: string): number {
    return limitsOf(this.#settings, topic).ageSeconds * 1000;
  }

  #up(): void {
    if (!this.state.available) return;
    this.#reason = "";
    this.#log.info({ generation: this.generation }, "connected to Redis");
    this.#announcements.beat();
  }

  /** Positions are to be compared. While Redis is away its return comes first. */
  #missed(): void {
    if (this.state.available) this.#listener?.missed();
  }

  #down(reason: string): void {
    this.disconnects++;
    const words = wordsOf(reason);
    if (this.#reason !== words) this.#log.warn({ reason: words }, "Redis cannot be used");
    this.#reason = words;
  }

  #renew(): void {
    if (this.#primary.isUp) this.#inBackground(this.#positions(this.#testimony.topics, true));
  }

  /** For what is repaired by a reconnect if it fails. */
  #inBackground(task: Promise<unknown>): void {
    task.catch((error) => this.#log.debug({ err: error }, "a command to Redis failed"));
  }
}

function sinceArguments(since: Since): [kind: string, epoch: string, number: string] {
  if (since.kind === "position") return [since.kind, since.position.epoch, String(since.position.offset)];
  if (since.kind === "last") return [since.kind, "", String(since.count)];
  return [since.kind, "", since.kind === "time" ? String(since.time) : "0"];
}
