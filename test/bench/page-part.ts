/** The part of a page between two markers, which a run rewrites. */
import { readFileSync, writeFileSync } from "node:fs";

/** @throws if the page has no such part */
export function findPart(page: string, name: string): { readonly before: string; readonly after: string } {
  const begin = `<!-- ${name}: written by bun run bench ${name} --update-docs -->`;
  const end = `<!-- end of ${name} -->`;
  const whole = readFileSync(page, "utf8");
  const from = whole.indexOf(begin);
  const to = whole.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${page} needs the two lines\n${begin}\n${end}`);
  return { before: whole.slice(0, from + begin.length), after: whole.slice(to) };
}

export function rewritePart(page: string, name: string, text: string): void {
  const { before, after } = findPart(page, name);
  writeFileSync(page, `${before}\n\n${text}\n\n${after}`);
}
