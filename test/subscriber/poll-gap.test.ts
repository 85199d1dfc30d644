/** A poll whose topic loses its past while it waits, as by a takeover of the engine. */
import { expect, test } from "bun:test";
import type { Permissions } from "../../src/access/permissions.ts";
import type { TopicReaders } from "../../src/delivery/topic-readers.ts";
import type { RequestContext } from "../../src/http/request-context.ts";
import { Counters } from "../../src/metrics.ts";
import { Poll, type PollDeps } from "../../src/subscriber/poll.ts";
import { type LocalTopic, Subscription } from "../../src/topic/subscription.ts";
import { Encodings } from "../../src/wire/encodings.ts";
import { localTopic, messageOf, ReaderStage } from "../support/topic-readers.ts";

const value = { ...messageOf("2"), epoch: "b", attributes: { partitionkey: "k" } };
const snapshot = { epoch: "b", offset: 0, base: 1 };
const gap = { topic: "news", requested: "a-0", from: snapshot };

/** A poll that waits at a-0, and its subscription, whose topic is at b-1 then and has one value. */
function waiting() {
  let epoch = "a";
  const topic: LocalTopic<TopicReaders> = {
    ...localTopic(new ReaderStage().topic()),
    isKeyed: true,
    isAt: (at: string, offset: number) => at === epoch && offset === (epoch === "a" ? 0 : 1),
    read: async () => ({ from: snapshot, messages: [value], through: { epoch: "b", offset: 1 } }),
  };
  const subscription = new Subscription(topic, undefined);
  const deps = {
    connections: { openHttp: () => ({ end: () => undefined }) },
    encodings: new Encodings(""),
    held: { addHeld: () => undefined },
    counters: new Counters(),
    bufferedBytesMax: 1024,
  } as unknown as PollDeps;
  const permissions = { subject: undefined, expiresTime: Number.POSITIVE_INFINITY } as unknown as Permissions;
  const options = { messagesMax: 10, waitSeconds: 60, nextUrl: (cursor: string) => `/next?since=${cursor}` };
  const poll = new Poll(deps, permissions, [subscription], options, false);
  const context = { request: new Request("http://localhost/topics/news") } as unknown as RequestContext;
  const answer = poll.run(context);
  epoch = "b";
  return { subscription, answer };
}

test("a poll that is told a gap while it waits has what follows it, as its answer without Link is the last", async () => {
  const { subscription, answer } = waiting();
  subscription.restart({ from: snapshot, messages: [], gap });
  const { headers } = await answer;
  expect([headers.get("longwire-cursor"), headers.get("link")]).toEqual(["b-1", null]);
  const events = (await (await answer).json()) as { type: string; data: unknown }[];
  expect(events.map(({ type, data }) => [type, data])).toEqual([
    ["longwire.gap", { topic: "news", requested: "a-0", from: "b-0.1", base: 1 }],
    ["longwire.message", "2"],
  ]);
});
