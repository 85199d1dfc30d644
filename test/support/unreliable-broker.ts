/**
 * An engine as bad as `broker.ts` allows: several nodes on one log in memory, where every answer is delayed, and
 * announcements are late, lost or made twice; reads answer from where not everything has arrived yet, and with less than a
 * page; nodes are cut off; and the engine loses its memory. All of it seeded.
 */

import type { EngineLimits } from "../../src/engine/engine.ts";
import { MemoryBroker } from "../../src/engine/memory/broker.ts";
import {
  type Appended,
  type Broker,
  type BrokerListener,
  type BrokerState,
  type BrokerTraits,
  BrokerUnavailable,
  type History,
  type KeyState,
  type Once,
  type Page,
  type Publication,
  type StreamRecord,
  type TopicState,
} from "../../src/topic/broker.ts";
import type { End, Message, Since, TopicPosition } from "../../src/topic/message.ts";
import type { Random } from "./random.ts";

/** Probabilities from 0 to 1. */
export interface Faults {
  /** An announcement does not reach a node. */
  readonly lost: number;
  /** An announcement reaches a node once more, behind later ones. */
  readonly twice: number;
  /** A read knows only of some of what was appended last. */
  readonly lagging: number;
  /** A read answers with less than a page. */
  readonly shortPage: number;
}

export const noFaults: Faults = { lost: 0, twice: 0, lagging: 0, shortPage: 0 };

export interface UnreliableEngineOptions {
  readonly limits: EngineLimits;
  readonly random: Random;
  /** Runs a task at some later time, in any order: this is where every delay comes from. */
  readonly later: (task: () => void) => void;
  readonly faults?: Faults;
  readonly now?: () => number;
  /** Runs a task when a call must have settled, unless it is stopped. Left out: never. */
  readonly deadline?: (fail: () => void) => () => void;
  /** Told of each message in the step in which it is appended. */
  readonly appended?: (entry: Message | End) => void;
}

export class UnreliableEngine {
  faults: Faults;
  readonly random: Random;
  readonly later: (task: () => void) => void;
  readonly deadline: (fail: () => void) => () => void;
  readonly #limits: EngineLimits;
  readonly #now: () => number;
  readonly #appended: (entry: Message | End) => void;
  readonly #nodes = new Set<UnreliableNode>();
  #memory: MemoryBroker;

  constructor({ limits, random, later, faults, now, appended, deadline }: UnreliableEngineOptions) {
    this.deadline = deadline ?? (() => () => undefined);
    this.faults = faults ?? noFaults;
    this.random = random;
    this.later = later;
    this.#limits = limits;
    this.#now = now ?? Date.now;
    this.#appended = appended ?? (() => undefined);
    this.#memory = this.#openMemory();
  }

  get memory(): MemoryBroker {
    return this.#memory;
  }

  node(): UnreliableNode {
    const node = new UnreliableNode(this);
    this.#nodes.add(node);
    return node;
  }

  /** Every topic's past is gone. Who listens to what stays known, as with an engine that was flushed. */
  async loseEverything(): Promise<void> {
    const lost = this.#memory;
    this.#memory = this.#openMemory();
    await lost.close();
  }

