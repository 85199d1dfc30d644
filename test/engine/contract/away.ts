/** An engine that a node cannot reach for a time. */
import { describe, expect } from "bun:test";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { type Contract, type Engine, testIf } from "./engine.ts";
import { all, newTopic, numbered, once, post, text, wholePage } from "./messages.ts";

/** The longest time in which an engine may leave a call unanswered, by `topic/broker.ts`. */
export const settleSeconds = 3;

/** A busy machine may take three times as long before a test finds fault. */
export const settleSecondsMax = 3 * settleSeconds;

export function describeAway<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can, listen, read, until, time } = contract;
  describe("an engine that is away", () => {
    const { cutOff, reconnect } = can;

    testIf(cutOff && reconnect)(
      "refuses with BrokerUnavailable, and reports when it is back; a repeated key then publishes once",
      withNode(async (broker, engine) => {
        const topic = newTopic();
        const announced = listen(broker);
        expect(broker.state.available).toBe(true);
        await broker.subscribe(topic);
        const known = await post(broker, topic, text("before"));

        await cutOff?.(engine, broker);
        expect(broker.state.available).toBe(false);
        const asked = [
          post(broker, topic, text("unknown"), once),
          broker.subscribe(topic),
          broker.history(topic, all, wholePage),
          broker.positions([topic]),
        ];
        for (const { status, ...outcome } of await Promise.allSettled(asked)) {
          expect(status).toBe("rejected");
          expect("reason" in outcome && outcome.reason).toBeInstanceOf(BrokerUnavailable);
        }
        expect(announced.misses).toBe(0);

        await reconnect?.(engine, broker);
        await until(() => broker.state.available && announced.misses > 0, "the engine to be back");
        const repeated = await post(broker, topic, text("unknown"), once);
        expect(repeated).toEqual({ epoch: known.epoch, offset: known.offset + 1 });
        const { messages } = await read(broker, topic, all, repeated);
        expect(messages.map(({ data }) => data)).toEqual(["before", "unknown"]);
      }),
    );

    const { silence } = can;
    testIf(silence)(
      `that falls silent settles every call within ${settleSeconds} s`,
      withNode(async (broker, engine) => {
        const topic = newTopic();
        await post(broker, topic, text("before"));
        await silence?.(engine);
        const began = time.now();
        const calls = [
          ...numbered(1000).map((word) => post(broker, topic, text(word))),
          post(broker, topic, text("keyed"), once),
          broker.subscribe(newTopic()),
          broker.history(topic, all, wholePage),
          broker.positions([topic]),
          broker.inspect([topic]),
        ];
        for (const outcome of await Promise.allSettled(calls)) {
          expect(outcome.status).toBe("rejected");
          expect("reason" in outcome && outcome.reason).toBeInstanceOf(BrokerUnavailable);
        }
        expect(time.now() - began).toBeLessThan(settleSecondsMax * 1000);
      }),
    );
  });
}
