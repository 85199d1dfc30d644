/** The engine of one process: everything in memory, lost with the process; each step is done before the call returns. */
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  type History,
  idempotencySeconds,
  type KeyState,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  TopicEnded,
  type TopicState,
} from "../../topic/broker.ts";
import type { Draft } from "../../topic/draft.ts";
import { feedsOf } from "../../topic/feed.ts";
import { isRemoval, keyOf } from "../../topic/key.ts";
import { KeyedLog, keyedBytes, type Removals } from "../../topic/keyed-log.ts";
import { TopicLog, topicBytes } from "../../topic/log.ts";
import type { End, Message, Position, Since, TopicPosition } from "../../topic/message.ts";
import { ownText } from "../../topic/owned-text.ts";
import {
  type Presence,
  type PresenceRegister,
  presenceTopicOf,
  type RefusedMember,
} from "../../topic/presence.ts";
import { Retention } from "../../topic/retention.ts";
import { type Clock, systemClock } from "../clock.ts";
import { type EngineDeps, type EngineLimits, type EngineSize, isKeyed } from "../engine.ts";
import { Epochs } from "../epochs.ts";
import { fedAt } from "../fed-entry.ts";
import { IdempotencyKeys } from "../idempotency-keys.ts";
import { requireKeys } from "../keyed-rules.ts";
import {
  publishRecorded,
  type RecordKey,
  type Records,
  recordKeyOf,
  takeRecordedStream,
} from "../publication-record.ts";
import { MembersHere, type MembersLimits, noMembers } from "./members-here.ts";

export interface MemoryBrokerOptions {
  readonly clock?: Clock;
  readonly evicted?: EngineDeps["evicted"];
  readonly presence?: MembersLimits;
}

/** Memory of an end beside it: an object with five members. */
const endBytes = 100;

interface MemoryTopic {
  readonly log: TopicLog | KeyedLog;
  readonly feeds: readonly string[];
  /** The time of the last message. */
  lastTime: number;
  /** When its last message came or its last subscriber left, by the monotonic clock. */
  lastUsedMilliseconds: number;
  subscribed: boolean;
}

