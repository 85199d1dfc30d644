/** A node that was closed. */
import { describe, expect } from "bun:test";
import { type Contract, type Engine, testIf } from "./engine.ts";
import { newTopic, post, text } from "./messages.ts";

export function describeClosed<Kind extends Engine>({ withNode, can, listen, until }: Contract<Kind>): void {
  describe("a closed node", () => {
    testIf(can.manyNodes)(
      "receives no announcement",
      withNode(async (one, engine) => {
        const other = await engine.node();
        const topic = newTopic();
        const [announced, otherAnnounced] = [listen(one), listen(other)];
        await one.subscribe(topic);
        await other.subscribe(topic);
        await other.close();
        await until(async () => {
          await post(one, topic, text("after"));
          return announced.of(topic).length > 10;
        }, "announcements on the other node");
        expect(otherAnnounced.of(topic)).toEqual([]);
      }),
    );
  });
}
