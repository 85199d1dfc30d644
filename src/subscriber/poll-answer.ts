/** The answer of a poll that is too large to be given to Bun whole: a connection with bytes until its client took it. */
import type { Purpose } from "../connection/connection.ts";
import type { HttpConnection, HttpHandler } from "../connection/http-connection.ts";
import type { Frame } from "../delivery/frame.ts";
import { answerPieceBytes } from "../settings/limits.ts";
import { closeCode } from "../wire/close-code.ts";
import { GzipMember, gzipHeader } from "../wire/gzip.ts";

const utf8 = new TextEncoder();

/** Bun sends it chunked. A client sees an answer that broke off, because the last chunk is missing. */
export class PollAnswer implements HttpHandler {
  readonly kind = "poll";
  readonly purpose: () => Purpose;
  readonly #pieces: Iterator<Uint8Array<ArrayBuffer>, undefined>;
  #bytesLeft: number;

  /**
   * @param body what `batchOf` or `gzipBatchOf` gives
   * @param bytes of the events, with what separates them
   */
  constructor(body: Iterable<Frame>, bytes: number, purpose: Purpose) {
    this.#pieces = piecesOf(body);
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
function* piecesOf(body: Iterable<Frame>): Generator<Uint8Array<ArrayBuffer>, undefined> {
  let piece = new Uint8Array(answerPieceBytes);
  let length = 0;
  for (const part of body) {
    for (let rest = part; rest.length > 0; ) {
      const { read, written } = copyInto(rest, piece.subarray(length));
      rest = typeof rest === "string" ? rest.slice(read) : rest.subarray(read);
      length += written;
      if (rest.length === 0) continue;
      yield piece.subarray(0, length);
      piece = new Uint8Array(answerPieceBytes);
      length = 0;
    }
  }
  yield piece.subarray(0, length);
}

/** As much as there is room for. */
function copyInto(part: Frame, room: Uint8Array<ArrayBuffer>): TextEncoderEncodeIntoResult {
  if (typeof part === "string") return utf8.encodeInto(part, room);
  const copied = part.subarray(0, room.length);
  room.set(copied);
  return { read: copied.length, written: copied.length };
}

/** A JSON array. */
export function* batchOf<Event>(events: readonly Event[]): Generator<Event | string> {
  yield "[";
  for (const [index, event] of events.entries()) {
    if (index > 0) yield ",";
    yield event;
  }
  yield "]";
}

/** The same as a gzip member. @param events compressed, or as they are */
export function* gzipBatchOf(events: readonly Frame[]): Generator<Uint8Array<ArrayBuffer>> {
  const member = new GzipMember();
  yield gzipHeader;
  for (const part of batchOf(events)) yield member.added(typeof part === "string" ? utf8.encode(part) : part);
  yield member.trailer();
}
