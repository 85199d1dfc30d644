/** Ids, and the promise of a topic that the page checks: nothing missing, nothing twice. */

export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** @param id `<epoch>-<offset>` */
export function positionOf(id: string): Position {
  const dash = id.lastIndexOf("-");
  return { epoch: id.slice(0, dash), offset: Number(id.slice(dash + 1)) };
}

/** Whether the one message is right behind the other: a topic counts without a hole. */
export function follows(id: string, previousId: string): boolean {
  const [position, previous] = [positionOf(id), positionOf(previousId)];
  return position.epoch === previous.epoch && position.offset === previous.offset + 1;
}

/** What was missed, counted once all of it is there. */
export class Resume {
  readonly #from: Position;
  readonly #onComplete: (count: number) => void;
  #reached: Position;
  #end: Position | undefined;
  #isComplete = false;

  /** @param fromId the last message that was seen before */
  constructor(fromId: string, onComplete: (count: number) => void) {
    this.#from = this.#reached = positionOf(fromId);
    this.#onComplete = onComplete;
  }

  /** @param id where the topic stood when the line was back, or a moment later: the page cannot ask in that very moment */
  endsAt(id: string): void {
    this.#end = positionOf(id);
    this.#check();
  }

  received(id: string): void {
    this.#reached = positionOf(id);
    this.#check();
  }

  #check(): void {
    if (this.#isComplete || !this.#end) return;
    // In another epoch the topic has lost its past meanwhile, and the line is told of that gap.
    if (this.#end.epoch !== this.#reached.epoch || this.#reached.offset < this.#end.offset) return;
    this.#isComplete = true;
    this.#onComplete(this.#end.offset - this.#from.offset);
  }
}
