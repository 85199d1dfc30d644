/** Any engine, with what is published to it counted and how long it took. */

import type { Counters } from "../metrics.ts";
import type { Broker, BrokerListener, History, Once, Page, TopicState } from "../topic/broker.ts";
import type { Draft } from "../topic/draft.ts";
import type { Position, Since } from "../topic/message.ts";

export class MeteredBroker implements Broker {
  readonly #engine: Broker;
  readonly #counters: Counters;

  constructor(engine: Broker, counters: Counters) {
    this.#engine = engine;
    this.#counters = counters;
  }

  get available(): boolean {
    return this.#engine.available;
  }

  get announcementsCanBeMissed(): boolean {
    return this.#engine.announcementsCanBeMissed;
  }

  async publish(topic: string, draft: Draft, once?: Once): Promise<Position> {
    const begunMilliseconds = performance.now();
    try {
      const position = await this.#engine.publish(topic, draft, once);
      this.#counters.publishedMessages++;
      this.#counters.publishedCharacters += draft.data.length;
      return position;
    } catch (error) {
      this.#counters.publishFailures++;
      throw error;
    } finally {
      this.#counters.publishMilliseconds += performance.now() - begunMilliseconds;
    }
  }

  listen(listener: BrokerListener): void {
    this.#engine.listen(listener);
  }

  subscribe(topic: string): Promise<Position> {
    return this.#engine.subscribe(topic);
  }

  unsubscribe(topic: string): void {
    this.#engine.unsubscribe(topic);
  }

  history(topic: string, since: Since, page: Page): Promise<History | undefined> {
    return this.#engine.history(topic, since, page);
  }

  positions(topics: readonly string[]): Promise<(TopicState | undefined)[]> {
    return this.#engine.positions(topics);
  }

  close(): Promise<void> {
    return this.#engine.close();
  }
}
