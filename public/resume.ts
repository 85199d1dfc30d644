/** Ids, and what the page checks with them: the order of a topic's messages, and the end of a resume. */

interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** @param id `<epoch>-<offset>` */
function positionOf(id: string): Position {
  const dash = id.lastIndexOf("-");
  return { epoch: id.slice(0, dash), offset: Number(id.slice(dash + 1)) };
}

/** Whether `id` can come after `previousId`: offsets grow within an epoch, not necessarily by one. */
export function isAfter(id: string, previousId: string): boolean {
  const [position, previous] = [positionOf(id), positionOf(previousId)];
  return position.epoch === previous.epoch && position.offset > previous.offset;
}

/** Counts the missed messages until the line has reached the position that the topic had when the line was back. */
export class Resume {
  readonly #onComplete: (count: number) => void;
  #last: Position;
  #end: Position | undefined;
  readonly #offsets: number[] = [];
  #isComplete = false;

  /**
   * @param fromId the last message that was received before
   * @param onComplete called once, with the number of messages that were missed
   */
  constructor(fromId: string, onComplete: (count: number) => void) {
    this.#last = positionOf(fromId);
    this.#onComplete = onComplete;
  }

  /** @param id the topic's position when the line was back, or a moment later: the page cannot ask in the same moment */
  endsAt(id: string): void {
    this.#end = positionOf(id);
    this.#check();
  }

  received(id: string): void {
    if (this.#isComplete) return;
    this.#last = positionOf(id);
    this.#offsets.push(this.#last.offset);
    this.#check();
  }

  /** @param id of the topic's end, which is no message */
  ended(id: string): void {
    this.#last = positionOf(id);
    this.#check();
  }

  #check(): void {
    if (!this.#end || this.#isComplete) return;
    // Another epoch: the topic has lost its past meanwhile, and the line receives a gap.
    const { epoch, offset } = this.#end;
    if (epoch !== this.#last.epoch || this.#last.offset < offset) return;
    this.#isComplete = true;
    // A live message can arrive before the answer with the position: it was not missed.
    this.#onComplete(this.#offsets.filter((received) => received <= offset).length);
  }
}
