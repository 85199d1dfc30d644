/** Counts the missed messages until each topic has reached the position that it had when the line was back. */
import { positionOf } from "./proof.ts";

export class Resume {
  readonly #onComplete: (count: number) => void;
  /** By topic, the last id that arrived. */
  readonly #last: Map<string, string>;
  #ends: ReadonlyMap<string, string> | undefined;
  readonly #received: { readonly topic: string; readonly id: string }[] = [];
  #isComplete = false;

  /**
   * @param from by topic, the last id that was received before
   * @param onComplete called once, with the number of messages that were missed
   */
  constructor(from: ReadonlyMap<string, string>, onComplete: (count: number) => void) {
    this.#last = new Map(from);
    this.#onComplete = onComplete;
  }

  /** @param ends positions when the line was back, or a moment later: the page cannot ask in the same moment */
  endsAt(ends: ReadonlyMap<string, string>): void {
    this.#ends = ends;
    this.#check();
  }

  received(topic: string, id: string): void {
    if (this.#isComplete) return;
    this.#last.set(topic, id);
    this.#received.push({ topic, id });
    this.#check();
  }

  /** @param id of the topic's end, which is no message */
  ended(topic: string, id: string): void {
    this.#last.set(topic, id);
    this.#check();
  }

  #check(): void {
    const ends = this.#ends;
    if (!ends || this.#isComplete || ![...ends].every(([topic, id]) => hasReached(this.#last.get(topic), id)))
      return;
    this.#isComplete = true;
    // A live message can arrive before the answer with the position: it was not missed.
    this.#onComplete(this.#received.filter(({ topic, id }) => hasReached(ends.get(topic), id)).length);
  }
}

/** In another epoch the topic has lost its past meanwhile, and the line receives a gap. */
function hasReached(id: string | undefined, end: string): boolean {
  if (id === undefined) return false;
  const [position, wanted] = [positionOf(id), positionOf(end)];
  return position.epoch === wanted.epoch && position.offset >= wanted.offset;
}
