/** The answer of a poll that is too large to be given to Bun whole: a connection with bytes until its client took it. */
import type { Purpose } from "../../connection/connection.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { answerPieceBytes } from "../../settings/limits.ts";
import { closeCode } from "../../wire/close-code.ts";

const utf8 = new TextEncoder();

/** Bun sends it chunked. A client sees an answer that broke off, because the last chunk is missing. */
export class PollAnswer implements HttpHandler {
  readonly kind = "poll";
  readonly #purpose: Purpose;
  /** Not joined: other polls share the texts of the same events, and a reader that stalls holds no copy of them. */
  readonly #texts: Iterator<string>;
  #text = "";
  #bytesLeft: number;

  /** @param bytes of the events, with a comma for each */
  constructor(events: readonly string[], bytes: number, purpose: Purpose) {
    this.#texts = arrayOf(events);
    this.#bytesLeft = bytes;
    this.#purpose = purpose;
  }

  purpose(): Purpose {
    return this.#purpose;
  }

  get heldBytes(): number {
    return this.#bytesLeft;
  }

  /** The next piece, because the kernel took the one before. */
  pull(connection: HttpConnection): void {
    const piece = this.#next();
    this.#bytesLeft = Math.max(0, this.#bytesLeft - piece.length);
    if (piece.length > 0) connection.write(piece);
    else connection.end();
  }

  /** An expired token breaks the answer off. At a drain its client may take the rest, for as long as `closeAll` waits. */
  close(connection: HttpConnection, code: number): void {
    if (code === closeCode.unauthorized) connection.abandon();
  }

  /** Empty at the end. */
  #next(): Uint8Array<ArrayBuffer> {
    const piece = new Uint8Array(answerPieceBytes);
    let length = 0;
    while (length < answerPieceBytes) {
      if (this.#text === "") {
        const { done, value } = this.#texts.next();
        if (done) break;
        this.#text = value;
      }
      const { read, written } = utf8.encodeInto(this.#text, piece.subarray(length));
      if (read === 0) break; // The next character needs more bytes than are left.
      this.#text = this.#text.slice(read);
      length += written;
    }
    return piece.subarray(0, length);
  }
}

function* arrayOf(events: readonly string[]): Generator<string, undefined> {
  yield "[";
  for (const [index, event] of events.entries()) {
    if (index > 0) yield ",";
    yield event;
  }
  yield "]";
}
