/** Reading history and positions does not create a topic. */
import { describe, expect, test } from "bun:test";
import type { Position, Since } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five } from "./engine.ts";
import { after, all, newTopic, publishOneByOne, wholePage } from "./messages.ts";

export function describeReading<Kind extends Engine>({ withTopics, read, until }: Contract<Kind>): void {
  describe("reading", () => {
    test(
      "creates nothing",
      withTopics(async (broker) => {
        const topic = newTopic();
        const sinces: Since[] = [all, after({ epoch: "0", offset: 0 }), { kind: "time", time: 0 }];
        for (const since of [...sinces, { kind: "unknown" } as const, ...sinces]) {
          expect(await broker.history(topic, since, wholePage)).toBeUndefined();
          expect(await broker.positions([topic])).toEqual([undefined]);
        }
      }),
    );

    test(
      "at positions answers in the order asked, with undefined for a topic that does not exist",
      withTopics(async (broker) => {
        const [empty, full, absent] = [newTopic(), newTopic(), newTopic()];
        const beginning = await broker.subscribe(empty);
        const last = (await publishOneByOne(broker, full, 7))[6] as Position;
        await read(broker, full, all, last);
        await until(async () => (await broker.positions([full]))[0]?.offset === 7, "the position to arrive");
        expect(await broker.positions([])).toEqual([]);
        const [first, second, third, fourth] = await broker.positions([absent, full, empty, full]);
        expect([first, third]).toEqual([undefined, beginning]);
        for (const position of [second, fourth]) expect(position?.epoch).toBe(last.epoch);
        expect(await broker.inspect([absent, empty])).toEqual([
          undefined,
          { position: beginning, retained: 0, subscribers: 0 },
        ]);
        expect((await broker.inspect([full]))[0]?.retained).toBeLessThanOrEqual(5);
      }, five),
    );
  });
}
