/** The answer of a poll that is too large to be given to Bun whole: a connection with bytes until its client took it. */
import type { Purpose } from "../../connection/connection.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { answerPieceBytes } from "../../settings/limits.ts";
import { closeCode } from "../../wire/close-code.ts";

const utf8 = new TextEncoder();

/** Bun sends it chunked. A client sees an answer that broke off, because the last chunk is missing. */
export class PollAnswer implements HttpHandler {
  readonly kind = "poll";
  readonly purpose: () => Purpose;
  readonly #pieces: Iterator<Uint8Array<ArrayBuffer>, undefined>;
  #bytesLeft: number;

  /** @param bytes of the events, with a comma for each */
  constructor(events: readonly string[], bytes: number, purpose: Purpose) {
    this.#pieces = piecesOf(events);
    this.#bytesLeft = bytes;
    this.purpose = () => purpose;
  }

  get heldBytes(): number {
    return this.#bytesLeft;
  }

  /** The next piece, because the kernel took the one before. */
  pull(connection: HttpConnection): void {
    const piece = this.#pieces.next().value;
    this.#bytesLeft = Math.max(0, this.#bytesLeft - (piece?.length ?? 0));
    if (piece) connection.write(piece);
    else connection.end();
  }

  /** An expired token breaks the answer off. At a drain its client may take the rest, for as long as `closeAll` waits. */
  close(connection: HttpConnection, code: number): void {
    if (code === closeCode.unauthorized) connection.abandon();
  }
}

/** Encodes a piece when it is asked for: polls share the texts of their events, and one that is not read holds no copy. */
function* piecesOf(events: readonly string[]): Generator<Uint8Array<ArrayBuffer>, undefined> {
  let piece = new Uint8Array(answerPieceBytes);
  let length = 0;
  for (const text of textsOf(events)) {
    for (let rest = text; rest !== ""; ) {
      const { read, written } = utf8.encodeInto(rest, piece.subarray(length));
      rest = rest.slice(read);
      length += written;
      if (rest === "") continue;
      yield piece.subarray(0, length);
      piece = new Uint8Array(answerPieceBytes);
      length = 0;
    }
  }
  yield piece.subarray(0, length);
}

/** A JSON array. */
function* textsOf(events: readonly string[]): Generator<string> {
  let separator = "[";
  for (const event of events) {
    yield separator;
    yield event;
    separator = ",";
  }
  yield "]";
}
