/** Feeds over HTTP and sockets: one topic with all of many, to which nobody publishes. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnServer } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import {
  everyEvent,
  inspect,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  topicsUrl,
} from "../../support/topics.ts";

setDefaultTimeout(120_000);

const server = sharedServer(["--feed", "chat/* all-chats", "--keyed", "chat/state"]);

describe("a feed", () => {
  test("is one topic with the messages of many: live, in replay, and after any id", async () => {
    await using stream = await openStream(server, "all-chats");
    await stream.next();
    const first = await publish(server, "chat/1", "hello");
    await post(server, "chat/2", "there", {
      "ce-type": "line",
      "ce-origin": "forged",
      "ce-originid": "forged-1",
    });
    await publish(server, "news", "not in it");
    const [one, other] = [await stream.next(), await stream.next()];
    expect([one.data, other.event, other.data]).toEqual(["hello", "line", "there"]);
    const events = await everyEvent(server, "all-chats", one.id);
    expect(events).toMatchObject([{ type: "line", data: "there", origin: "chat/2", topic: "all-chats" }]);
    expect(await everyEvent(server, "all-chats")).toMatchObject([{ origin: "chat/1", originid: first }, {}]);
    expect((await everyEvent(server, "chat/1"))[0]).not.toHaveProperty("origin");
  });

  test("tells that a key was removed and that a topic has ended, in every form", async () => {
    using raw = await openTopic(server, "all-chats");
    using events = await openEvents(server, "all-chats");
    await fetch(`${topicsUrl(server, "chat/state")}?key=a`, { method: "POST", body: "1" });
    await fetch(`${topicsUrl(server, "chat/state")}?key=a`, { method: "DELETE" });
    await fetch(`${topicsUrl(server, "chat/3")}?end`, { method: "POST" });
    const types: string[] = [];
    for (let count = 0; count < 3; count++) types.push((await events.event()).type);
    expect(types).toEqual(["longwire.message", "longwire.origin.removed", "longwire.origin.end"]);
    const data: unknown[] = [];
    for (let count = 0; count < 3; count++) data.push(await raw.next());
    expect(data).toEqual(["1", '{"topic":"chat/state","key":"a"}', '{"topic":"chat/3"}']);
  });

  test("takes no message and no end from anybody, in words", async () => {
    const detail = expect.stringContaining("is a feed");
    for (const init of [
      { method: "POST", body: "1" },
      { method: "POST", body: "1\n", headers: { "Content-Type": "application/x-ndjson" } },
    ]) {
      const answer = await fetch(topicsUrl(server, "all-chats"), init);
      expect([answer.status, await answer.json()]).toEqual([403, expect.objectContaining({ detail })]);
    }
    expect((await fetch(`${topicsUrl(server, "all-chats")}?end`, { method: "POST" })).status).toBe(403);
    // Known before the first is published to.
    const both = await post(server, "chat/both,all-chats", "1");
    expect([both.status, (await inspect(server, "chat/both")).position]).toEqual([403, null]);
    using client = await openTopic(server, "all-chats");
    client.send("1");
    const { code, reason } = await client.closed;
    expect([code, reason]).toEqual([4403, detail]);
  });

  test("is refused at the start where it is keyed, or the fifth of a topic", async () => {
    const refusalOf = async (...flags: string[]): Promise<string> => {
      const starting = spawnServer(flags);
      return await starting.then(
        async (started) => {
          await started[Symbol.asyncDispose]();
          return "it has started";
        },
        (error) => String(error),
      );
    };
    expect(await refusalOf("--feed", "a/* f", "--keyed", "f")).toContain("is keyed");
    const five = ["a/b/c", "a/b/*", "a/*", "*", "a*"].flatMap((pattern, index) => [
      "--feed",
      `${pattern} f${index}`,
    ]);
    expect(await refusalOf(...five)).toContain("go into 5 feeds, and 4 are possible");
    expect(await refusalOf("--feed", "a/*")).toContain("chat/* all-chats");
  });
});
