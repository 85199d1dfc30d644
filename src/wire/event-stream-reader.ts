/** Reads server-sent events (WHATWG HTML section 9.2.6) from the pieces in which a body arrives. */
import { ByteLines } from "./byte-lines.ts";
import { GrowingBytes } from "./growing-bytes.ts";
import { ItemSizeError } from "./item-size.ts";

/** One event. `id`, `retry` and comments are not read. */
export interface ReadEvent {
  /** The value of `event:`; empty where there is none. */
  readonly type: string;
  readonly data: string;
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const colon = 0x3a;
const space = 0x20;
const lineFeed = Uint8Array.of(0x0a);

export class EventStreamReader {
  readonly #bytesMax: number;
  readonly #lines = new ByteLines({ endsAtReturn: true });
  #type = "";
  /** As bytes: joined as text, an empty line would take 100 bytes until the event is whole. */
  readonly #data = new GrowingBytes();
  /** Whether the event has a `data`, which may be empty. */
  #hasData = false;

  /** @param bytesMax of the data of one event */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Memory of the event that has not arrived whole. */
  get heldBytes(): number {
    return this.#lines.heldBytes + this.#data.heldBytes + 2 * this.#type.length;
  }

  /**
   * @returns the events that end in this piece, one by one: an error comes after the events before it
   * @throws {DraftError} for bytes that are not UTF-8
   * @throws {ItemSizeError} for an event that is too large, before it has arrived whole
   */
  *read(piece: Uint8Array): Iterable<ReadEvent> {
    for (const line of this.#lines.read(piece)) {
      const event = line.length === 0 ? this.#dispatch() : this.#field(line);
      if (event) yield event;
    }
    // A line may have the name of its field beside the data.
    const begunLength = this.#lines.begunLength + this.#data.length + this.#type.length;
    if (begunLength > this.#bytesMax + "data: ".length) throw new ItemSizeError(this.#bytesMax);
  }

  /** At the end of the body. An event without its blank line is dropped. @throws {DraftError} for half a character */
  finish(): readonly ReadEvent[] {
    this.#lines.rest();
    return [];
  }

  #dispatch(): ReadEvent | undefined {
    const type = this.#type;
    this.#type = "";
    if (!this.#hasData) return undefined;
    const data = utf8.decode(this.#data.view());
    this.#hasData = false;
    this.#data.clear();
    return { type, data };
  }

  #field(line: Uint8Array): undefined {
    const end = line.indexOf(colon);
    const name = end === -1 ? line : line.subarray(0, end);
    // Names are compared by their length first: most lines of a body have the same few.
    if (name.length !== 4 && name.length !== 5) return;
    const start = line[end + 1] === space ? end + 2 : end + 1;
    const value = end === -1 ? line.subarray(line.length) : line.subarray(start);
    const field = utf8.decode(name);
    if (field === "event") this.#type = utf8.decode(value);
    else if (field === "data") this.#addData(value);
  }

  #addData(value: Uint8Array): void {
    if (this.#hasData) this.#data.append(lineFeed);
    this.#hasData = true;
    this.#data.append(value);
    if (this.#data.length > this.#bytesMax) throw new ItemSizeError(this.#bytesMax);
  }
}
