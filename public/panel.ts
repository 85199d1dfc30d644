/** The parts that both panels have: a line with its status, a log of what happened, and a composer to send with. */
import { startComposer } from "./composer.ts";
import { findPart } from "./element.ts";
import { Line, type LineOptions, type LineState } from "./line.ts";
import { MessageLog } from "./log.ts";
import { describeEnding, LineStatus } from "./status.ts";
import type { Words } from "./words.ts";

export interface PanelOptions extends Omit<LineOptions, "heartbeat"> {
  readonly heartbeat: Omit<NonNullable<LineOptions["heartbeat"]>, "onRoundTrip">;
  /** The text in the composer is to be sent. */
  onSend(): void;
}

export class Panel {
  readonly status: LineStatus;
  readonly log: MessageLog;
  readonly line: Line;
  readonly message: HTMLTextAreaElement;
  readonly #words: Words;
  #wasOpen = false;

  /** @throws if index.html lacks a part of the panel */
  constructor(element: HTMLElement, words: Words, options: PanelOptions) {
    const status = new LineStatus(element, words);
    this.#words = words;
    this.status = status;
    this.log = new MessageLog(element, words);
    this.message = findPart(element, "message", HTMLTextAreaElement);
    this.line = new Line({
      ...options,
      heartbeat: {
        ...options.heartbeat,
        onRoundTrip: (milliseconds) => status.showRoundTrip(milliseconds),
      },
      onState: (state) => {
        options.onState(state);
        status.show(state);
        this.#noteEnding(state);
      },
    });
    status.control(this.line);
    findPart(element, "clear", HTMLButtonElement).addEventListener("click", () => this.log.clear());
    startComposer(element, () => options.onSend());
  }

  /** Notes an end once, not each failed try after it: a server that is away for a night would fill the log. */
  #noteEnding(state: LineState): void {
    if (state.name === "open") this.#wasOpen = true;
    if ((state.name !== "closed" && state.name !== "waiting") || !state.ending) return;
    const { ending } = state;
    if (ending.cause === "cut") this.log.note(this.#words.noteCut);
    else if (this.#wasOpen || state.name === "closed" || state.tries === 1)
      this.log.note(this.#words.noteEnded(describeEnding(ending, this.#words)));
    this.#wasOpen = false;
  }
}
