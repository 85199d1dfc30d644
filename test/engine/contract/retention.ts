/** History of which messages were dropped, or that keeps none. */
import { describe, expect, test } from "bun:test";
import type { Position } from "../../../src/topic/message.ts";
import { type Contract, type Engine, five, generous, none, testIf } from "./engine.ts";
import {
  after,
  all,
  expectHistory,
  newTopic,
  offsetsBetween,
  post,
  publishOneByOne,
  text,
} from "./messages.ts";

export function describeRetention<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, can, read } = contract;
  describe("history", () => {
    test(
      "is a gap exactly if a message after the position was dropped",
      withTopics(async (broker) => {
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
      "has its number of messages after each of many publications, however an engine deletes them",
      withTopics(async (broker) => {
        const topic = newTopic();
        for (let offset = 1; offset <= 40; offset++) {
          const position = await post(broker, topic, text("x"));
          const { messages } = await read(broker, topic, all, position);
          expect(messages.map((message) => message.offset)).toEqual(
            offsetsBetween(Math.max(0, offset - 5), offset),
          );
        }
      }, five),
    );

    test(
      "of all is no gap, whatever was dropped",
      withTopics(async (broker) => {
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

    for (const [count, from, offsets] of [
      [1, 7, [8]],
      [3, 5, [6, 7, 8]],
      [5, 3, [4, 5, 6, 7, 8]],
      [999_999_999, 3, [4, 5, 6, 7, 8]],
    ] as const) {
      test(
        `of the last ${count} has at most so many, and is no gap`,
        withTopics(async (broker) => {
          const topic = newTopic();
          const positions = await publishOneByOne(broker, topic, 8);
          expectHistory(await read(broker, topic, { kind: "last", count }, positions[7]), {
            complete: true,
            from: { epoch: positions[7]?.epoch ?? "", offset: from },
            offsets,
            position: positions[7],
          });
        }, five),
      );
    }

    test(
      "of a topic that matches a pattern has its own number, and the first pattern counts",
      withNode(
        async (broker) => {
          const retained = async (topic: string): Promise<number | undefined> => {
            const last = (await publishOneByOne(broker, topic, 8)).at(-1);
            await read(broker, topic, all, last);
            return (await broker.inspect([topic]))[0]?.retained;
          };
          const id = crypto.randomUUID();
          expect(await retained(`few/${id}`)).toBe(2);
          expect(await retained(`few/but/more/${id}`)).toBe(2);
          expect(await retained(`many/${id}`)).toBe(8);
          expect(await retained(`none/${id}`)).toBe(0);
          expect(await retained(`other/${id}`)).toBe(5);
        },
        {
          ...five,
          retain: [
            { pattern: "few/*", messages: 2, ageSeconds: 3600 },
            { pattern: "few/but/more/*", messages: 7, ageSeconds: 3600 },
            { pattern: "many/*", messages: 100, ageSeconds: 3600 },
            { pattern: "none/*", messages: 0, ageSeconds: 3600 },
          ],
        },
      ),
    );

    const { advance } = can;
    testIf(advance)(
      "of a topic that matches a pattern has its own age",
      withNode(
        async (broker, engine) => {
          const id = crypto.randomUUID();
          const last = (await publishOneByOne(broker, `brief/${id}`, 3)).at(-1);
          const lastLong = (await publishOneByOne(broker, `long/${id}`, 3)).at(-1);
          const lastOther = (await publishOneByOne(broker, `other/${id}`, 3)).at(-1);
          const kept = async (topic: string, position: Position | undefined): Promise<number> =>
            (await read(broker, topic, all, position)).messages.length;
          await advance?.(engine, 120);
          expect(await kept(`brief/${id}`, last)).toBe(0);
          expect(await kept(`other/${id}`, lastOther)).toBe(3);
          await advance?.(engine, 3600);
          expect(await kept(`other/${id}`, lastOther)).toBe(0);
          expect(await kept(`long/${id}`, lastLong)).toBe(3);
        },
        {
          ...generous,
          retain: [
            { pattern: "brief/*", messages: 100, ageSeconds: 60 },
            { pattern: "long/*", messages: 100, ageSeconds: 7200 },
          ],
        },
      ),
    );

    test(
      "turned off keeps no message, and still distinguishes a complete resume from a gap",
      withTopics(async (broker) => {
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
