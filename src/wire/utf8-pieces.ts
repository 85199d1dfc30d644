/** Checks UTF-8 that arrives in pieces, which may break in the middle of a character. */
import { DraftError } from "../topic/draft.ts";

export class Utf8Pieces {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** @throws {DraftError} for bytes that are not UTF-8 */
  check(bytes: Uint8Array): void {
    this.#guard(() => this.#decoder.decode(bytes, { stream: true }));
  }

  /** @throws {DraftError} if the last character is not whole */
  finish(): void {
    this.#guard(() => this.#decoder.decode());
  }

  #guard(decode: () => string): void {
    try {
      decode();
    } catch {
      throw new DraftError("The body is not UTF-8.");
    }
  }
}
