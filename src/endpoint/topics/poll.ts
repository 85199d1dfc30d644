/** GET /topics/…?since=: the messages since then, as a batch of CloudEvents. */

import type { Hub } from "../../topic/hub.ts";
import { formatId } from "../../topic/message.ts";
import { ControlEvents, cloudEvent } from "../../wire/cloud-events.ts";
import type { TopicStart } from "./request.ts";

/** For answers that are stale at once, and different for `Accept: text/event-stream`. */
export const noStoreHeaders = { "Cache-Control": "no-store", Vary: "Accept" } as const;

const utf8 = new TextEncoder();

/**
 * @param topicsPath the path before a topic's name
 * @throws {BrokerUnavailable}
 */
export async function poll(hub: Hub, topicsPath: string, starts: readonly TopicStart[]): Promise<Response> {
  const batch = writeBatch(hub, topicsPath, starts);
  let page = await batch.next(); // Read before the answer begins, so that a broker that is away is an error status.
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: async (controller) => {
      if (page.done) return controller.close();
      controller.enqueue(utf8.encode(page.value));
      page = await batch.next();
    },
    cancel: async () => void (await batch.return()),
  });
  return new Response(body, {
    headers: { ...noStoreHeaders, "Content-Type": "application/cloudevents-batch+json" },
  });
}

/** A page at a time, each topic up to where it stood when it was first read. */
async function* writeBatch(
  hub: Hub,
  topicsPath: string,
  starts: readonly TopicStart[],
): AsyncGenerator<string, void, void> {
  const control = new ControlEvents();
  let separator = "[";
  const write = (event: string): string => {
    const text = separator + event;
    separator = ",";
    return text;
  };
  for (const start of starts) {
    if (!start.since) continue;
    let { since, requested } = start;
    let end: number | undefined;
    for (;;) {
      const history = await hub.read(start.topic, since);
      if (!history) {
        // Nothing is there to continue with. To have asked for all of nothing is no loss.
        if (since.kind !== "all" && since.kind !== "time")
          yield write(control.gap({ topic: start.topic, requested, from: undefined }));
        break;
      }
      const { complete, from, messages, position } = history;
      const gap = complete ? "" : write(control.gap({ topic: start.topic, requested, from }));
      yield gap + messages.map((message) => write(cloudEvent(message, topicsPath))).join("");
      end ??= position.offset;
      const last = messages.at(-1);
      if (!last || last.offset >= end) break;
      since = { kind: "position", position: last };
      requested = formatId(last);
    }
  }
  yield separator === "[" ? "[]" : "]";
}
