/** Attributes are kept and announced with their message. */
import { describe, expect, test } from "bun:test";
import { IdempotencyConflict } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { type Contract, type Engine, generous, testIf } from "./engine.ts";
import { all, failureOf, newTopic, once, post, publicPart, text } from "./messages.ts";

const attributed = (attributes: Draft["attributes"] & object): Draft => ({ ...text("same"), attributes });

export function describeAttributes<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, withTopics, withNodes, can, listen, read } = contract;
  describe("attributes", () => {
    test(
      "of every type are announced and kept as they were published",
      withNodes(async (one, other) => {
        const topic = newTopic();
        const announced = listen(other);
        await other.subscribe(topic);
        const draft = attributed({
          type: "content_block_delta",
          subject: '长连接 "quoted" \\ %41',
          sequence: -2_147_483_648,
          final: false,
          empty: "",
          traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
          authtype: "app_user",
          authid: "ann",
        });
        const position = await post(one, topic, draft);
        const { messages } = await read(other, topic, all, position);
        expect(messages.map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
        if (!can.announcesAll) return;
        await announced.upTo(topic, position);
        expect(announced.of(topic).map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
      }),
    );

    test(
      "belong to what an idempotency key was used with, except the trace and what the server stamps",
      withTopics(async (broker) => {
        const topic = newTopic();
        const first = await post(broker, topic, attributed({ type: "a", subject: "s", authid: "ann" }), once);
        const same = { traceparent: "00-1", tracestate: "x", authtype: "api_key", subject: "s", type: "a" };
        expect(await post(broker, topic, attributed(same), once)).toEqual(first);
        for (const other of [{ type: "a" }, { type: "b", subject: "s" }, { type: "a", subject: "s", x: 1 }])
          expect(await failureOf(post(broker, topic, attributed(other), once))).toBeInstanceOf(
            IdempotencyConflict,
          );
        expect((await post(broker, topic, text("last"))).offset).toBe(2);
      }),
    );

    testIf(!can.ignoresBytesMax)(
      "count in the bytes of history",
      withNode(
        async (broker) => {
          const topic = newTopic();
          let last = await post(broker, topic, attributed({ note: "x".repeat(600) }));
          for (let count = 1; count < 40; count++)
            last = await post(broker, topic, attributed({ note: "x".repeat(600) }));
          const [state] = await broker.inspect([topic]);
          expect(state?.retained).toBeLessThan(30);
          expect(state?.position).toEqual(last);
        },
        { ...generous, historyBytesMax: 16 * 1024 },
      ),
    );
  });
}
