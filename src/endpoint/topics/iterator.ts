/** A subscription of the library: messages for `for await`, as fast as the program takes them. */
import { forms } from "../../delivery/forms.ts";
import type { Reader } from "../../delivery/reader.ts";
import type { TopicReaders } from "../../delivery/topic-readers.ts";
import type { Attributes } from "../../topic/attributes.ts";
import type { Hub } from "../../topic/hub.ts";
import { isRemoval, keyOf } from "../../topic/key.ts";
import {
  type End,
  formatId,
  formatPlace,
  type Message,
  type Position,
  retainedBytes,
  type Since,
} from "../../topic/message.ts";
import { type Member, shownTopic } from "../../topic/presence.ts";
import type { Gap, Subscriber, Subscription } from "../../topic/subscription.ts";

/** A message as the library hands it out. */
export interface ReceivedMessage {
  readonly topic: string;
  /** `<epoch>-<offset>`. Hand it back as `since` to continue after it. */
  readonly id: string;
  /** When it was published. */
  readonly time: Date;
  readonly contentType: string;
  /** In a keyed topic: whose value this is. Of `presence`: which member it is about. */
  readonly key?: string;
  /** In a keyed topic: true where the key was taken away. Of `presence`: true where the member has left. Then `data` is empty. */
  readonly removed?: true;
  /** CloudEvents attributes that the publisher set, and `authtype` and `authid`, which only the server sets. */
  readonly attributes: Attributes;
  readonly data: string | Uint8Array;
}

/**
 * Messages after the last one received are gone. Subscribe again with `since: error.from` to continue: in a keyed topic with
 * every value, which take the place of what was received before.
 */
export class GapError extends Error {
  override readonly name = "GapError";
  /** The id to continue after, in a keyed topic with the base of the snapshot that follows. */
  readonly from: string;

  constructor({ topic, requested, from }: Gap) {
    super(
      `Messages of ${shownTopic(topic)} after ${requested} are gone; it continues after ${formatPlace(from)}.`,
    );
    this.from = formatPlace(from);
  }
}

/** What iterators need of the server. */
export interface IteratorDeps {
  readonly hub: Hub<TopicReaders>;
  /** Bytes kept for a program that does not take its messages, by `retainedBytes`. */
  readonly bufferedBytesMax: number;
}

export interface IteratorOptions {
  readonly topic: string;
  /** Undefined means from now on. */
  readonly since: Since | undefined;
  /** `since` as the program wrote it. */
  readonly requested: string;
  /** Whom the iterator stands for. */
  readonly member?: Member | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The open iterators of a server. They end with it. */
export class MessageIterators {
  readonly #deps: IteratorDeps;
  readonly #open = new Set<MessageIterator>();

  constructor(deps: IteratorDeps) {
    this.#deps = deps;
  }

  iterate(options: IteratorOptions): AsyncIterator<ReceivedMessage, undefined> {
    return new MessageIterator(this.#deps, options, this.#open);
  }

  /** Ends each after the messages that it has already received. */
  stopAll(): void {
    for (const iterator of this.#open) iterator.stop();
  }
}

/**
 * Subscribes at the first `next()`. It ends with the loop, the signal, the server, or an error.
 *
 * Not an async generator: the `return()` of a generator waits for the `next()` that is pending, and would wait for ever on
 * a quiet topic. A program that lags is not cut: it returns to paced replay.
 */
class MessageIterator implements AsyncIterator<ReceivedMessage, undefined>, Subscriber<TopicReaders>, Reader {
  readonly form = forms.program;
  readonly #deps: IteratorDeps;
  readonly #options: IteratorOptions;
  /** Holds it from its first `next()` to its end. */
  readonly #register: Set<MessageIterator>;
  readonly #abort = (): void => this.stop();
  #opening: Promise<void> | undefined;
  #subscription: Subscription<TopicReaders> | undefined;
  /** Received and not taken. */
  readonly #messages: Message[] = [];
  #messagesBytes = 0;
  /** The position of the last message received. */
  #last: Position | undefined;
  /** The calls of `next()` that wait for a message, the oldest first. */
  readonly #waiting: PromiseWithResolvers<IteratorResult<ReceivedMessage, undefined>>[] = [];
  #isEnded = false;
  #error: unknown;

  constructor(deps: IteratorDeps, options: IteratorOptions, register: Set<MessageIterator>) {
    this.#deps = deps;
    this.#options = options;
    this.#register = register;
  }

  /** @throws {GapError} where messages were lost @throws {BrokerUnavailable} */
  next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    this.#opening ??= this.#open();
    const waiting = Promise.withResolvers<IteratorResult<ReceivedMessage, undefined>>();
    this.#waiting.push(waiting);
    this.#settle();
    return waiting.promise;
  }

  async return(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    this.#messages.length = 0;
    this.stop();
    return { done: true, value: undefined };
  }

  /** @param error thrown by the next `next()`, after the messages that were received */
  stop(error?: unknown): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#subscription?.close();
    this.#register.delete(this);
    this.#settle();
  }

