/**
 * The seam between a node and the engine that keeps the topics. `test/contract/contract.ts` holds every engine to it.
 *
 * A topic's log is a sequence of messages with offsets 1, 2, 3 … in one epoch. When an engine loses a topic's past it
 * begins another epoch, so an id can be told to belong to a past that is gone. An example: a client has seen `k3-7`.
 * If the topic is at `k3-9` it lacks exactly `k3-8` and `k3-9`; if the engine lost its memory and the topic is at
 * `p0-9`, nothing says what came after `k3-7`, and the client is told of a gap.
 */
import type { Draft } from "./draft.ts";
import type { Message, Position, Since } from "./message.ts";

export interface Broker {
  /** False until the engine was first reached and while it is away. */
  readonly available: boolean;

  /** True where `announced` MAY miss messages; the node then compares `positions` with its own now and again. */
  readonly announcementsCanBeMissed: boolean;

  /**
   * Sets who is told of what is appended. Called once, before anything else.
   * An engine MUST call `announced` in the order of offsets, except where it missed messages. It MAY announce a message
   * twice or late, before or after the `publish` that appended it resolves, and where nobody subscribed to its topic.
   */
  listen(listener: BrokerListener): void;

  /**
   * Appends a message and announces it.
   * Both MUST be one step: what is announced was kept, and what was kept is announced to every node that can be reached.
   * Calls made one after the other without waiting MUST be appended in that order.
   * With a key, the same key of the same publisher on the same topic within `idempotencySeconds` MUST append nothing and
   * answer with the first position.
   * @throws {IdempotencyConflict} where that key came with another draft
   * @throws {BrokerUnavailable} where it is unknown whether the message was appended
   */
  publish(topic: string, draft: Draft, once?: Once): Promise<Position>;

  /**
   * From when it resolves, messages behind the position it resolves with MUST be announced here, until `unsubscribe`. It
   * brings the topic into being. Calls are not counted: one `unsubscribe` ends it.
   * @throws {BrokerUnavailable}
   */
  subscribe(topic: string): Promise<Position>;

  unsubscribe(topic: string): void;

  /**
   * Reads the messages that come after `since`, the oldest first, at most a page.
   * MUST be complete, or say that it is not; MUST NOT say so because this node is behind the engine.
   * @returns nothing for a topic that does not exist, which reading does not change
   * @throws {BrokerUnavailable}
   */
  history(topic: string, since: Since, page: Page): Promise<History | undefined>;

  /**
   * Where topics stand, in the order asked; nothing for one that does not exist.
   * @throws {BrokerUnavailable}
   */
  positions(topics: readonly string[]): Promise<(TopicState | undefined)[]>;

  /** Lets go of timers and connections; nothing is called afterwards. */
  close(): Promise<void>;
}

export interface BrokerListener {
  announced(message: Message): void;
  /** The engine is back after it was away: announcements were missed. */
  reconnected(): void;
}

export interface Once {
  /** What the publisher calls this publication. */
  readonly key: string;
  /** Who publishes: keys of two publishers are different keys. */
  readonly publisher: string;
}

/** How long an `Idempotency-Key` is remembered. */
export const idempotencySeconds = 300;

export interface Page {
  readonly messagesMax: number;
  /** By `retainedBytes`; one message is read even if it is larger. */
  readonly bytesMax: number;
}

export interface History {
  /** False where messages after `since` are gone: a gap. `messages` then begins with the oldest retained. */
  readonly complete: boolean;
  /** The position that `messages` continues after, without a hole. */
  readonly from: Position;
  readonly messages: readonly Message[];
  /** The topic's position as it was read. Where the page ends before it there is more to read. */
  readonly position: Position;
}

export interface TopicState {
  readonly position: Position;
  /** How many messages are retained. */
  readonly retained: number;
}

/** The engine is away or overburdened; whether it did what was asked is unknown. */
export class BrokerUnavailable extends Error {}

/** The key was used before, with another message. */
export class IdempotencyConflict extends Error {}
