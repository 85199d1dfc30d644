/**
 * A keyed topic in the chaos: writers that own their keys, and readers that fold what they are given and come back to any node
 * with their place. When all is well again each reader holds exactly what the cluster holds, or it was told a gap and then
 * holds it. A value that was acknowledged after the last event that may lose messages is there.
 */
import type { Random } from "../support/random.ts";
import { openStream, type ReceivedEvent, type StreamBlock, type StreamClient } from "../support/topics.ts";
import { until } from "../support/wait.ts";
import { type Checker, Violation } from "./checker.ts";
import { askAtLast, checkAnswer, type NodeAddress } from "./client.ts";

/** Named so by `--keyed` of each node. */
export const keyedTopic = "keyed";

const keysOfWriter = 12;

interface KeyedOptions {
  readonly nodes: readonly NodeAddress[];
  readonly random: Random;
  readonly checker: Checker;
}

/** Folds events as docs/protocol.md says. */
function fold(state: Map<string, unknown>, { type, partitionkey = "", data }: ReceivedEvent): void {
  if (type === "longwire.gap") state.clear();
  else if (type === "longwire.removed") state.delete(partitionkey);
  else if (type === "longwire.message") state.set(partitionkey, data);
}

const shown = (state: ReadonlyMap<string, unknown>): string =>
  [...state]
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(" ");

/** Changes its own keys, one after the other; each change is repeated until it is answered. */
export class KeyedWriter {
  /** By key, what was acknowledged last, and how many events may have lost messages by then; undefined during one. */
  readonly #known = new Map<
    string,
    { readonly value: string | undefined; readonly losses: number | undefined }
  >();
  readonly #options: KeyedOptions;
  readonly #name: string;

  constructor(options: KeyedOptions, name: string) {
    this.#options = options;
    this.#name = name;
  }

  /** @param pauseMilliseconds at most, after each change */
  async writeUntil(signal: AbortSignal, pauseMilliseconds: number): Promise<void> {
    const { random } = this.#options;
    for (let count = 0; !signal.aborted; count++) {
      const key = `${this.#name}/${random.below(keysOfWriter)}`;
      await this.#change(key, random.chance(0.25) ? undefined : `${this.#name}:${count}`);
      await Bun.sleep(random.between(0, pauseMilliseconds));
    }
  }

  /** @param state what a node holds now @throws {Violation} */
  check(state: ReadonlyMap<string, unknown>): void {
    for (const [key, { value, losses }] of this.#known) {
      if (losses === this.#options.checker.losses && state.get(key) !== value)
        throw new Violation(
          `${key} was acknowledged as ${value}, and is ${state.get(key)}, though nothing was lost since`,
        );
    }
  }

  async #change(key: string, value: string | undefined): Promise<void> {
    const { checker } = this.#options;
    let losses: number | undefined;
    const { status } = await askAtLast(this.#options, {
      asked: () => {
        losses = checker.losses === checker.lossesOver ? checker.losses : undefined;
      },
      path: `${keyedTopic}?key=${encodeURIComponent(key)}`,
      // 404: there is no such key, as if it had been removed. 507: a full Redis refuses a value for good, and a removal never.
      ...(value === undefined
        ? { method: "DELETE", answers: [404] }
        : { method: "POST", body: value, answers: [507] }),
    });
    if (status === 507) return;
    this.#known.set(key, { value, losses });
    checker.tally.keyed++;
  }
}

/** What a reader of event streams holds, and where it is. */
class Folded {
  readonly state = new Map<string, unknown>();
  /** The id that an EventSource would have. */
  #id: string | undefined;

  /** Opens an event stream where it was. */
  open(node: NodeAddress): Promise<StreamClient> {
    const headers = this.#id === undefined ? {} : { "Last-Event-ID": this.#id };
    return openStream(node, `${keyedTopic}?since=all`, headers);
  }

  /** @returns the type of the event */
  take({ data, id }: StreamBlock): string {
    const event = JSON.parse(data) as ReceivedEvent;
    fold(this.state, event);
    this.#id = id ?? this.#id;
    return event.type;
  }

  /** Reads to the end, at one node. @returns what it holds then */
  async finish(node: NodeAddress): Promise<ReadonlyMap<string, unknown>> {
    await using stream = await this.open(node);
    while (this.take(await stream.next()) !== "longwire.live");
    return this.state;
  }
}

/** Reads by event streams, each of which breaks off at any moment. */
export class KeyedReader {
  readonly folded = new Folded();
  readonly #options: KeyedOptions;

  constructor(options: KeyedOptions) {
    this.#options = options;
  }

  async followUntil(signal: AbortSignal): Promise<void> {
    const { nodes, random, checker } = this.#options;
    while (!signal.aborted) await this.#follow(random.pick(nodes), random.between(0, 120), signal);
    checker.tally.folds++;
  }

  /** Follows one connection for so many events. */
  async #follow(node: NodeAddress, count: number, signal: AbortSignal): Promise<void> {
    const { random, checker } = this.#options;
    const asked = performance.now();
    try {
      await using stream = await this.folded.open(node);
      // A quiet topic would hold it up at the end.
      const aborted = Promise.withResolvers<undefined>();
      signal.addEventListener("abort", () => aborted.resolve(undefined));
      for (let taken = 0; taken < count && !signal.aborted; taken++) {
        const block = await Promise.race([stream.next(), aborted.promise]);
        if (block) this.folded.take(block);
      }
    } catch (error) {
      if (error instanceof Violation) throw error;
      checkAnswer(checker, asked, String(error));
      await Bun.sleep(random.between(10, 200)); // The node or Redis is away: a client comes back.
    }
  }
}

/** What a node holds. */
const heldAt = (node: NodeAddress): Promise<ReadonlyMap<string, unknown>> => new Folded().finish(node);

/** When all is well again: every node, and every reader from its place, has the same. @throws {Violation} */
export async function checkKeyed(
  nodes: readonly NodeAddress[],
  writers: readonly KeyedWriter[],
  readers: readonly KeyedReader[],
): Promise<void> {
  const [first] = nodes as [NodeAddress];
  const held = await heldAt(first);
  for (const writer of writers) writer.check(held);
  for (const node of nodes)
    await until(
      async () => shown(await heldAt(node)) === shown(held),
      `${node.url} to hold what ${first.url} holds`,
      10,
    );
  for (const [index, reader] of readers.entries()) {
    const folded = await reader.folded.finish(nodes[index % nodes.length] as NodeAddress);
    if (shown(folded) !== shown(held))
      throw new Violation(`a reader folded\n${shown(folded)}\nwhere the cluster holds\n${shown(held)}`);
  }
}
