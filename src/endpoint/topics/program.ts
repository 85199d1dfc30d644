/** Topics for the program that Longwire runs in: publishing and subscribing without a socket. */
import type { NativeFanOut } from "../../connection/fan-out.ts";
import type { HandlerConfig } from "../../settings/config.ts";
import { draftOfValue } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { faultOfTopicName, formatId, parseSince } from "../../topic/message.ts";
import { MessageIterators, type ReceivedMessage } from "./iterator.ts";

/** What a program may publish: text, bytes, or what JSON can hold. */
export type PublishData = string | Uint8Array | ArrayBuffer | object;

export interface PublishOptions {
  /** A media type. Left out: text/plain for a string, application/octet-stream for bytes, application/json for an object. */
  readonly contentType?: string;
  /** The same key within 5 minutes on the same topic publishes once and answers with the first id. */
  readonly idempotencyKey?: string;
}

/** Where a message is now. */
export interface Published {
  readonly topic: string;
  /** `<epoch>-<offset>`. */
  readonly id: string;
}

export interface SubscribeOptions {
  /** An id, `all`, or a span such as `90s`; left out, from now on. */
  readonly since?: string;
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
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
  readonly hub: Hub;
  readonly fanOut: NativeFanOut;
}

export class ProgramTopics implements Disposable {
  readonly #hub: Hub;
  readonly #messageBytesMax: number;
  readonly #iterators: MessageIterators;
  #isStopped = false;

  constructor({ config, hub, fanOut }: ProgramDeps) {
    this.#hub = hub;
    this.#messageBytesMax = config.messageBytesMax;
    this.#iterators = new MessageIterators({ hub, fanOut, bufferedBytesMax: config.bufferedBytesMax });
  }

  async publish(
    topic: string,
    data: PublishData,
    { contentType, idempotencyKey }: PublishOptions = {},
  ): Promise<Published> {
    this.#require(topic);
    const draft = draftOfValue(data, contentType);
    const bytes = Buffer.byteLength(draft.data);
    if (bytes > this.#messageBytesMax)
      throw new MessageSizeError(
        `a message may have ${this.#messageBytesMax} bytes (messageBytesMax); this one has ${bytes}`,
      );
    const once = idempotencyKey === undefined ? undefined : { key: idempotencyKey, publisher: "the program" };
    const { message } = await this.#hub.publish(topic, { draft, ...(once && { once }) });
    return { topic, id: message ? formatId(message) : "" };
  }

  subscribe(topic: string, { since, signal }: SubscribeOptions = {}): AsyncIterable<ReceivedMessage> {
    this.#require(topic);
    const wanted = since === undefined ? undefined : parseSince(since, Date.now());
    if (since !== undefined && !wanted) {
      throw new TypeError(`since must be an id, "all" or a span such as 90s, not "${since}"`);
    }
    const options = { topic, since: wanted, requested: since ?? "", signal };
    return { [Symbol.asyncIterator]: () => this.#iterators.iterate(options) };
  }

  /** Ends its iterators and refuses everything that comes later. */
  [Symbol.dispose](): void {
    this.#isStopped = true;
    this.#iterators.stopAll();
  }

  #require(topic: string): void {
    if (this.#isStopped) throw new StoppedError("the server has stopped");
    const fault = faultOfTopicName(topic);
    if (fault) throw new TypeError(fault);
  }
}
