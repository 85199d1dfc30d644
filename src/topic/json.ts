/** Parses JSON, and says where a text stops being JSON: `JSON.parse` does not. */
import { DraftError } from "./draft-error.ts";

/**
 * @param what names the text, such as `The event`
 * @throws {DraftError} that begins with it and names the place
 */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new DraftError(`${what} is not JSON${placeOfFault(text)}.`);
  }
}

function placeOfFault(text: string): string {
  const offset = faultOffset(text);
  if (offset >= text.length) return ": it ends too early";
  const before = text.slice(0, offset).split("\n");
  const column = `column ${(before.at(-1) ?? "").length + 1}`;
  return ` from ${text.includes("\n") ? `line ${before.length}, ${column}` : column} on`;
}

/** Space, and the first unit of a token; a number or a word is a token of its own. */
const token = /[ \t\r\n]*(?:([[\]{}:,"])|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)?/y;

/** Parts of a string: units from the space on, but the quote and the backslash, and escapes. */
const stringPart = /[ !#-[\]-\uffff]+|\\(?:["\\/bfnrt]|u[\da-fA-F]{4})/y;

/** What begins a value: a bracket, a string, or a number or word, which are written as `0`. */
const value = '{["0';

/** The offset of the first token that JSON does not allow where it is (RFC 8259). */
function faultOffset(text: string): number {
  const closers: string[] = [];
  let allowed = value;
  for (let at = 0; ; ) {
    token.lastIndex = at;
    const [matched = "", mark = "0"] = token.exec(text) ?? [];
    const spaces = matched.search(/\S/);
    if (spaces === -1) return at + matched.length;
    if (!allowed.includes(mark)) return at + spaces;
    at += matched.length;
    if (mark === '"') {
      at = endOfParts(text, at);
      if (text[at++] !== '"') return at - 1;
    }
    if (mark === "{" || mark === "[") closers.push(mark === "{" ? "}" : "]");
    if (mark === "}" || mark === "]") closers.pop();
    allowed = allowedAfter(mark, allowed, closers.at(-1));
  }
}

function endOfParts(text: string, start: number): number {
  let end = start;
  for (stringPart.lastIndex = start; stringPart.test(text); ) end = stringPart.lastIndex;
  return end;
}

/** @param closer of the object or array around it, if there is one */
function allowedAfter(mark: string, allowedBefore: string, closer: string | undefined): string {
  if (mark === "{") return '"}';
  if (mark === "[") return `${value}]`;
  if (mark === ":") return value;
  if (mark === ",") return closer === "}" ? '"' : value;
  const isName = mark === '"' && !allowedBefore.includes("0");
  return isName ? ":" : closer === undefined ? "" : `,${closer}`;
}
