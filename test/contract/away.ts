/** An engine that a node cannot reach for a time. */
import { describe, expect, test } from "bun:test";
import { BrokerUnavailable } from "../../src/topic/broker.ts";
import { until } from "../support/wait.ts";
import type { Contract, Engine } from "./engine.ts";
import { all, listen, newTopic, read, text, wholePage } from "./messages.ts";

export function describeAway<Kind extends Engine>({ withNode, can }: Contract<Kind>): void {
  describe("an engine that is away", () => {
    const { cutOff, reconnect } = can;

    test.skipIf(!cutOff || !reconnect)(
      "refuses with BrokerUnavailable, and reports when it is back; a repeated key then publishes once",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const announced = listen(broker);
        expect(broker.available).toBe(true);
        await broker.subscribe(topic);
        const known = await broker.publish(topic, text("before"));

        await cutOff?.(engine, broker);
        expect(broker.available).toBe(false);
        const once = { key: "key", publisher: "publisher" };
        const asked = [
          broker.publish(topic, text("unknown"), once),
          broker.subscribe(topic),
          broker.history(topic, all, wholePage),
          broker.positions([topic]),
        ];
        for (const { status, ...outcome } of await Promise.allSettled(asked)) {
          expect(status).toBe("rejected");
          expect("reason" in outcome && outcome.reason).toBeInstanceOf(BrokerUnavailable);
        }
        expect(announced.reconnections).toBe(0);

        await reconnect?.(engine, broker);
        await until(() => broker.available && announced.reconnections > 0, "the engine to be back");
        const repeated = await broker.publish(topic, text("unknown"), once);
        expect(repeated).toEqual({ epoch: known.epoch, offset: known.offset + 1 });
        const { messages } = await read(broker, topic, all, repeated);
        expect(messages.map(({ data }) => data)).toEqual(["before", "unknown"]);
      }),
    );
  });
}
