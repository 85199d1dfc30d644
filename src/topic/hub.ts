/**
 * Joins an engine to the topics that have subscribers on this node. It knows the engine's interface and no socket.
 *
 *   publish → broker.publish … the broker announces → channel → its live subscribers
 *   open → Subscription: replays what comes after `since`, and is live from the step in which it has caught up
 */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import {
  type Appended,
  type Broker,
  BrokerUnavailable,
  type KeyState,
  type Once,
  type Publication,
  positionsPerCallMax,
  type StreamRecord,
  type TopicState,
} from "./broker.ts";
import { Channel, type ChannelDeps } from "./channel.ts";
import { type Feed, feedsOf, isFeed } from "./feed.ts";
import { MemberSubscription } from "./member-subscription.ts";
import { Members } from "./members.ts";
import type { Since } from "./message.ts";
import { ownText } from "./owned-text.ts";
import { isPresenceTopic, type Member, type PresenceRegister } from "./presence.ts";
import { type HistoryLimits, Retention } from "./retention.ts";
import { type LiveSubscribers, type Requested, Subscription } from "./subscription.ts";

/**
 * A crowd that was cut off together returns within this time, and is served from the node's memory: a topic stays subscribed
 * for as long after its last subscriber, and an encoding is kept for as long.
 */
export const crowdReturnSeconds = 30;

/** Topics without subscribers that linger. Past it the oldest is left at once, so that they cost little memory. */
const lingeringMax = 10_000;

/** Topics that catch up at once after a reconnect. One by one 10,000 topics took 3.3 s on loopback, minutes across an ocean. */
const catchUpsMax = 64;

/** What a hub needs of its node. */
export interface HubDeps<Live extends LiveSubscribers> {
  readonly broker: Broker;
  /** Makes the live subscribers of a topic. */
  live(): Live;
  /** Whether a topic keeps only the last message of each key. Left out, none does. */
  isKeyed?(topic: string): boolean;
  /** Left out, the members of no topic are known. */
  readonly presence?: HubPresence | undefined;
  /** Left out, there are none. */
  readonly feeds?: readonly Feed[];
  /** Limits of the recent messages that the node keeps, if its engine is not in this process. */
  readonly limits: HistoryLimits;
  /** `crowdReturnSeconds` unless a test says otherwise. */
  readonly lingerSeconds?: number;
  readonly counters: Counters;
  readonly log: Logger;
}

/** Which topics have presence, and where their members are kept. */
export interface HubPresence {
  readonly register: PresenceRegister;
  has(topic: string): boolean;
}

/** A feed gets what is published to other topics, and nothing else. */
export class TopicIsFeed extends Error {
  override readonly name = "TopicIsFeed";

  constructor(readonly topic: string) {
    super(`The topic ${topic} is a feed: publish to one of the topics that go into it.`);
  }
}

/** A topic, and its open subscriptions on this node. */
export interface BusyTopic {
  readonly topic: string;
  readonly subscribers: number;
}

export class Hub<Live extends LiveSubscribers = LiveSubscribers> {
  /** Whether a topic keeps only the last message of each key. */
  readonly isKeyed: (topic: string) => boolean;
  readonly #presence: HubPresence | undefined;
  /** Those that have a line on this node; undefined where the members of no topic are known. */
  readonly members: Members | undefined;
  readonly #feeds: readonly Feed[];
  readonly #broker: Broker;
  readonly #counters: Counters;
  readonly #log: Logger;
  readonly #channelDeps: ChannelDeps<Live>;
  readonly #channels = new Map<string, Channel<Live>>();
  /** Channels without subscribers and when they are left, in milliseconds of `performance.now()`; the oldest first. */
  readonly #lingering = new Map<Channel<Live>, number>();
  readonly #timers: Timer[] = [];
  #isComparing = false;
  #compareAgain = false;
  readonly #lingerSeconds: number;
  #isClosed = false;

