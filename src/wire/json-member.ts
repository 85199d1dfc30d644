/** Cuts values out of JSON text as they were written, so that no number, space or escape in them changes. */

const quote = 0x22;
const comma = 0x2c;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/**
 * @param object the text of a JSON object, known to parse
 * @returns the value's own text; the last one if the name is there twice, as in JSON.parse
 */
export function rawMember(object: string, name: string): string | undefined {
  let found: string | undefined;
  let at = skipSpace(object, object.indexOf("{") + 1);
  while (object.charCodeAt(at) === quote) {
    const nameEnd = endOfString(object, at);
    const valueStart = skipSpace(object, skipSpace(object, nameEnd) + 1);
    const valueEnd = endOfValue(object, valueStart);
    if (isName(object.slice(at, nameEnd), name)) found = object.slice(valueStart, valueEnd);
    at = skipSpace(object, skipSpace(object, valueEnd) + 1);
  }
  return found;
}

/**
 * @param array the text of a JSON array, known to parse
 * @returns the text of each element
 */
export function rawElements(array: string): string[] {
  const elements: string[] = [];
  let at = skipSpace(array, array.indexOf("[") + 1);
  while (at < array.length && array.charCodeAt(at) !== closeBracket) {
    const end = endOfValue(array, at);
    elements.push(array.slice(at, end));
    at = skipSpace(array, skipSpace(array, end) + 1);
  }
  return elements;
}

function isName(written: string, name: string): boolean {
  return written.includes("\\") ? JSON.parse(written) === name : written.slice(1, -1) === name;
}

/** JSON's spaces are space, tab, LF and CR; no other character up to U+0020 is outside a string. */
function skipSpace(text: string, start: number): number {
  let at = start;
  while (text.charCodeAt(at) <= 0x20) at++;
  return at;
}

/**
 * Jumps from quote to quote, because long strings are the usual case and `indexOf` reads them many units at once.
 * @param start the index of the opening quote
 * @returns the index after the closing quote
 */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let at = end;
    while (text.charCodeAt(at - 1) === backslash) at--;
    // An even number of backslashes before a quote escape each other.
    if ((end - at) % 2 === 0) return end + 1;
  }
}

function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  do {
    const unit = text.charCodeAt(at);
    if (unit === quote) {
      at = endOfString(text, at);
      continue;
    }
    if (unit === openBrace || unit === openBracket) depth++;
    else if (unit === closeBrace || unit === closeBracket) depth--;
    at++;
  } while (depth > 0 || !isEnd(text.charCodeAt(at)));
  return at;
}

/** Whether a value that is not inside another one ends before this unit. */
function isEnd(unit: number): boolean {
  return unit === comma || unit === closeBrace || unit === closeBracket || unit <= 0x20 || Number.isNaN(unit);
}
