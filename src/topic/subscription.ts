/** One subscriber's way through one topic: a replay, paced by what the subscriber takes, then live. */

import type { TopicLog } from "./log.ts";
import { formatId, type Message, type Position, type Since } from "./message.ts";

/** Messages that a subscriber will never get: those between what it saw last and `from`. */
export interface Gap {
  readonly topic: string;
  /** What the subscriber asked to continue after, as it said it. */
  readonly requested: string;
  /** What it continues after instead. */
  readonly from: Position;
}

/** Where a subscription continues, and the first messages that follow. */
export interface Start {
  readonly from: Position;
  readonly messages: readonly Message[];
  readonly gap?: Gap;
}

/** A client's end of a subscription. */
export interface Subscriber {
  /** Takes the next message of a replay. @returns false to be given no more until it calls `advance` */
  replay(message: Message): boolean;
  gap(gap: Gap): void;
  /** It has caught up: from this step on it must be among those that fan-out reaches. */
  live(subscription: Subscription): void;
  /** What comes next cannot be read now. */
  fail(error: unknown): void;
}

/** The topic as its subscriptions see it. */
export interface LocalTopic {
  readonly topic: string;
  /** What was delivered to everyone live, as far as it is at hand; its end is where they stand. */
  readonly recent: TopicLog;
  readonly deps: SubscriptionDeps;
}

/** What a subscription needs of the hub. */
export interface SubscriptionDeps {
  /** @throws {BrokerUnavailable} */
  read(after: Position): Promise<Start>;
  leave(): void;
}

/** No epoch is named `0`, so a client that returns with this id is always told a gap. */
const noId = "0-0";

export class Subscription {
  readonly #channel: LocalTopic;
  /** Undefined once it began, and from the start for who listens from now on. */
  #start: Start | undefined;
  readonly #since: Since | undefined;
  #subscriber: Subscriber | undefined;
  #state: "prepared" | "replaying" | "reading" | "live" | "closed" = "prepared";
  /** The position of the last message given to the subscriber while it is not live. */
  #epoch = "";
  #offset = 0;
  /** Read from the broker and not yet given. */
  #page: readonly Message[] = [];

  /** @param since what the client asked for; undefined means from now on, and so does an undefined `start` */
  constructor(channel: LocalTopic, start: Start | undefined, since: Since | undefined) {
    this.#channel = channel;
    this.#start = start;
    this.#since = since;
  }

  get topic(): string {
    return this.#channel.topic;
  }

  /** What comes first continues after this. Asked before `begin`. */
  get from(): Position {
    return this.#start?.from ?? this.#channel.recent.last;
  }

  /** What `begin` will tell the subscriber first. */
  get gap(): Gap | undefined {
    return this.#start?.gap;
  }

  /** Whether it continues where its subscriber asked it to. */
  get resumed(): boolean {
    return this.#start !== undefined && this.#start.gap === undefined;
  }

  /**
   * The id that the client stores at the opening. Asked before `begin`.
   * Before a gap it leads to that gap again, so that a client that is cut before it is told of the gap is told when it
   * returns: the id that the client asked for, but no id that the topic could reach until then.
   */
  get openId(): string {
    const gap = this.#start?.gap;
    if (!gap) return formatId(this.from);
    if (this.#since?.kind !== "position") return noId;
    const { position } = this.#since;
    const isAhead = position.epoch === gap.from.epoch && position.offset > gap.from.offset;
    return isAhead ? noId : formatId(position);
  }

  /** Reports the gap, if there is one. Messages come from the first `advance` on, so that all topics report gaps first. */
  begin(subscriber: Subscriber): void {
    if (this.#state === "closed") return;
    this.#subscriber = subscriber;
    const start = this.#start ?? { from: this.from, messages: [] };
    this.#start = undefined;
    this.#continueAt(start);
  }

  /** Continues from elsewhere, with the gap that this means. */
  restart(start: Start): void {
    if (this.#state === "closed") return;
    this.#continueAt(start);
    this.advance();
  }

  /** A live subscriber that could not take a message goes back to being replayed to, from the last one it took. */
  fallBack(position: Position): void {
    if (this.#state === "live") this.#continueAt({ from: position, messages: [] });
  }

  /** Gives the subscriber what it lacks, until it has enough for now or is live. It calls this when it can take more. */
  advance(): void {
    while (this.#state === "replaying") {
      const { recent } = this.#channel;
      if (this.#offset === recent.lastOffset && this.#epoch === recent.epoch) {
        this.#state = "live";
        this.#page = [];
        this.#subscriber?.live(this);
        return;
      }
      const message = this.#next(recent);
      if (!message) {
        this.#state = "reading";
        void this.#read();
        return;
      }
      this.#offset = message.offset;
      if (!this.#subscriber?.replay(message)) return;
    }
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#subscriber = undefined;
    this.#page = [];
    this.#channel.deps.leave();
  }

  #continueAt({ from, messages, gap }: Start): void {
    this.#state = "replaying";
    this.#epoch = from.epoch;
    this.#offset = from.offset;
    this.#page = messages;
    if (gap) this.#subscriber?.gap(gap);
  }

  #next(recent: TopicLog): Message | undefined {
    const first = this.#page[0];
    if (first) {
      const message = this.#page[this.#offset + 1 - first.offset];
      if (message) return message;
      this.#page = [];
    }
    return this.#epoch === recent.epoch ? recent.get(this.#offset + 1) : undefined;
  }

  async #read(): Promise<void> {
    let start: Start;
    try {
      start = await this.#channel.deps.read({ epoch: this.#epoch, offset: this.#offset });
    } catch (error) {
      this.#subscriber?.fail(error);
      return;
    }
    if (this.#state === "reading") this.restart(start);
  }
}
