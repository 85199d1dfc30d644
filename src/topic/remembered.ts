/** Results that are kept by the text that they were made from, for texts that most requests repeat. */
import { ownText } from "./owned-text.ts";

/** Clients send few different texts. If there are more, all are forgotten, so that invented ones take no memory. */
const textsMax = 256;

/** In characters. The result for a longer one is made anew each time. */
const textLengthMax = 255;

/**
 * A function that keeps its results, but `undefined`.
 * @param make the same for the same text. A result that is kept may be cut out of the text that it is given, which owns its memory
 */
export function remembered<Result>(make: (text: string) => Result): (text: string) => Result {
  const results = new Map<string, Result>();
  return (text) => {
    const known = results.get(text);
    if (known !== undefined) return known;
    if (text.length > textLengthMax) return make(text);
    const own = ownText(text);
    const result = make(own);
    if (results.size === textsMax) results.clear();
    results.set(own, result);
    return result;
  };
}
