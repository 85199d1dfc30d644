/** Presence for the program that Longwire runs in: it is a member, and follows who is here. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  createHandler,
  GapError,
  type MemberOptions,
  PresenceFull,
  type ReceivedMessage,
  StoppedError,
} from "../../../src/longwire.ts";
import { within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

const rooms = { presence: ["room/*"], logLevel: "silent" } as const;

const iterate = (messages: AsyncIterable<ReceivedMessage>): AsyncIterator<ReceivedMessage> =>
  messages[Symbol.asyncIterator]();

async function next(messages: AsyncIterator<ReceivedMessage>): Promise<ReceivedMessage> {
  const { done, value } = await within(messages.next(), "a message");
  if (done) throw new Error("the iteration has ended");
  return value;
}

describe("a program", () => {
  test("is a member while it iterates, and follows who comes, changes and leaves", async () => {
    await using longwire = createHandler({ ...rooms, presenceGraceSeconds: 1 });
    const following = iterate(longwire.presence("room/1", { since: "all" }));
    const first = next(following);
    const ann = iterate(longwire.subscribe("room/1", { member: { key: "ann" } }));
    const received = next(ann);
    expect(await first).toMatchObject({
      ...{ topic: "room/1", key: "ann", contentType: "application/json" },
      attributes: { type: "longwire.join", partitionkey: "ann" },
      data: expect.stringMatching(/^{"member":true,"since":"[-\dT:.]+Z"}$/),
    });
    const other = iterate(longwire.subscribe("room/1", { member: { key: "ann", info: { name: "Ann" } } }));
    void other.next();
    const { attributes, data } = await next(following);
    expect([attributes.type, JSON.parse(String(data)).member]).toEqual(["longwire.update", { name: "Ann" }]);
    await longwire.publish("room/1", "hello");
    expect(await received).toMatchObject({ data: "hello" });
    await ann.return?.();
    await other.return?.();
    expect(await next(following)).toMatchObject({ topic: "room/1", key: "ann", removed: true, data: "" });
  });

  test("continues after the id of a message, and is told where that is not possible", async () => {
    await using longwire = createHandler(rooms);
    const ann = iterate(longwire.subscribe("room/1", { member: { key: "ann" } }));
    void ann.next();
    const { id } = await next(iterate(longwire.presence("room/1", { since: "all" })));
    const bob = iterate(longwire.subscribe("room/1", { member: { key: "bob" } }));
    void bob.next();
    expect(await next(iterate(longwire.presence("room/1", { since: id })))).toMatchObject({ key: "bob" });
    const lost = next(iterate(longwire.presence("room/1", { since: "other-1" })));
    const error = await lost.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(GapError);
    expect(String(error)).toContain("Messages of room/1 after other-1 are gone");
  });

  test("ends with PresenceFull where the topic takes no further member", async () => {
    await using longwire = createHandler({ ...rooms, presenceMembersMax: 1 });
    void iterate(longwire.subscribe("room/1", { member: { key: "ann" } })).next();
    const refused = iterate(longwire.subscribe("room/1", { member: { key: "bob" } })).next();
    await expect(within(refused, "the refusal")).rejects.toBeInstanceOf(PresenceFull);
  });

  test("is told at once what cannot be a member, and which topic has no presence", async () => {
    const longwire = createHandler(rooms);
    const enter = (member: unknown, topic = "room/1") =>
      longwire.subscribe(topic, { member: member as MemberOptions });
    for (const [subscribing, said] of [
      [() => longwire.presence("news"), "has no presence: name it in presence"],
      [() => longwire.presence("!presence/room/1"), "may contain only"],
      [() => longwire.presence("room/1", { since: "never" }), "since must be"],
      [() => enter({ key: "ann" }, "news"), "has no presence: name it in presence"],
      [() => enter({ key: "" }), "1 to 255 bytes"],
      [() => enter({ key: "a\n" }), "control characters"],
      [() => enter({ key: "ann", info: "yes" }), "must be true or an object"],
      [() => enter({ key: "ann", info: new Date() }), "must be true or an object"],
      [() => enter({ key: "ann", info: { text: "x".repeat(1014) } }), "at most 1024 bytes"],
    ] as const) {
      expect(subscribing).toThrow(TypeError);
      expect(subscribing).toThrow(said);
    }
    await longwire[Symbol.asyncDispose]();
    expect(() => longwire.presence("room/1")).toThrow(StoppedError);
  });

  test("cannot publish who is here", async () => {
    await using longwire = createHandler(rooms);
    for (const publishing of [
      longwire.publish("!presence/room/1", "x", { key: "eve" }),
      longwire.remove("!presence/room/1", "ann"),
    ])
      await expect(publishing).rejects.toThrow("may contain only");
  });
});
