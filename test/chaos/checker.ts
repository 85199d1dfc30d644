/**
 * What a cluster promised, from the outside. The truth is what publishers were answered: they number their messages, and
 * publish one only after the one before it was answered with 200.
 */
import type { ReceivedEvent } from "../support/topics.ts";
import type { Troubles } from "./troubles.ts";

/** The cluster broke its promise. */
export class Violation extends Error {}

/** By the takeover, and by what a node was answered while it happened. */
const epochsPerLoss = 2;

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
  /** Streams that were published, and requests for them that broke, were refused, or were taken over. */
  streams: number;
  broken: number;
  /** Answers with 503. */
  refused: number;
  /** Changes of keys that were acknowledged, and readers whose fold was compared. */
  keyed: number;
  folds: number;
  /** Lines of members that were opened. */
  visits: number;
}

export class Checker {
  readonly tally: Tally = {
    acknowledged: 0,
    takeovers: 0,
    gaps: 0,
    returns: 0,
    streams: 0,
    broken: 0,
    refused: 0,
    keyed: 0,
    folds: 0,
    visits: 0,
  };
  /** Events so far that may have lost messages. */
  losses = 0;
  /** Those of them that are over. */
  lossesOver = 0;
  readonly #troubles: Pick<Troubles, "explain"> | undefined;
  /** The epochs of each topic. */
  readonly #epochs = new Map<string, Set<string>>();
  /** By topic and id. */
  readonly #acknowledged = new Map<string, string>();
  /** The id of each acknowledged message, by topic and body. */
  readonly #ids = new Map<string, string>();
  /** The number of the last message that each publisher has begun to publish, and of the last acknowledged one. */
  readonly #begun = new Map<string, number>();
  readonly #last = new Map<string, number>();
  /** Epochs, by topic, of which the server that served last when it was asked had never heard. */
  readonly #unknown = new Set<string>();
  /** Gaps that were told since then. */
  #gaps: Gap[] = [];
  /** What any client was given, by topic and id. */
  readonly #received = new Map<string, string>();
  /** Ids that a client skipped without a gap: from a message to one that is not its next. */
  readonly #skips = new Set<string>();
  /** Ids after which a gap was told within their epoch, as where nothing was lost. */
  readonly #unexplained = new Set<string>();
  /** Messages that a client got again, with the id that they had first. */
  readonly #again: Again[] = [];
  /** Views that have had the last message of their topic. */
  readonly #finished: View[] = [];

  /** @param troubles explain answers with 503; without, any is allowed */
  constructor(troubles?: Pick<Troubles, "explain">) {
    this.#troubles = troubles;
  }

  /** A publisher begins to publish a message, or a stream up to it. */
  begun(body: string): void {
    const numbered = parseBody(body);
    if (numbered) this.#begun.set(numbered.publisher, numbered.number);
  }

