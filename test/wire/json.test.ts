/** Where a text stops being JSON. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { DraftError } from "../../src/topic/draft.ts";
import { parseJson } from "../../src/topic/json.ts";
import { seed } from "../support/random.ts";

setDefaultTimeout(120_000);

function faultOf(text: string): string | undefined {
  try {
    parseJson(text, "It");
    return undefined;
  } catch (error) {
    if (!(error instanceof DraftError)) throw error;
    return error.message;
  }
}

describe("a text that is no JSON is refused with the place where it stops being JSON", () => {
  for (const [text, said] of [
    ["", "It is not JSON: it ends too early."],
    ["  ", "It is not JSON: it ends too early."],
    ['{"a":', "It is not JSON: it ends too early."],
    ["[1,2", "It is not JSON: it ends too early."],
    ['"abc', "It is not JSON: it ends too early."],
    ["hello", "It is not JSON from column 1 on."],
    ['{"a":}', "It is not JSON from column 6 on."],
    ['{"a":1,}', "It is not JSON from column 8 on."],
    ["[1,]", "It is not JSON from column 4 on."],
    ["{'a':1}", "It is not JSON from column 2 on."],
    ["{1:2}", "It is not JSON from column 2 on."],
    ["[1}", "It is not JSON from column 3 on."],
    ['{"a":1]', "It is not JSON from column 7 on."],
    ['["a":1]', "It is not JSON from column 5 on."],
    ["[[1],[2]] 3", "It is not JSON from column 11 on."],
    ["01", "It is not JSON from column 2 on."],
    ["1.", "It is not JSON from column 2 on."],
    ["[TRUE]", "It is not JSON from column 2 on."],
    ['"a\\x"', "It is not JSON from column 3 on."],
    ['"a\tb"', "It is not JSON from column 3 on."],
    ['{\n  "a": 1,\n  "b" 2\n}', "It is not JSON from line 3, column 7 on."],
  ] as const)
    test(JSON.stringify(text), () => {
      expect(faultOf(text)).toBe(said);
    });

  test("an unterminated string of many megabytes, and brackets in brackets, too", () => {
    expect(faultOf(`"${"x".repeat(10_000_000)}`)).toBe("It is not JSON: it ends too early.");
    expect(faultOf(`"${"\\n".repeat(3_000_000)}\u0001"`)).toBe("It is not JSON from column 6000002 on.");
    expect(faultOf(`${"[".repeat(30_000)}}`)).toBe("It is not JSON from column 30001 on.");
  });
});

test("of any JSON with a stray character the place is that character, or the word or string part that it breaks", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(), (json, at) => {
      const index = at % (json.length + 1);
      const text = `${json.slice(0, index)}\u0001${json.slice(index)}`;
      const [, column] = / from column (\d+) on\.$/.exec(faultOf(text) ?? "") ?? [];
      const found = Number(column) - 1;
      // A stray character after `tr` breaks the word, one after `2.` the number, and one after `\u00` the escape.
      return (
        found === index ||
        (found < index && /^(?:[a-z]+|-|\.|[eE][+-]?|\\u?[\da-fA-F]*)$/.test(text.slice(found, index)))
      );
    }),
    { seed, numRuns: 5000 },
  );
});

test("what is JSON is parsed", () => {
  fc.assert(
    fc.property(fc.json(), (json) => faultOf(json) === undefined),
    { seed, numRuns: 200 },
  );
  expect(parseJson(' {"a":[1]} ', "It")).toEqual({ a: [1] });
});
