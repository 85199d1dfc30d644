/**
 * A gzip member (RFC 1952) of pieces that all its readers share: each piece is compressed once, by itself, and ends with a
 * full flush, so that it can follow any other. What differs from reader to reader is the header and the trailer.
 *
 * No piece refers to another, so a secret in one message and an attacker's text in another are never compressed together
 * (BREACH). Both in one message still are.
 */

/** Loaded when the first piece is compressed: it loads node:stream, too, and both cost 15 ms and 4 MiB at start. */
const zlib = (): typeof import("node:zlib") => require("node:zlib");

/** Fewer bytes are stored as they are: what compressing them saves is less than 1 in 5. Measured with events of JSON. */
const deflateBytesMin = 300;

/** More bytes are stored, too: compressing them would keep everyone else waiting for more than 12 ms. */
const deflateBytesMax = 2 * 1024 * 1024;

/** Of 1 KiB to 1 MiB of JSON zlib makes as few bytes as by its default, 6, in 67 to 36 % of the time. */
const level = 3;

/** Most bytes of a stored block (RFC 1951 section 3.2.4). */
const storedBytesMax = 0xffff;

/** The first bytes of a member: magic, deflate, no name and no time, unknown system. */
export const gzipHeader: Uint8Array<ArrayBuffer> = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);

/** A last block without content, for the end of a member. */
const lastBlock = [0x03, 0x00] as const;

/** Compressed bytes, and what the trailer needs of those that they stand for. */
export class GzipPiece extends Uint8Array<ArrayBuffer> {
  crc = 0;
  /** What a CRC is multiplied by to move it before this piece. */
  shift = 0;
  sourceBytes = 0;
}

/** @param source at most 2 GiB */
export function gzipPiece(source: Uint8Array<ArrayBuffer>): GzipPiece {
  const pays = source.length >= deflateBytesMin && source.length <= deflateBytesMax;
  return pieceOf(source, pays ? deflated(source) : stored(source));
}

function pieceOf(source: Uint8Array<ArrayBuffer>, encoded: ArrayBuffer): GzipPiece {
  const piece = new GzipPiece(encoded);
  piece.crc = Bun.hash.crc32(source);
  piece.shift = shiftOf(source.length);
  piece.sourceBytes = source.length;
  return piece;
}

/** Copied, because zlib's result may be a part of a larger buffer, which it would keep alive. */
const deflated = (source: Uint8Array<ArrayBuffer>): ArrayBuffer =>
  new Uint8Array(zlib().deflateRawSync(source, { level, finishFlush: zlib().constants.Z_FULL_FLUSH })).buffer;

function stored(source: Uint8Array<ArrayBuffer>): ArrayBuffer {
  const blocks = Math.ceil(source.length / storedBytesMax);
  const encoded = new Uint8Array(source.length + 5 * blocks);
  let at = 0;
  for (let start = 0; start < source.length; start += storedBytesMax) {
    const block = source.subarray(start, start + storedBytesMax);
    const { length } = block;
    encoded.set([0, length & 0xff, length >> 8, ~length & 0xff, (~length >> 8) & 0xff], at);
    encoded.set(block, at + 5);
    at += 5 + length;
  }
  return encoded.buffer;
}

/** What one reader got so far. */
export class GzipMember {
  #crc = 0;
  #bytes = 0;
  /** What was added stands for so many bytes, since its owner set this to 0. */
  addedBytes = 0;

  /** @param bytes a piece, or bytes that only this reader gets @returns what the reader is to get now */
  added(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const piece = bytes instanceof GzipPiece ? bytes : pieceOf(bytes, stored(bytes));
    this.#crc = (multiply(piece.shift, this.#crc) ^ piece.crc) >>> 0;
    this.#bytes += piece.sourceBytes;
    this.addedBytes += piece.sourceBytes;
    return piece;
  }

  /** The last bytes. Without them programs report that the stream broke off. */
  trailer(): Uint8Array<ArrayBuffer> {
    const trailer = new Uint8Array(lastBlock.length + 8);
    trailer.set(lastBlock);
    const view = new DataView(trailer.buffer, lastBlock.length);
    view.setUint32(0, this.#crc, true);
    view.setUint32(4, this.#bytes % 2 ** 32, true);
    return trailer;
  }
}

/** CRC-32's polynomial (RFC 1952 section 8), its lowest power in the highest bit. */
const polynomial = 0xedb88320;

/** The polynomial 1. */
const one = 0x80000000;

/** Product of two polynomials modulo CRC-32's: `multmodp` of zlib's crc32.c. @param a not 0 */
function multiply(a: number, b: number): number {
  let product = 0;
  let power = b;
  for (let bit = one; ; bit >>>= 1) {
    if (a & bit) {
      product ^= power;
      if ((a & (bit - 1)) === 0) return product >>> 0;
    }
    power = power & 1 ? (power >>> 1) ^ polynomial : power >>> 1;
  }
}

/** x^(8 × bytes), by which a CRC is multiplied to move it before so many bytes: zlib's `crc32_combine_gen`. */
function shiftOf(bytes: number): number {
  let shift = one;
  let power = one >>> 8; // x^8, then its square, and so on.
  for (let rest = bytes; rest > 0; rest >>>= 1) {
    if (rest & 1) shift = multiply(power, shift);
    power = multiply(power, power);
  }
  return shift;
}