export class MemoryBroker implements Broker, PresenceRegister, EngineSize {
  readonly state: BrokerState;
  readonly traits: BrokerTraits = { isShared: false, isInProcess: true, comparisonSeconds: undefined };
  readonly #limits: EngineLimits;
  readonly #clock: Clock;
  readonly #evicted: EngineDeps["evicted"];
  readonly #topics = new Map<string, MemoryTopic>();
  readonly #retention: Retention;
  /** Topics without a message or subscriber, the one unused longest first. */
  readonly #idle = new Set<string>();
  #idleBytes = 0;
  /** Bytes of the values of keyed topics, which are never dropped to make room. */
  #valueBytes = 0;
  readonly #keys: IdempotencyKeys;
  readonly #records: Records = {
    get: (fingerprint) => this.#keys.get(fingerprint, this.#clock.monotonic() - idempotencySeconds * 1000),
    put: (record, publisher) => this.#keys.put(record, publisher, this.#clock.monotonic()),
  };
  readonly #epochs = new Epochs();
  readonly #members: MembersHere;
  readonly #sweeper: Timer;
  #listener: BrokerListener | undefined;

  constructor(limits: EngineLimits, { clock = systemClock, evicted, presence }: MemoryBrokerOptions = {}) {
    this.#limits = limits;
    this.#clock = clock;
    this.#evicted = evicted ?? (() => undefined);
    this.state = { available: true, sinceTime: clock.now() };
    this.#retention = new Retention(limits, ({ topic }) => this.#emptied(topic));
    this.#keys = new IdempotencyKeys(limits.idempotencyBytesMax, () => this.#evicted("idempotency_keys", 1));
    this.#members = new MembersHere(presence ?? noMembers, {
      hasRoom: () => this.#valueBytes < limits.historyBytesMax,
      append: (name, draft) => this.#appendTo(name, draft, this.#clock.now()),
    });
    this.#sweeper = setInterval(() => this.sweep(), 1000).unref();
  }

  get historyBytes(): number {
    return this.#retention.bytes;
  }

  get topicCount(): number {
    return this.#topics.size;
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  publish(name: string, publication: Publication): Appended {
    const key = recordKeyOf(name, publication);
    return key ? this.#appendRecorded(key, name, publication) : this.#append(name, publication);
  }

  async takeStream(name: string, once: Once, writer: string): Promise<StreamRecord> {
    return takeRecordedStream(name, once, writer, this.#records);
  }

  async subscribe(name: string): Promise<TopicPosition> {
    const topic = this.#topic(name);
    topic.subscribed = true;
    this.#removeIdle(name);
    return topic.log.last;
  }

  unsubscribe(name: string): void {
    const topic = this.#topics.get(name);
    if (!topic?.subscribed) return;
    topic.subscribed = false;
    topic.lastUsedMilliseconds = this.#clock.monotonic();
    if (isUnused(topic.log)) this.#addIdle(name);
  }

  async history(name: string, since: Since, page: Page): Promise<History | undefined> {
    return this.#refreshed(name)?.read(since, page, this.state.sinceTime);
  }

  async value(name: string, key: string): Promise<KeyState | undefined> {
    const log = this.#refreshed(name);
    return log instanceof KeyedLog ? log.state(key) : undefined;
  }

  present(name: string, members: readonly Presence[]): readonly RefusedMember[] {
    return this.#members.say(presenceTopicOf(name), members, this.#clock.monotonic());
  }

  /** What is here is forgotten with the process. */
  onForgotten(): void {}

  async positions(names: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    return names.map((name) => this.#topics.get(name)?.log.last);
  }

  async inspect(names: readonly string[]): Promise<(TopicState | undefined)[]> {
    return names.map((name) => {
      const log = this.#refreshed(name);
      if (!log) return undefined;
      const subscribers = this.#listener?.subscriberCount(name) ?? 0;
      return {
        position: log.last,
        retained: log instanceof KeyedLog ? log.valueCount : log.length,
        subscribers,
      };
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#listener = undefined;
  }

  /** Forgets what became too old: messages, positions, keys. */
  sweep(): void {
    const now = this.#clock.monotonic();
    this.#retention.sweep(this.#clock.now());
    this.#members.sweep(now);
    for (const name of this.#idle) {
      const topic = this.#topics.get(name);
      if (topic && topic.lastUsedMilliseconds + this.#limits.positionAgeSeconds * 1000 > now) break;
      this.#forget(name);
    }
    this.#keys.expire(now - idempotencySeconds * 1000);
  }

  /** Apart, because a function that refers to what `publish` was given would cost a publication without a key, too. */
  #appendRecorded(key: RecordKey, name: string, publication: Publication): Appended {
    return publishRecorded(key, this.#records, () => this.#append(name, publication));
  }

  /** What a topic has now, without what became too old. */
  #refreshed(name: string): TopicLog | KeyedLog | undefined {
    const log = this.#topics.get(name)?.log;
    if (log) this.#retention.refresh(droppable(log), this.#clock.now());
    return log;
  }

  /** @throws {TopicEnded} @throws {ConditionFailed} @throws {KeyAbsent} @throws {TopicFull} */
  #append(name: string, publication: Publication): Appended {
    const topic = this.#topic(name);
    const { log } = topic;
    if (log.end) throw new TopicEnded(name, log.last);
    if (log instanceof KeyedLog) this.#requireKeys(log, publication);
    const { drafts, end } = publication;
    const now = this.#clock.now();
    this.#use(topic, now);
    let message: Position | undefined;
    for (const draft of drafts) {
      message = this.#appendMessage(topic, draft, now);
      this.#feed(topic, draft, message, now);
    }
    if (!end) return { message, end: undefined };
    const ended = this.#appendEnd(topic);
    this.#feed(topic, undefined, ended, now);
    return { message, end: ended };
  }

  /** Appends to a topic that nobody publishes to. */
  #appendTo(name: string, draft: Draft, now: number): void {
    const topic = this.#topic(name);
    this.#use(topic, now);
    this.#appendMessage(topic, draft, now);
  }

  /** Appends an entry to the feeds of its topic. @param draft undefined for the end */
  #feed({ log, feeds }: MemoryTopic, draft: Draft | undefined, position: Position, now: number): void {
    if (feeds.length === 0) return;
    const fed = fedAt(draft, log.topic, position);
    for (const name of feeds) this.#appendTo(name, fed, now);
  }

  /** Something is appended to a topic now. */
  #use(topic: MemoryTopic, now: number): void {
    // A clock that was set back must not make a topic's time decrease.
    topic.lastTime = Math.max(now, topic.lastTime);
    topic.lastUsedMilliseconds = this.#clock.monotonic();
    this.#removeIdle(topic.log.topic);
  }

  #appendMessage({ log, lastTime }: MemoryTopic, draft: Draft, now: number): Position {
    const position = { epoch: log.epoch, offset: log.lastOffset + 1 };
    const { data, contentType, attributes, shared } = draft;
    // Without spreading, which makes two objects of each message, and every collection looks at those that are kept.
    const message: Message = {
      topic: log.topic,
      epoch: position.epoch,
      offset: position.offset,
      time: lastTime,
      data,
      contentType,
      attributes,
      shared,
    };
    if (log instanceof KeyedLog) this.#appendKeyed(log, message, now);
    else this.#retention.appended(log, log.append(message, now), now);
    this.#listener?.announced(message);
    return position;
  }

  #appendKeyed(log: KeyedLog, message: Message, now: number): void {
    const { valueBytes, removalBytes } = log.append(message, now);
    if (removalBytes !== 0) this.#retention.appended(log.removals, removalBytes, now);
    this.#holdValues(valueBytes);
  }

  /** @param bytes below 0 where values take less than before */
  #holdValues(bytes: number): void {
    this.#valueBytes += bytes;
    this.#retention.hold(bytes);
  }

  /** @throws {ConditionFailed} @throws {KeyAbsent} @throws {TopicFull} */
  #requireKeys(log: KeyedLog, { drafts, condition }: Publication): void {
    const changes = drafts.map((draft) => ({
      key: keyOf(draft),
      valueBytes: isRemoval(draft) ? undefined : keyedBytes(draft),
    }));
    const { topic: name, last: position, valueCount } = log;
    const held = (key: string) => log.held(key);
    const target = { name, position, valueCount, valueBytes: this.#valueBytes, held };
    requireKeys(target, changes, condition, this.#limits);
  }

  #appendEnd({ log, lastTime, subscribed }: MemoryTopic): Position {
    const position = { epoch: log.epoch, offset: log.lastOffset + 1 };
    const end: End = { topic: log.topic, ...position, time: lastTime, isEnd: true };
    this.#removeIdle(log.topic);
    log.close(end);
    if (isUnused(log) && !subscribed) this.#addIdle(log.topic);
    this.#listener?.announced(end);
    return position;
  }

  #topic(name: string): MemoryTopic {
    let topic = this.#topics.get(name);
    if (!topic) {
      const { keysMax, feeds } = this.#limits;
      const beginning = { epoch: this.#epochs.next(), offset: 0 };
      const log = isKeyed(this.#limits, name)
        ? new KeyedLog(ownText(name), beginning, keysMax)
        : new TopicLog(ownText(name), beginning);
      topic = {
        log,
        feeds: feedsOf(feeds, name),
        lastTime: 0,
        lastUsedMilliseconds: this.#clock.monotonic(),
        subscribed: false,
      };
      this.#topics.set(log.topic, topic);
      this.#addIdle(log.topic); // A publication that is refused leaves it so.
    }
    return topic;
  }

  #emptied(name: string): void {
    const topic = this.#topics.get(name);
    if (topic && !topic.subscribed && isUnused(topic.log)) this.#addIdle(name);
  }

  #forget(name: string): void {
    const log = this.#topics.get(name)?.log;
    this.#removeIdle(name);
    this.#topics.delete(name);
    if (!(log instanceof KeyedLog)) return;
    this.#retention.forget(log.removals);
    this.#holdValues(-log.valueBytes);
  }

  #addIdle(name: string): void {
    this.#removeIdle(name);
    this.#idle.add(name);
    this.#idleBytes += this.#idleBytesOf(name);
    if (this.#idleBytes > this.#limits.positionBytesMax) this.#evictIdle();
  }

  #removeIdle(name: string): void {
    if (this.#idle.delete(name)) this.#idleBytes -= this.#idleBytesOf(name);
  }

  /** It must not change while the topic is idle. */
  #idleBytesOf(name: string): number {
    const { end } = this.#topics.get(name)?.log ?? {};
    return topicBytes(name) + (end ? endBytes : 0);
  }

  /** Evicts one part in a hundred at once: a Set that lost its first entries steps over them at each read. */
  #evictIdle(): void {
    for (const name of this.#idle) {
      if (this.#idleBytes <= this.#limits.positionBytesMax * 0.99) return;
      this.#forget(name);
      this.#evicted("positions", 1);
    }
  }
}

/** What retention may drop of a log. */
const droppable = (log: TopicLog | KeyedLog): TopicLog | Removals =>
  log instanceof KeyedLog ? log.removals : log;

/** Whether nothing but the topic's position is left, unless it has a subscriber. Values do not age, except where all has ended. */
const isUnused = (log: TopicLog | KeyedLog): boolean =>
  log.length === 0 || (log instanceof KeyedLog && log.end !== undefined);
