/**
 * The heart: what is published goes to the broker, what the broker announces goes to the subscribers, and who comes back
 * is given what it missed before it hears what is new. It knows the broker's interface and no socket.
 *
 *   publish → broker.publish … broker announces → #deliver → the topic's recent log + fan-out to everyone live
 *   open → Subscription: replays what comes after `since`, and is live from the step in which it has caught up
 */

import type { Logger } from "../log.ts";
import {
  type Broker,
  BrokerUnavailable,
  type History,
  type Once,
  type Page,
  type TopicState,
} from "./broker.ts";
import type { Draft } from "./draft.ts";
import { TopicLog } from "./log.ts";
import { formatId, type Message, type Position, retainedBytes, type Since } from "./message.ts";
import { type HistoryLimits, Retention } from "./retention.ts";
import {
  type Gap,
  type LocalTopic,
  type Start,
  Subscription,
  type SubscriptionDeps,
} from "./subscription.ts";

/** How a message reaches all live subscribers of its topic at once. */
export interface FanOut {
  deliver(message: Message): void;
  /** Takes everyone live off a topic: they are reached again when they are told to be `live` again. */
  detachLive(topic: string): Iterable<Subscription>;
}

/** What is read from the broker at once; a replay holds it until its client took it. */
const page: Page = { messagesMax: 128, bytesMax: 256 * 1024 };

/** How often positions are compared with those of a broker whose announcements can be missed. */
const comparisonSeconds = 2;

export class Hub {
  readonly #broker: Broker;
  readonly #fanOut: FanOut;
  readonly #log: Logger;
  readonly #channels = new Map<string, Channel>();
  /** Of what this node keeps at hand for subscribers who come back, so that a crowd does not ask the broker. */
  readonly #retention: Retention;
  readonly #comparison: Timer | undefined;

  /** @param limits of what the node itself keeps of topics that have subscribers here */
  constructor(broker: Broker, fanOut: FanOut, limits: HistoryLimits, log: Logger) {
    this.#broker = broker;
    this.#fanOut = fanOut;
    this.#log = log;
    this.#retention = new Retention(limits);
    broker.listen({
      announced: (message) => this.#announced(message),
      reconnected: () => this.#inBackground(this.#compare()),
    });
    if (broker.announcementsCanBeMissed) {
      const compare = (): void => this.#inBackground(this.#compare());
      this.#comparison = setInterval(compare, comparisonSeconds * 1000).unref();
    }
  }

  /** @throws what `Broker.publish` throws */
  publish(topic: string, draft: Draft, once?: Once): Promise<Position> {
    return this.#broker.publish(topic, draft, once);
  }

  /** How many subscriptions to a topic are open on this node. */
  subscriberCount(topic: string): number {
    return this.#channels.get(topic)?.subscriptions ?? 0;
  }

  /**
   * Prepares a subscription: when it resolves, the topic is heard here and it is known what comes after `since`.
   * Nothing is sent before its `begin`; whoever opened it must `close` it.
   * @param since nothing means from now on
   * @param requested `since` as the client wrote it, for the gap that may come of it
   * @throws {BrokerUnavailable}
   */
  async open(topic: string, since: Since | undefined, requested: string): Promise<Subscription> {
    const channel = this.#enter(topic);
    try {
      await channel.ready;
      const start = since && (await this.#start(channel, since, requested));
      return new Subscription(channel, start, since);
    } catch (error) {
      this.#leave(channel);
      throw error;
    }
  }

  /** Reads a page of history. @returns nothing for a topic that does not exist @throws {BrokerUnavailable} */
  read(topic: string, since: Since): Promise<History | undefined> {
    return this.#broker.history(topic, since, page);
  }

  /** Where topics stand; nothing for one that does not exist. @throws {BrokerUnavailable} */
  positions(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#broker.positions(topics);
  }

  close(): void {
    clearInterval(this.#comparison);
  }

  #enter(topic: string): Channel {
    let channel = this.#channels.get(topic);
    if (!channel) {
      const entered = new Channel(topic, {
        read: (position) => this.#readAfter(entered, position),
        leave: () => this.#leave(entered),
      });
      channel = entered;
      this.#channels.set(topic, channel);
      channel.ready = this.#subscribe(channel);
    }
    channel.subscriptions++;
    return channel;
  }

  #leave(channel: Channel): void {
    channel.subscriptions--;
    if (channel.subscriptions > 0) return;
    channel.left = true;
    this.#channels.delete(channel.topic);
    if (channel.subscribed) this.#retention.forget(channel.recent);
    this.#broker.unsubscribe(channel.topic);
  }

  async #subscribe(channel: Channel): Promise<void> {
    channel.startAt(await this.#broker.subscribe(channel.topic));
    for (const message of channel.takeEarly()) this.#announced(message);
  }

  async #start(channel: Channel, since: Since, requested: string): Promise<Start> {
    if (since.kind === "position" && channel.canReplayAfter(since.position))
      return { from: since.position, messages: [] };
    return startOf(await this.#readAndCatchUp(channel, since), channel.topic, requested);
  }

