/** History after a position, and all of it. */
import { describe, expect, test } from "bun:test";
import type { Position, Since } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five } from "./engine.ts";
import { after, all, expectHistory, newTopic, offsetsBetween, publishOneByOne } from "./messages.ts";

const foreign: Record<string, (last: Position) => Since> = {
  "an offset that is still to come": ({ epoch, offset }) => after({ epoch, offset: offset + 1 }),
  "an offset far ahead": ({ epoch }) => after({ epoch, offset: Number.MAX_SAFE_INTEGER }),
  "another epoch": ({ epoch, offset }) => after({ epoch: `${epoch}0`, offset }),
  "the beginning of another epoch": () => after({ epoch: "0", offset: 0 }),
  "an id that is unknown": () => ({ kind: "unknown" }),
};

export function describeHistory<Kind extends Engine>({ withTopics, read }: Contract<Kind>): void {
  describe("history", () => {
    test(
      "after a position is every later message",
      withTopics(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 4);
        const last = positions[3];
        for (const [index, position] of positions.entries()) {
          expectHistory(await read(broker, topic, after(position), last), {
            complete: true,
            from: position,
            offsets: offsetsBetween(index + 1, 4),
            position: last,
          });
        }
      }),
    );

    test(
      "after offset 0, and of all, is everything from the first message",
      withTopics(async (broker) => {
        const topic = newTopic();
        const last = (await publishOneByOne(broker, topic, 3))[2];
        const beginning = { epoch: last?.epoch ?? "", offset: 0 };
        for (const since of [after(beginning), all]) {
          expectHistory(await read(broker, topic, since, last), {
            complete: true,
            from: beginning,
            offsets: [1, 2, 3],
            position: last,
          });
        }
      }),
    );

    test(
      "of all says whether it begins with the topic's first message",
      withTopics(async (broker) => {
        const [empty, whole, trimmed] = [newTopic(), newTopic(), newTopic()];
        const isTrimmed = async (topic: string, last?: Position): Promise<boolean> =>
          (await read(broker, topic, all, last)).isTrimmed;
        const beginning = await broker.subscribe(empty);
        const fifth = (await publishOneByOne(broker, whole, 5))[4];
        const sixth = (await publishOneByOne(broker, trimmed, 6))[5];
        expect(await isTrimmed(empty, beginning)).toBe(false);
        expect(await isTrimmed(whole, fifth)).toBe(false);
        expect(await isTrimmed(trimmed, sixth)).toBe(true);
      }, five),
    );

    for (const [what, sinceOf] of Object.entries(foreign)) {
      test(
        `after ${what} is a gap and everything retained`,
        withTopics(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 7);
          const last = positions[6] as Position;
          expectHistory(await read(broker, topic, sinceOf(last), last), {
            complete: false,
            from: positions[1],
            offsets: [3, 4, 5, 6, 7],
            position: last,
          });
        }, five),
      );
    }
  });
}
