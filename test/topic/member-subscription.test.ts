/** Members through the hub: which lines make their clients members of a topic, and from when to when. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import type { HubPresence } from "../../src/topic/hub.ts";
import type { Member, Presence, RefusedMember } from "../../src/topic/presence.ts";
import type { Subscription } from "../../src/topic/subscription.ts";
import { endTopic } from "../engine/contract/messages.ts";
import { closeStages, openStage, settled, Visitor } from "../support/hub-stage.ts";
import type { LiveVisitors } from "../support/live-visitors.ts";

setDefaultTimeout(120_000);
afterEach(closeStages);

/** Knows what it was told, and takes in as many as a test says. */
class Register {
  readonly said: string[] = [];
  bound: string | undefined;

  present(topic: string, members: readonly Presence[]): readonly RefusedMember[] {
    this.said.push(...members.map(({ key, isHere }) => `${topic} ${isHere ? "+" : "-"}${key}`));
    const { bound } = this;
    if (bound === undefined) return [];
    return members.filter(({ isHere }) => isHere).map(({ key }) => ({ key, bound }));
  }

  onForgotten(): void {}
}

const ann: Member = { key: "ann", info: "true", issuedSeconds: 0 };

let register: Register;
let presence: HubPresence;

beforeEach(() => {
  register = new Register();
  presence = { register, has: (topic) => topic.startsWith("room/") };
});

const open = async (
  { hub }: Pick<ReturnType<typeof openStage>, "hub">,
  { topic = "room/1", since = undefined as { kind: "unknown" } | undefined } = {},
): Promise<Subscription<LiveVisitors<Visitor>>> => await hub.open(topic, since, "an id", ann);

describe("a line of a member", () => {
  test("makes it a member from its beginning until it is closed, and closing it again is nothing", async () => {
    const stage = openStage({ presence });
    const subscription = await open(stage);
    expect([register.said, stage.hub.members?.count]).toEqual([[], 0]);
    const visitor = new Visitor(subscription);
    expect([register.said, stage.hub.members?.count]).toEqual([["room/1 +ann"], 1]);
    await stage.publish(1, "room/1");
    expect(visitor.told).toEqual(["live", "message 1"]);
    visitor.close();
    visitor.close();
    expect([register.said, stage.hub.members?.count]).toEqual([["room/1 +ann", "room/1 -ann"], 0]);
    expect(stage.hub.subscriberCount("room/1")).toBe(0);
  });

  test("that never begins, or is closed before, makes it none", async () => {
    const stage = openStage({ presence });
    const [unbegun, closed] = [await open(stage), await open(stage)];
    unbegun.close();
    closed.close();
    const { told } = new Visitor(closed);
    expect([told, register.said, stage.hub.members?.count]).toEqual([[], [], 0]);
  });

  test("that is closed while it begins makes it none for longer", async () => {
    const stage = openStage({ presence });
    await stage.publish(1, "room/1");
    const since = { kind: "unknown" } as const;
    const { told } = new Visitor(await open(stage, { since }), { on: (_, visitor) => visitor.close() });
    expect(told).toEqual(["gap after an id, from 0"]);
    expect(stage.hub.members?.count).toBe(0);
    expect(stage.hub.subscriberCount("room/1")).toBe(0);
  });

  test("makes it one while it is replayed, falls back and is told a gap", async () => {
    const stage = openStage({ presence });
    await stage.publish(3, "room/1");
    const subscription = await open(stage, { since: { kind: "unknown" } });
    const visitor = new Visitor(subscription, { takes: 1 });
    expect(register.said).toEqual(["room/1 +ann"]);
    visitor.takes = Number.POSITIVE_INFINITY;
    subscription.advance();
    const [last] = await stage.publish(1, "room/1");
    if (last) subscription.fallBack(last);
    subscription.advance();
    await stage.broker.loseEverything();
    await stage.publish(1, "room/1");
    await settled();
    expect(visitor.told.map((event) => event.split(" ")[0])).toEqual([
      ...["gap", "replay", "replay", "replay", "live", "message", "live"],
      ...["gap", "live", "message"],
    ]);
    expect(register.said).toEqual(["room/1 +ann"]);
    visitor.close();
    expect(register.said).toEqual(["room/1 +ann", "room/1 -ann"]);
  });

  test("makes it none after the end of the topic", async () => {
    const stage = openStage({ presence });
    const live = new Visitor(await open(stage));
    await endTopic(stage.hub, "room/1");
    expect(live.told).toEqual(["live", "end 1"]);
    expect([register.said, stage.hub.members?.count]).toEqual([["room/1 +ann", "room/1 -ann"], 0]);
    const late = new Visitor(await open(stage));
    expect(late.told).toEqual(["end 1"]);
    expect(stage.hub.members?.count).toBe(0);
    expect(register.said.slice(2)).toEqual(["room/1 +ann", "room/1 -ann"]);
  });

  test("makes it one of topics with presence alone, and without a member it makes none", async () => {
    const stage = openStage({ presence });
    const [elsewhere, plain] = [
      await open(stage, { topic: "news" }),
      await stage.hub.open("room/1", undefined, ""),
    ];
    for (const subscription of [elsewhere, plain]) new Visitor(subscription).close();
    expect([stage.hub.hasPresence("news"), stage.hub.hasPresence("room/1")]).toEqual([false, true]);
    expect(register.said).toEqual([]);
    const without = openStage();
    new Visitor(await open(without)).close();
    expect([without.hub.members, without.hub.hasPresence("room/1")]).toEqual([undefined, false]);
  });

  test("fails where the topic takes no further member, and closes with it", async () => {
    const stage = openStage({ presence });
    register.bound = "it has 0";
    const { told } = new Visitor(await open(stage), {
      on: (event, visitor) => event.startsWith("fail") && visitor.close(),
    });
    expect(told).toEqual(["fail PresenceFull"]);
    expect(register.said).toEqual(["room/1 +ann", "room/1 -ann"]);
    expect([stage.hub.members?.count, stage.hub.subscriberCount("room/1")]).toEqual([0, 0]);
  });
});
