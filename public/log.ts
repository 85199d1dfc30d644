/** A log on the page: sent and received messages and notes, the newest last, bounded in number. */
import { find, findPart } from "./element.ts";
import type { EntryKind, Words } from "./words.ts";

/** Bounds the memory of a tab that stays open for a week. */
const entriesMax = 500;

/** The part of a message that is shown: the layout of a mebibyte would block the page. */
const shownCharactersMax = 10_000;
const shownBytesMax = 512;

export type Data = string | ArrayBuffer;

/** What an entry shows beside its text. */
export interface Details {
  /** Now if left out. */
  readonly time?: Date;
  readonly label?: string;
  readonly id?: string;
  readonly roundTripMilliseconds?: number;
}

/** The entry of a sent message, whose outcome is shown later. */
export interface OpenEntry {
  showId(id: string): void;
  showFailure(text: string): void;
}

export class MessageLog {
  readonly #words: Words;
  readonly #box: HTMLElement;
  readonly #entries: HTMLElement;
  readonly #template: HTMLTemplateElement;
  /** Whether the newest entry is kept in view. False while a reader has scrolled up. */
  #following = true;
  #scrollAsked = false;
  /** The `scrollTop` that following last set. */
  #followedTo = 0;

  constructor(panel: HTMLElement, words: Words) {
    this.#words = words;
    this.#box = findPart(panel, "log", HTMLElement);
    this.#entries = findPart(panel, "entries", HTMLElement);
    this.#template = find(document, "#entry", HTMLTemplateElement);
    this.#box.style.overflowAnchor = "none";
    this.#box.tabIndex = 0; // A scrolling box must be reachable by keyboard, and not every browser makes it so.
    this.#box.addEventListener("scroll", () => this.#scrolled());
    // A phone's keyboard covers half of the log: keep the newest entry in view.
    new ResizeObserver(() => this.#follow()).observe(this.#box);
  }

  sent(data: Data, details?: Details): OpenEntry {
    const entry = this.#append("sent", data, details);
    const measure = find(entry, ".measure", HTMLElement);
    return {
      showId: (id) => measure.replaceChildren(...idParts(id)),
      showFailure: (text) => {
        entry.dataset.failed = "";
        measure.textContent = text;
      },
    };
  }

  received(data: Data, details?: Details): void {
    this.#append("received", data, details);
  }

  /** Adds an entry about the line itself. */
  note(text: string, kind: Exclude<EntryKind, "sent" | "received"> = "note"): void {
    this.#append(kind, text);
  }

  clear(): void {
    this.#entries.replaceChildren();
    this.#following = true;
  }

  #append(kind: EntryKind, data: Data, details: Details = {}): HTMLElement {
    const content = document.importNode(this.#template.content, true);
    const entry = find(content, ".entry", HTMLElement);
    entry.dataset.kind = kind;

    const time = find(entry, "time", HTMLTimeElement);
    const at = details.time ?? new Date();
    time.dateTime = time.title = at.toISOString();
    time.textContent = clock(at);

    find(entry, ".unseen", HTMLElement).textContent = this.#words.kinds[kind];

    const text = find(entry, ".text", HTMLElement);
    if (typeof data === "string") {
      if (data === "") entry.dataset.empty = "";
      const shown = data === "" ? this.#words.empty : shorten(data, this.#words);
      text.append(...(kind === "sent" || kind === "received" ? [shown] : withWholeIds(shown)));
    } else {
      entry.dataset.binary = "";
      text.textContent = showBytes(new Uint8Array(data), this.#words);
    }

    find(entry, ".label", HTMLElement).textContent = details.label ?? "";
    const measure = find(entry, ".measure", HTMLElement);
    if (details.id !== undefined) measure.append(...idParts(details.id));
    else if (details.roundTripMilliseconds !== undefined)
      measure.textContent = showMilliseconds(details.roundTripMilliseconds);

    this.#entries.append(entry);
    while (this.#entries.childElementCount > entriesMax) this.#entries.firstElementChild?.remove();
    this.#follow();
    return entry;
  }

  /** At most once per frame: each scroll costs a layout of the page. */
  #follow(): void {
    if (!this.#following || this.#scrollAsked) return;
    this.#scrollAsked = true;
    requestAnimationFrame(() => {
      this.#scrollAsked = false;
      this.#box.scrollTop = this.#box.scrollHeight;
      this.#followedTo = this.#box.scrollTop;
    });
  }

  /** The event comes a frame late. Entries appended since then move the end, so only scrolling up ends the following. */
  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    if (scrollHeight - scrollTop - clientHeight < 2) this.#following = true;
    else if (scrollTop < this.#followedTo - 1) this.#following = false;
    // Anchoring keeps a reader's lines in place while older entries are dropped. While following, it would look like scrolling up.
    this.#box.style.overflowAnchor = this.#following ? "none" : "auto";
  }
}

/** With a tenth below 10 ms, where it is more than noise. */
export function showMilliseconds(milliseconds: number): string {
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

/** Keeps an id in a note from breaking at its hyphen. */
function withWholeIds(text: string): (string | HTMLElement)[] {
  return text.split(/([0-9a-z]+-\d+)/).map((part, index) => {
    if (index % 2 === 0) return part;
    const id = document.createElement("span");
    id.className = "id";
    id.textContent = part;
    return id;
  });
}

/** The offset counts up, so it is set apart from the epoch, which is mostly the same for all. */
function idParts(id: string): HTMLElement[] {
  const epochEnd = id.lastIndexOf("-") + 1;
  const epoch = document.createElement("span");
  epoch.textContent = id.slice(0, epochEnd);
  const offset = document.createElement("b");
  offset.textContent = id.slice(epochEnd);
  return [epoch, offset];
}

/** The same length in every language, so that the times align in a column. */
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
