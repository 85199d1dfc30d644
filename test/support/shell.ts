/** A text as one word of a shell. */
export const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
