/** Counts the subscribers of a topic on all nodes: asks each node, through Redis, and adds their answers. */
import type { Keys } from "./keys.ts";

/** How long other nodes have to answer. */
const answerMilliseconds = 300;

/** How long a count is used again: a dashboard that asks often costs each node no more than one answer a second. */
const keptMilliseconds = 1000;

interface Question {
  readonly number: number;
  readonly node: string;
  readonly topics: readonly string[];
}

interface Answer {
  readonly number: number;
  readonly counts: readonly number[];
}

interface Pending {
  readonly counts: number[];
  answersMissing: number;
  readonly done: () => void;
}

export interface CountsDeps {
  readonly node: string;
  readonly keys: Keys;
  readonly publish: (channel: string, message: string) => Promise<unknown>;
  readonly subscriberCount: (topic: string) => number;
}

export class Counts {
  readonly #deps: CountsDeps;
  readonly #pending = new Map<number, Pending>();
  readonly #kept = new Map<string, { readonly count: number; readonly untilMilliseconds: number }>();
  #lastNumber = 0;

  constructor(deps: CountsDeps) {
    this.#deps = deps;
  }

  /** @param nodes how many nodes live, this one included */
  async of(topics: readonly string[], nodes: number): Promise<number[]> {
    const now = performance.now();
    for (const [topic, { untilMilliseconds }] of this.#kept)
      if (untilMilliseconds < now) this.#kept.delete(topic);
    const unknown = topics.filter((topic) => !this.#kept.has(topic));
    if (unknown.length > 0) {
      const counts = await this.#ask(unknown, nodes - 1);
      for (const [index, topic] of unknown.entries())
        this.#kept.set(topic, { count: counts[index] ?? 0, untilMilliseconds: now + keptMilliseconds });
    }
    return topics.map((topic) => this.#kept.get(topic)?.count ?? this.#deps.subscriberCount(topic));
  }

  asked(message: Buffer): void {
    const question = parse<Question>(message);
    if (!question || question.node === this.#deps.node) return;
    const { number, node, topics } = question;
    const answer: Answer = { number, counts: topics.map(this.#deps.subscriberCount) };
    // The asker waits a moment and goes on without it.
    this.#deps.publish(this.#deps.keys.node(node), JSON.stringify(answer)).catch(() => undefined);
  }

  answered(message: Buffer): void {
    const answer = parse<Answer>(message);
    const pending = answer && this.#pending.get(answer.number);
    if (!pending) return;
    for (const [index, count] of answer.counts.entries())
      pending.counts[index] = (pending.counts[index] ?? 0) + count;
    pending.answersMissing--;
    if (pending.answersMissing === 0) pending.done();
  }

  async #ask(topics: readonly string[], others: number): Promise<number[]> {
    const counts = topics.map(this.#deps.subscriberCount);
    if (others <= 0) return counts;
    const number = ++this.#lastNumber;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pending.set(number, { counts, answersMissing: others, done: resolve });
    const timer = setTimeout(resolve, answerMilliseconds);
    try {
      const question: Question = { number, node: this.#deps.node, topics };
      await this.#deps.publish(this.#deps.keys.ask, JSON.stringify(question));
      await promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(number);
    }
    return counts;
  }
}

/** @returns undefined for what no node sends: it must not end the connection that it came by */
function parse<Content>(message: Buffer): Content | undefined {
  try {
    return JSON.parse(message.toString());
  } catch {
    return undefined;
  }
}
