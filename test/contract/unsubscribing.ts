/** Subscribing: how it ends and begins again. */
import { describe, expect, test } from "bun:test";
import { until } from "../support/wait.ts";
import type { Contract, Engine } from "./engine.ts";
import { listen, newTopic, text } from "./messages.ts";

export function describeUnsubscribing<Kind extends Engine>({
  withNode,
  withNodes,
  can,
}: Contract<Kind>): void {
  describe("subscribing", () => {
    test.skipIf(!can.announcesOnlySubscribed)(
      "ends with one `unsubscribe`, however often it was repeated",
      withNode(async (broker) => {
        const [left, kept] = [newTopic(), newTopic()];
        const ear = listen(broker);
        await broker.subscribe(left);
        await broker.subscribe(left);
        await broker.subscribe(kept);
        broker.unsubscribe(left);
        await until(async () => {
          await broker.publish(left, text("unheard"));
          await broker.publish(kept, text("heard"));
          return ear.of(kept).length > 10;
        }, "announcements on the topic that was kept");
        expect(ear.of(left)).toEqual([]);
      }),
    );

    test(
      "begins again behind an `unsubscribe` that was not waited for",
      withNode(async (broker) => {
        const topic = newTopic();
        const ear = listen(broker);
        for (let round = 0; round < 5; round++) {
          await broker.subscribe(topic);
          broker.unsubscribe(topic);
        }
        await broker.subscribe(topic);
        await until(async () => {
          await broker.publish(topic, text("heard"));
          return ear.of(topic).length > 10;
        }, "announcements");
        expect(ear.of(topic).every(({ data }) => data === "heard")).toBe(true);
      }),
    );

    test(
      "may be ended where it never began",
      withNode(async (broker) => {
        const topic = newTopic();
        broker.unsubscribe(topic);
        expect(await broker.positions([topic])).toEqual([undefined]);
        expect((await broker.subscribe(topic)).offset).toBe(0);
      }),
    );

    test.skipIf(!can.manyNodes || !can.announcesOnlySubscribed)(
      "on one node is no matter of another",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const [ear, otherEar] = [listen(one), listen(other)];
        await one.subscribe(topic);
        await other.subscribe(topic);
        other.unsubscribe(topic);
        await until(async () => {
          await other.publish(topic, text("heard"));
          return ear.of(topic).length > 10;
        }, "announcements on the node that still listens");
        expect(otherEar.of(topic)).toEqual([]);
      }),
    );
  });
}
