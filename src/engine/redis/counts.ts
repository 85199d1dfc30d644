/** Counts the subscribers of a topic on all nodes: asks each node, through Redis, and adds their answers. */
import type { RedisKeys } from "./keys.ts";

/** How long other nodes have to answer. */
const answerMilliseconds = 300;

/** How long a count is used again: a dashboard that asks often costs each node no more than one answer a second. */
const keptMilliseconds = 1000;

interface CountQuestion {
  readonly number: number;
  readonly node: string;
  readonly topics: readonly string[];
}

interface CountAnswer {
  readonly number: number;
  readonly counts: readonly number[];
}

interface PendingCount {
  readonly counts: number[];
  answers: number;
  /** How many other nodes were asked; unknown until Redis has said how many heard the question. */
  others: number;
  readonly done: () => void;
}

export interface CountsDeps {
  readonly node: string;
  readonly keys: RedisKeys;
  /** @returns how many nodes heard it, if it is a question */
  readonly publish: (channel: string, message: string) => Promise<unknown>;
  readonly subscriberCount: (topic: string) => number;
}

export class Counts {
  readonly #deps: CountsDeps;
  readonly #pending = new Map<number, PendingCount>();
  readonly #kept = new Map<string, { readonly count: number; readonly untilMilliseconds: number }>();
  #lastNumber = 0;

  constructor(deps: CountsDeps) {
    this.#deps = deps;
  }

  async of(topics: readonly string[]): Promise<number[]> {
    const now = performance.now();
    for (const [topic, { untilMilliseconds }] of this.#kept)
      if (untilMilliseconds < now) this.#kept.delete(topic);
    const unknown = topics.filter((topic) => !this.#kept.has(topic));
    if (unknown.length > 0) {
      const counts = await this.#ask(unknown);
      for (const [index, topic] of unknown.entries())
        this.#kept.set(topic, { count: counts[index] ?? 0, untilMilliseconds: now + keptMilliseconds });
    }
    return topics.map((topic) => this.#kept.get(topic)?.count ?? this.#deps.subscriberCount(topic));
  }

  asked(message: Buffer): void {
    const question = parse<CountQuestion>(message);
    if (!question || question.node === this.#deps.node) return;
    const { number, node, topics } = question;
    const answer: CountAnswer = { number, counts: topics.map(this.#deps.subscriberCount) };
    // The asker waits a moment and goes on without it.
    this.#deps.publish(this.#deps.keys.node(node), JSON.stringify(answer)).catch(() => undefined);
  }

  answered(message: Buffer): void {
    const answer = parse<CountAnswer>(message);
    const pending = answer && this.#pending.get(answer.number);
    if (!pending) return;
    for (const [index, count] of answer.counts.entries())
      pending.counts[index] = (pending.counts[index] ?? 0) + count;
    pending.answers++;
    if (pending.answers >= pending.others) pending.done();
  }

  async #ask(topics: readonly string[]): Promise<number[]> {
    const counts = topics.map(this.#deps.subscriberCount);
    const number = ++this.#lastNumber;
    const { promise, resolve } = Promise.withResolvers<void>();
    const pending = { counts, answers: 0, others: Number.POSITIVE_INFINITY, done: resolve };
    this.#pending.set(number, pending);
    const timer = setTimeout(resolve, answerMilliseconds);
    try {
      const question: CountQuestion = { number, node: this.#deps.node, topics };
      // This node hears its own question.
      pending.others = Number(await this.#deps.publish(this.#deps.keys.ask, JSON.stringify(question))) - 1;
      if (pending.answers < pending.others) await promise;
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
