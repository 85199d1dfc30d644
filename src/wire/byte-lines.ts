/** Splits a body into lines, from the pieces in which it arrives. UTF-8 has no byte of a line end within a character. */
import { GrowingBytes } from "./growing-bytes.ts";
import { Utf8Pieces } from "./utf8-pieces.ts";

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const byteOrderMark = [0xef, 0xbb, 0xbf];

export class ByteLines {
  /** Whether a CR, alone or before an LF, ends a line as an LF does. */
  readonly #endsAtReturn: boolean;
  readonly #utf8 = new Utf8Pieces();
  /** The beginning of a line whose end has not arrived. */
  readonly #begun = new GrowingBytes();
  /** A CR has ended the last line: an LF right after it belongs to that end. */
  #skipsLineFeed = false;
  #isFirst = true;

  constructor({ endsAtReturn }: { readonly endsAtReturn: boolean }) {
    this.#endsAtReturn = endsAtReturn;
  }

  /** Bytes of the line that has not arrived whole. */
  get begunLength(): number {
    return this.#begun.length;
  }

  get heldBytes(): number {
    return this.#begun.heldBytes;
  }

  /**
   * @returns the lines that end in this piece, without their ends; each is valid until the next is asked for
   * @throws {DraftError} for bytes that are not UTF-8
   */
  *read(piece: Uint8Array): Iterable<Uint8Array> {
    this.#utf8.check(piece);
    let at = 0;
    if (this.#skipsLineFeed && piece.length > 0) {
      this.#skipsLineFeed = false;
      if (piece[0] === lineFeed) at = 1;
    }
    let nextFeed = piece.indexOf(lineFeed, at);
    let nextReturn = this.#endsAtReturn ? piece.indexOf(carriageReturn, at) : -1;
    while (nextFeed !== -1 || nextReturn !== -1) {
      const isReturn = nextReturn !== -1 && (nextFeed === -1 || nextReturn < nextFeed);
      const end = isReturn ? nextReturn : nextFeed;
      yield this.#whole(piece.subarray(at, end));
      at = end + 1;
      if (isReturn) {
        if (at === piece.length) this.#skipsLineFeed = true;
        else if (piece[at] === lineFeed) at++;
        nextReturn = piece.indexOf(carriageReturn, at);
      }
      if (nextFeed !== -1 && nextFeed < at) nextFeed = piece.indexOf(lineFeed, at);
    }
    this.#begun.append(piece.subarray(at));
  }

  /** At the end of the body. @returns the last line, which has no end @throws {DraftError} if half a character is last */
  rest(): Uint8Array {
    this.#utf8.finish();
    return this.#whole(new Uint8Array(0));
  }

  #whole(end: Uint8Array): Uint8Array {
    let line = end;
    if (this.#begun.length > 0) {
      this.#begun.append(end);
      line = this.#begun.view();
      this.#begun.clear();
    }
    const hasMark = this.#isFirst && byteOrderMark.every((byte, index) => line[index] === byte);
    this.#isFirst = false;
    return hasMark ? line.subarray(byteOrderMark.length) : line;
  }
}
