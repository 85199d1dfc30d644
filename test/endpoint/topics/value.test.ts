/** The value of a key where it changes between the end of a wait and the read of the value, which no client can time. */
import { expect, test } from "bun:test";
import type { Permissions } from "../../../src/access/permissions.ts";
import { answerValue, type ValueDeps } from "../../../src/endpoint/topics/value.ts";
import type { RequestContext } from "../../../src/http/request-context.ts";
import { Subscription } from "../../../src/topic/subscription.ts";
import { LiveVisitors } from "../../support/live-visitors.ts";
import { localTopic, messageOf } from "../../support/topic-readers.ts";

/** The topic is at a-0 when the wait is over. @param offset of the value that is read then */
async function answerOf(offset: number): Promise<readonly [number, string | null]> {
  const value = { ...messageOf("2"), offset, attributes: { partitionkey: "k" } };
  const start = { topic: "news", since: { kind: "position", position: { epoch: "a", offset: 0 } } } as const;
  const subscription = new Subscription(localTopic(new LiveVisitors()), undefined);
  const deps = {
    hub: {
      open: async () => subscription,
      value: async () => ({ value, position: { epoch: "a", offset }, floor: 0 }),
    },
    connections: { openHttp: () => ({ end: () => undefined }) },
    prefix: "",
  } as unknown as ValueDeps;
  const context = {
    request: new Request("http://localhost/topics/news?key=k&since=a-0"),
    server: { timeout: () => undefined },
  } as unknown as RequestContext;
  const permissions = { subject: undefined, expiresTime: Number.POSITIVE_INFINITY } as unknown as Permissions;
  const wanted = { topic: "news", key: "k", start: { ...start, requested: "a-0" }, waitSeconds: 0 };
  const answer = await answerValue(context, permissions, wanted, deps);
  return [answer.status, answer.headers.get("longwire-cursor")];
}

test("a value that changed after the wait is given, and not passed over by a 304 whose cursor is past it", async () => {
  expect(await answerOf(1)).toEqual([200, "a-1"]);
  expect(await answerOf(0)).toEqual([304, "a-0"]);
});
