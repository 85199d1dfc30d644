/** What a cut leaves, by hand: the proof of the engine is worth no more than this. */
import { describe, expect, test } from "bun:test";
import { Random } from "../support/random.ts";
import type { Entry } from "./journal.ts";
import { type Files, filesAfterCut, type Survival } from "./replay.ts";

const entry = (kind: Entry["kind"], name: string, more: Partial<Entry> = {}): Entry => ({
  ...{ kind, name, thread: 1, result: 0, offset: 0, data: Buffer.alloc(0) },
  ...more,
});
const write = (name: string, offset: number, text: string): Entry =>
  entry("write", name, { offset, data: Buffer.from(text) });
const sync = (name: string, result = 0): Entry[] => [
  entry("sync begin", name),
  entry("sync end", name, { result }),
];

const before: Files = new Map([["log", { id: "log", bytes: Buffer.from("abc") }]]);

const left = (entries: readonly Entry[], survival: Survival, at = entries.length): Record<string, string> =>
  Object.fromEntries(
    [...filesAfterCut(before, entries, at, survival, new Random(1))].map(([name, { bytes }]) => [
      name,
      bytes.toString(),
    ]),
  );

describe("of what is written", () => {
  const entries = [write("log", 1, "XYZ"), ...sync("log"), write("log", 0, "..")];

  test("what was synced is there, and the rest may be", () => {
    expect(left(entries, "none")).toEqual({ log: "aXYZ" });
    expect(left(entries, "all")).toEqual({ log: "..YZ" });
  });

  test("nothing is sure while the sync is in progress", () => {
    expect(left(entries, "none", 2)).toEqual({ log: "abc" });
  });

  test("a sync that failed made nothing sure, and neither does the next one", () => {
    const failed = [write("log", 0, "1"), ...sync("log", -5), write("log", 2, "3"), ...sync("log")];
    expect(left(failed, "none")).toEqual({ log: "ab3" });
  });

  test("sectors survive each by itself", () => {
    const { log = "" } = left([write("log", 0, "x".repeat(51_200))], "sectors of 512");
    const sectors = Array.from({ length: 100 }, (_, index) => log.slice(index * 512, (index + 1) * 512));
    const kept = sectors.filter((sector) => sector === "x".repeat(512));
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(100);
  });

  test("a file that shrinks and grows again has zeros", () => {
    const resized = [entry("truncate", "log", { offset: 1 }), entry("truncate", "log", { offset: 3 })];
    expect(left(resized, "all")).toEqual({ log: "a\0\0" });
  });
});

describe("names", () => {
  const entries = [write("new", 0, "n"), ...sync("new"), entry("unlink", "log"), ...sync("")];

  test("are sure when the directory was synced", () => {
    expect(left(entries, "none", 3)).toEqual({ log: "abc" });
    expect(left(entries, "none")).toEqual({ new: "n" });
  });

  test("a renamed file has its bytes under the other name", () => {
    const renamed = [...entries, entry("rename", "new", { data: Buffer.from("log") })];
    expect(left(renamed, "none")).toEqual({ new: "n" });
    expect(left(renamed, "all")).toEqual({ log: "n" });
  });
});
