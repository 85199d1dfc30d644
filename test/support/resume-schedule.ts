/**
 * One seeded course of events, without sockets: publishers never pause, messages are trimmed, clients take what they are sent
 * at their own pace, leave at any moment and come back with their last id, to nodes whose engine is as unreliable as it may
 * be. Beside it stands the truth, everything that was ever appended, and each client is held to it: it is given each message
 * once and in order, or told of a gap exactly where the engine no longer has what follows.
 */
import pino from "pino";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { Counters } from "../../src/metrics.ts";
import { BrokerUnavailable, TopicEnded } from "../../src/topic/broker.ts";
import type { Draft } from "../../src/topic/draft.ts";
import { Hub } from "../../src/topic/hub.ts";
import {
  type End,
  formatId,
  type Message,
  type Position,
  parseId,
  type Since,
} from "../../src/topic/message.ts";
import type { Gap, Subscriber, Subscription } from "../../src/topic/subscription.ts";
import { LiveVisitors } from "./live-visitors.ts";
import { Random } from "./random.ts";
import { type Faults, noFaults, UnreliableEngine, type UnreliableNode } from "./unreliable-broker.ts";

/** What happened, so that a test can tell that its schedules are not empty ones. */
export interface Tally {
  published: number;
  received: number;
  resumed: number;
  gaps: number;
  fallenBack: number;
  refused: number;
  /** Ends that clients were told. */
  ended: number;
}

export const emptyTally = (): Tally => ({
  published: 0,
  received: 0,
  resumed: 0,
  gaps: 0,
  fallenBack: 0,
  refused: 0,
  ended: 0,
});

/** What a client must never see. */
class Violation extends Error {}

/** @throws {Violation} */
export async function runSchedule(seed: number, tally: Tally): Promise<void> {
  const world = new World(seed, tally);
  try {
    await world.run();
  } finally {
    await world.close();
  }
}

const silent = pino({ level: process.env.DBG ? "debug" : "silent" });

/** What it is likely to meet. A calm one has delays only, so nothing may ever be refused. */
interface Climate extends Faults {
  readonly loss: number;
  readonly cutOff: number;
}

const climates: readonly Climate[] = [
  { ...noFaults, loss: 0, cutOff: 0 },
  { lost: 0, twice: 0.1, lagging: 0, shortPage: 0.5, loss: 0, cutOff: 0 },
  { lost: 0.2, twice: 0.1, lagging: 0.2, shortPage: 0.2, loss: 0, cutOff: 0.01 },
  { lost: 0.1, twice: 0.1, lagging: 0.1, shortPage: 0.2, loss: 0.02, cutOff: 0.01 },
  { lost: 0.5, twice: 0.3, lagging: 0.3, shortPage: 0.3, loss: 0.01, cutOff: 0.03 },
];

/** So that a few messages fill a page. The length of bytes is known, and that of a text is counted again and again. */
const bulk = new ArrayBuffer(90_000);

class World {
  readonly random: Random;
  readonly topics: readonly string[];
  readonly engine: UnreliableEngine;
  readonly truth: Truth;
  readonly nodes: readonly Node[];
  readonly clients: readonly Client[];
  /** The probability that a client takes one more message of a replay at once. */
  readonly eagerness: number;
  /** The probability that a live client is too slow for a message. */
  readonly slowness: number;
  readonly #climate: Climate;
  readonly #bulky: boolean;
  /** How long a node keeps a topic after its last client. The schedule takes less than a second. */
  readonly #lingerSeconds: number;
  readonly #tasks: (() => void)[] = [];
  #violation: Violation | undefined;
  #ending = false;
  now = 1_800_000_000_000;

