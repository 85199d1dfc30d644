/** The readers of event streams and of JSON lines: any text, in any pieces, against a reference parser. */

import { heapStats } from "bun:jsc";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { createParser } from "eventsource-parser";
import fc from "fast-check";
import { DraftError } from "../../src/topic/draft.ts";
import { EventStreamReader } from "../../src/wire/event-stream-reader.ts";
import { ItemSizeError } from "../../src/wire/item-size.ts";
import { JsonLinesReader } from "../../src/wire/json-lines-reader.ts";
import { outsideHeapBytes } from "../support/heap.ts";
import { seed } from "../support/random.ts";

setDefaultTimeout(120_000);
fc.configureGlobal({ seed });

const bytesMax = 1000;

/** Cuts bytes at the given places, in the middle of characters too. */
function pieces(text: string, cuts: readonly number[]): Uint8Array[] {
  const bytes = new TextEncoder().encode(text);
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])];
  places.sort((one, other) => one - other);
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

const lineEnd = fc.constantFrom("\n", "\r\n", "\r");
const value = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 20 }),
  fc.constantFrom("", " ", "  x", ":", "a: b", "{}", "\u2028", "长连接 🔌", "\0"),
);
const line = fc
  .tuple(
    fc.constantFrom("data", "data", "data", "event", "id", "retry", "other", "", "data ", "DATA", "datax"),
    fc.constantFrom(":", ": ", ":  ", ""),
    value,
  )
  .map(([name, colon, text]) => (colon === "" ? name : `${name}${colon}${text.replaceAll(/[\r\n]/g, "")}`));
const eventStream = fc
  .tuple(
    fc.constantFrom("", "", "\ufeff"),
    fc.array(
      fc.tuple(fc.oneof({ weight: 2, arbitrary: line }, { weight: 1, arbitrary: fc.constant("") }), lineEnd),
    ),
  )
  .map(([mark, lines]) => mark + lines.flat().join(""));
const cuts = fc.array(fc.nat(), { maxLength: 8 });

function read(text: string, places: readonly number[]): { type: string; data: string }[] {
  const reader = new EventStreamReader(bytesMax);
  return [...pieces(text, places).flatMap((piece) => [...reader.read(piece)]), ...reader.finish()];
}

