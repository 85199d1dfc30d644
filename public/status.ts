/** The bar above a log: the state of the line, why it ended, when the next try is, and two buttons to change it. */
import { findPart } from "./element.ts";
import type { Ending, Line, LineState } from "./line.ts";
import { showMilliseconds } from "./log.ts";
import type { Words } from "./words.ts";

export class LineStatus {
  readonly #words: Words;
  readonly #state: HTMLElement;
  readonly #ending: HTMLElement;
  readonly #next: HTMLElement;
  readonly #address: HTMLElement;
  readonly #roundTrip: HTMLElement;
  readonly #roundTripTime: HTMLOutputElement;
  readonly #reconnect: HTMLButtonElement;
  readonly #disconnect: HTMLButtonElement;
  #countdown: ReturnType<typeof setInterval> | undefined;

  constructor(panel: HTMLElement, words: Words) {
    this.#words = words;
    this.#state = findPart(panel, "state", HTMLElement);
    this.#ending = findPart(panel, "ending", HTMLElement);
    this.#next = findPart(panel, "next", HTMLElement);
    this.#address = findPart(panel, "address", HTMLElement);
    this.#roundTrip = findPart(panel, "roundTrip", HTMLElement);
    this.#roundTripTime = findPart(panel, "roundTripTime", HTMLOutputElement);
    this.#reconnect = findPart(panel, "reconnect", HTMLButtonElement);
    this.#disconnect = findPart(panel, "disconnect", HTMLButtonElement);
    this.#roundTrip.title = words.roundTripMeaning;
  }

  /** Lets the buttons act on the line. */
  control(line: Line): void {
    this.#reconnect.addEventListener("click", () => line.connect());
    this.#disconnect.addEventListener("click", () => line.disconnect());
  }

  showAddress(address: string | URL): void {
    this.#address.textContent = String(address);
  }

  showRoundTrip(milliseconds: number): void {
    this.#roundTripTime.textContent = showMilliseconds(milliseconds);
    this.#roundTrip.hidden = false;
  }

  show(state: LineState): void {
    clearInterval(this.#countdown);
    this.#state.dataset.state = state.name;
    this.#state.textContent = this.#words.states[state.name];
    const ending = "ending" in state ? state.ending : undefined;
    this.#state.dataset.cause = ending?.cause ?? "";
    this.#ending.textContent = ending ? describeEnding(ending, this.#words) : "";
    this.#next.textContent = "";
    if (state.name === "waiting") {
      const count = (): void => {
        const seconds = Math.max(0, Math.ceil((state.retryAtMilliseconds - performance.now()) / 1000));
        this.#next.textContent = this.#words.nextTry(seconds, state.tries);
      };
      count();
      this.#countdown = setInterval(count, 250);
    } else if (state.name === "closed" && ending?.cause === "remote") {
      this.#next.textContent = this.#words.noRetry;
    }
    if (state.name !== "open") this.#roundTrip.hidden = true;

    const over = state.name === "closed" || state.name === "closing";
    // A disabled button loses the focus, and keyboard users would have to start over.
    if (over && document.activeElement === this.#disconnect) this.#reconnect.focus();
    this.#disconnect.disabled = over;
  }
}

/** Such as `1006: the connection was lost or refused`. */
export function describeEnding({ code, reason, cause }: Ending, words: Words): string {
  const meaning = cause === "remote" ? (words.codes[code] ?? words.codeUnknown) : words.endings[cause];
  return words.ending(code, meaning, reason);
}