  constructor(
    readonly seed: number,
    readonly tally: Tally,
  ) {
    const random = new Random(seed);
    this.random = random;
    this.#climate = random.pick(climates);
    this.#bulky = random.chance(0.2);
    this.#lingerSeconds = random.pick([0, 0, 30]);
    this.eagerness = random.pick([0.2, 0.7, 1]);
    this.slowness = random.pick([0, 0.02, 0.2]);
    this.topics = random.chance(0.2) ? ["news", "sport"] : ["news"];
    const limits: EngineLimits = {
      historyMessages: random.pick([0, 1, 3, 10, 30, 1000]),
      historyAgeSeconds: random.pick([20, 100_000]),
      historyBytesMax: Number.MAX_SAFE_INTEGER,
      retain: [],
      keyed: [],
      keysMax: 1000,
      feeds: [],
      positionAgeSeconds: 1_000_000,
      positionBytesMax: Number.MAX_SAFE_INTEGER,
      idempotencyBytesMax: Number.MAX_SAFE_INTEGER,
    };
    this.truth = new Truth(limits, () => this.now);
    this.engine = new UnreliableEngine({
      limits,
      random,
      faults: this.#climate,
      now: () => this.now,
      later: (task) => this.later(task),
      appended: (entry) => {
        if (entry.isEnd) this.truth.end(entry);
        else this.truth.append(entry);
      },
    });
    const recent = { ...limits, historyMessages: random.pick([0, 1, 4, 20, 1000]) };
    this.nodes = Array.from({ length: random.between(1, 3) }, () => {
      const broker = this.engine.node();
      const counters = new Counters();
      const hub = new Hub({
        broker,
        live: () => new LiveVisits(),
        limits: recent,
        lingerSeconds: this.#lingerSeconds,
        counters,
        log: silent,
      });
      return { broker, hub };
    });
    this.clients = Array.from(
      { length: random.between(1, 5) },
      () => new Client(this, random.pick(this.topics)),
    );
  }

  later(task: () => void): void {
    this.#tasks.push(task);
  }

  /** Noted and thrown by the course of events itself: the step that finds it may be one whose failure is only logged. */
  violate(what: string): void {
    this.#violation ??= new Violation(what);
  }

  async run(): Promise<void> {
    const steps = this.random.between(30, 200);
    for (let step = 0; step < steps; step++) {
      this.#something();
      await this.#ticks(this.random.below(6));
    }
    await this.#end();
  }

  async close(): Promise<void> {
    for (const { hub } of this.nodes) hub.close();
    await this.engine.close();
  }

  /** @returns whether a client may be refused for now */
  get mayRefuse(): boolean {
    const { lost, lagging, loss, cutOff } = this.#climate;
    return !this.#ending && lost + lagging + loss + cutOff > 0;
  }

  #something(): void {
    const { random } = this;
    if (random.chance(this.#climate.loss)) this.#loseEverything();
    const node = random.pick(this.nodes);
    if (!node.broker.available) {
      if (random.chance(0.1)) node.broker.reconnect();
    } else if (random.chance(this.#climate.cutOff)) node.broker.cutOff();

    const what = random.fraction();
    if (what < 0.45) this.#runTask();
    else if (what < 0.7) this.#publish();
    else if (what < 0.702) void this.#endTopic();
    else if (what < 0.95) random.pick(this.clients).act();
    else if (what < 0.98) this.now += random.below(10_000);
    else node.broker.reconnect(); // It compares positions, as it does by the clock.
  }

  #loseEverything(): void {
    this.truth.loseEverything();
    void this.engine.loseEverything();
  }

  #runTask(): void {
    if (this.#tasks.length > 0) this.random.take(this.#tasks)();
  }

  #publish(): void {
    const topic = this.random.pick(this.topics);
    const number = ++this.tally.published;
    const data = this.#bulky ? new Uint8Array(bulk) : String(number);
    const once = this.random.chance(0.1) ? { key: String(number), publisher: "p" } : undefined;
    void this.#publishUntilKnown(this.random.pick(this.nodes).hub, topic, data, once);
  }

  /** Mostly late in a course of events, since nothing is published to a topic from then on. */
  async #endTopic(): Promise<void> {
    const topic = this.random.pick(this.topics);
    const draft = { data: String(++this.tally.published), contentType: "text/plain" };
    const publication = this.random.chance(0.5) ? { drafts: [], end: true } : { drafts: [draft], end: true };
    try {
      const { message, end } = await this.random.pick(this.nodes).hub.publish(topic, publication);
      if (!end || !this.truth.isEnd(topic, end)) this.violate("an end was answered that is not the topic's");
      if (message && this.truth.message(topic, message)?.data !== draft.data)
        this.violate("the message before an end is another one");
    } catch (error) {
      this.#notPublished(topic, error);
    }
  }

