import pino from "pino";
import type { EngineLimits } from "../../src/engine/engine.ts";
import { MemoryBroker } from "../../src/engine/memory/broker.ts";
import { Counters } from "../../src/metrics.ts";
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
import { Hub, type HubPresence } from "../../src/topic/hub.ts";
import {
  type End,
  formatId,
  type Message,
  type Position,
  type Since,
  type TopicPosition,
} from "../../src/topic/message.ts";
import type { HistoryLimits } from "../../src/topic/retention.ts";
import type { Gap, Subscriber, Subscription } from "../../src/topic/subscription.ts";
import { post, text } from "../engine/contract/messages.ts";
import { LiveVisitors } from "./live-visitors.ts";

const limits: EngineLimits = {
  historyMessages: 1000,
  historyAgeSeconds: 3600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
  positionAgeSeconds: 3600,
  positionBytesMax: 64 * 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
};

const open: Stage[] = [];

/** To be called after each test. */
export async function closeStages(): Promise<void> {
  for (const stage of open.splice(0)) await stage.close();
}

interface Stage {
  readonly broker: StagedBroker;
  readonly hub: Hub<LiveVisitors<Visitor>>;
  readonly warnings: readonly string[];
  publish(count: number, topic?: string): Promise<Position[]>;
  come(
    since?: Since,
    manner?: Manner,
    requested?: string,
    topic?: string,
  ): Promise<{ subscription: Subscription<LiveVisitors<Visitor>>; visitor: Visitor; told: string[] }>;
  close(): Promise<void>;
}

export function openStage(
  given: {
    broker?: Partial<EngineLimits>;
    hub?: Partial<HistoryLimits>;
    traits?: Partial<BrokerTraits>;
    presence?: HubPresence;
    lingerSeconds?: number;
  } = {},
): Stage {
  const far: BrokerTraits = { isShared: true, isInProcess: false, comparisonSeconds: undefined };
  const broker = new StagedBroker({ ...limits, ...given.broker }, { ...far, ...given.traits });
  const warnings: string[] = [];
  const log = pino(
    { level: "warn" },
    { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const hub = new Hub({
    broker,
    live: () => new LiveVisitors<Visitor>(),
    limits: { ...limits, ...given.hub },
    feeds: given.broker?.feeds ?? [],
    presence: given.presence,
    lingerSeconds: given.lingerSeconds ?? 0,
    counters: new Counters(),
    log,
  });
  const stage: Stage = {
    broker,
    hub,
    warnings,
    publish: async (count, topic = "news") => {
      const positions: Position[] = [];
      for (let number = 0; number < count; number++) {
        positions.push(await post(hub, topic, text("x")));
      }
      return positions;
    },
    come: async (
      since,
      manner,
      requested = since?.kind === "position" ? formatId(since.position) : "",
      topic = "news",
    ) => {
      const subscription = await hub.open(topic, since, requested);
      const visitor = new Visitor(subscription, manner);
      return { subscription, visitor, told: visitor.told };
    },
    close: async () => {
      hub.close();
      await broker.close();
    },
  };
  open.push(stage);
  return stage;
}

/** In memory, and made to do what an engine far away does by itself. */
class StagedBroker implements Broker {
  readonly asked: string[] = [];
  listener: BrokerListener | undefined;
  /** Nothing can be asked, or only history and positions cannot. */
  away = false;
  awayForReads = false;
  /** Announcements are lost. */
  losing = false;
  /** Topics whose history cannot be read. */
  failing: ReadonlySet<string> = new Set();
  /** Changes what `history` answers. */
  falsify: ((page: History) => History) | undefined;
  /** The number of topics in each call of `positions`. */
  readonly askedTopics: number[] = [];
  /** The most reads of history that were under way at once. */
  readsAtOnceMax = 0;
  #readsAtOnce = 0;
  /** What the next call of `history` answers with. */
  nextHistory: Promise<History> | undefined;
  #heldAnnouncements: Message[] | undefined;
  #answersMayGo: Promise<void> | undefined;
  #memory: MemoryBroker;

  constructor(
    readonly limits: EngineLimits,
    readonly traits: BrokerTraits,
  ) {
    this.#memory = this.#openMemory();
  }

  get state(): BrokerState {
    return this.#memory.state;
  }

  listen(listener: BrokerListener): void {
    this.listener = listener;
  }

  async publish(topic: string, publication: Publication): Promise<Appended> {
    return this.#memory.publish(topic, publication);
  }

  takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    return this.#memory.takeStream(topic, once, writer);
  }

  subscribe(topic: string): Promise<TopicPosition> {
    return this.#ask("subscribe", () => this.#memory.subscribe(topic));
  }

  unsubscribe(topic: string): void {
    this.asked.push("unsubscribe");
    this.#memory.unsubscribe(topic);
  }

  history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    const { nextHistory } = this;
    this.nextHistory = undefined;
    return nextHistory ?? this.#read(topic, since, page);
  }

  async #read(topic: string, since: Since, page: Page): Promise<History | undefined> {
    this.readsAtOnceMax = Math.max(this.readsAtOnceMax, ++this.#readsAtOnce);
    try {
      const isAway = this.awayForReads || this.failing.has(topic);
      const history = await this.#ask("history", () => this.#memory.history(topic, since, page), isAway);
      return history && this.falsify ? this.falsify(history) : history;
    } finally {
      this.#readsAtOnce--;
    }
  }

  value(topic: string, key: string): Promise<KeyState | undefined> {
    return this.#ask("value", () => this.#memory.value(topic, key), this.awayForReads);
  }

  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#ask("inspect", () => this.#memory.inspect(topics), this.awayForReads);
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    this.askedTopics.push(topics.length);
    return this.#ask("positions", () => this.#memory.positions(topics), this.awayForReads);
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  /** @returns what lets them go */
  holdAnswers(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#answersMayGo = promise;
    return () => {
      this.#answersMayGo = undefined;
      resolve();
    };
  }

  /** @returns what would have been announced */
  holdAnnouncements(): { readonly messages: readonly Message[] } {
    const messages: Message[] = [];
    this.#heldAnnouncements = messages;
    return { messages };
  }

  async loseEverything(): Promise<void> {
    await this.#memory.close();
    this.#memory = this.#openMemory();
  }

  #openMemory(): MemoryBroker {
    const memory = new MemoryBroker(this.limits);
    memory.listen({
      announced: (entry) => {
        if (this.#heldAnnouncements && !entry.isEnd) this.#heldAnnouncements.push(entry);
        else if (!this.losing) this.listener?.announced(entry);
      },
      missed: () => this.listener?.missed(),
      subscriberCount: () => 0,
    });
    return memory;
  }

  /** It is done when it is asked, and known when answers may go. */
  async #ask<Answer>(what: string, ask: () => Promise<Answer>, away = false): Promise<Answer> {
    this.asked.push(what);
    if (this.away || away) throw new BrokerUnavailable("the test has it away");
    const answer = await ask();
    await this.#answersMayGo;
    return answer;
  }
}

