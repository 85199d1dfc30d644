/** Ids, topic names, where a client stands, and what may be published. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { DraftError, draftOf, draftOfValue, isJson, isMediaType, isText } from "../../src/topic/draft.ts";
import { faultOfTopicName, formatId, parseId, parseSince } from "../../src/topic/message.ts";
import { seed } from "../support/random.ts";

setDefaultTimeout(120_000);
fc.configureGlobal({ seed });

describe("an id", () => {
  const epoch = fc.string({
    unit: fc.constantFrom(..."0123456789abcdefghijklmnopqrstuvwxyz"),
    minLength: 1,
    maxLength: 64,
  });
  const offset = fc.maxSafeNat();

  test("is read back as it was written", () => {
    fc.assert(
      fc.property(epoch, offset, (epoch, offset) => {
        expect(parseId(formatId({ epoch, offset }))).toEqual({ epoch, offset });
      }),
    );
  });

  test("is written in one way only: what is read is written back as it was", () => {
    const near = fc.string({ unit: fc.constantFrom(..."0123456789az-+. eA"), maxLength: 24 });
    fc.assert(
      fc.property(near, (text) => {
        const position = parseId(text);
        expect(position ? formatId(position) : text).toBe(text);
      }),
      { numRuns: 5000 },
    );
  });

  for (const text of [
    "",
    "-",
    "e",
    "e-",
    "-1",
    "e-01",
    "e--1",
    "e-1.0",
    "e-1e3",
    "e- 1",
    "E-1",
    "é-1",
    "e-1\n",
    " e-1",
    "e-1-2",
    "e-9007199254740992",
    "e-99999999999999999999",
    `${"e".repeat(65)}-1`,
  ]) {
    test(`is not ${JSON.stringify(text)}`, () => {
      expect(parseId(text)).toBeUndefined();
    });
  }
});

describe("since", () => {
  const now = 1_800_000_000_000;

  test("is an id, everything, or a span that ends now", () => {
    expect(parseSince("k3-7", now)).toEqual({ kind: "position", position: { epoch: "k3", offset: 7 } });
    expect(parseSince("all", now)).toEqual({ kind: "all" });
    expect(parseSince("90s", now)).toEqual({ kind: "time", time: now - 90_000 });
    expect(parseSince("10m", now)).toEqual({ kind: "time", time: now - 600_000 });
    expect(parseSince("2h", now)).toEqual({ kind: "time", time: now - 7_200_000 });
    expect(parseSince("1d", now)).toEqual({ kind: "time", time: now - 86_400_000 });
    expect(parseSince("0s", now)).toEqual({ kind: "time", time: now });
    expect(parseSince("last:1", now)).toEqual({ kind: "last", count: 1 });
    expect(parseSince("last:999999999", now)).toEqual({ kind: "last", count: 999_999_999 });
    const time = Date.UTC(2026, 10, 24, 17, 30);
    for (const text of [
      "2026-11-24T17:30:00Z",
      "2026-11-24t17:30:00.000z",
      "2026-11-24T18:30:00+01:00",
      "2026-11-24T18:30:00 01:00", // The "+" of a query that was not encoded.
      "2026-11-24T12:00:00-05:30",
    ])
      expect(parseSince(text, now)).toEqual({ kind: "time", time });
    expect(parseSince("2026-11-24T17:30:00.25Z", now)).toEqual({ kind: "time", time: time + 250 });
  });

  test("takes an id whose epoch reads like a word or a span for an id", () => {
    for (const epoch of ["all", "90s", "10"]) {
      expect(parseSince(`${epoch}-0`, now)).toEqual({ kind: "position", position: { epoch, offset: 0 } });
    }
  });

  for (const text of [
    "",
    "ALL",
    "90",
    "s",
    "-90s",
    "1.5h",
    "90 s",
    "90S",
    "1w",
    "1234567890s",
    "now",
    "-",
    "1h30m",
    "last",
    "last:",
    "last:0",
    "last:-1",
    "last:01",
    "last:1000000000",
    "2026-11-24",
    "2026-11-24T17:30:00",
    "2026-11-24 17:30:00Z",
    "2026-13-24T17:30:00Z",
    "2026-11-24T25:30:00Z",
    "2026-11-24T17:30:00.Z",
    "2026-11-24T17:30:00+1:00",
  ]) {
    test(`is not ${JSON.stringify(text)}`, () => {
      expect(parseSince(text, now)).toBeUndefined();
    });
  }
});

describe("a topic's name", () => {
  for (const name of [
    "news",
    "chat/room/42",
    "A-Z.a_z~0:9",
    "...",
    "a/..b/.c",
    "x".repeat(200),
    "__proto__",
    "constructor",
  ]) {
    test(`may be ${name.slice(0, 20)}`, () => {
      expect(faultOfTopicName(name)).toBeUndefined();
    });
  }

  for (const name of [
    "",
    "/",
    "/news",
    "news/",
    "chat//room",
    ".",
    "..",
    "a/./b",
    "a/..",
    "a b",
    "a,b",
    "a*",
    "a%20b",
    "e\u0301",
    "🔌",
    "\u3164", // Letters and marks that cannot be seen: HANGUL FILLER,
    "a\u1160", // HANGUL JUNGSEONG FILLER,
    "a\uFE0F", // a variation selector,
    "a\u034F", // COMBINING GRAPHEME JOINER.
    "a\n",
    "a\0",
    "a?b",
    "a#b",
    "x".repeat(200 + 1),
  ]) {
    test(`must not be ${JSON.stringify(name.slice(0, 20))}, and the fault says why`, () => {
      expect(faultOfTopicName(name)).toMatch(/^(?:A topic's name|The topic) .+\.$/s);
    });
  }

  test("that is valid comes through a URL's path unchanged", () => {
    const part = fc.string({
      unit: fc.constantFrom(..."AZaz09._~:-"),
      minLength: 1,
      maxLength: 12,
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (parts) => {
        const name = parts.join("/");
        fc.pre(faultOfTopicName(name) === undefined);
        expect(new URL(`http://localhost/topics/${name}`).pathname).toBe(`/topics/${name}`);
      }),
    );
  });
});

describe("a media type", () => {
  const kinds: Record<string, "json" | "text" | "binary"> = {
    "application/json": "json",
    "Application/JSON ; charset=utf-8": "json",
    "application/cloudevents+json": "json",
    "image/x+json;q=1": "json",
    "text/plain": "text",
    "TEXT/html;charset=latin1": "text",
    "text/json": "text",
    "application/x-www-form-urlencoded": "text",
    "application/octet-stream": "binary",
    "application/jsonx": "binary",
    "application/json-seq": "binary",
    "application/xml": "binary",
    "image/png": "binary",
    "textual/plain": "binary",
  };
  for (const [contentType, kind] of Object.entries(kinds)) {
    test(`${contentType} is ${kind}`, () => {
      expect(isMediaType(contentType)).toBe(true);
      expect(isJson(contentType)).toBe(kind === "json");
      expect(isText(contentType)).toBe(kind !== "binary");
    });
  }

  for (const contentType of [
    "",
    "text",
    "text/",
    "/plain",
    "text/plain/x",
    "text/pl ain",
    "text/plain, text/html",
    "text/plain\r\nX: y",
    "text/plain; x=\u0000",
    "téxt/plain",
    `text/${"x".repeat(251)}`,
  ]) {
    test(`is not ${JSON.stringify(contentType.slice(0, 30))}`, () => {
      expect(isMediaType(contentType)).toBe(false);
      expect(() => draftOf(new Uint8Array(), contentType)).toThrow(DraftError);
    });
  }
});

describe("what may be published", () => {
  const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
  const noUtf8 = Uint8Array.of(0x61, 0xff);

  test("is text where no media type is given, or one of text, and then exactly that text", () => {
    const text = "\ufeff長 🔌\r\n\0";
    expect(draftOf(encode(text), undefined)).toEqual({ data: text, contentType: "text/plain" });
    for (const contentType of ["text/html; charset=utf-8", "application/x-www-form-urlencoded"]) {
      expect(draftOf(encode(text), contentType)).toEqual({ data: text, contentType });
    }
  });

  test("is bytes where the media type is no text", () => {
    expect(draftOf(noUtf8, "image/png")).toEqual({ data: noUtf8, contentType: "image/png" });
    expect(draftOf(encode("text"), "application/octet-stream").data).toBeInstanceOf(Uint8Array);
  });

  test("is not text that is no UTF-8, half a surrogate pair included", () => {
    for (const contentType of [undefined, "text/plain", "application/json"]) {
      expect(() => draftOf(noUtf8, contentType)).toThrow(DraftError);
      expect(() => draftOf(Uint8Array.of(0xed, 0xa0, 0x80), contentType)).toThrow("not UTF-8");
    }
    expect(() => draftOfValue("\ud83d", undefined)).toThrow(DraftError);
    expect(() => draftOfValue("\udd0c", "application/json")).toThrow(DraftError);
  });

  test("is not JSON that does not parse", () => {
    for (const text of ["", "{", "{'a':1}", "NaN", "\ufeff{}", "{} {}", "01"]) {
      expect(() => draftOf(encode(text), "application/json")).toThrow(DraftError);
    }
  });

  test("is JSON as it was written", () => {
    const text = ' {"a": 1.0, "b":1e400,\n"a" : "\\u0041"} ';
    expect(draftOf(encode(text), "application/ld+json").data).toBe(text);
  });

  test("from a program is text, bytes or JSON by its value, unless a media type is given", () => {
    expect(draftOfValue("x", undefined)).toEqual({ data: "x", contentType: "text/plain" });
    expect(draftOfValue("1", "application/json")).toEqual({ data: "1", contentType: "application/json" });
    expect(draftOfValue({ a: [1] }, undefined)).toEqual({
      data: '{"a":[1]}',
      contentType: "application/json",
    });
    expect(draftOfValue([1, 2], "application/ld+json").data).toBe("[1,2]");
    expect(draftOfValue(encode("x"), undefined).contentType).toBe("application/octet-stream");
    expect(draftOfValue(encode("x"), "text/plain").data).toBe("x");
    expect(draftOfValue(encode("x").buffer, undefined).data).toEqual(encode("x"));
    expect(() => draftOfValue("x", "application/json")).toThrow(DraftError);
  });

  test("from a program are its bytes as they were when it published them", () => {
    const large = new Uint8Array(8).fill(7);
    const part = large.subarray(2, 4);
    const { data } = draftOfValue(part, undefined);
    large.fill(0);
    expect(data).toEqual(Uint8Array.of(7, 7));
  });

  test("from a program is nothing that JSON has no word for", () => {
    for (const value of [() => undefined, { toJSON: () => undefined }])
      expect(() => draftOfValue(value, undefined)).toThrow(TypeError);
    expect(() => draftOfValue({ big: 1n }, undefined)).toThrow(DraftError);
    const circle: Record<string, unknown> = {};
    circle.itself = circle;
    expect(() => draftOfValue(circle, undefined)).toThrow(DraftError);
  });

  test("from a program is not JSON under a media type of bytes or text", () => {
    expect(draftOfValue({ a: 1 }, "text/plain")).toEqual({ data: '{"a":1}', contentType: "text/plain" });
  });
});
