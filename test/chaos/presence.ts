/**
 * Presence in the chaos: people whose lines come and go at any node, and readers that come back to any node with their place. When
 * all is well again every node and every reader knows exactly those who have a line, within the lease of a node and the grace.
 */
import { leaseSeconds } from "../presence/cluster.ts";
import { Person } from "../presence/people.ts";
import { Reader } from "../presence/reader.ts";
import type { Random } from "../support/random.ts";
import { until } from "../support/wait.ts";
import { type Checker, Violation } from "./checker.ts";
import type { NodeAddress } from "./client.ts";

/** Named so by `--presence` of each node. */
export const presenceTopic = "hall";
export const presenceGraceSeconds = 2;

const readerCount = 2;

interface PresenceOptions {
  readonly nodes: readonly NodeAddress[];
  readonly random: Random;
  readonly checker: Checker;
  readonly people: number;
}

export class PresenceWorld {
  readonly #options: PresenceOptions;
  readonly #doors;
  readonly #people: readonly Person[];
  readonly #readers: readonly Reader[];

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#doors = options.nodes.map((node) => ({ ...node, stoodStill: false }));
    const { random, people } = options;
    this.#people = Array.from({ length: people }, (_, nth) => new Person(`p${nth}`, presenceTopic));
    this.#readers = Array.from({ length: readerCount }, () => new Reader(presenceTopic, random.branch()));
  }

  async runUntil(signal: AbortSignal): Promise<void> {
    const random = (): Random => this.#options.random.branch();
    await Promise.all([
      ...this.#people.map((person) => this.#comeAndGo(person, random(), signal)),
      ...this.#readers.map((reader) => reader.readUntil(signal, () => this.#options.nodes)),
    ]);
  }

  async #comeAndGo(person: Person, random: Random, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (await person.come(random.pick(this.#doors))) this.#options.checker.tally.visits++;
      await Bun.sleep(random.between(0, 1500));
      const line = person.open[0];
      if (line && random.chance(0.7)) line.close();
      await Bun.sleep(random.between(0, 500));
    }
  }

  /** When all is well again. @throws {Violation} */
  async check(): Promise<void> {
    const { random, nodes } = this.#options;
    for (const person of this.#people) {
      const isHere = random.chance(0.5);
      if (!isHere) for (const line of person.open) line.close();
      else if (person.open.length === 0)
        await until(() => person.come(random.pick(this.#doors)), `${person.key} to be let in`);
    }
    const stop = new AbortController();
    const reading = Promise.all(this.#readers.map((reader) => reader.readUntil(stop.signal, () => nodes)));
    reading.catch(() => stop.abort());
    const living = (): string[] => this.#people.filter(({ open }) => open.length > 0).map(({ key }) => key);
    const seconds = 3 * (leaseSeconds + presenceGraceSeconds);
    try {
      for (const [nth, reader] of this.#readers.entries())
        await untilSame(living, async () => reader.here, `the reader ${nth}`, seconds);
      for (const node of nodes) await untilSame(living, () => membersAt(node), `${node.url}`, seconds);
    } finally {
      stop.abort();
      for (const { open } of this.#people) for (const line of open) line.close();
    }
    await reading;
  }
}

/** @throws {Violation} */
async function untilSame(
  living: () => readonly string[],
  told: () => Promise<ReadonlySet<string>>,
  who: string,
  seconds: number,
): Promise<void> {
  let found: ReadonlySet<string> = new Set();
  const isSame = async (): Promise<boolean> => {
    found = await told();
    return new Set(living()).symmetricDifference(found).size === 0;
  };
  await until(isSame, "", seconds).catch(() => {
    throw new Violation(`${who} has ${[...found].sort()} where ${living().toSorted()} have a line`);
  });
}

/** Whom a node has, by a snapshot. */
async function membersAt({ url }: NodeAddress): Promise<ReadonlySet<string>> {
  const answer = await fetch(new URL(`/presence/${presenceTopic}?since=all`, url));
  if (!answer.ok) return new Set();
  const events = (await answer.json()) as { partitionkey: string }[];
  return new Set(events.map(({ partitionkey }) => partitionkey));
}
