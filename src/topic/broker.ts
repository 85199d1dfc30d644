/**
 * The seam between a node and the engine that keeps the topics. `test/contract/contract.ts` holds every engine to it.
 *
 * A topic's log is a sequence of messages with growing offsets in one epoch. Each message names the offset it follows
 * (`previousOffset`), so that completeness can be checked: a reader at offset 7 lacks nothing if the next message it is
 * given follows 7, or if 7 is the topic's last offset. When an engine loses a topic's past, or may have lost it, it begins
 * another epoch. An example: a client has seen `k3-7`. If the topic is at `k3-9`, it lacks exactly `k3-8` and `k3-9`. If
 * the engine lost its memory and the topic is at `p0-9`, nothing says what came after `k3-7`, and the client is told a gap.
 *
 * A keyed topic keeps the last message of each key. What a reader is given there skips offsets, and `through` says how far it
 * has come. A removal is a message without data that takes the key away; it is kept for a while, so that a reader that returns
 * learns of it. The offset of the newest removal that is forgotten is the floor: below it a resume may not be complete.
 *
 * What is published to a topic that has feeds MUST also be appended to each feed, in the same step: as `fedDraft` has it, with
 * the attribute `originid`, the id in the topic. The answer names the topic alone, and a repetition appends to neither.
 *
 * A topic can end. The end is the last entry of its log and has an id of its own: a topic that ends after `k3-9` is at
 * `k3-10` from then on. The end counts neither in retention nor in `last`, and is kept as long as the topic's position.
 */
import type { Draft } from "./draft.ts";
import {
  type End,
  formatId,
  type Message,
  type Place,
  type Position,
  type Since,
  type TopicPosition,
} from "./message.ts";

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
   * Appends messages, the end of the topic, or both, and announces them. An example:
   *
   *     await broker.publish("answers/42", { drafts: [{ data: "Hi", contentType: "text/plain" }], end: true });
   *     // { message: { epoch: "k3", offset: 10 }, end: { epoch: "k3", offset: 11 } }
   *
   * The whole publication with its record MUST be one step: all of its messages are kept or none is, an announced entry is
   * kept, a kept entry is announced to every node that can be reached, and an entry is kept if and only if its record is.
   * The messages of a publication MUST get offsets that follow each other by one, in the order of the drafts.
   * Calls made one after the other without waiting MUST be appended in that order.
   * With `once`, the same key of the same publisher on the same topic within `idempotencySeconds` MUST append nothing and
   * MUST answer with the first positions, also where the topic has ended since. With `step`, the record of the stream is
   * checked and replaced. An engine MAY forget the oldest records of the publisher that holds most of them.
   * MUST settle within 3 s, before clients and proxies give up, whatever the engine does, and MUST refuse at once past a bound of its own for
   * publications in flight.
   * @throws {IdempotencyConflict} for a key that was used with another publication; checked first
   * @throws {StreamTakenOver} for a step of a writer that is not the record's
   * @throws {TopicEnded} for a topic that has ended
   * @throws {ConditionFailed} for a keyed topic whose key does not meet the `condition`
   * @throws {KeyAbsent} for the removal of a key that has no value
   * @throws {TopicFull} where values take all the room there is. Removing, and replacing by what is no larger, go on
   * @returns no promise where nothing is waited for: what fails is then thrown at once
   * @throws {BrokerUnavailable} where it is unknown whether anything was appended
   */
  publish(topic: string, publication: Publication): Appended | Promise<Appended>;

  /**
   * Makes `writer` the only one that may continue the stream `once` on a topic, and reads how far the stream has come. The
   * record is new, with no items, where there is none within `idempotencySeconds`. It does not bring the topic into being.
   * MUST settle within 3 s.
   * @param writer identifies one request. An earlier writer's next step throws `StreamTakenOver`
   * @throws {IdempotencyConflict} for a key that was used with a publication that is no stream
   * @throws {BrokerUnavailable}
   */
  takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord>;

  /**
   * From its resolution on, entries after the position it resolves with MUST be announced here, until `unsubscribe`.
   * It brings the topic into being. Calls are not counted: one `unsubscribe` ends them. MUST settle within 3 s.
   * @throws {BrokerUnavailable}
   */
  subscribe(topic: string): Promise<TopicPosition>;

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
   * The value of a key of a keyed topic, and the topic's position at that moment. MUST settle within 3 s.
   * @returns undefined for a topic that does not exist; reading does not create it
   * @throws {BrokerUnavailable}
   */
  value(topic: string, key: string): Promise<KeyState | undefined>;

  /**
   * The topics' positions, in the order asked; undefined for a topic that does not exist. A node that lags behind its engine
   * MAY answer with earlier ones than `publish` or `subscribe` did. Cheap: an engine asks its server in pieces.
   * MUST settle within 3 s for each `positionsPerCallMax` topics.
   * @throws {BrokerUnavailable}
   */
  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]>;

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
  /** Why it is away, or available only to be read, in words for /readyz and the log. */
  readonly reason?: string;
  /**
   * Since when the engine has known every topic, in milliseconds since 1970: the start of this memory or file, or the last
   * takeover with a possible loss. Messages before it may be unknown, so a span that reaches past it is a gap.
   */
  readonly sinceTime: number;
  /** True while other nodes use the engine with settings that contradict this node's: it alone is out of service. */
  readonly isSuperseded?: boolean;
  /** How late announcements of other nodes arrive; undefined where there are none. */
  readonly delaySeconds?: number;
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
  announced(entry: Message | End): void;
  /** Announcements may have been lost: positions are to be compared now. */
  missed(): void;
  /** How many subscriptions to a topic are open on this node. Other nodes ask it through the engine. */
  subscriberCount(topic: string): number;
}

