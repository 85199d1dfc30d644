/** The answer of a poll that is too large to be given to Bun whole: a connection with bytes until its client took it. */
import type { Purpose } from "../../connection/connection.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { answerPieceBytes } from "../../settings/limits.ts";
import { closeCode } from "../../wire/close-code.ts";

/** Bun sends it chunked. A client sees an answer that broke off, because the last chunk is missing. */
export class PollAnswer implements HttpHandler {
  readonly kind = "poll";
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #purpose: Purpose;
  #givenBytes = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, purpose: Purpose) {
    this.#bytes = bytes;
    this.#purpose = purpose;
  }

  purpose(): Purpose {
    return this.#purpose;
  }

  /** All of it, because a part of an array frees no memory. */
  get heldBytes(): number {
    return this.#bytes.length;
  }

  /** The next piece, because the kernel took the one before. */
  pull(connection: HttpConnection): void {
    const { length } = this.#bytes;
    if (this.#givenBytes === length) {
      connection.end();
      return;
    }
    const end = Math.min(this.#givenBytes + answerPieceBytes, length);
    const piece = this.#bytes.subarray(this.#givenBytes, end);
    this.#givenBytes = end; // Before the piece is written, because Bun may ask for the next one meanwhile.
    connection.write(piece);
  }

  /** An expired token breaks the answer off. At a drain its client may take the rest, for as long as `closeAll` waits. */
  close(connection: HttpConnection, code: number): void {
    if (code === closeCode.unauthorized) connection.abandon();
  }
}
