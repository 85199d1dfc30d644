/** Topics for the program that Longwire runs in: publishing and subscribing without a socket. */
import { program } from "../../access/publishers.ts";
import type { TopicReaders } from "../../delivery/topic-readers.ts";
import type { HandlerConfig } from "../../settings/config.ts";
import { type Attributes, readAttributes } from "../../topic/attributes.ts";
import type { Condition } from "../../topic/broker.ts";
import { type Draft, draftOfValue } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { faultOfKey, isRemoval, keyed, removalOf } from "../../topic/key.ts";
import { faultOfInfo, jsonOfInfo } from "../../topic/member-info.ts";
import { faultOfTopicName, formatId, parseId, parseSince } from "../../topic/message.ts";
import { type Member, presenceTopicOf } from "../../topic/presence.ts";
import { MessageIterators, type ReceivedMessage, received } from "./iterator.ts";
import { stamped } from "./publish-target.ts";

/** What a program may publish: text, bytes (a buffer, or any view of one), or what JSON can hold. */
export type PublishData = string | ArrayBuffer | SharedArrayBuffer | ArrayBufferView | object;

export interface PublishOptions {
  /** A media type. Left out: text/plain for a string, application/octet-stream for bytes, application/json for an object. */
  readonly contentType?: string;
  /** The same key within 5 minutes on the same topic publishes once and answers with the first id. */
  readonly idempotencyKey?: string;
  /**
   * CloudEvents attributes by name, such as `{ type: "token", subject: "42" }`: strings, booleans or whole numbers of 32 bits,
   * at most 20 and 1 KiB together. A name has only a-z and 0-9.
   */
  readonly attributes?: Attributes;
  /** In a keyed topic: whose value the data is, 1 to 255 bytes of UTF-8. It takes the place of the key's earlier one. */
  readonly key?: string;
  /** In a keyed topic: the id of the key's value, without which nothing is published. `"*"` is any value. */
  readonly ifMatch?: string;
  /** In a keyed topic: publishes only if the key has no value. */
  readonly ifAbsent?: boolean;
  /** Ends the topic after the message: nothing can be published to it later, and its subscribers are told. */
  readonly end?: boolean;
}

export type RemoveOptions = Pick<PublishOptions, "idempotencyKey" | "ifMatch">;

/** Where a message is now. */
export interface Published {
  readonly topic: string;
  /** `<epoch>-<offset>`. */
  readonly id: string;
  /** The id of the topic's end, if the publication ended it. */
  readonly end?: string;
}

/** Whom a subscription of the program stands for. */
export interface MemberOptions {
  /** Its name, 1 to 255 bytes of UTF-8. Subscriptions and lines with the same key are one member. */
  readonly key: string;
  /** What others may see of it: `true`, or an object of at most 1 KiB as JSON. Left out, `true`. */
  readonly info?: true | object;
}

export interface ReadOptions {
  /** An id, `all`, `last:N`, a span such as `90s`, or a time such as `2026-11-24T17:30:00Z`; left out, from now on. */
  readonly since?: string;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
}

export interface SubscribeOptions extends ReadOptions {
  /** In a topic with presence: others see this member there, from the first `next()` to the end of the iteration. */
  readonly member?: MemberOptions;
}

/** The data of a message is larger than `messageBytesMax`. */
export class MessageSizeError extends Error {
  override readonly name = "MessageSizeError";
}

/** The server was stopped, or the handler disposed of: nothing can be published or subscribed to any more. */
export class StoppedError extends Error {
  override readonly name = "StoppedError";
}

/** What it is joined to. */
export interface ProgramDeps {
  readonly config: Pick<HandlerConfig, "messageBytesMax" | "bufferedBytesMax">;
  readonly hub: Hub<TopicReaders>;
}

export class ProgramTopics implements Disposable {
  readonly #hub: Hub;
  readonly #messageBytesMax: number;
  readonly #iterators: MessageIterators;
  #isStopped = false;

  constructor({ config, hub }: ProgramDeps) {
    this.#hub = hub;
    this.#messageBytesMax = config.messageBytesMax;
    this.#iterators = new MessageIterators({ hub, bufferedBytesMax: config.bufferedBytesMax });
  }

