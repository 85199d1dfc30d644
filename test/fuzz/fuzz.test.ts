/** The fuzzers for some seeds each, always the same; `bun run fuzz` takes others and goes on for minutes. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { checkResponses, forEachSeed } from "./fuzzer.ts";
import { fuzzers } from "./fuzzers.ts";

setDefaultTimeout(120_000);

/** As many seeds as take some seconds. Those that are left out are tests themselves. */
const seedsOf = {
  handshake: 30,
  frames: 30,
  post: 30,
  "broker-unreliable": 1,
  "slow-readers": 1,
  streams: 1,
};

for (const [name, wanted] of Object.entries(seedsOf)) {
  test(`${name}: nothing crashes, hangs or leaks, and others are served`, async () => {
    const fuzzer = fuzzers.find((fuzzer) => fuzzer.name === name);
    if (!fuzzer) throw new Error(`there is no fuzzer ${name}`);
    const { seeds, checked } = await fuzzer.run(1, (seeds) => seeds === wanted);
    expect(seeds).toBe(wanted);
    expect(checked).toBeGreaterThanOrEqual(seeds); // One that hears nothing finds nothing.
  });
}

describe("a fuzzer", () => {
  test("that fails says how to see it again", async () => {
    const run = forEachSeed(
      "frames",
      7,
      () => false,
      async (seed) => {
        if (seed === 9) throw new Error("the server ended");
        return 1;
      },
    );
    await expect(run).rejects.toThrow(
      "the server ended\nreplay it with: bun run fuzz frames --seed 9 --minutes 0",
    );
  });

  test("takes answers for well-formed that are", () => {
    const answers = "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 204 No Content\r\n\r\n";
    expect(checkResponses(Buffer.from(answers))).toEqual([400, 204]);
    expect(checkResponses(Buffer.alloc(0))).toEqual([]);
  });

  for (const [what, answer] of [
    ["is no answer", "hello"],
    ["breaks off within its head", "HTTP/1.1 200 OK\r\nA: b"],
    ["is of a failure", "HTTP/1.1 500 Internal Server Error\r\n\r\n"],
    ["has an injected header", "HTTP/1.1 200 OK\r\nX-Injected: yes\r\n\r\n"],
    ["has a field with a control character", "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n"],
    ["is followed by what is none", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc"],
  ] as const) {
    test(`finds fault with what ${what}`, () => {
      expect(() => checkResponses(Buffer.from(answer))).toThrow();
    });
  }
});
