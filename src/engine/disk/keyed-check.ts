/** What `longwire data check` finds wrong with keyed topics: their rows, and what their topics say of them. */
import type { Database } from "bun:sqlite";
import {
  isSoundRow,
  type KeyedTopicRow,
  keyedTopicChecksum,
  keyTerm,
  offsetTerm,
  rowBytes,
  type StoredRow,
  stateOfRow,
  sumOf,
} from "./keyed-row.ts";
import { hasTable } from "./schema.ts";

export interface KeyedChecked {
  /** The numbers of the keyed topics. */
  readonly topics: ReadonlySet<number>;
  readonly values: number;
}

/** @param add is called for each fault. A topic that is gone is not one: its rows are being deleted */
export function checkKeyed(database: Database, add: (fault: string) => void): KeyedChecked {
  const topics = new Set<number>();
  if (!hasTable(database, "keyed_topic")) return { topics, values: 0 };
  let values = 0;
  const rows = database
    .query("SELECT keyed_topic.*, name FROM keyed_topic JOIN topic ON topic.id = keyed_topic.topic")
    .all() as (KeyedTopicRow & { readonly name: string })[];
  for (const row of rows) {
    topics.add(row.topic);
    values += checkTopic(database, row, add);
  }
  const { strays } = database
    .query("SELECT count(*) AS strays FROM keyed WHERE topic NOT IN (SELECT topic FROM keyed_topic)")
    .get() as { readonly strays: number };
  if (strays > 0) add(`${strays} entries belong to no keyed topic`);
  return { topics, values };
}

/** @returns the number of its values */
function checkTopic(
  database: Database,
  row: KeyedTopicRow & { readonly name: string },
  add: (fault: string) => void,
): number {
  const { topic, name } = row;
  const state = stateOfRow(row);
  if (row.checksum !== keyedTopicChecksum(topic, state))
    add(`the keys of the topic ${name} do not match their checksum`);
  const found = { values: 0, removals: 0, valueBytes: 0, offsetSum: 0, keySum: 0 };
  const rows = database
    .query("SELECT * FROM keyed WHERE topic = ?")
    .iterate(topic) as IterableIterator<StoredRow>;
  for (const entry of rows) {
    const { key, offset, removed } = entry;
    if (!isSoundRow(entry)) add(`the entry ${offset} of the topic ${name} does not match its checksum`);
    found.values += 1 - removed;
    found.removals += removed;
    if (removed === 0) found.valueBytes += rowBytes(key, entry.entry.length);
    found.offsetSum = sumOf(found.offsetSum, offsetTerm(entry), 0);
    found.keySum = sumOf(found.keySum, keyTerm(entry), 0);
  }
  if (!Bun.deepEquals({ ...state, ...found }, state))
    add(
      `the topic ${name} has ${found.values} values and ${found.removals} removals, and should have ${state.values} and ${state.removals}`,
    );
  return found.values;
}