  async publish(topic: string, data: PublishData, options: PublishOptions = {}): Promise<Published> {
    this.#require(topic);
    const { contentType, attributes: given, end: ends } = options;
    const attributes = given && readAttributes(given);
    const draft = { ...draftOfValue(data, contentType), ...(attributes && { attributes }) };
    const bytes = Buffer.byteLength(draft.data);
    if (bytes > this.#messageBytesMax)
      throw new MessageSizeError(
        `A message has at most ${this.#messageBytesMax} bytes (messageBytesMax), and this one has ${bytes}.`,
      );
    return await this.#publish(topic, draft, options, ends);
  }

  async remove(topic: string, key: string, options: RemoveOptions = {}): Promise<Published> {
    this.#require(topic);
    return await this.#publish(topic, removalOf(key), options);
  }

  async value(topic: string, key: string): Promise<ReceivedMessage | undefined> {
    this.#require(topic);
    if (!this.#hub.isKeyed(topic)) throw new TypeError(`The topic ${topic} is not keyed: name it in keyed.`);
    const value = (await this.#hub.value(topic, key))?.value;
    return value && received(value, true);
  }

  async #publish(topic: string, draft: Draft, options: PublishOptions, ends = false): Promise<Published> {
    const { idempotencyKey, key } = options;
    const condition = conditionOf(options);
    const isKeyed = this.#hub.isKeyed(topic);
    if (!isKeyed && (key !== undefined || condition || isRemoval(draft)))
      throw new TypeError(`The topic ${topic} is not keyed: name it in keyed.`);
    const whole = stamped(isKeyed ? keyed(draft, key, topic) : draft, program);
    const once = idempotencyKey === undefined ? undefined : { key: idempotencyKey, publisher: program.name };
    const { message, end } = await this.#hub.publish(topic, { drafts: [whole], end: ends, once, condition });
    return { topic, id: message ? formatId(message) : "", ...(end && { end: formatId(end) }) };
  }

  subscribe(topic: string, options: SubscribeOptions = {}): AsyncIterable<ReceivedMessage> {
    this.#require(topic);
    const member = options.member && this.#member(topic, options.member);
    return this.#iterable(topic, options, member);
  }

  presence(topic: string, options: ReadOptions = {}): AsyncIterable<ReceivedMessage> {
    this.#require(topic);
    this.#requirePresence(topic);
    return this.#iterable(presenceTopicOf(topic), options);
  }

  #iterable(topic: string, { since, signal }: ReadOptions, member?: Member): AsyncIterable<ReceivedMessage> {
    const wanted = since === undefined ? undefined : parseSince(since, Date.now());
    if (since !== undefined && !wanted) {
      throw new TypeError(
        `since must be an id, "all", "first", "last:N", a span such as 90s or a time, not "${since}".`,
      );
    }
    const options = { topic, since: wanted, requested: since ?? "", member, signal };
    return { [Symbol.asyncIterator]: () => this.#iterators.iterate(options) };
  }

  #member(topic: string, { key, info: given = true }: MemberOptions): Member {
    this.#requirePresence(topic);
    const info = jsonOfInfo(given);
    if (info === undefined) throw new TypeError("The info of a member must be true or an object.");
    const fault = faultOfKey(key) ?? faultOfInfo(info);
    if (fault) throw new TypeError(fault);
    return { key, info, issuedSeconds: Math.floor(Date.now() / 1000) };
  }

  #requirePresence(topic: string): void {
    if (!this.#hub.hasPresence(topic))
      throw new TypeError(`The topic ${topic} has no presence: name it in presence.`);
  }

  /** Ends its iterators and refuses everything that comes later. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#iterators.stopAll();
  }

  #require(topic: string): void {
    if (this.#isStopped) throw new StoppedError("The server has stopped.");
    const fault = faultOfTopicName(topic);
    if (fault) throw new TypeError(fault);
  }
}

/** @throws {TypeError} */
function conditionOf({ ifMatch, ifAbsent }: PublishOptions): Condition | undefined {
  if (ifMatch === undefined) return ifAbsent ? { kind: "absent" } : undefined;
  if (ifAbsent) throw new TypeError("ifMatch and ifAbsent exclude each other.");
  if (ifMatch === "*") return { kind: "present" };
  const position = parseId(ifMatch);
  if (!position) throw new TypeError(`ifMatch must be "*" or the id of a message, not "${ifMatch}".`);
  return { kind: "at", positions: [position] };
}