/** What one step appends: messages, the end of the topic, or messages and then the end. */
export interface Publication {
  /** Empty only with `end`. Whoever publishes several bounds their number and bytes: they are one step for the engine. */
  readonly drafts: readonly Draft[];
  /** Ends the topic, after the messages. */
  readonly end?: boolean | undefined;
  /** Only for one draft to a keyed topic: it is appended if the key of the draft meets this. */
  readonly condition?: Condition | undefined;
  /** Not with `step`. */
  readonly once?: Once | undefined;
  /** The drafts are the next items of a stream, or there are none and the end follows its items. */
  readonly step?: StreamStep | undefined;
}

/** What a key of a keyed topic must be like, for a draft of this key to be appended (RFC 9110 section 13.1). */
export type Condition =
  | { readonly kind: "absent" }
  | { readonly kind: "present" }
  /** Its value is the message at one of these positions. */
  | { readonly kind: "at"; readonly positions: readonly Position[] };

/** A key of a keyed topic at one moment. */
export interface KeyState {
  /** Its value; undefined where it has none. */
  readonly value: Message | undefined;
  /** The topic's position. */
  readonly position: TopicPosition;
  /** The offset of the newest removal that is forgotten: whoever has read up to an earlier one may not know all that changed. */
  readonly floor: number;
}

/** The positions of what a publication appended, or had appended at its first time. */
export interface Appended {
  /** That of the last message. */
  readonly message?: Position | undefined;
  readonly end?: Position | undefined;
}

/** The record that a step of a stream leaves. The engine adds the positions. */
export interface StreamStep {
  readonly once: Once;
  /** As given to `takeStream`. */
  readonly writer: string;
  /** Items of the stream with these. A step without a draft repeats the number. */
  readonly items: number;
  /** Covers all these items in their order. Compared only for equality. */
  readonly digest: string;
  /** The position of the stream's first item, unless it is in this step: an engine may have forgotten the record. */
  readonly first?: Position;
}

/** The position of the first of several messages that were appended in one step, from that of the last. */
export const firstOf = ({ epoch, offset }: Position, messages: number): Position => ({
  epoch,
  offset: offset - messages + 1,
});