interface Manner {
  /** How many messages of a replay it takes before it has enough. */
  takes?: number;
  on?: (event: string, visitor: Visitor) => void;
}

/** A subscriber that writes down all it is told. */
export class Visitor implements Subscriber<LiveVisitors<Visitor>> {
  readonly told: string[] = [];
  takes: number;
  readonly #on: (event: string, visitor: Visitor) => void;
  readonly #subscription: Subscription<LiveVisitors<Visitor>>;

  constructor(subscription: Subscription<LiveVisitors<Visitor>>, { takes, on }: Manner = {}) {
    this.takes = takes ?? Number.POSITIVE_INFINITY;
    this.#on = on ?? (() => undefined);
    this.#subscription = subscription;
    subscription.begin(this);
    subscription.advance();
  }

  close(): void {
    this.#subscription.close();
  }

  replay({ offset }: Message): boolean {
    this.takes--;
    this.#tell(`replay ${offset}`);
    return this.takes > 0;
  }

  deliver({ offset }: Message): void {
    this.#tell(`message ${offset}`);
  }

  /** Of ids in the epoch of this test only the offset is written down, since epochs are random. */
  gap({ requested, from }: Gap): void {
    this.#tell(`gap after ${requested.replace(/^\w{14,}-/, "")}, from ${from.offset}`);
  }

  replayed(): void {}

  live(subscription: Subscription<LiveVisitors<Visitor>>): void {
    subscription.live.add(subscription, this);
    this.#tell("live");
  }

  end({ offset }: End): void {
    this.#tell(`end ${offset}`);
  }

  fail(error: unknown): void {
    this.#tell(`fail ${error instanceof Error ? error.constructor.name : String(error)}`);
  }

  #tell(event: string): void {
    this.told.push(event);
    this.#on(event, this);
  }
}

export const after = (position: Position | undefined): Since => {
  if (!position) throw new Error("there is no such position");
  return { kind: "position", position };
};

export const events = (what: string, first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, index) => `${what} ${first + index}`);

export const replays = (first: number, last: number): string[] => events("replay", first, last);

export const messages = (first: number, last: number): string[] => events("message", first, last);

/** Runs everything that waits for promises only; there is nothing else here to wait for. */
export async function settled(ticks = 50): Promise<void> {
  for (let tick = 0; tick < ticks; tick++) await undefined;
}
