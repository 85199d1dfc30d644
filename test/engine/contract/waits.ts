/** How the contract waits for an engine: by the time that the engine lives in. */
import type { Broker, BrokerListener, History, Page } from "../../../src/topic/broker.ts";
import { type End, formatId, type Message, type Position, type Since } from "../../../src/topic/message.ts";
import type { Time } from "../../support/time.ts";
import { until, within } from "../../support/wait.ts";
import { after, all, post, text, wholePage } from "./messages.ts";

export class Waits {
  constructor(readonly time: Time) {}

  readonly until = (holds: () => boolean | Promise<boolean>, what: string): Promise<void> =>
    until(holds, what, undefined, this.time);

  readonly listen = (broker: Broker): Announcements => {
    const announced = new Announcements(broker, this.time);
    broker.listen(announced);
    return announced;
  };

  /** Reads all of the history, page by page: an engine may answer with less than a page. */
  readonly read = async (
    broker: Broker,
    topic: string,
    since: Since,
    reached: Position | undefined,
  ): Promise<History> => {
    const first = await this.readPage(broker, topic, since, reached, wholePage);
    const messages = [...first.messages];
    let { position, end } = first;
    const lastOffset = (): number => position.offset - (end ? 1 : 0);
    for (let last = messages.at(-1); last && last.offset < lastOffset(); last = messages.at(-1)) {
      const page = await this.readPage(broker, topic, after(last), reached, wholePage);
      if (!page.complete || page.messages.length === 0)
        throw new Error(`there is no more after ${formatId(last)}, though a page ended there`);
      messages.push(...page.messages);
      ({ position, end } = page);
    }
    return { ...first, messages, position, ...(end && { end }) };
  };

  /** Reads until the history has reached `reached`: an engine may read from a replica that is lagging. */
  readonly readPage = async (
    broker: Broker,
    topic: string,
    since: Since,
    reached: Position | undefined,
    page: Page,
  ): Promise<History> => {
    let history: History | undefined;
    await this.until(
      async () => {
        history = await broker.history(topic, since, page);
        const position = history?.position;
        return position?.epoch === reached?.epoch && (position?.offset ?? 0) >= (reached?.offset ?? 0);
      },
      `history to reach ${reached && formatId(reached)}`,
    );
    if (!history) throw new Error("it cannot have reached a position and not exist");
    return history;
  };

  /** Publishes until the engine's clock gives a message a later time than the first one has. */
  readonly publishUntilTimePasses = async (
    broker: Broker,
    topic: string,
    first: Position,
  ): Promise<{ late: Message; messages: readonly Message[] }> => {
    let messages = (await this.read(broker, topic, all, first)).messages;
    await this.until(async () => {
      ({ messages } = await this.read(broker, topic, all, await post(broker, topic, text("late"))));
      return messages.at(-1)?.time !== messages[0]?.time;
    }, "the engine's clock to move on");
    return { late: messages.at(-1) as Message, messages };
  };
}

/** Records the announcements that a node receives. */
export class Announcements implements BrokerListener {
  misses = 0;
  readonly #broker: Broker;
  readonly #time: Time;
  #first = new Map<string, Message | End>();
  #missesMadeUp = 0;
  #changed = Promise.withResolvers<void>();

  constructor(broker: Broker, time: Time) {
    this.#broker = broker;
    this.#time = time;
  }

  announced(entry: Message | End): void {
    this.#record(entry);
    this.#change();
  }

  missed(): void {
    this.misses++;
    this.#change();
  }

  subscriberCount(): number {
    return 0;
  }

  /** Each message of a topic once, as it was first announced. */
  of(topic: string): Message[] {
    return this.entriesOf(topic).filter((entry): entry is Message => !entry.isEnd);
  }

  /** The same with the end. */
  entriesOf(topic: string): (Message | End)[] {
    return [...this.#first.values()].filter((entry) => entry.topic === topic);
  }

  /** What was announced before a reported miss need not have arrived: it is read from the history then, as by a node. */
  async upTo(topic: string, position: Position | undefined): Promise<void> {
    const id = `${topic} ${position && formatId(position)}`;
    while (!this.#first.has(id) || this.#missesMadeUp < this.misses) {
      if (this.#missesMadeUp < this.misses) await this.#makeUp(topic);
      else await within(this.#changed.promise, `the announcement of ${id}`, undefined, this.#time);
    }
  }

  async #makeUp(topic: string): Promise<void> {
    this.#missesMadeUp = this.misses;
    const history = await this.#broker.history(topic, all, wholePage);
    for (const message of history?.messages ?? []) this.#record(message);
    if (history?.end) this.#record(history.end);
    this.#first = new Map([...this.#first].sort(([, one], [, other]) => one.offset - other.offset));
  }

  #record(entry: Message | End): void {
    const id = `${entry.topic} ${formatId(entry)}`;
    if (!this.#first.has(id)) this.#first.set(id, entry);
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