/** How far a stream has come. */
export interface StreamRecord {
  /** The number of published items. */
  readonly items: number;
  /** The digest of the last step; empty before the first. */
  readonly digest: string;
  /** The positions of the first and the last item. */
  readonly first?: Position | undefined;
  readonly last?: Position | undefined;
  /** Set if a step of this stream has ended the topic. */
  readonly end?: Position | undefined;
}

export interface Once {
  /** The publisher's name for this publication. */
  readonly key: string;
  /** Identifies the publisher. Two publishers' keys are different keys. */
  readonly publisher: string;
}

/** How long an idempotency key is remembered; for a stream, since its last step. */
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
  /**
   * Valid for `all`. True unless the engine knows that the first message which follows is the topic's first: an earlier one
   * was dropped, or a takeover may have lost one. An engine cannot know of topics that it forgot with their positions.
   */
  readonly isTrimmed: boolean;
  /** The place that the first message follows. In a keyed topic a snapshot follows where it has a base. */
  readonly from: Place;
  /** In a keyed topic the newest of each key, in the order of their offsets. Elsewhere each follows the one before it. */
  readonly messages: readonly Message[];
  /**
   * The place of a reader that has these messages, in a keyed topic. Elsewhere it is left out, and is that of the last message,
   * or `from` where there is none.
   */
  readonly through?: Place;
  /** The topic's position at the time of the read. If the page ends before it, there is more to read, or only the end. */
  readonly position: Position;
  /** The topic's end where it has ended, on every page. A reader meets it after the last message. */
  readonly end?: End;
}

export interface TopicState {
  readonly position: TopicPosition;
  /** Number of retained messages, the end not counted. */
  readonly retained: number;
  /** Number of open subscriptions on all nodes. */
  readonly subscribers: number;
}

/** The engine is away or overburdened. Whether it did what was asked is unknown: repeat it, with the same key. */
export class BrokerUnavailable extends Error {
  override readonly name = "BrokerUnavailable";

  /** @param reason in words that continue a sentence */
  constructor(readonly reason: string) {
    super(`The engine cannot be used: ${reason}.`);
  }
}

/** The topic has ended: nothing is published to it any more. */
export class TopicEnded extends Error {
  override readonly name = "TopicEnded";

  /** @param end the position of the topic's end */
  constructor(
    readonly topic: string,
    readonly end: Position,
  ) {
    super(`The topic ${topic} has ended, at ${formatId(end)}.`);
  }
}

/** The key of a keyed topic is not what the publisher takes it for: somebody else changed it. */
export class ConditionFailed extends Error {
  override readonly name = "ConditionFailed";

  /** @param current the position of the key's value; undefined where it has none */
  constructor(
    readonly topic: string,
    readonly current: Position | undefined,
  ) {
    super(`The key of ${topic} is at ${current ? formatId(current) : "no value"}.`);
  }
}

/** What was to be removed is not there. */
export class KeyAbsent extends Error {
  override readonly name = "KeyAbsent";

  /** @param position of the topic */
  constructor(
    readonly topic: string,
    readonly position: Position,
  ) {
    super(`The topic ${topic} has no value of this key.`);
  }
}

/** The values of keyed topics are never dropped to make room, and there is none. */
export class TopicFull extends Error {
  override readonly name = "TopicFull";

  /** @param bound in words that continue a sentence, with the setting's name */
  constructor(
    readonly topic: string,
    readonly bound: string,
  ) {
    super(`The topic ${topic} takes no further value: ${bound}.`);
  }
}

/** Another request has taken the stream over by its idempotency key. */
export class StreamTakenOver extends Error {
  override readonly name = "StreamTakenOver";

  constructor() {
    super("Another request with this idempotency key has taken the stream over.");
  }
}

/** The idempotency key was used within the last 5 minutes with another message. */
export class IdempotencyConflict extends Error {
  override readonly name = "IdempotencyConflict";

  constructor() {
    super(
      "This idempotency key was used in the last 5 minutes with another message. Use a new key for a new message.",
    );
  }
}
