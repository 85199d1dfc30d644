/** A log on the page: what went, what came and what happened, the newest last, and never more than a bounded number. */
import { find, findPart } from "./element.ts";
import type { Words } from "./words.ts";

/** A tab that is left open for a week must not grow for a week. */
const entriesMax = 500;

/** What a person reads of one message; laying out a mebibyte of it would stop the page. */
const shownCharactersMax = 10_000;
const shownBytesMax = 512;

export type Data = string | ArrayBuffer;

export class MessageLog {
  readonly #words: Words;
  readonly #box: HTMLElement;
  readonly #entries: HTMLElement;
  readonly #template: HTMLTemplateElement;
  /** Whether the newest is kept in view; a person who scrolls up to read is left in peace. */
  #following = true;
  #scrollAsked = false;
  /** Where following last left the log. */
  #followedTo = 0;

  constructor(panel: HTMLElement, words: Words) {
    this.#words = words;
    this.#box = findPart(panel, "log", HTMLElement);
    this.#entries = findPart(panel, "entries", HTMLElement);
    this.#template = find(document, "#entry", HTMLTemplateElement);
    this.#box.style.overflowAnchor = "none";
    this.#box.tabIndex = 0; // What scrolls must be reachable by the keyboard, and not every browser sees to it.
    this.#box.addEventListener("scroll", () => this.#scrolled());
    // A phone's keyboard takes half of the log, and not the newest half.
    new ResizeObserver(() => this.#follow()).observe(this.#box);
  }

  sent(data: Data): void {
    this.#append("sent", data);
  }

  /** @param roundTripMilliseconds left out where nothing was asked for it */
  received(data: Data, roundTripMilliseconds?: number): void {
    this.#append("received", data, roundTripMilliseconds);
  }

  /** What happened to the line itself. */
  note(text: string): void {
    this.#append("note", text);
  }

  clear(): void {
    this.#entries.replaceChildren();
    this.#following = true;
  }

  #append(kind: "sent" | "received" | "note", data: Data, roundTripMilliseconds?: number): void {
    const content = document.importNode(this.#template.content, true);
    const entry = find(content, ".entry", HTMLElement);
    entry.dataset.kind = kind;

    const time = find(entry, "time", HTMLTimeElement);
    const now = new Date();
    time.dateTime = now.toISOString();
    time.textContent = clock(now);

    find(entry, ".unseen", HTMLElement).textContent = this.#words.kinds[kind];

    const text = find(entry, ".text", HTMLElement);
    if (typeof data === "string") {
      if (data === "") entry.dataset.empty = "";
      text.textContent = data === "" ? this.#words.empty : shorten(data, this.#words);
    } else {
      entry.dataset.binary = "";
      text.textContent = showBytes(new Uint8Array(data), this.#words);
    }

    if (roundTripMilliseconds !== undefined)
      find(entry, ".measure", HTMLElement).textContent = showMilliseconds(roundTripMilliseconds);

    this.#entries.append(entry);
    while (this.#entries.childElementCount > entriesMax) this.#entries.firstElementChild?.remove();
    this.#follow();
  }

  /** Once a frame: to scroll for each of a thousand messages would lay the page out a thousand times. */
  #follow(): void {
    if (!this.#following || this.#scrollAsked) return;
    this.#scrollAsked = true;
    requestAnimationFrame(() => {
      this.#scrollAsked = false;
      this.#box.scrollTop = this.#box.scrollHeight;
      this.#followedTo = this.#box.scrollTop;
    });
  }

  /** The event comes a frame late, when more may have been appended: not to be at the end does not yet mean to have left it. */
  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    if (scrollHeight - scrollTop - clientHeight < 2) this.#following = true;
    else if (scrollTop < this.#followedTo - 1) this.#following = false;
    // A reader's lines stay put while older ones are dropped; for one who follows, that would look like scrolling up.
    this.#box.style.overflowAnchor = this.#following ? "none" : "auto";
  }
}

/** Below 10 ms a tenth tells one server from another; above it is noise. */
export function showMilliseconds(milliseconds: number): string {
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

/** The same length in every language, so that the times stand in a column. */
function clock(date: Date): string {
  const two = (number: number): string => String(number).padStart(2, "0");
  const thousandths = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${thousandths}`;
}

function shorten(text: string, words: Words): string {
  if (text.length <= shownCharactersMax) return text;
  return `${text.slice(0, shownCharactersMax)} ${words.moreCharacters(text.length - shownCharactersMax)}`;
}

function showBytes(bytes: Uint8Array, words: Words): string {
  const shown = Array.from(bytes.subarray(0, shownBytesMax), (byte) => byte.toString(16).padStart(2, "0"));
  const more = bytes.length > shownBytesMax ? ["…"] : [];
  return [words.bytes(bytes.length), ...shown, ...more].join(" ");
}
