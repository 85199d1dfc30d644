/**
 * Who is here is kept by the process and never in the file: whoever was on a line when it stopped is not on it any more. So the
 * topics that have the members of others are in an engine in memory, and all others in the file.
 */
import type {
  Appended,
  Broker,
  BrokerListener,
  BrokerState,
  BrokerTraits,
  History,
  KeyState,
  Once,
  Page,
  Publication,
  StreamRecord,
  TopicState,
} from "../topic/broker.ts";
import type { Since, TopicPosition } from "../topic/message.ts";
import { isPresenceTopic } from "../topic/presence.ts";
import type { Engine } from "./engine.ts";

/** @param memory for the topics that have members, and for nothing else */
export const withMembersInMemory = (file: Engine, memory: Engine): Engine => ({
  ...file,
  broker: new MembersInMemory(file.broker, memory.broker),
  presence: memory.presence,
});

class MembersInMemory implements Broker {
  readonly #file: Broker;
  readonly #memory: Broker;

  constructor(file: Broker, memory: Broker) {
    this.#file = file;
    this.#memory = memory;
  }

  get state(): BrokerState {
    return this.#file.state;
  }

  get traits(): BrokerTraits {
    return this.#file.traits;
  }

  listen(listener: BrokerListener): void {
    this.#file.listen(listener);
    this.#memory.listen(listener);
  }

  publish(topic: string, publication: Publication): Appended | Promise<Appended> {
    return this.#of(topic).publish(topic, publication);
  }

  takeStream(topic: string, once: Once, writer: string): Promise<StreamRecord> {
    return this.#of(topic).takeStream(topic, once, writer);
  }

  subscribe(topic: string): Promise<TopicPosition> {
    return this.#of(topic).subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#of(topic).unsubscribe(topic);
  }

  history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    return this.#of(topic).history(topic, since, page);
  }

  value(topic: string, key: string): Promise<KeyState | undefined> {
    return this.#of(topic).value(topic, key);
  }

  positions(topics: readonly string[]): Promise<(TopicPosition | undefined)[]> {
    return this.#inBoth(topics, (broker, some) => broker.positions(some));
  }

  inspect(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#inBoth(topics, (broker, some) => broker.inspect(some));
  }

  async close(): Promise<void> {
    await Promise.all([this.#file.close(), this.#memory.close()]);
  }

  #of(topic: string): Broker {
    return isPresenceTopic(topic) ? this.#memory : this.#file;
  }

  /** Asks each for its own, and puts the answers into the order asked. */
  async #inBoth<Found>(
    topics: readonly string[],
    ask: (broker: Broker, topics: readonly string[]) => Promise<Found[]>,
  ): Promise<Found[]> {
    const ofMembers = topics.filter(isPresenceTopic);
    if (ofMembers.length === 0) return await ask(this.#file, topics);
    const others = topics.filter((topic) => !isPresenceTopic(topic));
    const [inMemory, inFile] = await Promise.all([
      ask(this.#memory, ofMembers),
      others.length > 0 ? ask(this.#file, others) : [],
    ]);
    const [members, rest] = [inMemory.values(), inFile.values()];
    return topics.map((topic) => (isPresenceTopic(topic) ? members : rest).next().value as Found);
  }
}