  constructor({ broker, live, limits, counters, log, ...options }: HubDeps<Live>) {
    this.#broker = broker;
    this.#counters = counters;
    this.#log = log;
    const { isInProcess, comparisonSeconds } = broker.traits;
    this.#lingerSeconds = isInProcess ? 0 : (options.lingerSeconds ?? crowdReturnSeconds);
    const recent = isInProcess ? undefined : new Retention(limits);
    this.isKeyed = options.isKeyed ?? (() => false);
    this.#presence = options.presence;
    this.members = options.presence && new Members({ ...options.presence, log });
    this.#feeds = options.feeds ?? [];
    this.#channelDeps = {
      ...{ broker, live, recent, counters, log, isKeyed: this.isKeyed },
      unused: (channel) => this.#unused(channel),
    };
    broker.listen({
      announced: (entry) => this.#channels.get(entry.topic)?.announced(entry),
      missed: () => this.#compare(),
      subscriberCount: (topic) => this.subscriberCount(topic),
    });
    if (recent) {
      this.#every(1, () => {
        recent.sweep(Date.now());
        this.#leaveLingering();
      });
    }
    if (comparisonSeconds !== undefined) this.#every(comparisonSeconds, () => this.#compare());
  }

  /**
   * Waits while so much of the topic, or of one of its feeds, is on its way to subscribers here that more would have readers
   * cut that keep up.
   * @returns no promise where nothing is waited for: a promise and its steps cost more than an append to memory
   * @throws {TopicIsFeed}
   * @throws what `Broker.publish` throws
   */
  publish(topic: string, publication: Publication): Appended | Promise<Appended> {
    this.requireNoFeed(topic);
    const room = this.#roomFor(topic);
    if (room) return this.#publishAfter(room, topic, publication);
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    const begunMilliseconds = performance.now();
    try {
      const appended = this.#broker.publish(topic, publication);
      if (appended instanceof Promise) return this.#published(appended, publication, begunMilliseconds);
      this.#countPublished(publication, begunMilliseconds);
      return appended;
    } catch (error) {
      throw this.#countFailed(error, begunMilliseconds);
    }
  }

  /** @throws {TopicIsFeed} for a topic that nobody publishes to */
  requireNoFeed(topic: string): void {
    if (isFeed(this.#feeds, topic)) throw new TopicIsFeed(topic);
  }

  /** @throws {TopicIsFeed} @throws what `Broker.takeStream` throws */
  async takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    this.requireNoFeed(topic);
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    return await this.#broker.takeStream(topic, once, writer);
  }

  /** Whether the members of a topic are known. */
  hasPresence(topic: string): boolean {
    return this.#presence?.has(topic) ?? false;
  }

  /** The value of a key of a keyed topic; undefined for a topic that does not exist. @throws {BrokerUnavailable} */
  async value(topic: string, key: string): Promise<KeyState | undefined> {
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    return await this.#broker.value(topic, key);
  }

  /** Whether messages with the same data are kept with one copy of it: in memory. */
  get sharesData(): boolean {
    return this.#broker.traits.isInProcess;
  }

  /** The number of open subscriptions to a topic on this node. */
  subscriberCount(topic: string): number {
    return this.#channels.get(topic)?.subscriptionCount ?? 0;
  }

  /**
   * The topics with the most open subscriptions on this node, the most first; without those that have members. It looks at
   * every topic: about 2 ms for 100,000.
   * @param countMax how many at most
   */
  busiest(countMax: number): readonly BusyTopic[] {
    const found: BusyTopic[] = [];
    for (const { topic, subscriptionCount: subscribers } of this.#channels.values()) {
      if (isPresenceTopic(topic)) continue;
      const least = found.length < countMax ? 0 : (found.at(-1)?.subscribers ?? 0);
      if (subscribers <= least) continue;
      found.push({ topic, subscribers });
      found.sort((one, other) => other.subscribers - one.subscribers);
      found.length = Math.min(found.length, countMax);
    }
    return found;
  }

  /**
   * Prepares a subscription. When it is there, the topic is announced here and the messages after `since` are known.
   * Nothing is sent before its `begin`. The caller must `close` it.
   * @param since undefined means from now on
   * @param requested `since` as the client wrote it, for the gap that may follow
   * @param member whom the line stands for, from `begin` until `close`; undefined for a line that others do not see
   * @returns no promise where there is nothing to wait for: a connection of 100 topics would wait 100 times
   * @throws {BrokerUnavailable}
   */
  open(
    topic: string,
    since: Since | undefined,
    requested: string,
    member?: Member,
  ): Subscription<Live> | Promise<Subscription<Live>> {
    if (this.#isClosed) throw new BrokerUnavailable("the server has stopped");
    const channel = this.#enter(topic);
    const seen = member && this.hasPresence(topic) ? member : undefined;
    if (!since && channel.isSubscribed) return this.#subscription(channel, undefined, seen);
    return this.#prepare(channel, since, requested, seen);
  }

  /** The states of topics for people; undefined for a topic that does not exist. @throws {BrokerUnavailable} */
  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#broker.inspect(topics);
  }

  close(): void {
    this.#isClosed = true;
    this.members?.close();
    for (const timer of this.#timers) clearInterval(timer);
    for (const channel of this.#channels.values()) channel.release();
    this.#channels.clear();
    this.#lingering.clear();
  }

  async #prepare(
    channel: Channel<Live>,
    since: Since | undefined,
    requested: string,
    member: Member | undefined,
  ): Promise<Subscription<Live>> {
    try {
      await channel.ready;
      if (!since) return this.#subscription(channel, undefined, member);
      const start = await channel.start(since, requested);
      return this.#subscription(channel, { since, requested, start }, member);
    } catch (error) {
      channel.leave();
      throw error;
    }
  }

  #subscription(
    channel: Channel<Live>,
    requested: Requested | undefined,
    member: Member | undefined,
  ): Subscription<Live> {
    const { members } = this;
    return member && members
      ? new MemberSubscription(channel, requested, { member, members })
      : new Subscription(channel, requested);
  }

  #every(seconds: number, task: () => void): void {
    this.#timers.push(setInterval(task, seconds * 1000).unref());
  }

  /** Resolves when the subscribers of one topic that gets the publication can take more; undefined if all can. */
  #roomFor(topic: string): Promise<void> | undefined {
    let room = this.#channels.get(topic)?.live.room;
    for (const feed of feedsOf(this.#feeds, topic)) room ??= this.#channels.get(feed)?.live.room;
    return room;
  }

  async #publishAfter(room: Promise<void>, topic: string, publication: Publication): Promise<Appended> {
    await room;
    return await this.publish(topic, publication);
  }

  async #published(
    appending: Promise<Appended>,
    publication: Publication,
    begunMilliseconds: number,
  ): Promise<Appended> {
    try {
      const appended = await appending;
      this.#countPublished(publication, begunMilliseconds);
      return appended;
    } catch (error) {
      throw this.#countFailed(error, begunMilliseconds);
    }
  }

  #countPublished({ drafts }: Publication, begunMilliseconds: number): void {
    this.#counters.publishedMessages += drafts.length;
    for (const { data } of drafts) this.#counters.publishedCharacters += data.length;
    this.#observe(begunMilliseconds);
  }

  /** @returns the error */
  #countFailed(error: unknown, begunMilliseconds: number): unknown {
    this.#counters.publishFailures++;
    this.#observe(begunMilliseconds);
    return error;
  }

  #observe(begunMilliseconds: number): void {
    this.#counters.publishSeconds.observe((performance.now() - begunMilliseconds) / 1000);
  }

  #enter(topic: string): Channel<Live> {
    let channel = this.#channels.get(topic);
    if (!channel) {
      channel = new Channel(ownText(topic), this.#channelDeps);
      this.#channels.set(channel.topic, channel);
    }
    this.#lingering.delete(channel);
    channel.subscriptionCount++;
    return channel;
  }

  #unused(channel: Channel<Live>): void {
    if (this.#isClosed) return;
    if (this.#lingerSeconds === 0 || !channel.isSubscribed) {
      this.#leave(channel);
      return;
    }
    this.#lingering.set(channel, performance.now() + this.#lingerSeconds * 1000);
    if (this.#lingering.size <= lingeringMax) return;
    for (const oldest of this.#lingering.keys()) {
      this.#leave(oldest);
      return;
    }
  }

  #leaveLingering(): void {
    const now = performance.now();
    for (const [channel, time] of this.#lingering) {
      if (time > now) return;
      this.#leave(channel);
    }
  }

  #leave(channel: Channel<Live>): void {
    this.#lingering.delete(channel);
    channel.release();
    this.#channels.delete(channel.topic);
    this.#broker.unsubscribe(channel.topic);
  }

  /** Compares the node's positions with the engine's. Never two comparisons at once: a request during one repeats it. */
  #compare(): void {
    this.#compareAgain = true;
    if (!this.#isComparing) void this.#compareAll();
  }

  async #compareAll(): Promise<void> {
    this.#isComparing = true;
    while (this.#compareAgain && !this.#isClosed) {
      this.#compareAgain = false;
      try {
        const channels = [...this.#channels.values()].filter(({ isSubscribed }) => isSubscribed);
        for (let start = 0; start < channels.length; start += positionsPerCallMax)
          await this.#compareSome(channels.slice(start, start + positionsPerCallMax));
      } catch (error) {
        // The next comparison, or the engine's return, tries again; that may have been requested in the meantime.
        this.#log.warn({ err: error }, "could not compare positions with the broker");
      }
    }
    // Cleared in the same step as the last check, so that a later request starts a new comparison.
    this.#isComparing = false;
  }

  async #compareSome(channels: readonly Channel<Live>[]): Promise<void> {
    const positions = await this.#broker.positions(channels.map(({ topic }) => topic));
    let next = 0;
    const compareNext = async (): Promise<void> => {
      for (let index = next++; index < channels.length; index = next++) {
        try {
          await channels[index]?.compareWith(positions[index]);
        } catch (error) {
          const { topic } = channels[index] as Channel<Live>;
          this.#log.warn({ err: error, topic }, "could not catch up with the broker");
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(catchUpsMax, channels.length) }, compareNext));
  }
}
