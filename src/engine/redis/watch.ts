/**
 * What a node sees of the others: a node whose state has stood still for a whole lease is dead. No clock is compared with
 * another, and none of Redis's keys expires: the lease is so many looks of this node, one a second, without a break in them.
 */

/** A node looks once a second. */
const leaseLooks = 10;

/** After a longer pause between two looks this process, or its way to Redis, may itself have stood still. */
const breakMilliseconds = 2500;

interface WatchedNode {
  readonly state: string;
  /** Looks in a row that found it so, after the first. */
  still: number;
}

export class NodesWatch {
  #nodes = new Map<string, WatchedNode>();
  #generation = -1;
  #lastMilliseconds = Number.NEGATIVE_INFINITY;

  /** Begins anew: another connection is used. */
  restart(): void {
    this.#nodes.clear();
  }

  /**
   * @param states of the living nodes, by name
   * @param generation of the server that said it
   * @param now a monotonic clock, in milliseconds
   */
  look(states: ReadonlyMap<string, string>, generation: number, now = performance.now()): void {
    if (generation !== this.#generation || now - this.#lastMilliseconds > breakMilliseconds) this.restart();
    this.#generation = generation;
    this.#lastMilliseconds = now;
    const before = this.#nodes;
    this.#nodes = new Map();
    for (const [node, state] of states) {
      const known = before.get(node);
      this.#nodes.set(node, { state, still: known?.state === state ? known.still + 1 : 0 });
    }
  }

  /** Of each dead node its name and the state that it has stood still in. */
  dead(now = performance.now()): string[] {
    if (now - this.#lastMilliseconds > breakMilliseconds) return [];
    return [...this.#nodes].flatMap(([node, { state, still }]) => (still >= leaseLooks ? [node, state] : []));
  }
}