describe("an event stream", () => {
  test("is read as eventsource-parser reads it, in whatever pieces it comes", () => {
    fc.assert(
      fc.property(eventStream, cuts, (text, places) => {
        const expected: { type: string; data: string }[] = [];
        const parser = createParser({
          onEvent: ({ event, data }) => void expected.push({ type: event ?? "", data }),
        });
        // It takes CR as a line end only where another character follows, so it is given LF.
        parser.feed(text.replaceAll(/\r\n|\r/g, "\n"));
        expect(read(text, places)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("is read byte by byte as at once", () => {
    fc.assert(
      fc.property(eventStream, (text) => {
        const every = Array.from({ length: new TextEncoder().encode(text).length }, (_, index) => index);
        expect(read(text, every)).toEqual(read(text, []));
      }),
      { numRuns: 300 },
    );
  });

  for (const [what, text, events] of [
    ["fields without a space, and one that is taken", "data:a\ndata:  b\n\n", [{ type: "", data: "a\n b" }]],
    [
      "a field without a colon",
      "data\n\ndata\ndata\n\n",
      [
        { type: "", data: "" },
        { type: "", data: "\n" },
      ],
    ],
    [
      "a type, which the next event does not have",
      "event: t\ndata: 1\n\ndata: 2\n\n",
      [
        { type: "t", data: "1" },
        { type: "", data: "2" },
      ],
    ],
    ["no event without data, and its type with it", "event: t\n\ndata: 1\n\n", [{ type: "", data: "1" }]],
    ["no comment", ": c\n:data: x\n\ndata: 1\n:\n\n", [{ type: "", data: "1" }]],
    ["no event without its blank line", "data: 1\n\ndata: 2\n", [{ type: "", data: "1" }]],
    ["one byte order mark at the start", "\ufeffdata: 1\n\n", [{ type: "", data: "1" }]],
    ["CR alone as the end of a line", "data: 1\rdata: 2\r\r", [{ type: "", data: "1\n2" }]],
    [
      "CRLF as one end",
      "data: 1\r\n\r\ndata: 2\r\n\r\n",
      [
        { type: "", data: "1" },
        { type: "", data: "2" },
      ],
    ],
  ] as const) {
    test(`has ${what}`, () => {
      expect(read(text, [])).toEqual([...events]);
      expect(
        read(
          text,
          [...text].map((_, index) => index),
        ),
      ).toEqual([...events]);
    });
  }

  test("gives an event in the step in which its blank line comes, also by a CR", () => {
    const reader = new EventStreamReader(bytesMax);
    const given = (text: string) => [...reader.read(new TextEncoder().encode(text))].map(({ data }) => data);
    expect(given("data: 1\r\r")).toEqual(["1"]);
    expect(given("\ndata: 2\n")).toEqual([]);
    expect(given("\n")).toEqual(["2"]);
  });

  test("gives the events before the one that is too large", () => {
    const reader = new EventStreamReader(10);
    const given: string[] = [];
    const feed = (): void => {
      const text = "data: 1234567890\n\ndata: 长长长a\n\ndata: 12345678901\n\ndata: 1\n\n";
      for (const { data } of reader.read(new TextEncoder().encode(text))) given.push(data);
    };
    expect(feed).toThrow(ItemSizeError);
    expect(given).toEqual(["1234567890", "长长长a"]);
  });

  test("holds no more than an event may have, whatever a body promises", () => {
    for (const text of ["data: ", "data: x\ndata: x\n", ": comment ", "x".repeat(10), "data:\n"]) {
      const reader = new EventStreamReader(1000);
      const piece = new TextEncoder().encode(text.repeat(20));
      const feed = (): void => {
        for (let count = 0; count < 200; count++) {
          for (const _ of reader.read(piece));
          expect(reader.heldBytes).toBeLessThan(4500);
        }
      };
      expect(feed).toThrow(ItemSizeError);
    }
  });

  test("with a million lines in one piece is read in one pass", () => {
    for (const end of ["\r", "\n", "\r\n"]) {
      const reader = new EventStreamReader(bytesMax);
      const piece = new TextEncoder().encode(`:${end}`.repeat(1_000_000));
      // Time on a processor, not by the clock: a reader that begins anew at each line takes minutes.
      const begun = process.cpuUsage();
      for (const _ of reader.read(piece));
      const { user, system } = process.cpuUsage(begun);
      expect((user + system) / 1e6).toBeLessThan(10);
    }
  });

  test("that is not UTF-8 is refused", () => {
    const reader = new EventStreamReader(bytesMax);
    expect(() => [...reader.read(Uint8Array.of(0x64, 0xff))]).toThrow(DraftError);
    const broken = new EventStreamReader(bytesMax);
    expect([...broken.read(Uint8Array.of(0x64, 0xe9))]).toEqual([]);
    expect(() => broken.finish()).toThrow(DraftError);
  });
});

describe("JSON lines", () => {
  const readLines = (text: string, places: readonly number[]): string[] => {
    const reader = new JsonLinesReader(bytesMax);
    return [...pieces(text, places).flatMap((piece) => [...reader.read(piece)]), ...reader.finish()];
  };

  test("are read one by one as they were written, in whatever pieces they come", () => {
    const written = fc
      .tuple(fc.json(), fc.constantFrom("", " ", "\t"))
      .map(([json, space]) => json + space)
      .filter((line) => Buffer.byteLength(line) <= bytesMax);
    const body = fc.array(fc.tuple(written, fc.constantFrom("\n", "\r\n", "\n\n", "\n \n")));
    fc.assert(
      fc.property(body, cuts, fc.boolean(), (lines, places, isCut) => {
        const text = lines.flat().join("");
        const expected = lines.map(([json]) => json);
        expect(readLines(isCut ? text.trimEnd() : text, places)).toEqual(
          isCut ? [...expected.slice(0, -1), ...expected.slice(-1).map((last) => last.trimEnd())] : expected,
        );
      }),
      { numRuns: 1000 },
    );
  });

  test("have their last line without an end only at the proper end", () => {
    const reader = new JsonLinesReader(bytesMax);
    expect([...reader.read(new TextEncoder().encode("1\n1234"))]).toEqual(["1"]);
    expect([...reader.finish()]).toEqual(["1234"]);
  });

  test("that are no JSON or too large are refused by their number, after those before", () => {
    const given: string[] = [];
    const feed = (text: string, limit = bytesMax) => {
      const reader = new JsonLinesReader(limit);
      return () => {
        for (const line of reader.read(new TextEncoder().encode(text))) given.push(line);
      };
    };
    expect(feed("1\n\n{oops}\n3\n")).toThrow("Line 3");
    expect(feed("1\n12345678901\n", 10)).toThrow(ItemSizeError);
    expect(feed(`[${"1,".repeat(10)}`, 10)).toThrow(ItemSizeError);
    expect(given).toEqual(["1", "1"]);
  });
});

describe("what a reader holds", () => {
  const MiB = 1024 * 1024;

  test("of an event of empty lines is what it counts, and at most what an event may have", () => {
    const reader = new EventStreamReader(MiB);
    const piece = new TextEncoder().encode("data\n".repeat(1000));
    const before = outsideHeapBytes();
    const objectsBefore = heapStats().heapSize;
    for (let count = 0; count < 1000; count++) for (const _ of reader.read(piece));
    const held = outsideHeapBytes() - before + Math.max(0, heapStats().heapSize - objectsBefore);
    expect(reader.heldBytes).toBeWithin(MiB / 2, 2 * MiB + 1);
    expect(held).toBeLessThan(3 * MiB);
    expect(() => {
      for (let count = 0; count < 100; count++) for (const _ of reader.read(piece));
    }).toThrow(ItemSizeError);
  });

  test("of a line that comes byte by byte is what it counts", () => {
    for (const reader of [new EventStreamReader(MiB), new JsonLinesReader(MiB)]) {
      const before = outsideHeapBytes();
      const objectsBefore = heapStats().heapSize;
      const byte = Uint8Array.of(0x31);
      for (let count = 0; count < MiB - 10; count++) for (const _ of reader.read(byte));
      const held = outsideHeapBytes() - before + Math.max(0, heapStats().heapSize - objectsBefore);
      expect(held).toBeLessThan(3 * MiB);
      expect(reader.heldBytes).toBeWithin(MiB - 11, 2 * MiB + 1);
    }
  });

  test("is nothing of the body that an item was cut out of", () => {
    const filler = "x".repeat(100_000);
    const kept: unknown[] = [];
    const before = outsideHeapBytes();
    for (let count = 0; count < 100; count++) {
      const lines = new JsonLinesReader(MiB);
      const events = new EventStreamReader(MiB);
      kept.push(
        [...lines.read(new TextEncoder().encode(`"a line of ${count} of a body"\n"${filler}"\n`))][0],
      );
      kept.push([
        ...events.read(
          new TextEncoder().encode(`event: type${count}\ndata: an event ${count}\n\n:${filler}\n`),
        ),
      ]);
    }
    expect(outsideHeapBytes() - before).toBeLessThan(1_000_000); // Ten times less than the bodies.
    expect(kept.length).toBe(200);
  });
});
