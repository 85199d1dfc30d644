/** Publishing: offsets, epochs, times and the order of messages. */
import { describe, expect, test } from "bun:test";
import { previousOffset } from "../../../src/topic/message.ts";
import type { Contract, Engine } from "./engine.ts";
import { all, epochOf, newTopic, numbered, offsetsBetween, post, publishOneByOne, text } from "./messages.ts";

export function describeOrder<Kind extends Engine>({ withTopics, withNodes, read }: Contract<Kind>): void {
  describe("publishing", () => {
    test(
      "counts a topic's messages 1, 2, 3 … in one epoch",
      withTopics(async (broker) => {
        const positions = await publishOneByOne(broker, newTopic(), 5);
        expect(positions.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5]);
        expect(new Set(positions.map(({ epoch }) => epoch)).size).toBe(1);
        expect(positions[0]?.epoch).toMatch(/^[0-9a-z]{1,64}$/);
        expect(positions[0]?.epoch).not.toBe("0"); // The id 0-0 is always a gap.
      }),
    );

    test(
      "appends calls made without waiting in the order of the calls",
      withTopics(async (broker) => {
        const topic = newTopic();
        const words = numbered(50);
        const positions = await Promise.all(words.map((word) => post(broker, topic, text(word))));
        expect(positions.map(({ offset }) => offset)).toEqual(words.map((_, index) => index + 1));
        const { messages } = await read(broker, topic, all, positions[49]);
        expect(messages.map(({ data }) => data)).toEqual(words);
      }),
    );

    test(
      "keeps the order of each of many concurrent publishers, and leaves no hole",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const publishers = numbered(8).map((publisher, index) => ({
          broker: index % 2 === 0 ? one : other,
          words: numbered(25).map((word) => `${publisher}: ${word}`),
        }));
        const offsets = await Promise.all(
          publishers.map(async ({ broker, words }) => {
            const mine: number[] = [];
            for (const word of words) mine.push((await post(broker, topic, text(word))).offset);
            return mine;
          }),
        );
        expect(offsets.flat().toSorted((left, right) => left - right)).toEqual(offsetsBetween(0, 200));
        const last = { epoch: await epochOf(one, topic), offset: 200 };
        const { messages } = await read(one, topic, all, last);
        expect(messages.map(previousOffset)).toEqual([
          0,
          ...messages.slice(0, -1).map(({ offset }) => offset),
        ]);
        for (const [index, { words }] of publishers.entries()) {
          expect(offsets[index]?.map((offset) => messages[offset - 1]?.data)).toEqual(words);
        }
      }),
    );

    test(
      "keeps topics apart",
      withTopics(async (broker) => {
        const [one, other] = [newTopic(), newTopic()];
        await publishOneByOne(broker, one, 3);
        const position = await post(broker, other, text("first"));
        expect(position.offset).toBe(1);
        const { messages } = await read(broker, other, all, position);
        expect(messages.map(({ topic, data }) => [topic, data])).toEqual([[other, "first"]]);
      }),
    );

    test(
      "gives messages times in milliseconds that never run backwards",
      withNodes(async (one, other) => {
        const topic = newTopic();
        for (const broker of [one, other, one, other]) await publishOneByOne(broker, topic, 3);
        const last = { epoch: await epochOf(one, topic), offset: 12 };
        const times = (await read(one, topic, all, last)).messages.map(({ time }) => time);
        expect(times).toEqual(times.toSorted((left, right) => left - right));
        expect(times.every(Number.isSafeInteger)).toBe(true);
        expect(times[0]).toBeGreaterThan(Date.UTC(2020));
      }),
    );
  });
}
