/**
 * Publishes the items of one request in their order: a stream or a batch. With a key each is published once.
 *
 * The items that have arrived together are one step of the engine, so that they share a commit or a round trip. A step
 * that fails has published nothing, and none follows it: what is published is the beginning of the items, without a hole.
 */
import { nextTurn } from "../../next-turn.ts";
import { stepItemsMax } from "../../settings/limits.ts";
import { firstOf, IdempotencyConflict, type Once, type StreamStep } from "../../topic/broker.ts";
import { streamDigest } from "../../topic/digest.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { formatId, type Position, retainedBytes } from "../../topic/message.ts";
import { type PublishTarget, stamped } from "./publish-target.ts";

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
   * Publishes the next items in one step, except those that an earlier request has published.
   * @throws {IdempotencyConflict} if the items so far are not those of the earlier request
   * @throws what `Broker.publish` throws
   */
  async publish(items: readonly Draft[]): Promise<void> {
    const all = items.map((item) => stamped(item, this.#target.sender));
    const repeated = Math.min(all.length, Math.max(0, this.#earlierItems - this.#items));
    this.#repeat(all.slice(0, repeated));
    const drafts = all.slice(repeated);
    if (drafts.length === 0) return;
    const count = this.#items + drafts.length;
    const digest = this.#digestWith(drafts);
    const step = this.#stepOf(count, digest);
    const { message } = await this.#hub.publish(this.#target.topic, { drafts, ...(step && { step }) });
    this.#items = count;
    this.#digest = digest;
    this.#first ??= message && firstOf(message, drafts.length);
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
    const { end } = await this.#hub.publish(this.#target.topic, {
      drafts: [],
      end: true,
      ...(step && { step }),
    });
    this.#end = end;
  }

  /** Skips items that an earlier request has published. @throws {IdempotencyConflict} */
  #repeat(drafts: readonly Draft[]): void {
    if (drafts.length === 0) return;
    this.#digest = this.#digestWith(drafts);
    this.#items += drafts.length;
    if (this.#items === this.#earlierItems && this.#digest !== this.#earlierDigest)
      throw new IdempotencyConflict();
  }

  /** The digest of the items so far and those that follow; empty without a key. */
  #digestWith(drafts: readonly Draft[]): string {
    return this.#once ? drafts.reduce(streamDigest, this.#digest) : "";
  }

  #stepOf(items: number, digest: string): StreamStep | undefined {
    if (!this.#once) return undefined;
    const step = { once: this.#once, writer: this.#writer, items, digest };
    return this.#first ? { ...step, first: this.#first } : step;
  }
}

/**
 * Divides items into what one step publishes, with a turn of the event loop between two steps.
 * @param items may throw; the items before are a step of their own
 * @param bytesMax for several items, by `retainedBytes`. A larger one is a step of its own
 */
export async function* stepsOf(items: Iterable<Draft>, bytesMax: number): AsyncGenerator<readonly Draft[]> {
  let step: Draft[] = [];
  let bytes = 0;
  try {
    for (const item of items) {
      const itemBytes = retainedBytes(item);
      if (step.length === stepItemsMax || (step.length > 0 && bytes + itemBytes > bytesMax)) {
        yield step;
        await nextTurn();
        step = [];
        bytes = 0;
      }
      step.push(item);
      bytes += itemBytes;
    }
  } catch (error) {
    if (step.length > 0) yield step;
    throw error;
  }
  if (step.length > 0) yield step;
}