  #notPublished(topic: string, error: unknown): void {
    if (!(error instanceof TopicEnded)) this.refused("a publisher", error);
    else if (!this.truth.isEnd(topic, error.end)) this.violate(`${error.message}, which it has not`);
  }

  async #publishUntilKnown(
    hub: Hub,
    topic: string,
    data: Draft["data"],
    once: { key: string; publisher: string } | undefined,
  ): Promise<void> {
    try {
      const draft = { data, contentType: "text/plain" };
      const { message: position } = await hub.publish(topic, { drafts: [draft], ...(once && { once }) });
      if (!position) this.violate("a publisher was answered without a position");
      else if (this.truth.message(topic, position)?.data !== data) {
        this.violate(`a publisher was answered ${formatId(position)}, where something else was appended`);
      }
    } catch (error) {
      this.#notPublished(topic, error);
      if (once && !this.#ending && !(error instanceof TopicEnded))
        this.later(() => void this.#publishUntilKnown(hub, topic, data, once));
    }
  }

  /** Whether chance ends a connection, or makes it too slow; no longer once all is to be well again. */
  mishap(probability: number): boolean {
    return !this.#ending && this.random.chance(probability);
  }

  refused(who: string, error: unknown): void {
    this.tally.refused++;
    if (!(error instanceof BrokerUnavailable)) this.violate(`${who} met ${String(error)}`);
    else if (!this.mayRefuse) this.violate(`${who} was refused though nothing was wrong: ${error.message}`);
  }

  async #ticks(count: number): Promise<void> {
    for (let tick = 0; tick < count; tick++) await undefined;
    if (this.#violation) throw this.#violation;
  }

  /** All is well again: everyone comes back, takes what there is, and must stand where the topic does. */
  async #end(): Promise<void> {
    this.engine.faults = noFaults;
    for (const { broker } of this.nodes) if (!broker.available) broker.reconnect();
    await this.#rest();
    this.#ending = true;
    for (const client of this.clients) client.comeBack();
    await this.#rest();
    if (this.#climate.lost + this.#climate.cutOff + this.#climate.loss > 0) {
      for (const { broker } of this.nodes) broker.reconnect();
      await this.#rest();
    }

    for (const client of this.clients) {
      const [position] = await this.engine.memory.positions([client.topic]);
      if (!client.isLive && !position?.end)
        this.violate("a client is left behind, neither live nor refused nor told the end");
      else if (!position || !client.seen || formatId(client.seen) !== formatId(position)) {
        this.violate(
          `a client is live at ${client.seen && formatId(client.seen)} where the topic is at ` +
            `${position && formatId(position)}`,
        );
      }
      client.leave();
    }
    await this.#rest();
    for (const { hub, broker } of this.nodes) {
      const open = this.topics.reduce((sum, topic) => sum + hub.subscriberCount(topic), 0);
      if (open > 0) this.violate(`${open} subscriptions are open when everyone has left`);
      if (this.#lingerSeconds === 0 && broker.heardCount > 0)
        this.violate("a node still hears topics when everyone has left");
    }
    await this.#ticks(0);
  }

  async #rest(): Promise<void> {
    for (let step = 0; step < 20_000; step++) {
      await this.#ticks(this.random.below(6));
      if (this.#tasks.length === 0) {
        await this.#ticks(30);
        let moved = false;
        for (const client of this.clients) moved = client.takeMore() || moved;
        if (!moved && this.#tasks.length === 0) return;
      }
      this.#runTask();
    }
    this.violate("it does not come to rest");
    await this.#ticks(0);
  }
}

interface Node {
  readonly broker: UnreliableNode;
  readonly hub: Hub<LiveVisits>;
}

/** Everything that was ever appended, and what the engine may have dropped since. */
class Truth {
  readonly #limits: EngineLimits;
  readonly #now: () => number;
  /** By topic and epoch, in the order in which the epochs began. */
  readonly #logs = new Map<string, { readonly messages: Message[]; lost: boolean }>();
  /** The ids of all ends. */
  readonly #ends = new Set<string>();

  constructor(limits: EngineLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  append(message: Message): void {
    const name = `${message.topic} ${message.epoch}`;
    const log = this.#logs.get(name);
    if (log) log.messages.push(message);
    else this.#logs.set(name, { messages: [message], lost: false });
  }

  end(end: End): void {
    const name = `${end.topic} ${end.epoch}`;
    if (!this.#logs.has(name)) this.#logs.set(name, { messages: [], lost: false });
    this.#ends.add(`${end.topic} ${formatId(end)}`);
  }

  /** Whether the topic has, or had, its end there. */
  isEnd(topic: string, position: Position): boolean {
    return this.#ends.has(`${topic} ${formatId(position)}`);
  }

  loseEverything(): void {
    for (const log of this.#logs.values()) log.lost = true;
  }

  message(topic: string, { epoch, offset }: Position): Message | undefined {
    return this.#logs.get(`${topic} ${epoch}`)?.messages[offset - 1];
  }

  /** Whether nothing was appended to this epoch that is still there; a beginning that got no message may have been lost. */
  isLost(topic: string, epoch: string): boolean {
    return this.#logs.get(`${topic} ${epoch}`)?.lost ?? true;
  }

  mayBeGone(topic: string, { epoch, offset }: Position): boolean {
    const log = this.#logs.get(`${topic} ${epoch}`);
    if (!log || log.lost) return true;
    const message = log.messages[offset - 1];
    if (!message) return false;
    return (
      offset <= log.messages.length - this.#limits.historyMessages ||
      message.time < this.#now() - this.#limits.historyAgeSeconds * 1000
    );
  }
}

/** Those that fan-out reaches. */
class LiveVisits extends LiveVisitors<Visit> {
  override detach(): readonly Subscription[] {
    for (const visit of this.visitors()) visit.recalled();
    return super.detach();
  }
}

/** Someone who comes and goes, and remembers the last id. */
class Client {
  /** After this comes what it has not been given. */
  seen: Position | undefined;
  #visit: Visit | undefined;

  constructor(
    readonly world: World,
    readonly topic: string,
  ) {}

  get isLive(): boolean {
    return this.#visit?.isLive ?? false;
  }

  act(): void {
    const { random } = this.world;
    if (!this.#visit) this.comeBack();
    else if (random.chance(0.3)) this.leave();
    else this.takeMore();
  }

  /** @returns whether it had been waiting to be given more */
  takeMore(): boolean {
    return this.#visit?.takeMore() ?? false;
  }

  comeBack(): void {
    if (this.#visit) return;
    const visit = new Visit(this, this.world.random.pick(this.world.nodes), this.#since());
    this.#visit = visit;
    void visit.open();
  }

  leave(): void {
    this.#visit?.close();
  }

  left(visit: Visit): void {
    if (this.#visit === visit) this.#visit = undefined;
  }

  #since(): Since | undefined {
    const { random, now } = this.world;
    if (this.seen && random.chance(0.95)) return { kind: "position", position: this.seen };
    switch (random.below(6)) {
      case 0:
        return { kind: "all" };
      case 1:
        return { kind: "time", time: now - random.below(30_000) };
      case 2:
        return { kind: "unknown" };
      case 3:
        return { kind: "position", position: { epoch: "elsewhere", offset: random.below(5) } };
      default:
        return undefined;
    }
  }
}

/** One connection of a client, from the request to its end. */
class Visit implements Subscriber<LiveVisits> {
  isLive = false;
  readonly #client: Client;
  readonly #world: World;
  readonly #node: Node;
  readonly #since: Since | undefined;
  readonly #requested: string;
  #subscription: Subscription<LiveVisits> | undefined;
  #closed = false;
  /** It said that it has enough for now. */
  #waiting = false;
  /** Told at the start of a visit that did not ask to continue after an id. */
  #openingGap: Gap | undefined;

  constructor(client: Client, node: Node, since: Since | undefined) {
    this.#client = client;
    this.#world = client.world;
    this.#node = node;
    this.#since = since;
    this.#requested = since?.kind === "position" ? formatId(since.position) : (since?.kind ?? "");
  }

  async open(): Promise<void> {
    const { topic } = this.#client;
    try {
      const subscription = await this.#node.hub.open(topic, this.#since, this.#requested);
      this.#subscription = subscription;
      if (this.#closed) subscription.close();
      else if (this.#world.random.chance(0.5)) this.#begin(subscription);
      else this.#world.later(() => this.#begin(subscription)); // A handshake may wait for another topic.
    } catch (error) {
      this.#world.refused("a client that came", error);
      this.close();
    }
  }

  takeMore(): boolean {
    if (!this.#waiting || this.#closed) return false;
    this.#waiting = false;
    this.#subscription?.advance();
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.isLive = false;
    this.#subscription?.close();
    this.#client.left(this);
  }

  replay(message: Message): boolean {
    if (this.isLive) this.#violate("is replayed to while it is live");
    if (this.#waiting) this.#violate("is replayed to while it has enough");
    this.#receive(message);
    if (this.#world.mishap(0.03)) this.close();
    this.#waiting = !this.#world.random.chance(this.#world.eagerness);
    return !this.#waiting;
  }

  end(end: End): void {
    const { seen, topic } = this.#client;
    const id = formatId(end);
    if (this.#closed) this.#violate("is told the end after its own");
    if (this.#openingGap) this.#violate("is told the end before the gap at its opening");
    if (end.topic !== topic || !this.#world.truth.isEnd(topic, end)) this.#violate(`is told the end ${id}`);
    if (seen?.epoch !== end.epoch || (seen.offset !== end.offset && seen.offset !== end.offset - 1))
      this.#violate(`is told the end ${id} after ${seen && formatId(seen)}`);
    this.#world.tally.ended++;
    this.#client.seen = { epoch: end.epoch, offset: end.offset };
    this.close();
  }

  deliver(message: Message): void {
    const { random, slowness, tally } = this.#world;
    if (!this.#world.mishap(slowness)) {
      this.#receive(message);
      return;
    }
    if (random.chance(0.5) || !this.#client.seen) {
      this.close();
      return;
    }
    tally.fallenBack++;
    this.isLive = false;
    this.#waiting = true;
    this.#subscription?.fallBack(this.#client.seen);
  }

  gap(gap: Gap): void {
    this.#world.tally.gaps++;
    const { seen, topic } = this.#client;
    if (this.#closed) this.#violate("is told of a gap after its end");
    if (gap === this.#openingGap) {
      this.#openingGap = undefined;
      return;
    }
    if (seen) this.#checkGap(seen, gap);
    if (gap.topic !== topic) this.#violate(`of ${topic} is told of a gap in ${gap.topic}`);
    this.#client.seen = gap.from;
    if (this.#world.mishap(0.1)) this.close();
  }

  replayed(): void {}

  live(subscription: Subscription<LiveVisits>): void {
    if (this.#closed) this.#violate("is live after its end");
    if (this.isLive) this.#violate("is live twice");
    if (this.#openingGap) this.#violate("is live and was not told of the gap at its opening");
    if (this.#world.mishap(0.02)) {
      this.close();
      return;
    }
    this.isLive = true;
    subscription.live.add(subscription, this);
  }

  fail(error: unknown): void {
    if (this.#closed) this.#violate("fails after its end");
    this.#world.refused("a client in replay", error);
    this.close();
  }

  recalled(): void {
    this.isLive = false;
  }

  #begin(subscription: Subscription<LiveVisits>): void {
    if (this.#closed) return;
    const { from, gap, resumed } = subscription;
    if (this.#since?.kind === "position") {
      const { position } = this.#since;
      this.#client.seen = position;
      if (!gap && formatId(from) !== formatId(position)) this.#violate(`is opened at ${formatId(from)}`);
    } else {
      this.#client.seen = from;
      this.#openingGap = gap;
      this.#checkBeginning(from, gap);
    }
    if (gap && gap.requested !== this.#requested) this.#violate(`asked for ${this.#requested}, not that`);
    if (this.#world.mishap(0.1)) {
      // Cut after the id that opens the connection, and before anything else: it must lead to the gap again.
      const isAsked = this.#since?.kind === "position" && subscription.openId === this.#requested;
      if (gap && !isAsked && subscription.openId !== "0-0")
        this.#violate(`may store ${subscription.openId}, which is past a gap that it was not told of`);
      this.#client.seen = parseId(subscription.openId);
      this.close();
      return;
    }
    if (resumed) this.#world.tally.resumed++;
    if (resumed !== (this.#since !== undefined && !gap)) this.#violate("is told wrongly whether it resumed");
    subscription.begin(this);
    subscription.advance();
  }

  /** What it asked for must not lie before where it begins. */
  #checkBeginning(from: Position, gap: Gap | undefined): void {
    const since = this.#since;
    const { truth } = this.#world;
    const { topic } = this.#client;
    if (gap && (!since || since.kind === "all")) this.#violate("is told of a gap that it cannot have");
    if (!gap && since?.kind === "unknown") this.#violate("continues after an unknown id");
    if (!since || truth.isLost(topic, from.epoch)) return;
    for (let { offset } = from; offset > 0; offset--) {
      const skipped = { epoch: from.epoch, offset };
      const message = truth.message(topic, skipped);
      if (since.kind === "time" && message && message.time < since.time) return;
      if (!truth.mayBeGone(topic, skipped)) this.#violate(`begins behind ${formatId(skipped)}`);
      if (since.kind === "time" && !gap) this.#violate(`is not told that ${formatId(skipped)} is gone`);
    }
  }

  /** All that it skips must be gone, and there must be something that it skips. */
  #checkGap(seen: Position, { requested, from }: Gap): void {
    const { truth } = this.#world;
    const { topic } = this.#client;
    const id = formatId(seen);
    if (requested !== id) this.#violate(`at ${id} is told of a gap after ${requested}`);
    if (from.epoch === seen.epoch && from.offset <= seen.offset) this.#violate(`at ${id} is sent back`);
    if (from.epoch !== seen.epoch && !truth.isLost(topic, seen.epoch))
      this.#violate(`at ${id} is sent to another epoch`);
    const first = from.epoch === seen.epoch ? seen.offset + 1 : 1;
    for (let offset = first; offset <= from.offset; offset++) {
      const skipped = { epoch: from.epoch, offset };
      if (!truth.mayBeGone(topic, skipped))
        this.#violate(`at ${id} is told that ${formatId(skipped)} is gone`);
    }
  }

  #receive(message: Message): void {
    const { seen, topic } = this.#client;
    const id = formatId(message);
    this.#world.tally.received++;
    if (this.#closed) this.#violate(`is given ${id} after its end`);
    if (this.#openingGap) this.#violate(`is given ${id} before the gap at its opening`);
    if (message.epoch !== seen?.epoch || message.offset !== seen.offset + 1)
      this.#violate(`is given ${id} after ${seen && formatId(seen)}`);
    if (message.topic !== topic || this.#world.truth.message(topic, message)?.data !== message.data)
      this.#violate(`is given ${id}, which was never published so`);
    this.#client.seen = { epoch: message.epoch, offset: message.offset };
  }

  #violate(what: string): void {
    this.#world.violate(`a client ${what}`);
  }
}
