/** The engine of one process: everything in memory, gone with it, and each step done before the call returns. */
import {
  type Broker,
  type BrokerListener,
  BrokerUnavailable,
  type History,
  IdempotencyConflict,
  idempotencySeconds,
  type Once,
  type Page,
  type TopicState,
} from "../topic/broker.ts";
import type { Draft } from "../topic/draft.ts";
import { TopicLog } from "../topic/log.ts";
import { type Message, type Position, retainedBytes, type Since } from "../topic/message.ts";
import { type HistoryLimits, Retention } from "../topic/retention.ts";

export interface MemoryBrokerLimits extends HistoryLimits {
  /** How long a topic's position outlives its last message and subscriber. */
  readonly positionAgeSeconds: number;
}

/** About 300 bytes each: what publishers can make the server remember in `idempotencySeconds`. */
const idempotencyKeysMax = 500_000;

/**
 * Of topics that keep no message and have no subscriber. About 600 bytes each, and names are anyone's to invent: whoever
 * may subscribe could otherwise fill the memory. Who comes back to one that was let go early is told of a gap.
 */
const idlePositionsMax = 1_000_000;

interface Topic {
  readonly log: TopicLog;
  lastTime: number;
  /** When its last message came or its last subscriber left, in milliseconds. */
  lastUsedTime: number;
  subscribed: boolean;
}

interface Publication {
  readonly position: Position;
  readonly digest: number | bigint;
  readonly expiresTime: number;
}

export class MemoryBroker implements Broker {
  readonly available = true;
  readonly announcementsCanBeMissed = false;
  readonly #limits: MemoryBrokerLimits;
  readonly #now: () => number;
  readonly #topics = new Map<string, Topic>();
  readonly #retention: Retention;
  /** Topics that keep no message and have no subscriber, the one used longest ago first. */
  readonly #aging = new Set<string>();
  /** By `fingerprint`; the oldest first. */
  readonly #publications = new Map<string, Publication>();
  readonly #epochs = new Epochs();
  readonly #sweeper: Timer;
  #listener: BrokerListener | undefined;

  /** @param now milliseconds since 1970; a test's own clock calls `sweep` by itself */
  constructor(limits: MemoryBrokerLimits, now: () => number = Date.now) {
    this.#limits = limits;
    this.#now = now;
    this.#retention = new Retention(limits, ({ topic }) => this.#emptied(topic));
    this.#sweeper = setInterval(() => this.sweep(), 1000).unref();
  }

  /** Bytes of history kept, by `retainedBytes`. */
  get historyBytes(): number {
    return this.#retention.bytes;
  }

