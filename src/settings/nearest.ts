/** What a mistyped word was probably meant to be. */

/**
 * @param distanceMax letters that may be inserted, left out, changed, or swapped with the next
 * @returns the known word that differs least, if it looks like a typo of it
 * @example nearest("--hots", ["--host", "--port"]) // "--host"
 */
export function nearest<Word extends string>(
  word: string,
  known: readonly Word[],
  distanceMax = 3,
): Word | undefined {
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .toSorted((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= distanceMax ? best.candidate : undefined;
}

/** The number of characters to insert, delete, replace or swap to turn one text into another (optimal string alignment). */
function editDistance(from: string, to: string): number {
  let before: readonly number[] = [];
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (const [index, character] of [...from].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (character === to[column - 1] ? 0 : 1);
      const isSwapped = column > 1 && character === to[column - 2] && from[index - 1] === to[column - 1];
      const swapped = isSwapped ? (before[column - 2] ?? 0) + 1 : replaced;
      next.push(Math.min(replaced, swapped, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    before = row;
    row = next;
  }
  return row.at(-1) ?? 0;
}
