/**
 * What a node knows to have been acknowledged and announced. It says so to the server on each connection and after each
 * takeover: a server that lacks some of it has lost messages, whatever else it looks like (testify.lua).
 */
import { type End, type Message, type Position, previousOffset } from "../../topic/message.ts";

/** The last topics that this node published to. */
const acknowledgedMax = 1000;

/** Servers whose appends are remembered: the address has led to so many since then. */
const claimsMax = 8;

/** Positions of before a hole in the announcements that are kept until the next testimony. */
const unverifiedMax = 1000;

/** How far a server's history must be so that everything acknowledged to this node is in it. */
export interface Claim {
  readonly generation: number;
  readonly replid: string;
  readonly offset: number;
}

/** A position, and when this node learned of it, in milliseconds of `performance.now()`. */
interface Known extends Position {
  readonly sinceMilliseconds: number;
}

/** A position of a topic that was given, and since when that is known. */
export interface Statement {
  readonly topic: string;
  readonly position: Position;
  readonly ageMilliseconds: number;
}

export class Testimony {
  readonly #subscribed = new Set<string>();
  /** The last position that this node heard of each topic that it subscribed to. */
  readonly #heard = new Map<string, Known>();
  /** The last acknowledged position of each topic that this node published to, the oldest first. */
  readonly #acknowledged = new Map<string, Known>();
  /** The last acknowledged append at each server, by replid, the oldest first. */
  readonly #claims = new Map<string, { readonly offset: number; readonly sinceMilliseconds: number }>();
  /** What was heard before an announcement that does not follow it: it may be what a server has lost. */
  #unverified: { readonly topic: string; readonly known: Known }[] = [];

  get topics(): readonly string[] {
    return [...this.#subscribed];
  }

  get hasUnverified(): boolean {
    return this.#unverified.length > 0;
  }

  /** Servers, the offset that each must have reached, and how long ago the last append was acknowledged. */
  get claims(): readonly (readonly [replid: string, offset: number, ageMilliseconds: number])[] {
    return [...this.#claims].map(([replid, { offset, sinceMilliseconds }]) => [
      replid,
      offset,
      ageOf(sinceMilliseconds),
    ]);
  }

  isSubscribed(topic: string): boolean {
    return this.#subscribed.has(topic);
  }

  subscribed(topic: string): void {
    this.#subscribed.add(topic);
  }

  unsubscribed(topic: string): boolean {
    this.#heard.delete(topic);
    return this.#subscribed.delete(topic);
  }

  /** @param position what the server said to be the topic's */
  heard(topic: string, { epoch, offset }: Position): void {
    if (!this.#subscribed.has(topic)) return;
    const before = this.#heard.get(topic);
    if (before?.epoch === epoch && before.offset >= offset) return; // A late announcement.
    this.#heard.set(topic, { epoch, offset, sinceMilliseconds: performance.now() });
  }

  announced(entry: Message | End): void {
    const before = this.#heard.get(entry.topic);
    const isLate = before?.epoch === entry.epoch && before.offset >= entry.offset;
    const follows = before?.epoch === entry.epoch && before.offset === previousOffset(entry);
    if (before && !isLate && !follows) this.#keepUnverified(entry.topic, before);
    this.heard(entry.topic, entry);
  }

  /** The last positions of a topic that this node knows of. */
  known(topic: string): readonly Position[] {
    return [this.#heard.get(topic), this.#acknowledged.get(topic)].filter(
      (position) => position !== undefined,
    );
  }

  /** Appends were acknowledged. */
  claimed({ replid, offset }: Claim): void {
    const claimed = this.#claims.get(replid)?.offset ?? 0;
    const last = { offset: Math.max(claimed, offset), sinceMilliseconds: performance.now() };
    setLast(this.#claims, replid, last, claimsMax);
  }

  /** An append was acknowledged. @param position the last that it gave; undefined where it gave none */
  acknowledged(topic: string, position: Position | undefined): void {
    if (!position) return;
    const before = this.#acknowledged.get(topic);
    if (before?.epoch === position.epoch && before.offset > position.offset) return; // A repeated key.
    const { epoch, offset } = position;
    setLast(
      this.#acknowledged,
      topic,
      { epoch, offset, sinceMilliseconds: performance.now() },
      acknowledgedMax,
    );
  }

  /**
   * What is known of topics, in pieces of at most `count`. A topic may be in it more than once.
   * @param which `acknowledged` leaves out what was only announced: a failover that keeps what is acknowledged may lose it,
   * and then only the clients that were given it are told a gap
   */
  *pieces(count: number, which: "all" | "acknowledged"): Generator<readonly Statement[]> {
    const statements = [...(which === "all" ? this.#unverified : [])].map(({ topic, known }) =>
      statementOf(topic, known),
    );
    for (const known of which === "all" ? [this.#heard, this.#acknowledged] : [this.#acknowledged]) {
      for (const [topic, position] of known) {
        if (statements.length >= count) yield statements.splice(0, count);
        statements.push(statementOf(topic, position));
      }
    }
    while (statements.length > 0) yield statements.splice(0, count);
  }

  /** The server was told everything. */
  testified(): void {
    this.#unverified = [];
  }

  #keepUnverified(topic: string, known: Known): void {
    this.#unverified.push({ topic, known });
    if (this.#unverified.length > unverifiedMax) this.#unverified.shift();
  }
}

/** Rounded down, so that the server does not take a loss for one that it was told before. */
const ageOf = (sinceMilliseconds: number): number => Math.floor(performance.now() - sinceMilliseconds);

const statementOf = (topic: string, { epoch, offset, sinceMilliseconds }: Known): Statement => ({
  topic,
  position: { epoch, offset },
  ageMilliseconds: ageOf(sinceMilliseconds),
});

/** Sets a value as the last, and deletes the first where there are more than `max`. */
function setLast<Value>(map: Map<string, Value>, key: string, value: Value, max: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= max) return;
  for (const first of map.keys()) {
    map.delete(first);
    return;
  }
}
