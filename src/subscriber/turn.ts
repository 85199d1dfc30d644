/** One write per event stream and turn of the event loop, because each write is a system call, its greatest cost. */
import type { Logger } from "../log.ts";

/** A stream with bytes that are gathered and not written yet. */
export interface GatheringStream {
  /** Writes all gathered bytes. */
  flush(): void;
  /** Ends the stream at once, because it holds too much or `flush` threw. MUST NOT throw. */
  abandon(): void;
}

type Chunk = Uint8Array<ArrayBuffer>;

/** Chunks, and what they are together. */
interface Joined {
  readonly chunks: readonly Chunk[];
  readonly bytes: Chunk;
}

const utf8 = new TextEncoder();

/** The streams that write at the end of the current turn. */
export class Turn {
  readonly #log: Logger;
  #streams = new Set<GatheringStream>();
  /** Something was added or encoded, so that the turn has an end. */
  #isBegun = false;
  /** What was encoded in this turn, by its text: clients that return with the same id are told the same. */
  readonly #encoded = new Map<string, Chunk>();
  /** What was joined in this turn, by the first chunk: the streams of a topic gather the same chunks. */
  readonly #joined = new Map<Chunk, Joined>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Calls `flush` once, at the end of the turn. */
  add(stream: GatheringStream): void {
    this.#begin();
    this.#streams.add(stream);
  }

  /** Encodes a text, once for all streams that write it in this turn, so that what they gather can be joined once. */
  encode(text: string): Chunk {
    const known = this.#encoded.get(text);
    if (known) return known;
    this.#begin();
    const bytes = utf8.encode(text);
    this.#encoded.set(text, bytes);
    return bytes;
  }

  /**
   * Joins chunks, once for all streams with the same ones. To be called only between `add` and the end of the turn, where
   * the joined bytes are forgotten.
   * @param chunks at least one; must not change afterwards
   * @example turn.join([event, next])
   */
  join(chunks: readonly Chunk[]): Chunk {
    const [first] = chunks as [Chunk];
    if (chunks.length === 1) return first;
    const known = this.#joined.get(first);
    if (known && areSame(known.chunks, chunks)) return known.bytes;
    const bytes = concatenate(chunks);
    this.#joined.set(first, { chunks, bytes });
    return bytes;
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    setImmediate(() => this.#end());
  }

  #end(): void {
    this.#isBegun = false;
    const streams = this.#streams;
    // A flush may make its stream gather more, for the next turn.
    this.#streams = new Set();
    for (const stream of streams) {
      try {
        stream.flush();
      } catch (error) {
        this.#log.error({ err: error }, "an event stream is ended, because it could not be written to");
        stream.abandon();
      }
    }
    this.#joined.clear();
    this.#encoded.clear();
  }
}

function areSame(some: readonly Chunk[], others: readonly Chunk[]): boolean {
  if (some.length !== others.length) return false;
  for (let index = 0; index < some.length; index++) if (some[index] !== others[index]) return false;
  return true;
}

/** Not `Buffer.concat`, whose small results share memory that lives as long as the last of them. */
function concatenate(chunks: readonly Chunk[]): Chunk {
  let length = 0;
  for (const chunk of chunks) length += chunk.length;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
