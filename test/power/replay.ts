/**
 * What a power cut leaves of a directory. What was synced is there. Of what was not, it depends: the kernel writes pages when
 * and in which order it likes, and a disk writes sectors. Changes of names survive in their order, as in a filesystem's journal.
 * After a sync that failed, no later one counts for what was written before it: Linux takes those pages as clean.
 */
import type { Random } from "../support/random.ts";
import type { Entry } from "./journal.ts";

/** A file by its name. `id` stays the same when it is renamed. */
export interface KeptFile {
  readonly id: string;
  readonly bytes: Buffer;
}

export type Files = ReadonlyMap<string, KeptFile>;

/** What survives of the changes that were not synced. */
export const survivals = ["none", "all", "prefix", "sectors of 512", "sectors of 4096", "reversed"] as const;
export type Survival = (typeof survivals)[number];

type Change =
  | { readonly kind: "create"; readonly name: string; readonly id: string; isDurable: boolean }
  | { readonly kind: "unlink"; readonly name: string; isDurable: boolean }
  | { readonly kind: "rename"; readonly name: string; readonly to: string; isDurable: boolean }
  | {
      readonly kind: "write";
      readonly id: string;
      readonly offset: number;
      readonly data: Buffer;
      isDurable: boolean;
    }
  | { readonly kind: "truncate"; readonly id: string; readonly length: number; isDurable: boolean };

type Span = readonly [begin: number, end: number];

/**
 * @param before the directory at the first entry, all of it durable
 * @param at the number of entries before the cut
 */
export function filesAfterCut(
  before: Files,
  entries: readonly Entry[],
  at: number,
  survival: Survival,
  random: Random,
): Files {
  const changes = changesOf(before, entries.slice(0, at));
  const spansOf = survivorsOf(changes, survival, random);
  const names = new Map([...before].map(([name, { id }]) => [name, id]));
  const contents = new Map([...before.values()].map(({ id, bytes }) => [id, new Content(bytes)]));
  for (const [index, change] of changes.entries())
    for (const span of change.isDurable ? [whole] : spansOf(change, index))
      apply(change, span, names, contents);
  return new Map(
    [...names].map(([name, id]) => [name, { id, bytes: contents.get(id)?.bytes ?? Buffer.alloc(0) }]),
  );
}

const whole: Span = [0, Number.POSITIVE_INFINITY];

/** Keeps spare room, since a file grows with many small writes. */
class Content {
  #room: Buffer;
  #length: number;

  constructor(bytes: Buffer) {
    this.#room = Buffer.from(bytes);
    this.#length = bytes.length;
  }

  get bytes(): Buffer {
    return this.#room.subarray(0, this.#length);
  }

  write(at: number, data: Buffer): void {
    if (at + data.length > this.#length) this.resize(at + data.length);
    data.copy(this.#room, at);
  }

  resize(length: number): void {
    if (length > this.#room.length) this.#room = Buffer.concat([this.bytes], length * 2);
    else this.#room.fill(0, Math.min(length, this.#length), Math.max(length, this.#length));
    this.#length = length;
  }
}

function apply(
  change: Change,
  [begin, end]: Span,
  names: Map<string, string>,
  contents: Map<string, Content>,
): void {
  if (change.kind === "create") names.set(change.name, change.id);
  else if (change.kind === "unlink") names.delete(change.name);
  else if (change.kind === "rename") {
    const id = names.get(change.name);
    if (id !== undefined) names.set(change.to, id);
    names.delete(change.name);
  } else {
    const content = contents.get(change.id) ?? new Content(Buffer.alloc(0));
    contents.set(change.id, content);
    if (change.kind === "truncate") content.resize(change.length);
    else content.write(change.offset + begin, change.data.subarray(begin, end));
  }
}

function changesOf(before: Files, entries: readonly Entry[]): Change[] {
  const changes: Change[] = [];
  const ids = new Map([...before].map(([name, { id }]) => [name, id]));
  /** The changes that the next sync makes durable, by file; those of names by "". */
  const pending = new Map<string, Change[]>();
  const syncing = new Map<number, Change[]>();
  const add = (of: string, change: Change): void => {
    changes.push(change);
    const others = pending.get(of);
    if (others) others.push(change);
    else pending.set(of, [change]);
  };
  for (const [index, { kind, name, thread, result, offset, data }] of entries.entries()) {
    if (kind === "note") continue;
    const isFile = name !== "";
    if ((kind === "write" || kind === "truncate") && !ids.has(name)) {
      ids.set(name, `${name} of ${thread} at ${index}`);
      add("", { kind: "create", name, id: ids.get(name) ?? "", isDurable: false });
    }
    const id = isFile ? (ids.get(name) ?? name) : "";
    switch (kind) {
      case "write":
        add(id, { kind, id, offset, data, isDurable: false });
        break;
      case "truncate":
        add(id, { kind, id, length: offset, isDurable: false });
        break;
      case "unlink":
        add("", { kind, name, isDurable: false });
        ids.delete(name);
        break;
      case "rename":
        add("", { kind, name, to: data.toString(), isDurable: false });
        ids.set(data.toString(), id);
        ids.delete(name);
        break;
      case "sync begin":
        syncing.set(thread, pending.get(id) ?? []);
        pending.delete(id);
        break;
      case "sync end":
        for (const change of syncing.get(thread) ?? []) change.isDurable = result === 0;
        syncing.delete(thread);
    }
  }
  return changes;
}

/** @returns the parts of a change that survive, where it is not durable; whole or not at all unless it is a write */
function survivorsOf(
  changes: readonly Change[],
  survival: Survival,
  random: Random,
): (change: Change, index: number) => Span[] {
  const edge = random.below(changes.length + 1);
  const share = random.pick([0.1, 0.5, 0.9]);
  const survives = (change: Change, index: number): boolean => {
    if (survival === "all" || survival === "none") return survival === "all";
    const isOfData = change.kind === "write" || change.kind === "truncate";
    if (!isOfData || survival === "prefix") return index < edge;
    return survival === "reversed" ? index >= edge : random.chance(share);
  };
  const sectorBytes = survival === "sectors of 512" ? 512 : survival === "sectors of 4096" ? 4096 : undefined;
  return (change, index) => {
    if (change.kind === "write" && sectorBytes !== undefined)
      return sectorsOf(change.offset, change.data.length, sectorBytes).filter(() => random.chance(share));
    return survives(change, index) ? [whole] : [];
  };
}

function sectorsOf(offset: number, length: number, sectorBytes: number): Span[] {
  const spans: Span[] = [];
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + sectorBytes - ((offset + at) % sectorBytes));
    spans.push([at, end]);
    at = end;
  }
  return spans;
}
