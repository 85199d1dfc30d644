/** Reads the WebSocket frames (RFC 6455 section 5.2) of a server under load. */
import { opcodes } from "../support/raw-socket.ts";

const finalFragment = 0x80;

/** Finds the messages in the bytes of a server. Skips control frames, and throws for fragments. */
export class FrameReader {
  readonly #found: (payloadBytes: number, firstByte: number) => void;
  /** The bytes of the header that were read, and those that are left of the length and of the payload. */
  #headerBytes = 0;
  #lengthBytesLeft = 0;
  #payloadLeft = 0;
  #opening = 0;
  #payloadBytes = 0;
  #firstByte = -1;

  /** @param found gets the size and the first byte of each complete message; -1 for an empty one */
  constructor(found: (payloadBytes: number, firstByte: number) => void) {
    this.#found = found;
  }

  take(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payloadLeft > 0) {
        if (this.#firstByte < 0) this.#firstByte = chunk[at] ?? -1;
        const taken = Math.min(this.#payloadLeft, chunk.length - at);
        this.#payloadLeft -= taken;
        at += taken;
        if (this.#payloadLeft === 0) this.#finish();
      } else {
        this.#takeHeader(chunk[at++] ?? 0);
      }
    }
  }

  #takeHeader(byte: number): void {
    if (this.#headerBytes++ === 0) {
      this.#opening = byte;
      return;
    }
    if (this.#headerBytes === 2) {
      this.#lengthBytesLeft = byte === 127 ? 8 : byte === 126 ? 2 : 0;
      this.#payloadBytes = this.#lengthBytesLeft > 0 ? 0 : byte;
    } else {
      this.#payloadBytes = this.#payloadBytes * 256 + byte;
      this.#lengthBytesLeft--;
    }
    if (this.#lengthBytesLeft > 0) return;
    this.#payloadLeft = this.#payloadBytes;
    this.#firstByte = -1;
    if (this.#payloadBytes === 0) this.#finish();
  }

  #finish(): void {
    this.#headerBytes = 0;
    const opcode = this.#opening & 0xf;
    if (opcode >= opcodes.close) return; // A control frame.
    if (opcode === opcodes.continuation || (this.#opening & finalFragment) === 0)
      throw new Error("a server sent a fragment");
    this.#found(this.#payloadBytes, this.#firstByte);
  }
}
