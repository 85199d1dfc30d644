/** Reads JSON values, one on each line (`application/x-ndjson`), from the pieces in which a body arrives. */
import { DraftError } from "../topic/draft.ts";
import { ItemSizeError } from "./item-size.ts";
import { Utf8Pieces } from "./utf8-pieces.ts";

export class JsonLinesReader {
  readonly #bytesMax: number;
  readonly #utf8 = new Utf8Pieces();
  /** The beginning of a line whose end has not arrived. */
  #line = "";
  #number = 0;

  /** @param bytesMax of one line */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** UTF-16 units of the line that has not arrived whole. */
  get heldLength(): number {
    return this.#line.length;
  }

  /**
   * @returns the lines that end in this piece, one by one, each as it was written; blank ones are left out
   * @throws {DraftError} for bytes that are not UTF-8 and a line that is not JSON
   * @throws {ItemSizeError} for a line that is too large, before it has arrived whole
   */
  *read(bytes: Uint8Array): Iterable<string> {
    const text = this.#utf8.decode(bytes);
    let at = 0;
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", at)) {
      const line = this.#line + text.slice(at, end);
      this.#line = "";
      at = end + 1;
      yield* this.#value(line);
    }
    this.#line += text.slice(at);
    if (this.#line.length > this.#bytesMax + 1) throw new ItemSizeError(); // With the CR that may come before the LF.
  }

  /**
   * At the proper end of the body, and only there: half of `1234` is JSON, too.
   * @returns the last line, if it has no end of its own
   */
  finish(): Iterable<string> {
    this.#utf8.finish();
    const line = this.#line;
    this.#line = "";
    return this.#value(line);
  }

  *#value(line: string): Iterable<string> {
    this.#number++;
    const value = line.endsWith("\r") ? line.slice(0, -1) : line;
    if (/^[ \t\r]*$/.test(value)) return;
    if (Buffer.byteLength(value) > this.#bytesMax) throw new ItemSizeError();
    try {
      JSON.parse(value);
    } catch (error) {
      throw new DraftError(`Line ${this.#number} is not JSON: ${String(error)}`);
    }
    yield value;
  }
}