  /** How many topics have a position. */
  get topicCount(): number {
    return this.#topics.size;
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  async publish(name: string, draft: Draft, once?: Once): Promise<Position> {
    const now = this.#now();
    const key = once && fingerprint(name, once);
    const earlier = key === undefined ? undefined : this.#publications.get(key);
    if (earlier && earlier.expiresTime > now) {
      if (earlier.digest !== Bun.hash(draft.data)) throw new IdempotencyConflict();
      return earlier.position;
    }
    if (key !== undefined && this.#publications.size >= idempotencyKeysMax) {
      this.#forgetPublications(now);
      if (this.#publications.size >= idempotencyKeysMax) {
        throw new BrokerUnavailable(
          `${idempotencyKeysMax} idempotency keys came within ${idempotencySeconds} s`,
        );
      }
    }
    const message = this.#append(name, draft, now);
    const position = { epoch: message.epoch, offset: message.offset };
    if (key !== undefined) {
      this.#publications.delete(key);
      this.#publications.set(key, {
        position,
        digest: Bun.hash(draft.data),
        expiresTime: now + idempotencySeconds * 1000,
      });
    }
    this.#listener?.announced(message);
    return position;
  }

  async subscribe(name: string): Promise<Position> {
    const topic = this.#topic(name);
    topic.subscribed = true;
    this.#aging.delete(name);
    return topic.log.last;
  }

  unsubscribe(name: string): void {
    const topic = this.#topics.get(name);
    if (!topic?.subscribed) return;
    topic.subscribed = false;
    topic.lastUsedTime = this.#now();
    if (topic.log.length === 0) this.#age(name);
  }

  async history(name: string, since: Since, page: Page): Promise<History | undefined> {
    const topic = this.#topics.get(name);
    if (!topic) return undefined;
    this.#retention.refresh(topic.log, this.#now());
    return readLog(topic.log, since, page);
  }

  async positions(names: readonly string[]): Promise<(TopicState | undefined)[]> {
    return names.map((name) => {
      const topic = this.#topics.get(name);
      if (!topic) return undefined;
      this.#retention.refresh(topic.log, this.#now());
      return { position: topic.log.last, retained: topic.log.length };
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#listener = undefined;
  }

  /** Lets go of what became too old: messages, positions, keys. */
  sweep(): void {
    const now = this.#now();
    this.#retention.sweep(now);
    for (const name of this.#aging) {
      const topic = this.#topics.get(name);
      if (topic && topic.lastUsedTime + this.#limits.positionAgeSeconds * 1000 > now) break;
      this.#aging.delete(name);
      this.#topics.delete(name);
    }
    this.#forgetPublications(now);
  }

  #append(name: string, { data, contentType }: Draft, now: number): Message {
    const topic = this.#topic(name);
    const { log } = topic;
    // A clock that was set back must not make a topic's time run backwards.
    topic.lastTime = Math.max(now, topic.lastTime);
    topic.lastUsedTime = now;
    const { epoch } = log;
    const message = {
      topic: name,
      epoch,
      offset: log.lastOffset + 1,
      time: topic.lastTime,
      contentType,
      data,
    };
    log.append(message);
    this.#aging.delete(name);
    this.#retention.appended(log, retainedBytes(message), now);
    return message;
  }

  #topic(name: string): Topic {
    let topic = this.#topics.get(name);
    if (!topic) {
      const log = new TopicLog(name, { epoch: this.#epochs.next(), offset: 0 });
      topic = { log, lastTime: 0, lastUsedTime: this.#now(), subscribed: false };
      this.#topics.set(name, topic);
    }
    return topic;
  }

  #emptied(name: string): void {
    if (!this.#topics.get(name)?.subscribed) this.#age(name);
  }

  #age(name: string): void {
    this.#aging.delete(name);
    this.#aging.add(name);
    if (this.#aging.size > idlePositionsMax) this.#forgetIdle(idlePositionsMax / 100);
  }

  /** Many at once, because a Set that lost its first entries steps over them each time it is read. */
  #forgetIdle(count: number): void {
    let left = count;
    for (const name of this.#aging) {
      this.#aging.delete(name);
      this.#topics.delete(name);
      if (--left === 0) return;
    }
  }

  #forgetPublications(now: number): void {
    for (const [key, { expiresTime }] of this.#publications) {
      if (expiresTime > now) return;
      this.#publications.delete(key);
    }
  }
}

/** Of one size however long they are, and no publisher can make one that is another's. */
const fingerprint = (topic: string, { publisher, key }: Once): string =>
  new Bun.CryptoHasher("sha256").update(JSON.stringify([topic, publisher, key])).digest("base64");

/** What a log has after `since`. */
export function readLog(log: TopicLog, since: Since, page: Page): History {
  const position = log.last;
  const oldest = log.firstOffset - 1;
  let after = oldest;
  let complete = true;
  if (since.kind === "position") {
    const { epoch, offset } = since.position;
    complete = epoch === log.epoch && offset >= oldest && offset <= position.offset;
    if (complete) after = offset;
  } else if (since.kind === "time") {
    complete = log.droppedTime < since.time;
    after = log.offsetBefore(since.time);
  } else if (since.kind === "unknown") {
    complete = false;
  }
  const messages: Message[] = [];
  let bytes = 0;
  for (let offset = after + 1; messages.length < page.messagesMax && bytes < page.bytesMax; offset++) {
    const message = log.get(offset);
    if (!message) break;
    messages.push(message);
    bytes += retainedBytes(message);
  }
  return { complete, from: { epoch: log.epoch, offset: after }, messages, position };
}

/** Names never used before or again: a random one for the process, and a count. */
class Epochs {
  readonly #process = Array.from(crypto.getRandomValues(new Uint32Array(2)), (word) =>
    word.toString(36).padStart(7, "0"),
  ).join("");
  #count = 0;

  next(): string {
    return this.#process + (this.#count++).toString(36);
  }
}
