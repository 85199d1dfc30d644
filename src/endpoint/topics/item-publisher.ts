/** Publishes the items of one request in their order: a stream or a batch. With a key each is published once. */

import { IdempotencyConflict, type Once, type StreamStep } from "../../topic/broker.ts";
import { streamDigest } from "../../topic/digest.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { formatId, type Position } from "../../topic/message.ts";
import type { PublishTarget } from "./publish-target.ts";

/** How far the items of a request have come. `first` and `last` are ids; without an item there is none. */
export interface PublishedItems {
  readonly topic: string;
  readonly first?: string;
  readonly last?: string;
  /** With those of an earlier request with the same key. */
  readonly count: number;
  /** The id of the topic's end. */
  readonly end?: string;
}

export class ItemPublisher {
  readonly #hub: Hub;
  readonly #target: PublishTarget;
  readonly #once: Once | undefined;
  readonly #writer = crypto.randomUUID();
  /** Items published by an earlier request with the same key. This request must repeat them. */
  #earlierItems = 0;
  #earlierDigest = "";
  #earlierEnd: Position | undefined;
  /** Items of this request, repeated ones included. */
  #items = 0;
  #digest = "";
  #first: Position | undefined;
  #last: Position | undefined;
  #end: Position | undefined;

  constructor(hub: Hub, target: PublishTarget, key: string | undefined) {
    this.#hub = hub;
    this.#target = target;
    this.#once = key === undefined ? undefined : { key, publisher: target.sender.name };
  }

  get published(): PublishedItems {
    const first = this.#first && formatId(this.#first);
    const last = this.#last && formatId(this.#last);
    return {
      topic: this.#target.topic,
      ...(first !== undefined && { first }),
      ...(last !== undefined && { last }),
      count: Math.max(this.#items, this.#earlierItems),
      ...(this.#end && { end: formatId(this.#end) }),
    };
  }

  /** Takes over what an earlier request with the same key has begun. @throws what `Broker.takeStream` throws */
  async begin(): Promise<void> {
    if (!this.#once) return;
    const record = await this.#hub.takeStream(this.#target.topic, this.#once, this.#writer);
    this.#earlierItems = record.items;
    this.#earlierDigest = record.digest;
    this.#earlierEnd = record.end;
    this.#first = record.first;
    this.#last = record.last;
  }

  /**
   * Publishes the next item, or skips it if an earlier request has published it.
   * @throws {IdempotencyConflict} if the items so far are not those of the earlier request
   * @throws what `Broker.publish` throws
   */
  async publish(draft: Draft): Promise<void> {
    const digest = this.#once ? streamDigest(this.#digest, draft) : "";
    if (this.#items < this.#earlierItems) {
      this.#digest = digest;
      if (++this.#items === this.#earlierItems && digest !== this.#earlierDigest)
        throw new IdempotencyConflict();
      return;
    }
    const step = this.#stepOf(this.#items + 1, digest);
    const { message } = await this.#hub.publish(this.#target.topic, { draft, ...(step && { step }) });
    this.#items++;
    this.#digest = digest;
    this.#first ??= message;
    this.#last = message;
  }

  /**
   * Called after the last item.
   * @param ends whether the topic is to end
   * @throws {IdempotencyConflict} if the earlier request had more items
   * @throws what `Broker.publish` throws
   */
  async finish(ends: boolean): Promise<void> {
    if (this.#items < this.#earlierItems) throw new IdempotencyConflict();
    this.#end = this.#earlierEnd;
    if (!ends || this.#end) return;
    const step = this.#stepOf(this.#items, this.#digest);
    const { end } = await this.#hub.publish(this.#target.topic, { end: true, ...(step && { step }) });
    this.#end = end;
  }

  #stepOf(items: number, digest: string): StreamStep | undefined {
    if (!this.#once) return undefined;
    const step = { once: this.#once, writer: this.#writer, items, digest };
    return this.#first ? { ...step, first: this.#first } : step;
  }
}
