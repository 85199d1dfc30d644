/** Reads the events of a stream of server-sent events from a server under load. */

/** Takes bytes as they come from TCP. */
export type Receive = (chunk: Uint8Array) => void;

const lineFeed = 10;
const carriageReturn = 13;

/** As many bytes of a line as have to be seen: the name of its field and the first byte of the value. */
const headBytes = 8;

/**
 * Finds the data of each event that has no name, such as Longwire's messages. An event's data must be one line, as a text
 * without line feeds is.
 */
export class EventStreamReader {
  readonly #found: (dataBytes: number, firstByte: number) => void;
  /** The begin of the line that is being read, and how many bytes of the line were read. */
  readonly #head = new Uint8Array(headBytes);
  #lineBytes = 0;
  #dataBytes = -1;
  #firstByte = -1;
  #isNamed = false;

  /** @param found gets the size of an event's data and its first byte */
  constructor(found: (dataBytes: number, firstByte: number) => void) {
    this.#found = found;
  }

  take(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const found = chunk.indexOf(lineFeed, at);
      const end = found < 0 ? chunk.length : found;
      for (let index = at; index < end && this.#lineBytes + index - at < headBytes; index++)
        this.#head[this.#lineBytes + index - at] = chunk[index] ?? 0;
      this.#lineBytes += end - at;
      if (found < 0) return;
      this.#finishLine();
      at = end + 1;
    }
  }

  #finishLine(): void {
    const bytes = this.#lineBytes;
    this.#lineBytes = 0;
    if (bytes === 0 || (bytes === 1 && this.#head[0] === carriageReturn)) {
      if (this.#dataBytes >= 0 && !this.#isNamed) this.#found(this.#dataBytes, this.#firstByte);
      this.#dataBytes = -1;
      this.#isNamed = false;
    } else if (this.#startsWith("data:")) {
      const from = this.#head[5] === 0x20 ? 6 : 5;
      this.#dataBytes = bytes - from;
      this.#firstByte = this.#head[from] ?? -1;
    } else if (this.#startsWith("event:")) {
      this.#isNamed = true;
    }
  }

  #startsWith(field: string): boolean {
    for (let index = 0; index < field.length; index++)
      if (this.#head[index] !== field.charCodeAt(index)) return false;
    return true;
  }
}

/** Takes the chunked transfer coding (RFC 9112 section 7.1) off a body. @throws at the end of the body */
export function withoutChunks(receive: Receive): Receive {
  let size = "";
  let dataLeft = 0;
  /** Of the line end after the data of a chunk. */
  let endLeft = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      if (dataLeft > 0) {
        const end = Math.min(bytes.length, at + dataLeft);
        receive(bytes.subarray(at, end));
        dataLeft -= end - at;
        at = end;
        if (dataLeft === 0) endLeft = 2;
      } else if (endLeft > 0) {
        endLeft--;
        at++;
      } else {
        const byte = bytes[at++];
        if (byte === lineFeed) {
          dataLeft = Number.parseInt(size, 16);
          size = "";
          if (dataLeft === 0) throw new Error("the server ended the stream");
        } else if (byte !== carriageReturn) {
          size += String.fromCharCode(byte ?? 0);
        }
      }
    }
  };
}
