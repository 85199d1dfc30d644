/** An engine that loses every topic while its nodes stay connected. */
import { describe, expect } from "bun:test";
import type { Position } from "../../../src/topic/message.ts";
import { type Contract, type Engine, testIf } from "./engine.ts";
import { after, all, expectHistory, newTopic, post, publishOneByOne, text, wholePage } from "./messages.ts";

export function describeLostMemory<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can, listen, read, until } = contract;
  describe("an engine that lost its memory", () => {
    const { loseEverything } = can;

    testIf(loseEverything)(
      "begins other epochs, never used before, each from offset 1",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const epochs = [];
        for (let round = 0; round < 10; round++) {
          const position = await post(broker, topic, text(String(round)));
          expect(position.offset).toBe(1);
          epochs.push(position.epoch);
          await loseEverything?.(engine);
        }
        expect(new Set(epochs).size).toBe(10);
      }),
    );

    testIf(loseEverything)(
      "no longer knows its topics",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        await broker.subscribe(topic);
        await publishOneByOne(broker, topic, 3);
        await loseEverything?.(engine);
        expect(await broker.positions([topic])).toEqual([undefined]);
        expect(await broker.history(topic, all, wholePage)).toBeUndefined();
      }),
    );

    testIf(loseEverything)(
      "reports a gap after every id from before, even if the offsets are equal",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const lost = await publishOneByOne(broker, topic, 3);
        await loseEverything?.(engine);
        const last = (await publishOneByOne(broker, topic, 3))[2] as Position;
        for (const position of [{ ...(lost[0] as Position), offset: 0 }, ...lost]) {
          expectHistory(await read(broker, topic, after(position), last), {
            complete: false,
            from: { epoch: last.epoch, offset: 0 },
            offsets: [1, 2, 3],
            position: last,
          });
        }
      }),
    );

    testIf(loseEverything)(
      "continues to announce to its subscribers",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const announced = listen(broker);
        const before = await broker.subscribe(topic);
        await post(broker, topic, text("before"));
        await loseEverything?.(engine);
        let after = before;
        await until(async () => {
          after = await post(broker, topic, text("after"));
          return announced.of(topic).some(({ data }) => data === "after");
        }, "an announcement in the new epoch");
        expect(after.epoch).not.toBe(before.epoch);
        const afterwards = announced.of(topic).filter(({ data }) => data === "after");
        expect(new Set(afterwards.map(({ epoch }) => epoch))).toEqual(new Set([after.epoch]));
      }),
    );

    testIf(loseEverything)(
      "creates a topic again when a node subscribes again",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const before = await broker.subscribe(topic);
        await loseEverything?.(engine);
        const again = await broker.subscribe(topic);
        expect(again.offset).toBe(0);
        expect(again.epoch).not.toBe(before.epoch);
        expect(await broker.inspect([topic])).toEqual([{ position: again, retained: 0, subscribers: 0 }]);
      }),
    );
  });
}
