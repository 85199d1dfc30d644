/** Cutting a member's value out of JSON exactly as it was written. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { rawMember } from "../../src/wire/json-member.ts";
import { seed } from "../support/random.ts";

setDefaultTimeout(120_000); // Thousands of generated texts, on a machine that may be busy.
fc.configureGlobal({ seed });

const space = fc.string({ unit: fc.constantFrom(" ", "\t", "\r", "\n"), maxLength: 3 });

/** A name or text as JSON, with some needless escapes. */
const jsonString = fc
  .array(
    fc.tuple(
      fc.oneof(fc.string({ unit: "binary", maxLength: 3 }), fc.constantFrom('"', "\\", "{}", "data", ",:")),
      fc.boolean(),
    ),
    {
      maxLength: 4,
    },
  )
  .map(
    (parts) =>
      `"${parts.map(([part, escaped]) => (escaped ? escapeAll(part) : JSON.stringify(part).slice(1, -1))).join("")}"`,
  );

const escapeAll = (text: string): string =>
  Array.from(
    { length: text.length },
    (_, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, "0")}`,
  ).join("");

const literal = fc.constantFrom(
  "0",
  "-0",
  "1.0",
  "1e400",
  "-1.5E+3",
  "12345678901234567890",
  "true",
  "false",
  "null",
);

/** JSON with any spacing, any escapes and repeated names. */
const { value: jsonText, members } = fc.letrec<{
  value: string;
  list: string;
  object: string;
  members: string[][];
}>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    literal,
    jsonString,
    tie("list"),
    tie("object"),
  ),
  list: fc
    .tuple(fc.array(fc.tuple(space, tie("value"), space), { maxLength: 3 }), space)
    .map(
      ([items, empty]) => `[${items.length === 0 ? empty : items.map((parts) => parts.join("")).join(",")}]`,
    ),
  object: fc.tuple(tie("members"), space).map(([parts, empty]) => objectOf(parts, empty)),
  members: fc.array(
    fc
      .tuple(space, jsonString, space, space, tie("value"), space)
      .map(([one, name, two, three, value, four]) => [name, value, one, two, three, four]),
    { maxLength: 4 },
  ),
}));

const objectOf = (parts: string[][], empty: string): string =>
  `{${parts.length === 0 ? empty : parts.map(([name, value, one, two, three, four]) => `${one}${name}${two}:${three}${value}${four}`).join(",")}}`;

describe("a member of an object", () => {
  test("is found by its name, unchanged, however the object is written", () => {
    fc.assert(
      fc.property(members, space, space, space, (parts, before, after, empty) => {
        const text = before + objectOf(parts, empty) + after;
        const parsed = JSON.parse(text) as Record<string, unknown>;
        const written = new Map(parts.map(([name, value]) => [JSON.parse(name as string) as string, value]));
        for (const [name, value] of written) {
          expect(rawMember(text, name)).toBe(value);
          if (name !== "__proto__") expect(JSON.parse(value as string)).toEqual(parsed[name]);
        }
        for (const absent of ["data", "", "absent", "toString"]) {
          if (!written.has(absent)) expect(rawMember(text, absent)).toBeUndefined();
        }
      }),
      { numRuns: 500 },
    );
  });

  test("written by JSON.stringify parses to the same value as in JSON.parse", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.integer({ min: 0, max: 4 }),
        (object, indent) => {
          const text = JSON.stringify(object, null, indent);
          const parsed = JSON.parse(text) as Record<string, unknown>;
          for (const name of Object.keys(parsed)) {
            expect(JSON.parse(rawMember(text, name) ?? "")).toEqual(parsed[name]);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("keeps numbers, spaces and escapes that parsing would change", () => {
    const text = '{ "data" : [ 1.0, 1e400,\t"\\u0041\\/" ,12345678901234567890 ]\n, "x":1}';
    expect(rawMember(text, "data")).toBe('[ 1.0, 1e400,\t"\\u0041\\/" ,12345678901234567890 ]');
  });

  test("is the last one of a repeated name, and is found by an escaped name", () => {
    expect(rawMember('{"data":1,"data":2}', "data")).toBe("2");
    expect(rawMember('{"d\\u0061ta":1}', "data")).toBe("1");
    expect(rawMember('{"x":{"data":1}}', "data")).toBeUndefined();
    expect(rawMember('{"x":"\\",\\"data\\":1","data":2}', "data")).toBe("2");
  });

  test("is found after values that are nested deeper than a stack allows", () => {
    const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    expect(rawMember(`{"x":${deep},"data":${deep}}`, "data")).toBe(deep);
  });
});

test("a long text that is not ASCII is cut out in at most 5 times the time of parsing it", () => {
  const text = JSON.stringify({ specversion: "1.0", data: "长连接".repeat(120_000) });
  const cut = fastest(() => rawMember(text, "data"));
  const parse = fastest(() => JSON.parse(text));
  // Measured: 0.1 of it. A walk over single characters takes 45 times as long as parsing.
  expect(cut).toBeLessThan(parse * 5);
});

/** Milliseconds of the fastest of some runs: another process can only make a run slower. */
function fastest(run: () => unknown): number {
  const milliseconds = Array.from({ length: 15 }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
  return Math.min(...milliseconds);
}

test("the generated JSON parses", () => {
  // The property above needs it.
  fc.assert(fc.property(jsonText, (text) => void JSON.parse(text)));
});
