/** Subscribing: how it ends and begins again. */
import { describe, expect, test } from "bun:test";
import { type Contract, type Engine, testIf } from "./engine.ts";
import { newTopic, post, text } from "./messages.ts";

export function describeUnsubscribing<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics, withNodes, can, listen, until } = contract;
  describe("subscribing", () => {
    testIf(can.announcesOnlySubscribed)(
      "ends with one `unsubscribe`, however often it was repeated",
      withTopics(async (broker) => {
        const [left, kept] = [newTopic(), newTopic()];
        const announced = listen(broker);
        await broker.subscribe(left);
        await broker.subscribe(left);
        await broker.subscribe(kept);
        broker.unsubscribe(left);
        await until(async () => {
          await post(broker, left, text("unheard"));
          await post(broker, kept, text("heard"));
          return announced.of(kept).length > 10;
        }, "announcements on the topic that was kept");
        expect(announced.of(left)).toEqual([]);
      }),
    );

    test(
      "begins again after an `unsubscribe` that was not awaited",
      withTopics(async (broker) => {
        const topic = newTopic();
        const announced = listen(broker);
        for (let round = 0; round < 5; round++) {
          await broker.subscribe(topic);
          broker.unsubscribe(topic);
        }
        await broker.subscribe(topic);
        await until(async () => {
          await post(broker, topic, text("heard"));
          return announced.of(topic).length > 10;
        }, "announcements");
        expect(announced.of(topic).every(({ data }) => data === "heard")).toBe(true);
      }),
    );

    test(
      "can be ended before it began",
      withTopics(async (broker) => {
        const topic = newTopic();
        broker.unsubscribe(topic);
        expect(await broker.positions([topic])).toEqual([undefined]);
        expect((await broker.subscribe(topic)).offset).toBe(0);
      }),
    );

    testIf(can.manyNodes && can.announcesOnlySubscribed)(
      "on one node does not affect another",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const [announced, otherAnnounced] = [listen(one), listen(other)];
        await one.subscribe(topic);
        await other.subscribe(topic);
        other.unsubscribe(topic);
        await until(async () => {
          await post(other, topic, text("heard"));
          return announced.of(topic).length > 10;
        }, "announcements on the node that is still subscribed");
        expect(otherAnnounced.of(topic)).toEqual([]);
      }),
    );
  });
}
