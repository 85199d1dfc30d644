/** Compressed bodies of requests (RFC 9110 section 8.4): decoded piece by piece, so that nothing is held that a limit refuses. */
import { DraftError } from "../topic/draft-error.ts";
import { BoundedBody } from "./bounded-body.ts";
import { Refusal } from "./refusal.ts";

/** Undefined for a body that is larger than a message. */
export type Body = Uint8Array<ArrayBuffer> | undefined;

export interface Coding {
  readonly format: "gzip" | "deflate" | "brotli" | "zstd";
  /** Most bytes of its own output that a decoder keeps, to repeat parts of it. */
  readonly windowBytesMax: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

const gzip: Coding = { format: "gzip", windowBytesMax: 32 * KiB };

/** The names of RFC 9110 section 8.4.1, RFC 7932 and RFC 8878. */
const codings: Readonly<Record<string, Coding>> = {
  gzip,
  "x-gzip": gzip,
  deflate: { format: "deflate", windowBytesMax: 32 * KiB },
  br: { format: "brotli", windowBytesMax: 16 * MiB },
  zstd: { format: "zstd", windowBytesMax: 128 * MiB },
};

/** What an answer names in `Accept-Encoding` (RFC 9110 section 12.5.3). */
const accepted = "gzip, deflate, br, zstd";

/**
 * The coding of a request's body. One at most: several in one another make a small body of any size.
 * @returns undefined for a body that is as it is
 * @throws {Refusal} for a coding that is not known
 */
export function codingOf(request: Request): Coding | undefined {
  const header = request.headers.get("content-encoding")?.trim().toLowerCase();
  if (!header || header === "identity") return undefined;
  const coding = Object.hasOwn(codings, header) ? codings[header] : undefined;
  if (coding) return coding;
  const detail = `Content-Encoding is one of ${accepted}, not "${header.slice(0, 50)}". Send the body in one of them, or as it is.`;
  throw new Refusal("content_encoding", detail, { "Accept-Encoding": accepted });
}

/** Whole bodies are decoded one after the other: each takes as much memory as a message, however small it came. */
let lastDecoded: Promise<unknown> = Promise.resolve();

/**
 * @param bytes a whole body
 * @returns undefined if it is larger than `bytesMax`
 * @throws {DraftError} for a body that is not what its coding says
 */
export async function decode(coding: Coding, bytes: Body, bytesMax: number): Promise<Body> {
  if (!bytes || bytes.length === 0) return bytes;
  const decoded = lastDecoded.then(() =>
    new BoundedBody(new DecodedStream(new Blob([bytes]).stream(), coding).stream, bytesMax).read(),
  );
  lastDecoded = decoded.catch(() => undefined); // Whoever reads it has the error.
  return await decoded;
}

/** A body that is read piece by piece. */
export interface BodyStream {
  readonly stream: ReadableStream<Uint8Array>;
  /** Memory of what decodes it. */
  readonly heldBytes: number;
}

/** @throws {Refusal} for a coding that is not known */
export function decodedStreamOf(request: Request): BodyStream | undefined {
  const coding = codingOf(request);
  const stream = request.body as ReadableStream<Uint8Array> | null;
  if (!stream) return undefined;
  return coding ? new DecodedStream(stream, coding) : { stream, heldBytes: 0 };
}

class DecodedStream implements BodyStream {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #coding: Coding;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #decodedBytes = 0;

  constructor(encoded: ReadableStream<Uint8Array>, coding: Coding) {
    this.#coding = coding;
    // The types of the platform lack brotli and zstd, which Bun has.
    const decoder = new DecompressionStream(coding.format as CompressionFormat) as ReadableWritablePair;
    this.#reader = encoded.pipeThrough<Uint8Array>(decoder).getReader();
    const pull = (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> =>
      this.#pull(controller);
    const cancel = (): Promise<void> => this.#reader.cancel();
    this.stream = new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
  }

  /** A decoder keeps no more than it has decoded. */
  get heldBytes(): number {
    return Math.min(this.#decodedBytes, this.#coding.windowBytesMax);
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    try {
      const { done, value } = await this.#reader.read();
      if (done) return controller.close();
      this.#decodedBytes += value.length;
      controller.enqueue(value);
    } catch (error) {
      // The decoder's own errors are these. A body that broke off is an AbortError.
      if (!(error instanceof TypeError)) throw error;
      throw new DraftError(
        `The body is not whole and valid ${this.#coding.format}, as its Content-Encoding says.`,
      );
    }
  }
}
