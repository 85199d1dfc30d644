/** A message as it is given to a reader. */

export type Frame = string | Uint8Array<ArrayBuffer>;

/** Bytes of a frame on the wire (RFC 6455 section 5.2). */
export function frameBytes(payload: Frame): number {
  const bytes = Buffer.byteLength(payload);
  return bytes + (bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10);
}

/** The bytes of a frame that Bun took. @param result what Bun returned: it says how many bytes only if it could write them */
export const bytesSent = (result: number, frame: Frame): number =>
  result > 0 ? result : Buffer.byteLength(frame);
