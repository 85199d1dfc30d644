/** Subscribing: the order of announcements, and how a lost one is found. */
import { describe, expect, test } from "bun:test";
import type { Position } from "../../../src/topic/message.ts";
import type { Contract, Engine } from "./engine.ts";
import { after, all, newTopic, numbered, post, publishOneByOne, text } from "./messages.ts";

export function describeAnnouncing<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNodes, listen, read, until } = contract;
  describe("subscribing", () => {
    test(
      "announces messages for the first time in the order of their offsets only",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const announced = listen(other);
        await other.subscribe(topic);
        let last = await post(one, topic, text("first"));
        await until(async () => {
          last = (await publishOneByOne(one, topic, 20)).at(-1) as Position;
          return announced.of(topic).length > 20;
        }, "announcements");
        await read(other, topic, all, last);
        const offsets = announced.of(topic).map(({ offset }) => offset);
        expect(offsets).toEqual(offsets.toSorted((left, right) => left - right));
      }),
    );

    test(
      "shows a message that was not announced in positions and history",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const announced = listen(other);
        const subscribed = await other.subscribe(topic);
        const last = (await publishOneByOne(one, topic, 30)).at(-1) as Position;
        await until(
          async () => (await other.positions([topic]))[0]?.offset === last.offset,
          "the position of the last message",
        );
        const { complete, messages } = await read(other, topic, after(subscribed), last);
        expect(complete).toBe(true);
        const known = new Map(
          [...messages, ...announced.of(topic)].map((message) => [message.offset, message]),
        );
        expect([...known.values()].map(({ data }) => data)).toEqual(numbered(30));
      }),
    );
  });
}
