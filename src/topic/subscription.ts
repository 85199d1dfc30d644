/** One subscriber's way through one topic: a replay at the subscriber's pace, then live delivery. */
import {
  type End,
  formatPlace,
  type Message,
  type Place,
  type Position,
  previousOffset,
  type Since,
} from "./message.ts";

/** Messages that a subscriber will never get: those after what it asked for, up to `from`. */
export interface Gap {
  readonly topic: string;
  /** Where the subscriber asked to continue, in its own words. */
  readonly requested: string;
  /** The place that the next message follows. */
  readonly from: Place;
}

/** Where a subscription continues, and the first messages from there. */
export interface Start {
  readonly from: Place;
  readonly messages: readonly Message[];
  /** As `History.through`. */
  readonly through?: Place | undefined;
  readonly gap?: Gap;
  /** Everything retained was asked for, and messages before it are gone. */
  readonly isTrimmed?: boolean;
}

/** Where a client asked to begin, and where it begins. */
export interface Requested {
  readonly since: Since;
  /** `since` as the client wrote it. */
  readonly requested: string;
  readonly start: Start;
}

/** The live subscribers of one topic on this node. */
export interface LiveSubscribers {
  /** Reaches all of them. */
  deliver(message: Message): void;
  /** Takes a subscription off, if it is among them. */
  remove(subscription: Subscription): void;
  /** Takes all off. Each is among them again after its next `live`. */
  detach(): readonly Subscription[];
  /** Set while subscribers need time to take what they were given. Publishers MUST wait until it resolves. */
  readonly room: Promise<void> | undefined;
  /** True while so many messages wait for them that no more fit into memory. */
  readonly isFull: boolean;
  /** True while publishers wait for subscribers that lag. What was under way by then SHOULD wait, too. */
  readonly isLagging: boolean;
}

/** The end of a replay of a keyed topic. */
export interface Replayed {
  readonly topic: string;
  readonly at: Position;
  /** Whether the client now has the whole state: not where it asked for some of it, such as the last values. */
  readonly isWhole: boolean;
}

/** The client's end of a subscription. */
export interface Subscriber<Live extends LiveSubscribers = LiveSubscribers> {
  /**
   * Takes the next message of a replay.
   * @param base set inside a snapshot of a keyed topic: the client's place is the message's id with this base
   * @returns false if it can take no more until it calls `advance`
   */
  replay(message: Message, base: number | undefined): boolean;
  gap(gap: Gap): void;
  /** A replay of a keyed topic is over: what follows are changes, or the topic's end. Its client's place is `at`. */
  replayed(replayed: Replayed): void;
  /** The subscriber has caught up. In this step it MUST join `subscription.live`. */
  live(subscription: Subscription<Live>): void;
  /** The topic has ended: the subscription is closed, and no call for it follows. */
  end(end: End): void;
  /** The next messages cannot be read now. */
  fail(error: unknown): void;
}

/** A topic on this node, as its subscriptions see it. */
export interface LocalTopic<Live extends LiveSubscribers = LiveSubscribers> {
  readonly topic: string;
  readonly isKeyed: boolean;
  readonly live: Live;
  /** Where a subscriber from now on begins: after the last message that was delivered to the live subscribers. */
  readonly position: Position;
  /** Set once every message before the end was delivered. */
  readonly end: End | undefined;
  isAt(epoch: string, offset: number): boolean;
  /** The message that follows a position, if the node has it in memory. */
  next(epoch: string, offset: number): Message | undefined;
  /** @throws {BrokerUnavailable} */
  read(after: Place): Promise<Start>;
  leave(): void;
}

/** An id that no topic has, since no epoch is named `0`. A client that returns with it is told a gap. */
const noId = "0-0";

/** Shared, because JavaScriptCore takes 70 bytes for each empty array. */
const noMessages: readonly Message[] = [];

export class Subscription<Live extends LiveSubscribers = LiveSubscribers> {
  readonly #topic: LocalTopic<Live>;
  /** Set only before `begin`, and only if the client asked for `since`. */
  #requested: Requested | undefined;
  #subscriber: Subscriber<Live> | undefined;
  #state: "prepared" | "replaying" | "reading" | "live" | "closed" = "prepared";
  /** The place of the subscriber while it is not live: that of the last message it was given, or where its page ended. */
  #epoch = "";
  #offset = 0;
  #base: number | undefined;
  /** Messages read from the broker; those from `#pageIndex` on are not given yet. */
  #page = noMessages;
  #pageIndex = 0;
  /** Where the subscriber is after the page, if that is not the last message's place. */
  #through: Place | undefined;
  /** Set while a keyed topic is replayed: whether its state is whole then. */
  #replaysWhole: boolean | undefined;
  /** Its place among the live subscriptions of its topic, which delivery keeps; -1 while it has none. */
  liveIndex = -1;

  /** @param requested undefined for a subscription from now on */
  constructor(topic: LocalTopic<Live>, requested: Requested | undefined) {
    this.#topic = topic;
    this.#requested = requested;
  }

  get topic(): string {
    return this.#topic.topic;
  }

  /** True after its topic's end, and after `close`. */
  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** The live subscribers of its topic. */
  get live(): Live {
    return this.#topic.live;
  }

  /** The place that the first message follows. Valid before `begin`. */
  get from(): Place {
    return this.#requested?.start.from ?? this.#topic.position;
  }

  /** The gap that `begin` will report first. Valid before `begin`. */
  get gap(): Gap | undefined {
    return this.#requested?.start.gap;
  }