  /**
   * After a takeover: a client with an id of an epoch that the server has never heard of is given everything that is kept.
   * @param known the epochs of which the server knows
   */
  serves(topic: string, known: readonly string[]): void {
    for (const epoch of this.#epochs.get(topic) ?? []) {
      if (known.includes(epoch)) this.#unknown.delete(`${topic} ${epoch}`);
      else this.#unknown.add(`${topic} ${epoch}`);
    }
    for (const gap of this.#gaps) if (gap.topic === topic && !known.includes(gap.epoch)) gap.mayRepeat = true;
    this.#gaps = this.#gaps.filter((gap) => gap.topic !== topic);
  }

  acknowledged(topic: string, id: string, body: string): void {
    const key = `${topic} ${id}`;
    const before = this.#acknowledged.get(key) ?? this.#received.get(key) ?? body;
    if (before !== body) throw new Violation(`${key} was given to "${before}" and to "${body}"`);
    this.#acknowledged.set(key, body);
    this.#ids.set(`${topic} ${body}`, id);
    this.published(topic, body);
  }

  /** Acknowledged, as an item of a stream, whose ids are not told. */
  published(topic: string, body: string): void {
    this.tally.acknowledged++;
    const numbered = parseBody(body);
    if (numbered) this.#last.set(`${topic} ${numbered.publisher}`, numbered.number);
  }

  /**
   * An answer with 503.
   * @param what was asked for
   * @param askedMilliseconds when, in milliseconds of `performance.now()`
   */
  refused(what: "publication" | "read", askedMilliseconds: number, answer: string): void {
    this.tally.refused++;
    const trouble = this.#troubles?.explain(what, askedMilliseconds);
    if (trouble !== undefined)
      throw new Violation(`a ${what} was asked for ${trouble}, and answered with 503: ${answer}`);
  }

  /** @returns what one client sees of a topic */
  view(topic: string): View {
    return new View(topic, {
      received: (id, body) => this.#receivedAny(topic, id, body),
      skipped: (from, to) => this.#skips.add(`${topic} ${from} ${to}`),
      again: (again) => this.#again.push(again),
      gap: (after, from) => this.#gap(topic, after, from),
      begun: () => new Map(this.#begun),
      finished: (view) => this.#finished.push(view),
    });
  }

  /** The most epochs that a topic had. */
  get epochs(): number {
    return Math.max(...[...this.#epochs.values()].map(({ size }) => size));
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
    // What was lost before its publisher was answered is published again, and those who had it are told a gap.
    for (const { key, first, words, gaps } of this.#again)
      if (!gaps.some(({ mayRepeat }) => mayRepeat) && this.#ids.get(key) === first)
        throw new Violation(`${words} got "${key}" twice`);
    for (const view of this.#finished)
      for (const [publisher, number] of view.numbers) {
        const last = this.#last.get(`${view.topic} ${publisher}`);
        if (last !== undefined && number < last)
          throw new Violation(
            `${view.words} has nothing of ${publisher} after ${number}, which published ${last}, without a gap`,
          );
      }
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

  #receivedAny(topic: string, id: string, body: string): void {
    const key = `${topic} ${id}`;
    const before = this.#acknowledged.get(key) ?? this.#received.get(key) ?? body;
    if (before !== body) throw new Violation(`${key} was given to "${before}" and to "${body}"`);
    this.#received.set(key, body);
    this.#noticeEpoch(topic, id);
  }

  #gap(topic: string, after: string, from: string): Gap {
    this.tally.gaps++;
    this.#noticeEpoch(topic, from);
    if (parse(after).epoch === parse(from).epoch) this.#unexplained.add(`${topic} ${after}`);
    const { epoch } = parse(after);
    const gap = { topic, epoch, mayRepeat: this.#unknown.has(`${topic} ${epoch}`) };
    this.#gaps.push(gap);
    return gap;
  }

  #noticeEpoch(topic: string, id: string): void {
    const epochs = this.#epochs.get(topic) ?? new Set();
    this.#epochs.set(topic, epochs.add(parse(id).epoch));
    if (epochs.size > 1 + this.losses * epochsPerLoss)
      throw new Violation(
        `${topic} has ${epochs.size} epochs, and ${this.losses} events may have lost messages`,
      );
  }
}

/** A gap after an id of an epoch. */
interface Gap {
  readonly topic: string;
  readonly epoch: string;
  /** Whether the server had never heard of that epoch, and sent everything that it keeps. */
  mayRepeat: boolean;
}

/** A message that a client got again. */
interface Again {
  /** Topic and body. */
  readonly key: string;
  /** The id with which it was given first. */
  readonly first: string;
  readonly words: string;
  /** What was told in between. */
  readonly gaps: readonly Gap[];
}

interface ViewDeps {
  readonly received: (id: string, body: string) => void;
  readonly skipped: (from: string, to: string) => void;
  readonly again: (again: Again) => void;
  readonly gap: (after: string, from: string) => Gap;
  /** The number of the last message that each publisher has begun to publish. */
  readonly begun: () => ReadonlyMap<string, number>;
  readonly finished: (view: View) => void;
}

/** What one client was given of a topic. */
export class View {
  /** The last id that it may store. */
  id: string | undefined;
  /** The number of the last message of each publisher since the last gap. */
  readonly numbers = new Map<string, number>();
  readonly #deps: ViewDeps;
  /** By the body of each message the id that it had first, and how many gaps were told until it was given last. */
  readonly #had = new Map<string, { readonly id: string; readonly gaps: number }>();
  /** Up to which number each publisher's messages may have been lost before the last gap was told. */
  #excused: ReadonlyMap<string, number> = new Map();
  readonly #gaps: Gap[] = [];
  /** What it was given last, for the report of a violation. */
  readonly #recent: string[] = [];

  constructor(
    readonly topic: string,
    deps: ViewDeps,
  ) {
    this.#deps = deps;
  }

  get words(): string {
    return `a follower of ${this.topic} at ${this.id} (it was given ${this.#recent.join(", ")})`;
  }

  gap(from: string): void {
    this.#gaps.push(this.#deps.gap(this.id ?? "", from));
    this.#note(`a gap up to ${from}`);
    this.id = from;
    this.#excused = this.#deps.begun();
    this.numbers.clear();
  }

  message(id: string, body: string): void {
    if (this.id !== undefined) this.#follow(parse(this.id), parse(id), id);
    this.#deps.received(id, body);
    const before = this.#had.get(body);
    this.#had.set(body, { id: before?.id ?? id, gaps: this.#gaps.length });
    if (before) {
      const words = `${this.words}, given ${id},`;
      const gaps = this.#gaps.slice(before.gaps);
      this.#deps.again({ key: `${this.topic} ${body}`, first: before.id, words, gaps });
    }
    this.#count(body);
    this.#note(`${id} "${body}"`);
    this.id = id;
  }

  /** It has the last message. */
  finish(): void {
    this.#deps.finished(this);
  }

  #note(words: string): void {
    this.#recent.push(words);
    if (this.#recent.length > 12) this.#recent.shift();
  }

  #follow(one: Id, other: Id, to: string): void {
    if (one.epoch !== other.epoch || other.offset <= one.offset)
      throw new Violation(`${this.words} was given ${to}, without a gap`);
    if (other.offset > one.offset + 1) this.#deps.skipped(this.id ?? "", to);
  }

  #count(body: string): void {
    const numbered = parseBody(body);
    if (!numbered) return;
    const { publisher, number } = numbered;
    const before = this.numbers.get(publisher);
    const isExcused =
      before !== undefined && number > before && number - 1 <= (this.#excused.get(publisher) ?? -1);
    if (before !== undefined && number !== before + 1 && !isExcused)
      throw new Violation(`${this.words} got "${body}" after "${publisher}/${before}", without a gap`);
    this.numbers.set(publisher, number);
  }
}

function parse(id: string): Id {
  const dash = id.lastIndexOf("-");
  return { epoch: id.slice(0, dash), offset: Number(id.slice(dash + 1)) };
}

/** @param body `<publisher>/<number>` */
function parseBody(body: string): { readonly publisher: string; readonly number: number } | undefined {
  const [, publisher, number] = /^(.*)\/(\d+)$/.exec(body) ?? [];
  return publisher === undefined ? undefined : { publisher, number: Number(number) };
}
