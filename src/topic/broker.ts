/**
 * The seam between a node and the engine that keeps the topics. `test/contract/contract.ts` holds every engine to it.
 *
 * A topic's log is a sequence of messages with growing offsets in one epoch. Each message names the offset it follows
 * (`previousOffset`), so that completeness can be checked: a reader at offset 7 lacks nothing if the next message it is
 * given follows 7, or if 7 is the topic's last offset. When an engine loses a topic's past, or may have lost it, it begins
 * another epoch. An example: a client has seen `k3-7`. If the topic is at `k3-9`, it lacks exactly `k3-8` and `k3-9`. If
 * the engine lost its memory and the topic is at `p0-9`, nothing says what came after `k3-7`, and the client is told a gap.
 */
import type { Draft } from "./draft.ts";
import type { Message, Position, Since } from "./message.ts";

export interface Broker {
  readonly state: BrokerState;
  readonly traits: BrokerTraits;

  /**
   * Sets the receiver of announcements. Called once, before anything else.
   * An engine MUST call `announced` in the order of offsets, except where it missed messages. It MAY announce a message
   * twice or late, before or after the `publish` that appended it resolves, and for topics without a subscription.
   */
  listen(listener: BrokerListener): void;

  /**
   * Appends a message and announces it.
   * Both MUST be one step: an announced message is kept, and a kept message is announced to every node that can be reached.
   * Calls made one after the other without waiting MUST be appended in that order.
   * With `once`, the same key of the same publisher on the same topic within `idempotencySeconds` MUST append nothing and
   * MUST answer with the first position. An engine MAY forget the oldest keys of the publisher that holds most of them.
   * MUST settle within 3 s, before clients and proxies give up, whatever the engine does, and MUST refuse at once past a bound of its own for
   * publications in flight.
   * @throws {IdempotencyConflict} for a key that was used with another draft
   * @throws {BrokerUnavailable} where it is unknown whether the message was appended
   */
  publish(topic: string, draft: Draft, once?: Once): Promise<Position>;

  /**
   * From its resolution on, messages after the position it resolves with MUST be announced here, until `unsubscribe`.
   * It brings the topic into being. Calls are not counted: one `unsubscribe` ends them. MUST settle within 3 s.
   * @throws {BrokerUnavailable}
   */
  subscribe(topic: string): Promise<Position>;

  unsubscribe(topic: string): void;

  /**
   * Reads the messages after `since`, the oldest first, at most a page.
   * MUST be complete, or say that it is not. An incomplete answer begins with the oldest message that the asker cannot
   * already have. A node that lags behind its engine MUST NOT report a gap. MUST settle within 3 s.
   * @returns undefined for a topic that does not exist; reading does not create it
   * @throws {BrokerUnavailable}
   */
  history(topic: string, since: Since, page: Page): Promise<History | undefined>;

  /**
   * The topics' positions, in the order asked; undefined for a topic that does not exist. Cheap: an engine asks its server
   * in pieces. MUST settle within 3 s for each `positionsPerCallMax` topics.
   * @throws {BrokerUnavailable}
   */
  positions(topics: readonly string[]): Promise<(Position | undefined)[]>;

  /**
   * The topics' states for people, in the order asked; undefined for a topic that does not exist. May cost more than
   * `positions`.
   * @throws {BrokerUnavailable}
   */
  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]>;

  /** Settles the calls in flight within 1 s and frees everything. No call follows. */
  close(): Promise<void>;
}

export interface BrokerState {
  /** False until the engine was first reached and while it is away. */
  readonly available: boolean;
  /** Why it is away, in words for /readyz and the log. */
  readonly reason?: string;
  /**
   * Since when the engine has known every topic, in milliseconds since 1970: the start of this memory or file, or the last
   * takeover with a possible loss. Messages before it may be unknown, so a span that reaches past it is a gap.
   */
  readonly sinceTime: number;
}

export interface BrokerTraits {
  /** True where other nodes use the same engine. */
  readonly isShared: boolean;
  /**
   * True where a read costs no more than a look into this process's memory. A node then keeps no copy of recent messages
   * and no topic without subscribers.
   */
  readonly isInProcess: boolean;
  /** How often a node compares its positions with the engine's; undefined where no announcement can be lost. */
  readonly comparisonSeconds: number | undefined;
}

export interface BrokerListener {
  announced(message: Message): void;
  /** Announcements may have been lost: positions are to be compared now. */
  missed(): void;
  /** How many subscriptions to a topic are open on this node. Other nodes ask it through the engine. */
  subscriberCount(topic: string): number;
}

export interface Once {
  /** The publisher's name for this publication. */
  readonly key: string;
  /** Identifies the publisher. Two publishers' keys are different keys. */
  readonly publisher: string;
}

/** How long an idempotency key is remembered. */
export const idempotencySeconds = 300;

/** Topics in one call of `positions`. 10,000 in one call blocked a server for 296 ms, 1,000 for 18 ms. */
export const positionsPerCallMax = 1000;

export interface Page {
  readonly messagesMax: number;
  /** By `retainedBytes`. One message is read even if it is larger. */
  readonly bytesMax: number;
}

export interface History {
  /** False where messages after `since` are gone: a gap. */
  readonly complete: boolean;
  /** The position that the first message follows. */
  readonly from: Position;
  readonly messages: readonly Message[];
  /** The topic's position at the time of the read. If the page ends before it, there is more to read. */
  readonly position: Position;
}

export interface TopicState {
  readonly position: Position;
  /** Number of retained messages. */
  readonly retained: number;
  /** Number of open subscriptions on all nodes. */
  readonly subscribers: number;
}

/** The engine is away or overburdened. Whether it did what was asked is unknown: repeat it, with the same key. */
export class BrokerUnavailable extends Error {
  override readonly name = "BrokerUnavailable";
}

/** The idempotency key was used within the last 5 minutes with another message. */
export class IdempotencyConflict extends Error {
  override readonly name = "IdempotencyConflict";

  constructor() {
    super(
      "this idempotency key was used in the last 5 minutes with another message; use a new key for a new message",
    );
  }
}
