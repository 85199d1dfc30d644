/** WebSocket frames (RFC 6455 section 5.2), as far as a load of equally long text messages needs them. */

const textOpcode = 0x81; // FIN and text
const masked = 0x80;
/** Any will do: a server must unmask with it, and the same one each time lets a frame be made once. */
const maskingKey = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

/** A text message as a client sends it. */
export function clientFrame(text: string): Uint8Array {
  const payload = Buffer.from(text);
  const header = frameHeader(payload.length);
  header[1] = (header[1] ?? 0) | masked;
  const body = payload.map((byte, index) => byte ^ (maskingKey[index % 4] ?? 0));
  return Buffer.concat([header, maskingKey, body]);
}

/** What stands before a text message of so many bytes from a server. */
export function frameHeader(payloadBytes: number): Uint8Array {
  if (payloadBytes < 126) return Uint8Array.of(textOpcode, payloadBytes);
  if (payloadBytes > 0xffff) throw new RangeError("no load here has messages over 65535 bytes");
  return Uint8Array.of(textOpcode, 126, payloadBytes >> 8, payloadBytes & 0xff);
}

/** Counts the messages in a stream of equally long ones, and throws at anything else. */
export class FrameCounter {
  readonly #header: Uint8Array;
  readonly #frameBytes: number;
  /** Bytes of the frame that had begun in an earlier chunk. */
  #begunBytes = 0;

  constructor(payloadBytes: number) {
    this.#header = frameHeader(payloadBytes);
    this.#frameBytes = this.#header.length + payloadBytes;
  }

  /** @returns how many messages this chunk completed */
  take(chunk: Uint8Array): number {
    let start = -this.#begunBytes;
    let completed = 0;
    while (start + this.#frameBytes <= chunk.length) {
      this.#check(chunk, start);
      completed++;
      start += this.#frameBytes;
    }
    this.#check(chunk, start);
    this.#begunBytes = chunk.length - start;
    return completed;
  }

  #check(chunk: Uint8Array, start: number): void {
    for (let index = 0; index < this.#header.length; index++) {
      const byte = start + index < 0 ? undefined : chunk[start + index];
      if (byte !== undefined && byte !== this.#header[index]) {
        throw new Error(`byte ${index} of a frame is ${byte} and not ${this.#header[index]}`);
      }
    }
  }
}