  async #readAfter(channel: Channel, position: Position): Promise<Start> {
    const history = await this.#readAndCatchUp(channel, { kind: "position", position });
    if (history.complete && history.messages.length === 0 && !channel.isAt(position)) {
      throw new BrokerUnavailable(
        `the broker does not yet have what follows ${formatId(position)} of ${channel.topic}`,
      );
    }
    return startOf(history, channel.topic, formatId(position));
  }

  /** Reads, and brings this node up to what was read: a replay must not end ahead of the live subscribers. */
  async #readAndCatchUp(channel: Channel, since: Since): Promise<History> {
    let history = await this.read(channel.topic, since);
    if (!history && !channel.left) {
      // The broker forgot a topic that has subscribers: its past is lost, and it begins another.
      await this.#broker.subscribe(channel.topic);
      history = await this.read(channel.topic, since);
    }
    if (!history) throw new BrokerUnavailable(`the broker does not keep the topic ${channel.topic}`);
    if (!channel.hasDelivered(history.position)) await this.#synchronise(channel);
    return history;
  }

  #announced(message: Message): void {
    const channel = this.#channels.get(message.topic);
    if (!channel) return;
    if (!channel.subscribed) channel.keepEarly(message);
    else if (channel.isNext(message)) this.#deliver(channel, message);
    else if (!channel.hasDelivered(message)) this.#inBackground(this.#synchronise(channel));
  }

  #deliver(channel: Channel, message: Message): void {
    channel.recent.append(message);
    this.#retention.appended(channel.recent, retainedBytes(message), message.time);
    this.#fanOut.deliver(message);
  }

  /** Makes up for announcements that were missed, and finds out about an epoch that changed. */
  #synchronise(channel: Channel): Promise<void> {
    channel.isLagging = true;
    channel.catchingUp ??= this.#catchUp(channel);
    return channel.catchingUp;
  }

  async #catchUp(channel: Channel): Promise<void> {
    try {
      while (channel.isLagging && !channel.left) {
        channel.isLagging = false;
        const before = channel.position;
        const history = await this.read(channel.topic, { kind: "position", position: before });
        if (!history || channel.left) return; // `#compare` and `#readAndCatchUp` see to a topic that the broker forgot.
        if (!history.complete && channel.isAt(before)) this.#startNewEpoch(channel, history);
        for (const message of history.messages) {
          if (!channel.left && channel.isNext(message)) this.#deliver(channel, message);
        }
        if (!channel.hasDelivered(history.position)) channel.isLagging = true;
      }
    } finally {
      // In the very step that looked for the last time: whoever finds it behind after that begins anew.
      channel.catchingUp = undefined;
    }
  }

  /** The topic goes on elsewhere than where those live on this node stand; each is told by its own replay. */
  #startNewEpoch(channel: Channel, { from }: History): void {
    const gap: Gap = { topic: channel.topic, requested: formatId(channel.position), from };
    this.#log.warn(
      { topic: gap.topic, requested: gap.requested, from: formatId(from) },
      "messages of a topic were lost",
    );
    const stranded = [...this.#fanOut.detachLive(channel.topic)];
    this.#retention.forget(channel.recent);
    channel.startAt(from);
    for (const subscription of stranded) subscription.restart({ from, messages: [], gap });
  }

  async #compare(): Promise<void> {
    const channels = [...this.#channels.values()].filter(({ subscribed }) => subscribed);
    const states = await this.#broker.positions(channels.map(({ topic }) => topic));
    for (const [index, channel] of channels.entries()) {
      if (channel.left) continue;
      const position = states[index]?.position ?? (await this.#broker.subscribe(channel.topic));
      if (!channel.hasDelivered(position)) await this.#synchronise(channel);
    }
  }

  /** For work that nobody waits for: a broker that is away is compared with again, later. */
  #inBackground(work: Promise<void>): void {
    work.catch((error) => this.#log.warn({ err: error }, "could not catch up with the broker"));
  }
}

/** A topic that has subscribers on this node. */
class Channel implements LocalTopic {
  subscriptions = 0;
  /** Once everyone left, the topic may have another channel: what was asked of the broker for this one is for no one. */
  left = false;
  /** Resolves when the topic is `heard`. */
  ready: Promise<void> = Promise.resolve();
  /** The last messages delivered here; its end is where everyone live stands. */
  #recent: TopicLog | undefined;
  /** Announced while `subscribe` was under way. */
  #early: Message[] = [];
  isLagging = false;
  catchingUp: Promise<void> | undefined;

  constructor(
    readonly topic: string,
    /** Of all its subscriptions. */
    readonly deps: SubscriptionDeps,
  ) {}

  get subscribed(): boolean {
    return this.#recent !== undefined;
  }

  get recent(): TopicLog {
    if (!this.#recent) throw new Error(`the topic ${this.topic} is used before the broker was subscribed to`);
    return this.#recent;
  }

  get position(): Position {
    return this.recent.last;
  }

  startAt(position: Position): void {
    this.#recent = new TopicLog(this.topic, position);
  }

  /** Of many only the last are kept: what is missing before them is read from the broker. */
  keepEarly(message: Message): void {
    this.#early.push(message);
    if (this.#early.length > page.messagesMax) this.#early.shift();
  }

  takeEarly(): Message[] {
    const early = this.#early;
    this.#early = [];
    return early;
  }

  isAt({ epoch, offset }: Position): boolean {
    return this.recent.lastOffset === offset && this.recent.epoch === epoch;
  }

  isNext({ epoch, offset }: Position): boolean {
    return this.recent.lastOffset + 1 === offset && this.recent.epoch === epoch;
  }

  /** True for what was delivered here. */
  hasDelivered({ epoch, offset }: Position): boolean {
    return offset <= this.recent.lastOffset && this.recent.epoch === epoch;
  }

  /** Whether all that comes after a position is at hand, so that the broker need not be asked. */
  canReplayAfter({ epoch, offset }: Position): boolean {
    const { recent } = this;
    return epoch === recent.epoch && offset <= recent.lastOffset && offset >= recent.firstOffset - 1;
  }
}

function startOf({ complete, from, messages }: History, topic: string, requested: string): Start {
  return complete ? { from, messages } : { from, messages, gap: { topic, requested, from } };
}
