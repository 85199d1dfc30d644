/** Reads a body that has a bound: of a request, or of an answer that this server asked for. */
import { GrowingBytes } from "../wire/growing-bytes.ts";

/**
 * Reads once per turn of the event loop, so that Bun joins what arrives in between. Read at once, a body in chunks of one
 * byte costs a step of JavaScript for each byte, and everyone else waits meanwhile.
 * @param collected where the bytes are collected, for a caller that counts them meanwhile
 * @returns undefined if the body is larger, of which no more than that was read
 */
export async function readBounded(
  body: ReadableStream<Uint8Array>,
  bytesMax: number,
  collected = new GrowingBytes(),
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  for await (const chunk of body) {
    if (collected.length + chunk.length > bytesMax) return undefined;
    collected.append(chunk);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return collected.view().slice();
}
