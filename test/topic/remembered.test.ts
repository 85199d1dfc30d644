/** Results that are kept by their text. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { remembered } from "../../src/topic/remembered.ts";
import { heldHeapBytes } from "../support/heap.ts";

setDefaultTimeout(120_000);

/** A function that notes what it was called with. */
function stage() {
  const made: string[] = [];
  const ask = remembered((text: string) => {
    made.push(text);
    return { text };
  });
  return { made, ask };
}

test("a result is made once for a text, and anew for one of more than 255 characters", () => {
  const { made, ask } = stage();
  const [short, long] = ["x".repeat(255), "x".repeat(256)];
  for (const text of [short, short, long, long]) expect(ask(text)).toEqual({ text });
  expect(made).toEqual([short, long, long]);
});

test("all are forgotten at the 257th text, so that invented ones take no memory", () => {
  const { made, ask } = stage();
  for (let text = 0; text < 256; text++) ask(`${text}`);
  ask("0");
  expect(made.length).toBe(256);
  ask("256");
  ask("0");
  expect(made.slice(256)).toEqual(["256", "0"]);
});

test("a text that is kept, and a result cut out of it, hold nothing of the one that it was cut out of", () => {
  const ask = remembered((text: string) => ({ cut: text.slice(1) }));
  const before = heldHeapBytes();
  for (let number = 0; number < 100; number++) ask(`${number} `.padEnd(1_000_000, "x").slice(0, 100));
  expect(heldHeapBytes() - before).toBeLessThan(50_000_000); // Out of 100 MB.
});
