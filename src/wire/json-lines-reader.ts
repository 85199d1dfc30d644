/** Reads JSON values, one on each line (`application/x-ndjson`), from the pieces in which a body arrives. */
import { parseJson } from "../topic/json.ts";
import { ByteLines } from "./byte-lines.ts";
import { ItemSizeError } from "./item-size.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

export class JsonLinesReader {
  readonly #bytesMax: number;
  readonly #lines = new ByteLines({ endsAtReturn: false });
  #number = 0;

  /** @param bytesMax of one line */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Memory of the line that has not arrived whole. */
  get heldBytes(): number {
    return this.#lines.heldBytes;
  }

  /**
   * @returns the lines that end in this piece, one by one, each as it was written; blank ones are left out
   * @throws {DraftError} for bytes that are not UTF-8 and a line that is not JSON
   * @throws {ItemSizeError} for a line that is too large, before it has arrived whole
   */
  *read(piece: Uint8Array): Iterable<string> {
    for (const line of this.#lines.read(piece)) yield* this.#value(line);
    if (this.#lines.begunLength > this.#bytesMax + 1) throw new ItemSizeError(this.#bytesMax); // With the CR that may come before the LF.
  }

  /**
   * At the proper end of the body, and only there: half of `1234` is JSON, too.
   * @returns the last line, if it has no end of its own
   */
  finish(): Iterable<string> {
    return this.#value(this.#lines.rest());
  }

  *#value(line: Uint8Array): Iterable<string> {
    this.#number++;
    const value = line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
    if (value.length > this.#bytesMax) throw new ItemSizeError(this.#bytesMax);
    const text = utf8.decode(value);
    if (/^[ \t\r]*$/.test(text)) return;
    parseJson(text, `Line ${this.#number}`);
    yield text;
  }
}
