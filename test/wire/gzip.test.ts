/** Compressed pieces of many messages, put together for each reader. zlib, which made none of the sums, reads them. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { constants, gunzipSync, inflateRawSync } from "node:zlib";
import { GzipMember, GzipPiece, gzipHeader, gzipPiece } from "../../src/wire/gzip.ts";
import { Random } from "../support/random.ts";

setDefaultTimeout(120_000);

type Bytes = Uint8Array<ArrayBuffer>;

/** Around the sizes where something else is done: nothing, what is stored as it is, and a second stored block. */
const sizes = [0, 1, 2, 5, 299, 300, 301, 1000, 65_535, 65_536, 140_000, 2 ** 21, 2 ** 21 + 1];

describe("a gzip member", () => {
  test("of any pieces is what they stand for, whole and at the end of each piece", () => {
    const random = new Random(27);
    for (let stream = 0; stream < 1000; stream++) {
      const member = new GzipMember();
      const written: Bytes[] = [];
      let text = Buffer.alloc(0);
      const pieces = random.between(1, 5);
      for (let index = 0; index < pieces; index++) {
        const size = stream % 50 === 0 ? random.pick(sizes) : random.below(900);
        const source = bytesOf(size, random);
        written.push(member.added(random.chance(0.7) ? gzipPiece(source) : source));
        text = Buffer.concat([text, source]);
        const soFar = inflateRawSync(Buffer.concat(written), { finishFlush: constants.Z_SYNC_FLUSH });
        expect(soFar.equals(text)).toBe(true);
      }
      const whole = Buffer.concat([gzipHeader, ...written, member.trailer()]);
      expect(gunzipSync(whole).equals(text)).toBe(true);
    }
  });

  test("gives every reader the same bytes of a shared piece", () => {
    const piece = gzipPiece(new TextEncoder().encode("x".repeat(1000)));
    expect(piece).toBeInstanceOf(GzipPiece);
    expect(new GzipMember().added(piece)).toBe(piece);
  });

  test("is at most five bytes longer for a small piece, and less than half as long for a large one of JSON", () => {
    const small = new TextEncoder().encode("data: hello\nid: 1a2b3c4d5e6f-1\n\n");
    expect(gzipPiece(small)).toHaveLength(small.length + 5);
    const prices = Array.from({ length: 20 }, (_, index) => ({ item: `item ${index}`, price: index * 1.25 }));
    const large = new TextEncoder().encode(`data: ${JSON.stringify(prices)}\n\n`);
    expect(gzipPiece(large).length).toBeLessThan(large.length / 2);
  });

  test("holds no buffer that is larger than its pieces", () => {
    for (const size of sizes) {
      const piece = gzipPiece(bytesOf(size, new Random(size)));
      expect(piece.buffer.byteLength).toBe(piece.length);
    }
  });
});

/** Half of them as text, which can be compressed, and half as noise, which cannot. */
function bytesOf(size: number, random: Random): Bytes {
  const fourLetters = random.pick([0x03030303, 0xffffffff]);
  const words = Uint32Array.from({ length: Math.ceil(size / 4) }, () => random.below(2 ** 32) & fourLetters);
  return new Uint8Array(words.buffer, 0, size);
}