  /** True if the topic has ended and its client returns with the id of the end. Valid before `begin`. */
  get hasSeenEnd(): boolean {
    const { end } = this.#topic;
    return end !== undefined && !this.gap && this.from.epoch === end.epoch && this.from.offset === end.offset;
  }

  /** True if it continues where its client asked. Valid before `begin`. */
  get resumed(): boolean {
    return this.#requested !== undefined && this.gap === undefined;
  }

  /** True where the client asked for everything retained and messages before it are gone. Valid before `begin`. */
  get isTrimmed(): boolean {
    return this.#requested?.start.isTrimmed ?? false;
  }

  /**
   * The id that the client may store before its first message. Valid before `begin`.
   *
   * It is never ahead of what the client was told: a connection that breaks before the gap arrives must return with an id
   * that leads to the gap again. An id ahead of the topic would resume once the topic has reached it, which may have
   * happened since the gap was found.
   */
  get openId(): string {
    const gap = this.#requested?.start.gap;
    if (!this.#requested || !gap) return formatPlace(this.from);
    const { since, requested } = this.#requested;
    if (since.kind !== "position") return noId;
    const { epoch, offset } = since.position;
    const isAhead = epoch === gap.from.epoch && offset > (gap.from.base ?? gap.from.offset);
    return isAhead ? noId : requested;
  }

  /**
   * Reports the gap, if there is one. Nothing else is sent before the first `advance`, so that a connection with several
   * topics reports all gaps before any message: the client's ids of all topics are stored together.
   */
  begin(subscriber: Subscriber<Live>): void {
    if (this.#state === "closed") return;
    this.#subscriber = subscriber;
    const start = this.#requested?.start ?? { from: this.from, messages: noMessages };
    if (this.#requested && this.#topic.isKeyed) this.#replaysWhole = isWholeAfter(this.#requested.since);
    this.#requested = undefined;
    this.#continueAt(start);
  }

  /** Continues elsewhere, after the gap that this means. */
  restart(start: Start): void {
    if (this.#state === "closed") return;
    this.#continueAt(start);
    this.advance();
  }

  /** Returns a live subscriber that could not take a message to paced replay, after the last message it took. */
  fallBack(position: Position): void {
    if (this.#state !== "live") return;
    this.#topic.live.remove(this);
    this.#continueAt({ from: position, messages: noMessages });
  }

  /** Gives the subscriber messages until it can take no more or is live. The subscriber calls it when it can take more. */
  advance(): void {
    while (this.#state === "replaying") {
      const end = this.#endHere();
      if (end) {
        const subscriber = this.#subscriber;
        this.#finishReplay();
        this.close();
        subscriber?.end(end);
        return;
      }
      if (this.#topic.isAt(this.#epoch, this.#offset)) {
        this.#finishReplay();
        this.#state = "live";
        this.#page = noMessages;
        this.#subscriber?.live(this);
        return;
      }
      const message = this.#next();
      if (!message) {
        if (this.#passPage()) continue;
        this.#state = "reading";
        void this.#read();
        return;
      }
      this.#offset = message.offset;
      if (!this.#subscriber?.replay(message, this.#base)) return;
    }
  }

  close(): void {
    if (this.#state === "closed") return;
    if (this.#state === "live") this.#topic.live.remove(this);
    this.#state = "closed";
    this.#subscriber = undefined;
    this.#page = noMessages;
    this.#topic.leave();
  }

  #continueAt({ from, messages, through, gap }: Start): void {
    this.#state = "replaying";
    this.#moveTo(from);
    this.#page = messages;
    this.#pageIndex = 0;
    this.#through = through;
    if (!gap) return;
    if (this.#topic.isKeyed) this.#replaysWhole = true;
    this.#subscriber?.gap(gap);
  }

  #moveTo({ epoch, offset, base }: Place): void {
    this.#epoch = epoch;
    this.#offset = offset;
    this.#base = base;
  }

  /** The page was given. @returns whether it reaches further than its last message */
  #passPage(): boolean {
    const through = this.#through;
    this.#through = undefined;
    if (!through || (through.offset === this.#offset && through.base === this.#base)) return false;
    this.#moveTo(through);
    return true;
  }

  #finishReplay(): void {
    const isWhole = this.#replaysWhole;
    this.#base = undefined;
    if (isWhole === undefined) return;
    this.#replaysWhole = undefined;
    this.#subscriber?.replayed({
      topic: this.topic,
      at: { epoch: this.#epoch, offset: this.#offset },
      isWhole,
    });
  }

  /** The topic's end, if the subscriber has everything before it. One that has seen the end is told again. */
  #endHere(): End | undefined {
    const { end } = this.#topic;
    if (end?.epoch !== this.#epoch) return undefined;
    return this.#offset === end.offset || this.#offset === previousOffset(end) ? end : undefined;
  }

  #next(): Message | undefined {
    const message = this.#page[this.#pageIndex];
    if (message) {
      this.#pageIndex++;
      return message;
    }
    this.#page = noMessages;
    // The rest of a snapshot is not what was published next. What a page leads to comes before what follows it.
    if (this.#base !== undefined || this.#through) return undefined;
    return this.#topic.next(this.#epoch, this.#offset);
  }

  async #read(): Promise<void> {
    let start: Start;
    try {
      start = await this.#topic.read({ epoch: this.#epoch, offset: this.#offset, base: this.#base });
    } catch (error) {
      if (this.#state === "reading") this.#subscriber?.fail(error);
      return;
    }
    if (this.#state === "reading") this.restart(start);
  }
}

/** Whether a replay of a keyed topic leaves its reader with the whole state. */
const isWholeAfter = ({ kind }: Since): boolean => kind !== "last" && kind !== "time";
