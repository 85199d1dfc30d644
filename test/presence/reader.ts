/** A plain reader of who is here: an event stream that is read to a random byte, and opened again with the last id, anywhere. */
import type { NodeAddress } from "../chaos/client.ts";
import type { Random } from "../support/random.ts";
import { parseBlock, type ReceivedEvent } from "../support/topics.ts";

/** Somebody who left. */
interface Leave {
  readonly key: string;
  /** When it was appended, in milliseconds since 1970. */
  readonly time: number;
}

export class Reader {
  /** The fold of what it was given (docs/protocol.md). */
  readonly here = new Set<string>();
  readonly leaves: Leave[] = [];
  /** Connections so far. */
  connections = 0;
  gaps = 0;
  #id: string | undefined;
  readonly #topic: string;
  readonly #random: Random;

  constructor(topic: string, random: Random) {
    this.#topic = topic;
    this.#random = random;
  }

  /** @param nodes from which one is taken for each connection, as it is by then */
  async readUntil(signal: AbortSignal, nodes: () => readonly NodeAddress[]): Promise<void> {
    while (!signal.aborted) {
      await this.#read(this.#random.pick(nodes()), signal).catch((error) => {
        if (!signal.aborted && !isAway(error)) throw error;
      });
      await Bun.sleep(this.#random.between(1, 50));
    }
  }

  async #read({ url }: NodeAddress, signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const bytesMax = this.#random.between(1, 20_000);
    const response = await fetch(new URL(`/presence/${this.#topic}?since=all`, url), {
      headers: { Accept: "text/event-stream", ...(this.#id !== undefined && { "Last-Event-ID": this.#id }) },
      signal: AbortSignal.any([signal, ended.signal]),
    });
    if (response.status !== 200 || !response.body) {
      if (response.status === 503) return;
      throw new Error(
        `/presence/${this.#topic} was answered with ${response.status}: ${await response.text()}`,
      );
    }
    this.connections++;
    const decoder = new TextDecoder();
    let rest = "";
    let bytes = 0;
    // A quiet line is left, too.
    const quiet = setTimeout(() => ended.abort(), this.#random.between(200, 5000));
    try {
      for await (const chunk of response.body) {
        const taken = chunk.subarray(0, bytesMax - bytes);
        bytes += taken.length;
        const blocks = (rest + decoder.decode(taken, { stream: true })).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) this.#take(block);
        if (bytes === bytesMax) ended.abort();
      }
    } finally {
      clearTimeout(quiet);
    }
  }

  /** Takes an event and its id in one step, at its blank line. */
  #take(block: string): void {
    const { data, id } = parseBlock(block);
    if (data !== "") this.#fold(JSON.parse(data));
    this.#id = id ?? this.#id;
  }

  #fold({ type, partitionkey: key = "", time }: ReceivedEvent): void {
    if (type === "longwire.gap") {
      this.gaps++;
      this.here.clear();
    } else if (type === "longwire.removed") {
      this.here.delete(key);
      this.leaves.push({ key, time: Date.parse(time) });
    } else if (type === "longwire.join" || type === "longwire.update") this.here.add(key);
  }
}

/** The node is away, or the connection was cut. */
const isAway = (error: unknown): boolean =>
  error instanceof Error && (error.name === "AbortError" || "code" in error);
