/** Appends to keyed topics: straight into their table, in the transaction of the batch. */
import type { Condition } from "../../topic/broker.ts";
import { isRemoval, keyOf } from "../../topic/key.ts";
import type { Position } from "../../topic/message.ts";
import { type HeldValue, requireKeys } from "../keyed-rules.ts";
import { type Entries, entryKinds } from "./entry.ts";
import { type KeptRow, type KeyedState, rowBytes } from "./keyed-row.ts";
import type { KeyedTable } from "./keyed-table.ts";
import type { StoreOptions } from "./protocol.ts";
import type { DiskTopic } from "./topic-table.ts";

/** Removals that one publication forgets at most, where the limit was lowered. */
const forgottenMax = 100;

/** An entry that is to be appended, and its place. */
interface KeyedDraft {
  readonly at: number;
  readonly key: string;
  readonly removed: 0 | 1;
  readonly bytes: number;
}

/** What an entry of a keyed topic says, before it has its place. */
export function keyedDraftAt(entries: Entries, at: number): KeyedDraft {
  const attributes = entries.attributesAt(at);
  const draft = attributes ? { attributes } : {};
  return { at, key: keyOf(draft), removed: isRemoval(draft) ? 1 : 0, bytes: entries.lengthAt(at) };
}

/** The keys of a publication, with what they have. */
type FoundKeys = Map<string, KeptRow | undefined>;

export class KeyedWriter {
  readonly #table: KeyedTable;
  readonly #limits: StoreOptions["limits"];

  constructor(table: KeyedTable, limits: StoreOptions["limits"]) {
    this.#table = table;
    this.#limits = limits;
  }

  /**
   * Whether a topic takes these entries.
   * @returns what the keys have
   * @throws {ConditionFailed} @throws {KeyAbsent} @throws {TopicFull} @throws {DamagedData}
   */
  require(
    topic: DiskTopic,
    state: KeyedState,
    position: Position,
    drafts: readonly KeyedDraft[],
    condition: Condition | undefined,
  ): FoundKeys {
    const found: FoundKeys = new Map();
    for (const { key } of drafts) if (!found.has(key)) found.set(key, this.#table.find(topic, key));
    const changes = drafts.map(({ key, removed, bytes }) => ({
      key,
      valueBytes: removed ? undefined : rowBytes(key, bytes),
    }));
    const held = (key: string) => heldIn(found.get(key));
    const { valueBytes } = this.#table;
    const target = { name: topic.name, position, valueCount: state.values, valueBytes, held };
    requireKeys(target, changes, condition, this.#limits);
    return found;
  }

  /** Gives an entry its place, and writes it. The caller has required its key, and saves the topic. */
  append(
    topic: DiskTopic,
    state: KeyedState,
    entries: Entries,
    { at, key, removed, bytes }: KeyedDraft,
    found: FoundKeys,
  ): KeyedState {
    const { id, last: offset, time, used: received } = topic;
    entries.placeAt(at, { topic: id, offset, time, received });
    const entry = entries.bytes.subarray(at, at + bytes);
    const put = this.#table.put(topic, state, { key, offset, removed, received, entry }, found.get(key));
    entries.setKindAt(at, entryKinds.void); // It is no part of the batch's row.
    found.set(key, put.kept);
    return this.#forgetSurplus(topic, put.state);
  }

  /** No more removals are kept than keys may be. */
  #forgetSurplus(topic: DiskTopic, state: KeyedState): KeyedState {
    const surplus = state.removals - this.#limits.keysMax;
    if (surplus <= 0) return state;
    return this.#table.forget(state, this.#table.oldestRemovals(topic, Math.min(surplus, forgottenMax)));
  }
}

/** The value that a row has. */
const heldIn = (row: KeptRow | undefined): HeldValue | undefined =>
  row?.removed === 0 ? { offset: row.offset, bytes: rowBytes(row.key, row.bytes) } : undefined;
