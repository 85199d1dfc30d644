/**
 * A topic that has subscribers on this node: it delivers the broker's announcements in order, makes up for those that were
 * missed, and reads history for subscribers that come back.
 */
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import { type Broker, BrokerUnavailable, type History, type Page } from "./broker.ts";
import { TopicLog } from "./log.ts";
import {
  type End,
  formatId,
  formatPlace,
  type Message,
  type Place,
  type Position,
  previousOffset,
  type Since,
  type TopicPosition,
} from "./message.ts";
import type { Retention } from "./retention.ts";
import type { Gap, LiveSubscribers, LocalTopic, Start } from "./subscription.ts";

/** What a channel needs of its node. */
export interface ChannelDeps<Live extends LiveSubscribers> {
  readonly broker: Pick<Broker, "subscribe" | "history" | "traits">;
  /** Makes the live subscribers of a topic. */
  live(): Live;
  /** Whether a topic keeps only the last message of each key. */
  isKeyed(topic: string): boolean;
  /** Keeps recent messages for subscribers that come back; undefined where the engine itself is as near. */
  readonly recent: Retention | undefined;
  readonly counters: Pick<Counters, "catchUps">;
  readonly log: Logger;
  /** The last subscription of the channel has ended. */
  unused(channel: Channel<Live>): void;
}

/** Read from the broker at once. A replay holds a page until its client took it. */
const page: Page = { messagesMax: 128, bytesMax: 256 * 1024 };

/** Subscribers that are told the end of a topic in one turn of the event loop: each is one send and one close, 1 to 2 ms. */
const endingsPerTurnMax = 64;

/** Pause before a failed catch-up is tried again. A fault that lasts must not become a read for each announcement. */
const retrySeconds = 1;

export class Channel<Live extends LiveSubscribers = LiveSubscribers> implements LocalTopic<Live> {
  subscriptionCount = 0;
  /** Resolves when the broker announces the topic here; undefined from then on. */
  ready: Promise<void> | undefined;
  readonly live: Live;
  readonly isKeyed: boolean;
  readonly #deps: ChannelDeps<Live>;
  /** The position of the last delivered entry; without an epoch until the broker answered `subscribe`. */
  #epoch: string | undefined;
  #offset = 0;
  #end: End | undefined;
  /** The last delivered messages. */
  #recent: TopicLog | undefined;
  /** Announcements that came before the broker answered `subscribe`, if there are any. */
  #early: (Message | End)[] | undefined;
  #isLeft = false;
  #isLagging = false;
  #catchingUp: Promise<void> | undefined;
  #retry: Timer | undefined;
  /** Reads in progress, by what they ask for. A crowd that returns with one id is served by one read. */
  #reads: Map<string, Promise<History | undefined>> | undefined;

  constructor(
    readonly topic: string,
    deps: ChannelDeps<Live>,
  ) {
    this.#deps = deps;
    this.live = deps.live();
    this.isKeyed = deps.isKeyed(topic);
    this.ready = this.#subscribe();
  }

  /** True from the broker's answer to `subscribe` on. */
  get isSubscribed(): boolean {
    return this.#epoch !== undefined;
  }

