/** A body that has a bound: of a request, or of an answer that this server asked for. */
import { nextTurn } from "../next-turn.ts";
import { GrowingBytes } from "../wire/growing-bytes.ts";

export class BoundedBody {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #bytesMax: number;
  readonly #collected = new GrowingBytes();

  constructor(body: ReadableStream<Uint8Array>, bytesMax: number) {
    this.#reader = body.getReader();
    this.#bytesMax = bytesMax;
  }

  /** Memory of what has arrived. */
  get heldBytes(): number {
    return this.#collected.heldBytes;
  }

  /**
   * Reads once per turn of the event loop, so that Bun joins what arrives in between. Read at once, a body in chunks of one
   * byte costs a step of JavaScript for each byte, and everyone else waits meanwhile.
   * @returns undefined if the body is larger, of which no more than that was read
   */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return this.#collected.view().slice();
      if (this.#collected.length + value.length > this.#bytesMax) {
        await this.#reader.cancel();
        return undefined;
      }
      this.#collected.append(value);
      await nextTurn();
    }
  }

  /** Ends `read`, with what has arrived. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}
