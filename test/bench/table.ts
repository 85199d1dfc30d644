/** A Markdown table that is also readable on a terminal. */

/** @param numbersFrom the first column that is aligned to the right */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numbersFrom: number,
): string {
  const widths = head.map((_, column) =>
    Math.max(3, ...[head, ...rows].map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column < numbersFrom ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(" | ")} |`;
  const rule = widths.map((width, column) => "-".repeat(width - 1) + (column < numbersFrom ? "-" : ":"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

/** Three significant digits, whole numbers in groups of three. */
export function figure(value: number | undefined): string {
  if (value === undefined) return "n/a";
  const rounded = Number(value.toPrecision(3));
  return rounded >= 100 ? rounded.toLocaleString("en-US") : value.toPrecision(3);
}

export function ratioWords(ratio: number | undefined): string {
  if (ratio === undefined) return "";
  return `×${ratio < 10 ? ratio.toFixed(2) : figure(ratio)}`;
}