  get position(): Position {
    if (this.#epoch === undefined)
      throw new Error(`the topic ${this.topic} is used before the broker was subscribed to`);
    return { epoch: this.#epoch, offset: this.#end ? previousOffset(this.#end) : this.#offset };
  }

  get end(): End | undefined {
    return this.#end;
  }

  isAt(epoch: string, offset: number): boolean {
    return this.#offset === offset && this.#epoch === epoch;
  }

  next(epoch: string, offset: number): Message | undefined {
    const { recent } = this.#deps;
    if (!recent || this.#recent?.epoch !== epoch) return undefined;
    recent.refresh(this.#recent, Date.now());
    return this.#recent.next(offset);
  }

  /** Where a subscriber that asked for `since` begins. @throws {BrokerUnavailable} */
  async start(since: Since, requested: string): Promise<Start> {
    if (since.kind === "position") {
      const { epoch, offset, base } = since.position;
      const isKnown = this.isAt(epoch, offset) || (base === undefined && this.next(epoch, offset));
      if (isKnown) return { from: { epoch, offset }, messages: [] };
    }
    const history = await this.#readAndCatchUp(since, this.#readShared(since));
    if (since.kind !== "all" || !history.isTrimmed) return this.#startOf(history, requested);
    if (since.isWhole) return this.#startOf({ ...history, complete: false }, requested);
    return { ...this.#startOf(history, requested), isTrimmed: true };
  }

  async read(position: Place): Promise<Start> {
    const since: Since = { kind: "position", position };
    const isAhead = ({ complete, messages, through = position }: History): boolean =>
      complete &&
      messages.length === 0 &&
      through.offset === position.offset &&
      through.base === position.base &&
      !this.isAt(position.epoch, position.offset);
    let history = await this.#readAndCatchUp(since, this.#readShared(since));
    if (isAhead(history)) history = await this.#readAndCatchUp(since, this.#read(since)); // The shared read was too early.
    if (isAhead(history)) {
      throw new BrokerUnavailable(
        `the broker does not yet have what follows ${formatPlace(position)} of ${this.topic}`,
      );
    }
    return this.#startOf(history, formatPlace(position));
  }

  leave(): void {
    this.subscriptionCount--;
    if (this.subscriptionCount === 0) this.#deps.unused(this);
  }

  /** Frees its memory. What is still on its way to it is dropped: the topic may have another channel by then. */
  release(): void {
    this.#isLeft = true;
    clearTimeout(this.#retry);
    if (this.#recent) this.#deps.recent?.forget(this.#recent);
  }

  announced(entry: Message | End): void {
    if (this.#epoch === undefined) this.#keepEarly(entry);
    else if (this.#mustWait) this.#synchroniseInBackground();
    else if (!this.#isNext(entry)) {
      if (!this.#hasDelivered(entry) && !this.#retry) this.#synchroniseInBackground();
    } else if (entry.isEnd) this.#finish(entry);
    else this.#deliver(entry);
  }

  /** Makes up for missed announcements. @param position the engine's; undefined where the engine forgot the topic */
  async compareWith(position: Position | undefined): Promise<void> {
    if (this.#isLeft) return;
    clearTimeout(this.#retry); // The engine can be reached again, or a while has passed.
    this.#retry = undefined;
    const current = position ?? (await this.#deps.broker.subscribe(this.topic));
    if (!this.#isLeft && !this.#hasDelivered(current)) await this.#synchronise();
  }

  /**
   * True while the engine keeps what it announces until the subscribers here have room for it. Publishers at other nodes do
   * not wait for those that lag: the node would fall behind them.
   */
  get #mustWait(): boolean {
    return this.#deps.broker.traits.isShared ? this.live.isFull : this.live.isLagging;
  }

  async #subscribe(): Promise<void> {
    this.#startAt(await this.#deps.broker.subscribe(this.topic));
    this.ready = undefined;
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const entry of early) this.announced(entry);
  }

  #startAt(position: TopicPosition): void {
    this.#epoch = position.epoch;
    this.#offset = position.offset;
    this.#end = position.end;
    if (this.#deps.recent) this.#recent = new TopicLog(this.topic, position);
  }

  /** Only the last of many are kept: the broker has those before them. */
  #keepEarly(entry: Message | End): void {
    this.#early ??= [];
    this.#early.push(entry);
    if (this.#early.length > page.messagesMax) this.#early.shift();
  }

  #isNext(entry: Message | End): boolean {
    return previousOffset(entry) === this.#offset && entry.epoch === this.#epoch;
  }

  /** What was published up to here and not read was replaced: only a keyed topic skips it. */
  #skipTo(epoch: string, offset: number): void {
    if (this.#isLeft || this.#end || epoch !== this.#epoch || offset <= this.#offset) return;
    this.#offset = offset;
    if (!this.#recent) return;
    this.#deps.recent?.forget(this.#recent);
    this.#recent = new TopicLog(this.topic, { epoch, offset });
  }

  #hasDelivered({ epoch, offset }: Position): boolean {
    return offset <= this.#offset && this.#epoch === epoch;
  }

  #deliver(message: Message): void {
    this.#offset = message.offset;
    if (this.#recent) {
      const now = Date.now();
      // The engine's clock may be ahead of this machine's, and a message must not outlive its age here.
      const bytes = this.#recent.append(message, Math.min(message.time, now));
      this.#deps.recent?.appended(this.#recent, bytes, now);
    }
    this.live.deliver(message);
  }

  /** The topic has ended: each live subscriber is told, in slices, because a topic may have many. */
  #finish(end: End): void {
    const detached = [...this.live.detach()];
    // From here on each meets the end at its next step, as one that replays does.
    for (const subscription of detached) subscription.fallBack(this.position);
    this.#offset = end.offset;
    this.#end = end;
    this.#recent?.close(end);
    const advanceSome = (): void => {
      for (const subscription of detached.splice(0, endingsPerTurnMax)) subscription.advance();
      if (detached.length > 0) setImmediate(advanceSome);
    };
    advanceSome();
  }

  /** Reads history, and delivers to the live subscribers up to what was read: a replay must not end ahead of them. */
  async #readAndCatchUp(since: Since, read: Promise<History | undefined>): Promise<History> {
    let history = await read;
    if (!history && !this.#isLeft) {
      // The broker forgot a topic that has subscribers: its past is lost, and another begins.
      await this.#deps.broker.subscribe(this.topic);
      history = await this.#read(since);
    }
    if (!history) throw new BrokerUnavailable(`the broker does not keep the topic ${this.topic}`);
    if (!this.#hasDelivered(history.position)) await this.#synchronise();
    return history;
  }

  /** Joins a read of the same that is in progress. It may not know of what was appended since it began. */
  #readShared(since: Since): Promise<History | undefined> {
    const key = since.kind === "position" ? formatPlace(since.position) : JSON.stringify(since);
    this.#reads ??= new Map();
    const pending = this.#reads.get(key);
    if (pending) return pending;
    const read = this.#read(since).finally(() => this.#reads?.delete(key));
    this.#reads.set(key, read);
    return read;
  }

  async #read(since: Since): Promise<History | undefined> {
    const history = await this.#deps.broker.history(this.topic, since, page);
    const fault = history && faultOf(history, since, this.isKeyed);
    if (!fault) return history;
    this.#deps.log.error({ topic: this.topic, since, fault }, "the engine answered a read with a fault");
    throw new BrokerUnavailable(`the engine's answer for ${this.topic} has a fault: ${fault}`);
  }

  #synchronise(): Promise<void> {
    this.#isLagging = true;
    this.#catchingUp ??= this.#catchUp();
    return this.#catchingUp;
  }

  #synchroniseInBackground(): void {
    this.#synchronise().catch((error) =>
      this.#deps.log.warn({ err: error, topic: this.topic }, "could not catch up with the broker"),
    );
  }

  /** Delivers what was announced and missed, and finds a changed epoch. */
  async #catchUp(): Promise<void> {
    try {
      while (this.#isLagging && !this.#isLeft) {
        if (this.live.room) await this.live.room;
        this.#isLagging = false;
        this.#deps.counters.catchUps++;
        const before = { epoch: this.position.epoch, offset: this.#offset }; // An ended topic is at its end.
        const history = await this.#read({ kind: "position", position: before });
        if (!history || this.#isLeft) return; // `compareWith` and `#readAndCatchUp` handle a forgotten topic.
        if (!history.complete && this.isAt(before.epoch, before.offset)) this.#startNewEpoch(history);
        for (const message of history.messages) {
          if (this.live.room) await this.live.room;
          if (this.isKeyed) this.#skipTo(message.epoch, previousOffset(message));
          if (!this.#isLeft && this.#isNext(message)) this.#deliver(message);
        }
        if (history.through) this.#skipTo(history.through.epoch, history.through.offset);
        if (history.end && !this.#isLeft && this.#isNext(history.end)) this.#finish(history.end);
        if (!this.#hasDelivered(history.position)) this.#isLagging = true;
      }
    } catch (error) {
      this.#isLagging = false;
      this.#retryLater();
      throw error;
    } finally {
      // Cleared in the same step as the last check, so that a later miss starts a new catch-up.
      this.#catchingUp = undefined;
    }
  }

  #retryLater(): void {
    if (this.#isLeft) return;
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#synchroniseInBackground();
    }, retrySeconds * 1000).unref();
  }

  /** The past that live subscribers know is gone: restarts each at `from`; each reports the gap. */
  #startNewEpoch({ from }: History): void {
    // Those that restart read a snapshot by themselves, and what follows its base is live.
    const { epoch, offset, base = offset } = from;
    const gap: Gap = { topic: this.topic, requested: formatId(this.position), from };
    this.#deps.log.warn(
      { topic: gap.topic, requested: gap.requested, from: formatPlace(from) },
      "messages of a topic were lost",
    );
    const detached = this.live.detach();
    if (this.#recent) this.#deps.recent?.forget(this.#recent);
    this.#startAt({ epoch, offset: base });
    for (const subscription of detached) subscription.restart({ from, messages: [], gap });
  }

  #startOf({ complete, from, messages, through }: History, requested: string): Start {
    const start = { from, messages, through };
    return complete ? start : { ...start, gap: { topic: this.topic, requested, from } };
  }
}

/** @returns how an engine's answer contradicts itself; undefined if it does not */
function faultOf(
  { complete, from, messages, through, position, end }: History,
  since: Since,
  isKeyed: boolean,
): string | undefined {
  if (complete && since.kind === "position" && formatPlace(from) !== formatPlace(since.position))
    return `complete after ${formatPlace(since.position)}, but from ${formatPlace(from)}`;
  let { epoch, offset } = from;
  for (const message of messages) {
    const follows = isKeyed ? message.offset > offset : previousOffset(message) === offset;
    if (message.epoch !== epoch || !follows)
      return `${formatId(message)} does not follow ${formatId({ epoch, offset })}`;
    offset = message.offset;
  }
  if (through && (through.epoch !== epoch || through.offset < offset))
    return `through ${formatPlace(through)}, which is before ${formatId({ epoch, offset })}`;
  offset = through?.offset ?? offset;
  if (position.epoch !== epoch || position.offset < offset)
    return `${formatId({ epoch, offset })} is past ${formatId(position)}`;
  if (end && (end.epoch !== position.epoch || end.offset !== position.offset))
    return `its end ${formatId(end)} is not its position ${formatId(position)}`;
  return undefined;
}
