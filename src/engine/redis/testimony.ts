/**
 * The last ids that a node knows to have been given. After a reconnect it tells them to the server: one that is not that far
 * has lost messages, whatever else it looks like.
 */
import type { Position } from "../../topic/message.ts";

/** The last topics that this node published to. */
const acknowledgedMax = 1000;

export class Testimony {
  /** Topics that this node subscribed to, and the last position it heard of each. */
  readonly #subscribed = new Map<string, Position | undefined>();
  /** The last acknowledged position of each topic that this node published to, the oldest first. */
  readonly #acknowledged = new Map<string, Position>();

  get topics(): readonly string[] {
    return [...this.#subscribed.keys()];
  }

  isSubscribed(topic: string): boolean {
    return this.#subscribed.has(topic);
  }

  subscribed(topic: string): void {
    if (!this.#subscribed.has(topic)) this.#subscribed.set(topic, undefined);
  }

  unsubscribed(topic: string): boolean {
    return this.#subscribed.delete(topic);
  }

  heard(topic: string, position: Position): void {
    if (!this.#subscribed.has(topic)) return;
    const before = this.#subscribed.get(topic);
    if (before?.epoch === position.epoch && before.offset > position.offset) return; // A late announcement.
    this.#subscribed.set(topic, position);
  }

  /** The last positions of a topic that this node knows of. */
  known(topic: string): readonly Position[] {
    return [this.#subscribed.get(topic), this.#acknowledged.get(topic)].filter(
      (position) => position !== undefined,
    );
  }

  acknowledged(topic: string, position: Position): void {
    const before = this.#acknowledged.get(topic);
    if (before?.epoch === position.epoch && before.offset > position.offset) return; // A repeated key.
    this.#acknowledged.delete(topic);
    this.#acknowledged.set(topic, position);
    if (this.#acknowledged.size <= acknowledgedMax) return;
    for (const oldest of this.#acknowledged.keys()) {
      this.#acknowledged.delete(oldest);
      return;
    }
  }

  /**
   * What is known, in pieces of at most `count`. A topic may be in it twice.
   * @param which `acknowledged` leaves out what was only announced: a failover that keeps what is acknowledged may lose it,
   * and then only the clients that were given it are told a gap
   */
  *pieces(
    count: number,
    which: "all" | "acknowledged",
  ): Generator<readonly (readonly [topic: string, Position])[]> {
    let piece: [string, Position][] = [];
    const knowledge = which === "all" ? [this.#subscribed, this.#acknowledged] : [this.#acknowledged];
    for (const known of knowledge) {
      for (const [topic, position] of known) {
        if (!position) continue;
        piece.push([topic, position]);
        if (piece.length < count) continue;
        yield piece;
        piece = [];
      }
    }
    if (piece.length > 0) yield piece;
  }
}
