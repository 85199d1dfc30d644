/** A message is encoded once for a form, and the memory for that is bounded. */
import { describe, expect, jest, setDefaultTimeout, test } from "bun:test";
import type { Message } from "../../src/topic/message.ts";
import { Encodings } from "../../src/wire/encodings.ts";

setDefaultTimeout(120_000);

const message = (offset: number): Message => ({
  topic: "news",
  epoch: "a",
  offset,
  time: 0,
  contentType: "text/plain",
  data: "x".repeat(64 * 1024),
});

describe("encodings", () => {
  test("are made once for each message and form", () => {
    const encodings = new Encodings("");
    const first = message(1);
    const bytes = encodings.get("serverSentEvents", first);
    expect(encodings.get("serverSentEvents", first)).toBe(bytes);
    expect(encodings.get("serverSentCloudEvents", first)).not.toBe(bytes);
    expect(encodings.get("serverSentEvents", message(1))).not.toBe(bytes);
  });

  test("are counted with their messages, and dropped after the 30 s in which a crowd returns", () => {
    jest.useFakeTimers();
    try {
      using encodings = new Encodings("");
      const [first, second] = [message(1), message(2)];
      const bytes = encodings.get("serverSentEvents", first);
      expect(encodings.bytes).toBeWithin(2 * 64 * 1024, 2.1 * 64 * 1024);
      encodings.get("cloudEvents", first);
      expect(encodings.bytes).toBeWithin(3 * 64 * 1024, 3.1 * 64 * 1024);
      jest.advanceTimersByTime(20_000);
      const later = encodings.get("serverSentEvents", second);
      jest.advanceTimersByTime(9000);
      expect(encodings.get("serverSentEvents", first)).toBe(bytes);
      jest.advanceTimersByTime(7000);
      expect(encodings.bytes).toBeWithin(2 * 64 * 1024, 2.1 * 64 * 1024);
      expect(encodings.get("serverSentEvents", second)).toBe(later);
      expect(encodings.get("serverSentEvents", first)).not.toBe(bytes);
      jest.advanceTimersByTime(40_000);
      expect({ bytes: encodings.bytes, timers: jest.getTimerCount() }).toEqual({ bytes: 0, timers: 0 });
    } finally {
      jest.useRealTimers();
    }
  });

  test("of old messages are dropped past 8 MiB, and those of new ones stay", () => {
    const encodings = new Encodings("");
    const made = Array.from({ length: 200 }, (_, offset) => {
      const kept = message(offset);
      return { kept, bytes: encodings.get("serverSentEvents", kept) };
    });
    const isKept = ({ kept, bytes }: (typeof made)[number]): boolean =>
      encodings.get("serverSentEvents", kept) === bytes;
    expect(made.slice(-10).map(isKept)).toEqual(Array(10).fill(true));
    expect(made.slice(0, 50).map(isKept)).toEqual(Array(50).fill(false)); // 8 MiB are less than 128 of them.
  });
});
