/** History in pages. */
import { describe, expect, test } from "bun:test";
import type { History, Page } from "../../../src/topic/broker.ts";
import { type Position, retainedBytes, type Since } from "../../../src/topic/message.ts";
import type { Contract, Engine } from "./engine.ts";
import { after, all, newTopic, offsetsBetween, publishOneByOne, text } from "./messages.ts";

const pages: Record<string, Page> = {
  "one message": { messagesMax: 1, bytesMax: 1024 },
  "three messages": { messagesMax: 3, bytesMax: 1024 * 1024 },
  "fewer bytes than a message has": { messagesMax: 100, bytesMax: 1 },
  "the bytes of two messages": { messagesMax: 100, bytesMax: 2 * retainedBytes(text("123")) },
};

export function describePages<Kind extends Engine>({ withTopics, readPage }: Contract<Kind>): void {
  describe("history", () => {
    for (const [what, page] of Object.entries(pages)) {
      test(
        `in pages of ${what} joins without a hole, and reports if there is more`,
        withTopics(async (broker) => {
          const topic = newTopic();
          const last = (await publishOneByOne(broker, topic, 10))[9] as Position;
          let since: Since = all;
          let offset = 0;
          while (offset < last.offset) {
            const history: History = await readPage(broker, topic, since, last, page);
            const { messages } = history;
            expect(history.from).toEqual({ epoch: last.epoch, offset });
            expect(messages.length).toBeWithin(1, page.messagesMax + 1);
            expect(messages.map((message) => message.offset)).toEqual(
              offsetsBetween(offset, offset + messages.length),
            );
            const allButLast = messages.slice(0, -1).reduce((sum, draft) => sum + retainedBytes(draft), 0);
            expect(allButLast).toBeLessThan(page.bytesMax);
            offset += messages.length;
            since = after({ epoch: last.epoch, offset });
          }
          expect((await readPage(broker, topic, since, last, page)).messages).toEqual([]);
        }),
      );
    }
  });
}
