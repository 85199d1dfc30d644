/** What moves on the drawn wire. The drawing reads it, and may leave out any number of messages. */
import { signal } from "@preact/signals";

/** A message on its way in the drawing. */
export interface Dot {
  /** From 0 at the publisher over 0.5 at the server to 1 at the page. */
  place: number;
  /** It stays at the server, because the line is cut. */
  readonly stops: boolean;
}

/** More cannot be told apart. */
const dotsMax = 60;

export class Flow {
  readonly isCut = signal(false);
  /** Messages that the server keeps for this page while the line is cut. */
  readonly waiting = signal(0);
  readonly dots: Dot[] = [];
  /** Called when there is something to draw. */
  onChange: (() => void) | undefined;

  /** A message arrived: it is drawn from its publisher, or from the server that kept it. */
  delivered(isReplayed: boolean): void {
    if (isReplayed && this.waiting.peek() > 0) this.waiting.value--;
    this.#add({ place: isReplayed ? 0.5 : 0, stops: false });
  }

  /** A message was published while the line is cut. */
  kept(): void {
    this.waiting.value++;
    this.#add({ place: 0, stops: true });
  }

  #add(dot: Dot): void {
    if (this.dots.length < dotsMax) this.dots.push(dot);
    this.onChange?.();
  }
}
