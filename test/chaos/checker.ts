/** What a cluster promised, from the outside: what it acknowledged, and what its clients were given. */
import type { ReceivedEvent } from "../support/topics.ts";

/** The cluster broke its promise. */
export class Violation extends Error {}

interface Id {
  readonly epoch: string;
  readonly offset: number;
}

/** What happened in a run: where one of them is 0, the run has shown nothing. */
export interface Tally {
  acknowledged: number;
  /** Restarts, flushes and promotions of Redis. */
  takeovers: number;
  gaps: number;
  returns: number;
}

export class Checker {
  readonly tally: Tally = { acknowledged: 0, takeovers: 0, gaps: 0, returns: 0 };
  /** Events so far that may have lost messages. Each may begin one new epoch of a topic. */
  losses = 0;
  /** The epochs of each topic. */
  readonly #epochs = new Map<string, Set<string>>();
  /** By topic and id. */
  readonly #acknowledged = new Map<string, string>();
  /** What any client was given, by topic and id. */
  readonly #received = new Map<string, string>();
  /** Ids that a client skipped without a gap: from a message to one that is not its next. */
  readonly #skips = new Set<string>();
  /** Ids after which a gap was told within their epoch, as where nothing was lost. */
  readonly #unexplained = new Set<string>();

  acknowledged(topic: string, id: string, body: string): void {
    const key = `${topic} ${id}`;
    const before = this.#acknowledged.get(key) ?? this.#received.get(key) ?? body;
    if (before !== body) throw new Violation(`${key} was given to "${before}" and to "${body}"`);
    this.#acknowledged.set(key, body);
    this.tally.acknowledged++;
  }

  received(topic: string, id: string, body: string): void {
    const key = `${topic} ${id}`;
    const before = this.#acknowledged.get(key) ?? this.#received.get(key) ?? body;
    if (before !== body) throw new Violation(`${key} was given to "${before}" and to "${body}"`);
    this.#received.set(key, body);
    this.#noticeEpoch(topic, id);
  }

  /** A client went from one message to another without a gap. */
  followed(topic: string, from: string, to: string): void {
    const [one, other] = [parse(from), parse(to)];
    if (one.epoch !== other.epoch || other.offset <= one.offset)
      throw new Violation(`after ${from} of ${topic} came ${to}, without a gap`);
    if (other.offset > one.offset + 1) this.#skips.add(`${topic} ${from} ${to}`);
  }

  gap(topic: string, after: string, from: string): void {
    this.tally.gaps++;
    this.#noticeEpoch(topic, from);
    if (parse(after).epoch === parse(from).epoch) this.#unexplained.add(`${topic} ${after}`);
  }

  /** Checks what can only be known at the end, when all acknowledgements are. @throws {Violation} */
  finish(): void {
    for (const skip of this.#skips) {
      const [topic = "", from = "", to = ""] = skip.split(" ");
      const [one, other] = [parse(from), parse(to)];
      for (const key of this.#acknowledged.keys()) {
        const [ofTopic, id = ""] = key.split(" ");
        const { epoch, offset } = parse(id);
        if (ofTopic === topic && epoch === one.epoch && offset > one.offset && offset < other.offset)
          throw new Violation(
            `${key} was acknowledged, and a client went from ${from} to ${to} without a gap`,
          );
      }
    }
    // A failover that keeps what is acknowledged may lose what was only announced, to the clients that have it.
    for (const key of this.#unexplained)
      if (this.#acknowledged.has(key))
        throw new Violation(`a gap was told after ${key}, and nothing was lost`);
  }

  /** @param events everything that a topic retains, as one of the nodes shows it */
  checkLog(topic: string, events: readonly ReceivedEvent[]): void {
    const ids = events.map(({ id }) => id);
    for (const [index, id] of ids.entries()) {
      const before = ids[index - 1];
      if (before !== undefined && parse(before).offset >= parse(id).offset)
        throw new Violation(`after ${before} of ${topic} is ${id}`);
    }
    const shown = new Map(events.map(({ id, data }) => [id, String(data)]));
    if (new Set(shown.values()).size !== shown.size) throw new Violation(`${topic} has a message twice`);
    const epoch = parse(ids.at(-1) ?? "").epoch;
    for (const [key, body] of this.#acknowledged) {
      const [ofTopic, id = ""] = key.split(" ");
      if (ofTopic === topic && parse(id).epoch === epoch && shown.get(id) !== body)
        throw new Violation(`${key} was acknowledged as "${body}" and is "${shown.get(id)}"`);
    }
  }

  #noticeEpoch(topic: string, id: string): void {
    const epochs = this.#epochs.get(topic) ?? new Set();
    this.#epochs.set(topic, epochs.add(parse(id).epoch));
    if (epochs.size > this.losses + 1)
      throw new Violation(
        `${topic} has ${epochs.size} epochs, and ${this.losses} events may have lost messages`,
      );
  }
}

function parse(id: string): Id {
  const dash = id.lastIndexOf("-");
  return { epoch: id.slice(0, dash), offset: Number(id.slice(dash + 1)) };
}