  /** Once no node listens to it any more, a topic may age. */
  left(topic: string): void {
    for (const node of this.#nodes) if (node.hears(topic)) return;
    this.#memory.unsubscribe(topic);
  }

  closed(node: UnreliableNode): void {
    this.#nodes.delete(node);
  }

  async close(): Promise<void> {
    for (const node of this.#nodes) await node.close();
    await this.#memory.close();
  }

  #openMemory(): MemoryBroker {
    const clock = { now: this.#now, monotonic: this.#now };
    const memory = new MemoryBroker(this.#limits, { clock });
    memory.listen({
      announced: (message) => {
        this.#appended(message);
        for (const node of this.#nodes) node.announce(message);
      },
      missed: () => undefined,
      subscriberCount: () => 0,
    });
    return memory;
  }
}

/** What a node sends its engine and hears from it travels on two ways, each in order and neither waiting for the other. */
export class UnreliableNode implements Broker {
  available = true;
  readonly traits: BrokerTraits = { isShared: true, isInProcess: false, comparisonSeconds: 2 };
  readonly #engine: UnreliableEngine;
  /** On their way to the engine. */
  readonly #requests: (() => void)[] = [];
  /** On their way to the node. */
  readonly #announcements: (Message | End)[] = [];
  /** What the engine announces to this node. */
  readonly #heard = new Set<string>();
  /** What this node wants to hear of. */
  readonly #wanted = new Set<string>();
  #listener: BrokerListener | undefined;

  constructor(engine: UnreliableEngine) {
    this.#engine = engine;
  }

  get state(): BrokerState {
    const { sinceTime } = this.#engine.memory.state;
    return this.available
      ? { available: true, sinceTime }
      : { available: false, reason: "the test has it away", sinceTime };
  }

  listen(listener: BrokerListener): void {
    this.#listener = listener;
  }

  publish(topic: string, publication: Publication): Promise<Appended> {
    return this.#ask(async (memory) => memory.publish(topic, publication));
  }

  takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    return this.#ask((memory) => memory.takeStream(topic, once, writer));
  }

  subscribe(topic: string): Promise<TopicPosition> {
    this.#wanted.add(topic);
    return this.#ask((memory) => {
      this.#heard.add(topic);
      return memory.subscribe(topic);
    });
  }

  unsubscribe(topic: string): void {
    this.#wanted.delete(topic);
    this.#send(() => {
      this.#heard.delete(topic);
      this.#engine.left(topic);
    });
  }

  history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const { random, faults } = this.#engine;
    return this.#ask(async (memory) => {
      const isShort = random.chance(faults.shortPage);
      const messagesMax = Math.min(page.messagesMax, isShort ? random.between(1, 3) : page.messagesMax);
      const history = await memory.history(topic, since, { ...page, messagesMax });
      // A node that lags may not be asked for a page of a keyed topic: what it has not replaced yet is of another moment.
      if (!history || history.through || !random.chance(faults.lagging)) return history;
      const offset = random.between(history.from.offset, history.position.offset);
      const messages = history.messages.filter((message) => message.offset <= offset);
      const { end, ...rest } = history;
      const position = { epoch: history.position.epoch, offset };
      return { ...rest, messages, position, ...(end?.offset === offset && { end }) };
    });
  }

  value(topic: string, key: string): Promise<KeyState | undefined> {
    return this.#ask((memory) => memory.value(topic, key));
  }

  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#ask((memory) => memory.inspect(topics));
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    const { random, faults } = this.#engine;
    return this.#ask(async (memory) => {
      const states = await memory.inspect(topics);
      return states.map((state) => {
        if (!state || !random.chance(faults.lagging)) return state?.position;
        const { epoch, offset } = state.position;
        const missing = random.between(0, state.retained);
        return missing === 0 ? state.position : { epoch, offset: offset - missing };
      });
    });
  }

  async close(): Promise<void> {
    this.#listener = undefined;
    this.#wanted.clear();
    this.#heard.clear();
    this.#engine.closed(this);
  }

  /** What the engine is asked fails from here on, done or not, and what it announces is lost. */
  cutOff(): void {
    this.available = false;
  }

  reconnect(): void {
    this.available = true;
    this.#listener?.missed();
  }

  /** Whether the engine announces a topic to this node. */
  hears(topic: string): boolean {
    return this.#heard.has(topic);
  }

  /** How many topics the engine announces to this node. */
  get heardCount(): number {
    return this.#heard.size;
  }

  announce(message: Message | End): void {
    if (!this.#heard.has(message.topic)) return;
    const { random, faults, later } = this.#engine;
    if (!this.available || random.chance(faults.lost)) return;
    this.#announcements.push(message);
    later(() => {
      const next = this.#announcements.shift();
      if (!next) return;
      this.#hear(next);
      if (random.chance(faults.twice)) later(() => this.#hear(next));
    });
  }

  #hear(message: Message | End): void {
    if (this.#wanted.has(message.topic) && this.available) this.#listener?.announced(message);
  }

  #send(request: () => void): void {
    this.#requests.push(request);
    this.#engine.later(() => this.#requests.shift()?.());
  }

  #ask<Answer>(request: (memory: MemoryBroker) => Promise<Answer>): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const { random, later, deadline } = this.#engine;
    const stopDeadline = deadline(() => reject(new BrokerUnavailable("no answer")));
    this.#send(() => {
      const answered = this.available || random.chance(0.5);
      const done = answered ? request(this.#engine.memory) : Promise.reject(unavailable());
      done.then(
        (answer) => later(() => (this.available ? resolve(answer) : reject(unavailable()))),
        (error) => later(() => reject(error)),
      );
    });
    return promise.finally(stopDeadline);
  }
}

const unavailable = (): BrokerUnavailable =>
  new BrokerUnavailable("the engine is away, as the test wants it");
