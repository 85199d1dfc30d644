/** A member's value cut out of JSON as it was written, so that no number, space or escape in it changes. */

/**
 * @param object the text of a JSON object, known to parse
 * @returns the value's own text; of a name that stands twice the last one, as JSON.parse takes it
 */
export function rawMember(object: string, name: string): string | undefined {
  let found: string | undefined;
  let at = skipSpace(object, object.indexOf("{") + 1);
  while (object[at] === '"') {
    const nameEnd = endOfString(object, at);
    const valueStart = skipSpace(object, skipSpace(object, nameEnd) + 1);
    const valueEnd = endOfValue(object, valueStart);
    if (JSON.parse(object.slice(at, nameEnd)) === name) found = object.slice(valueStart, valueEnd);
    at = skipSpace(object, skipSpace(object, valueEnd) + 1);
  }
  return found;
}

function skipSpace(text: string, at: number): number {
  while (" \t\r\n".includes(text[at] ?? "}")) at++;
  return at;
}

/** @param start where the opening quote stands @returns where the text goes on behind the closing one */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  do {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else {
      if (character === "{" || character === "[") depth++;
      if (character === "}" || character === "]") depth--;
      at++;
    }
  } while (depth > 0 || !",}] \t\r\n".includes(text[at] ?? ","));
  return at;
}
