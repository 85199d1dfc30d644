/** History of which messages were dropped, or that keeps none. */
import { describe, expect, test } from "bun:test";
import type { Position } from "../../src/topic/message.ts";
import { type Contract, type Engine, five, none } from "./engine.ts";
import { after, all, expectHistory, newTopic, offsetsBetween, publishOneByOne, read } from "./messages.ts";

export function describeRetention<Kind extends Engine>({ withNode }: Contract<Kind>): void {
  describe("history", () => {
    test(
      "is a gap exactly if a message after the position was dropped",
      withNode(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 8);
        for (const [index, position] of positions.entries()) {
          const offset = Math.max(index + 1, 3);
          expectHistory(await read(broker, topic, after(position), positions[7]), {
            complete: index + 1 >= 3,
            from: { ...position, offset },
            offsets: offsetsBetween(offset, 8),
            position: positions[7],
          });
        }
      }, five),
    );

    test(
      "of all is no gap, whatever was dropped",
      withNode(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 8);
        expectHistory(await read(broker, topic, all, positions[7]), {
          complete: true,
          from: positions[2],
          offsets: [4, 5, 6, 7, 8],
          position: positions[7],
        });
      }, five),
    );

    test(
      "turned off keeps no message, and still distinguishes a complete resume from a gap",
      withNode(async (broker) => {
        const topic = newTopic();
        const positions = await publishOneByOne(broker, topic, 3);
        const last = positions[2] as Position;
        const nothing = { from: last, offsets: [], position: last };
        expectHistory(await read(broker, topic, after(last), last), { complete: true, ...nothing });
        expectHistory(await read(broker, topic, all, last), { complete: true, ...nothing });
        expectHistory(await read(broker, topic, after(positions[1] as Position), last), {
          complete: false,
          ...nothing,
        });
        expect(await broker.inspect([topic])).toEqual([{ position: last, retained: 0, subscribers: 0 }]);
      }, none),
    );
  });
}
