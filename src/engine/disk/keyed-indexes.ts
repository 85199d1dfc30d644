/** The two indexes of `keyed`, by which its rows are found. */
import type { Database } from "bun:sqlite";
import { type KeyedState, type KeyedTopic, keyTerm, sumOf } from "./keyed-row.ts";
import { DamagedData } from "./schema.ts";

/**
 * Looks up each entry of both indexes, in both directions where they are read so, once in a process: 100,000 keys take 200 to
 * 400 ms. A scan alone would not do: it also shows an entry that a search does not find, because another one is damaged.
 * @throws {DamagedData}
 */
export function compareIndexes(database: Database, { id, name }: KeyedTopic, state: KeyedState): void {
  const counts = database
    .query(
      `SELECT found.removed, count(*) AS count, sum((found.offset + found.id) & 4294967295) & 4294967295 AS sum
        FROM keyed AS each INDEXED BY keyed_by_offset CROSS JOIN keyed AS found INDEXED BY keyed_by_offset
        ON found.topic = ?1 AND found.removed = each.removed AND found.offset = each.offset
        WHERE each.topic = ?1 AND each.id = (SELECT id FROM keyed INDEXED BY keyed_by_offset
          WHERE topic = ?1 AND removed = each.removed AND offset <= each.offset ORDER BY offset DESC LIMIT 1)
        GROUP BY found.removed`,
    )
    .all(id) as { readonly removed: number; readonly count: number; readonly sum: number }[];
  const countOf = (removed: 0 | 1): number => counts.find((row) => row.removed === removed)?.count ?? 0;
  const offsetSum = counts.reduce((sum, row) => sumOf(sum, row.sum, 0), 0);
  // A key that has become a BLOB has the same bytes, and no search for the text finds it.
  const keys = database
    .query(
      `SELECT found.id, found.key FROM keyed AS each INDEXED BY keyed_by_key
        CROSS JOIN keyed AS found INDEXED BY keyed_by_key ON found.topic = ?1 AND found.key = each.key
        WHERE each.topic = ?1 AND typeof(found.key) = 'text'`,
    )
    .values(id) as [number, string][];
  const keySum = keys.reduce((sum, [id, key]) => sumOf(sum, keyTerm({ id, key }), 0), 0);
  const isWhole =
    countOf(0) === state.values &&
    countOf(1) === state.removals &&
    keys.length === state.values + state.removals &&
    offsetSum === state.offsetSum &&
    keySum === state.keySum;
  if (!isWhole) throw new DamagedData(`an index of the keys of topic "${name}"`);
}
