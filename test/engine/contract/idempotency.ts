/** An idempotency key publishes once. */
import { describe, expect, test } from "bun:test";
import { IdempotencyConflict, idempotencySeconds, type Once } from "../../../src/topic/broker.ts";
import type { Position } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five, generous, testIf } from "./engine.ts";
import { failureOf, newTopic, numbered, once, post, text } from "./messages.ts";

export function describeIdempotency<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, withNodes, can } = contract;
  describe("a key", () => {
    test(
      "publishes once, and answers every repetition with the first position",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const first = await post(one, topic, text("same"), once);
        await post(one, topic, text("another"));
        expect(await post(one, topic, text("same"), once)).toEqual(first);
        expect(await post(other, topic, text("same"), once)).toEqual(first);
        const last = await post(other, topic, text("last"));
        expect(last.offset).toBe(3);
      }),
    );

    test(
      "publishes once when repetitions do not wait for each other",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const positions = await Promise.all(
          [one, other, one, other].map((broker) => post(broker, topic, text("same"), once)),
        );
        expect(positions.map(({ offset }) => offset)).toEqual([1, 1, 1, 1]);
        expect((await post(one, topic, text("last"))).offset).toBe(2);
      }),
    );

    test(
      "is a conflict with another message, and nothing is appended",
      withTopics(async (broker) => {
        const topic = newTopic();
        const first = await post(broker, topic, text("one"), once);
        expect(await failureOf(post(broker, topic, text("other"), once))).toBeInstanceOf(IdempotencyConflict);
        expect(await post(broker, topic, text("one"), once)).toEqual(first);
        expect((await post(broker, topic, text("last"))).offset).toBe(2);
      }),
    );

    test(
      "belongs to its publisher and its topic, whatever characters they have",
      withTopics(async (broker) => {
        const [topic, other] = [newTopic(), newTopic()];
        const publications: [string, { key: string; publisher: string }][] = [
          [topic, { key: "c", publisher: "a:b" }],
          [topic, { key: "b:c", publisher: "a" }],
          [topic, { key: 'c","', publisher: "a" }],
          [topic, { key: "", publisher: "a" }],
          [topic, { key: "a", publisher: "" }],
          [other, { key: "c", publisher: "a:b" }],
        ];
        for (const [index, [topic, once]] of publications.entries()) {
          await post(broker, topic, text(String(index)), once);
        }
        expect((await post(broker, topic, text("last"))).offset).toBe(6);
        expect((await post(broker, other, text("last"))).offset).toBe(2);
      }),
    );

    test(
      "is a conflict with the same data of another content type",
      withTopics(async (broker) => {
        const topic = newTopic();
        await post(broker, topic, { data: "1", contentType: "application/json" }, once);
        const other = post(broker, topic, { data: "1", contentType: "text/plain" }, once);
        expect(await failureOf(other)).toBeInstanceOf(IdempotencyConflict);
        const bytes = { data: new TextEncoder().encode("1"), contentType: "application/json" };
        expect(await failureOf(post(broker, topic, bytes, once))).toBeInstanceOf(IdempotencyConflict);
      }),
    );

    test(
      "of a publisher with few keys outlives a flood of another's keys, which loses its oldest",
      withNode(
        async (broker) => {
          const topic = newTopic();
          const careful = { key: "careful", publisher: "careful" };
          const first = await post(broker, topic, text("same"), careful);
          const flood = numbered(1000).map((key) => ({ key, publisher: "flood" }));
          let position = first;
          // No more at once than a busy machine's engine answers in time.
          for (let from = 0; from < flood.length; from += 250) {
            const slice = flood
              .slice(from, from + 250)
              .map((once) => post(broker, topic, text(once.key), once));
            position = (await Promise.all(slice)).at(-1) as Position;
          }
          expect(await post(broker, topic, text("same"), careful)).toEqual(first);
          const last = flood.at(-1) as Once;
          expect(await post(broker, topic, text(last.key), last)).toEqual(position);
        },
        { ...generous, idempotencyBytesMax: 64 * 1024 },
      ),
    );

    const { advance } = can;
    testIf(advance)(
      `is remembered for ${idempotencySeconds} s, also by topics that lost their messages, and not for longer`,
      withTopics(async (broker, engine) => {
        const topic = newTopic();
        const first = await post(broker, topic, text("same"), once);
        for (const word of numbered(6)) await post(broker, topic, text(word));
        await advance?.(engine, idempotencySeconds - 10);
        expect(await post(broker, topic, text("same"), once)).toEqual(first);
        await advance?.(engine, 11);
        expect((await post(broker, topic, text("other"), once)).offset).toBe(8);
      }, five),
    );
  });
}