  replay(message: Message): boolean {
    return this.#put(message);
  }

  deliver(message: Message): boolean {
    this.#put(message);
    return true;
  }

  /** It returns to paced replay. */
  tooSlow(): void {
    if (this.#last) this.#subscription?.fallBack(this.#last);
  }

  get unsentBytes(): number {
    return this.#messagesBytes;
  }

  get subscriptions(): readonly Subscription<TopicReaders>[] {
    return this.#subscription ? [this.#subscription] : [];
  }

  gap(gap: Gap): void {
    this.stop(new GapError(gap));
  }

  replayed(): void {}

  live(subscription: Subscription<TopicReaders>): void {
    subscription.live.add(subscription, this);
  }

  end(_end: End): void {
    this.stop();
  }

  fail(error: unknown): void {
    this.stop(error);
  }

  get #isKeyed(): boolean {
    return this.#deps.hub.isKeyed(this.#options.topic);
  }

  async #open(): Promise<void> {
    const { topic, since, requested, member, signal } = this.#options;
    if (signal?.aborted) this.stop();
    if (this.#isEnded) return;
    signal?.addEventListener("abort", this.#abort);
    this.#register.add(this);
    try {
      this.#subscription = await this.#deps.hub.open(topic, since, requested, member);
    } catch (error) {
      this.stop(error);
      return;
    }
    if (this.#isEnded) {
      this.#subscription.close(); // It ended while the subscription was being prepared.
      return;
    }
    this.#last = this.#subscription.from;
    this.#subscription.begin(this);
    this.#subscription.advance();
  }

  #put(message: Message): boolean {
    this.#messages.push(message);
    this.#messagesBytes += retainedBytes(message);
    this.#last = message;
    this.#settle();
    return this.#messagesBytes < this.#deps.bufferedBytesMax;
  }

  /** Answers waiting calls of `next()`, as far as there are messages or the end has come. */
  #settle(): void {
    while (this.#waiting.length > 0) {
      const message = this.#messages.shift();
      if (message) {
        this.#messagesBytes -= retainedBytes(message);
        this.#waiting.shift()?.resolve({ done: false, value: received(message, this.#isKeyed) });
      } else if (this.#error !== undefined) {
        this.#waiting.shift()?.reject(this.#error);
        this.#error = undefined; // As in a generator: an iterator that has thrown is done.
      } else if (this.#isEnded) {
        this.#waiting.shift()?.resolve({ done: true, value: undefined });
      } else {
        this.#subscription?.advance();
        if (this.#messages.length === 0 && !this.#isEnded) return;
      }
    }
  }
}

/** @param isKeyed whether its topic is */
export function received(message: Message, isKeyed: boolean): ReceivedMessage {
  const { topic, time, contentType, attributes = {}, data } = message;
  const id = formatId(message);
  return {
    ...{ topic: shownTopic(topic), id, time: new Date(time), contentType, attributes, data },
    ...(isKeyed && { key: keyOf(message) }),
    ...(isKeyed && isRemoval(message) && { removed: true }),
  };
}
