/** Publishing: what is published is announced and kept unchanged. */
import { describe, expect, test } from "bun:test";
import type { Draft } from "../../../src/topic/draft.ts";
import type { Contract, Engine } from "./engine.ts";
import { all, bytes, newTopic, post, publicPart, text } from "./messages.ts";

const drafts: Record<string, Draft> = {
  "every byte": bytes(Uint8Array.from({ length: 256 }, (_, byte) => byte)),
  "no bytes": bytes(new Uint8Array()),
  "bytes that are no UTF-8": bytes(Uint8Array.of(0xff, 0xfe, 0xc3, 0x28, 0xed, 0xa0, 0x80)),
  "bytes that are text": bytes(new TextEncoder().encode("text")),
  "a MiB of bytes": bytes(Uint8Array.from({ length: 1024 * 1024 }, (_, index) => index * 7 + (index >> 8))),
  "no text": text(""),
  "text with a byte order mark, line ends and NUL": text("\ufeffone\r\ntwo\rthree\n\0\u2028\u0085 \t"),
  "text beyond the basic plane": text("长连接 🔌 \u{10ffff}\uffff\ufffd e\u0301"),
  "text that looks like a number": text("007"),
  "JSON as it was written": { data: '{"a" : 1.0,\n"a":1e400}', contentType: "application/cloud+json" },
  "a content type with parameters": { data: "x", contentType: 'Text/Plain; charset=UTF-8; x="ü;,"' },
};

export function describeContent<Kind extends Engine>({ withNodes, can, listen, read }: Contract<Kind>): void {
  describe("publishing", () => {
    for (const [what, draft] of Object.entries(drafts)) {
      test(
        `announces and keeps ${what} as it was published`,
        withNodes(async (one, other) => {
          const topic = newTopic();
          const announced = listen(other);
          await other.subscribe(topic);
          const position = await post(one, topic, draft);
          const { messages } = await read(other, topic, all, position);
          expect(messages.map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
          if (!can.announcesAll) return;
          await announced.upTo(topic, position);
          expect(announced.of(topic).map(publicPart)).toEqual([{ topic, ...position, ...draft }]);
        }),
      );
    }
  });
}
