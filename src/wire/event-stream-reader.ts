/** Reads server-sent events (WHATWG HTML section 9.2.6) from the pieces in which a body arrives. */
import { ItemSizeError } from "./item-size.ts";
import { Utf8Pieces } from "./utf8-pieces.ts";

/** One event. `id`, `retry` and comments are not read. */
export interface ReadEvent {
  /** The value of `event:`; empty where there is none. */
  readonly type: string;
  readonly data: string;
}

const lineEnd = /[\r\n]/g;

export class EventStreamReader {
  readonly #bytesMax: number;
  readonly #utf8 = new Utf8Pieces();
  /** The beginning of a line whose end has not arrived. */
  #line = "";
  /** A CR has ended the last line: an LF right after it belongs to that end. */
  #skipsLineFeed = false;
  #type = "";
  /** Undefined before the first `data` of an event. */
  #data: string | undefined;

  /** @param bytesMax of the data of one event */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** UTF-16 units of the event that has not arrived whole. */
  get heldLength(): number {
    return this.#line.length + (this.#data?.length ?? 0);
  }

  /**
   * @returns the events that end in this piece, one by one: an error comes after the events before it
   * @throws {DraftError} for bytes that are not UTF-8
   * @throws {ItemSizeError} for an event that is too large, before it has arrived whole
   */
  *read(bytes: Uint8Array): Iterable<ReadEvent> {
    const text = this.#utf8.decode(bytes);
    let at = 0;
    if (this.#skipsLineFeed && text !== "") {
      this.#skipsLineFeed = false;
      if (text.startsWith("\n")) at = 1;
    }
    while (at < text.length) {
      lineEnd.lastIndex = at;
      const end = lineEnd.exec(text)?.index;
      if (end === undefined) break;
      const line = this.#line + text.slice(at, end);
      this.#line = "";
      at = end + 1;
      if (text[end] === "\r") {
        if (at === text.length) this.#skipsLineFeed = true;
        else if (text[at] === "\n") at++;
      }
      const event = line === "" ? this.#dispatch() : this.#field(line);
      if (event) yield event;
    }
    this.#line += text.slice(at);
    // A line may have the name of its field beside the data.
    if (this.heldLength > this.#bytesMax + "data: ".length) throw new ItemSizeError();
  }

  /** At the end of the body. An event without its blank line is dropped. @throws {DraftError} for half a character */
  finish(): readonly ReadEvent[] {
    this.#utf8.finish();
    return [];
  }

  #dispatch(): ReadEvent | undefined {
    const data = this.#data;
    const type = this.#type;
    this.#data = undefined;
    this.#type = "";
    if (data === undefined) return undefined;
    if (Buffer.byteLength(data) > this.#bytesMax) throw new ItemSizeError();
    return { type, data };
  }

  #field(line: string): undefined {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    if (name !== "data" && name !== "event") return;
    const start = line[colon + 1] === " " ? colon + 2 : colon + 1;
    const value = colon === -1 ? "" : line.slice(start);
    if (name === "event") this.#type = value;
    else this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
  }
}
