/** `followState` of longwire/client, and `follow` in keyed topics: through lines that are cut anywhere, gaps and removals. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type FollowedMessage, follow, followState, type Transport } from "../../src/client/client.ts";
import { open } from "../../src/client/transport.ts";
import { makeToken } from "../../src/command/token.ts";
import { createHandler } from "../../src/longwire.ts";
import { type CuttableLine, openCuttableLine } from "../support/cuttable-line.ts";
import { sharedServer } from "../support/shared-server.ts";
import { inspect, newTopic, openStreamAt, post, type StreamClient, topicsUrl } from "../support/topics.ts";
import { Inbox } from "../support/wait.ts";

setDefaultTimeout(120_000);

const keysMax = 20;
const server = sharedServer(["--keyed", "test/*", "--keys-max", String(keysMax)]);

const secret = "a secret of more than thirty-two characters";

/** @param member whether its lines are a member, under the subject */
const token = (subject: string, member?: true): Promise<string> => {
  const topics = { subscribe: ["room"], publish: [], end: [], presence: ["room"] };
  return makeToken({ secret, ...topics, subject, member, ttlSeconds: 600 });
};

const transports: readonly Transport[] = ["websocket", "eventsource"];

/** Publishes values in one request. */
async function putEach(topic: string, values: Readonly<Record<string, string>>): Promise<void> {
  const events = Object.entries(values).map(([partitionkey, data]) => ({
    ...{ specversion: "1.0", id: "1", source: "/", type: "value", datacontenttype: "text/plain" },
    ...{ partitionkey, data },
  }));
  const answer = await post(server, topic, JSON.stringify(events), {
    "Content-Type": "application/cloudevents-batch+json",
  });
  expect(answer.status).toBe(200);
}

async function remove(topic: string, key: string): Promise<void> {
  expect((await fetch(`${topicsUrl(server, topic)}?key=${key}`, { method: "DELETE" })).status).toBe(200);
}

/** What a call of `onChange` was told. */
interface Call {
  readonly key: string | undefined;
  readonly values: Record<string, unknown>;
}

/** A state that is followed through a line, and comes back from each cut as soon as the test lets it. */
function followThrough(line: CuttableLine, topic: string, transport: Transport, meanwhile = nothing) {
  const calls = new Inbox<Call>();
  const received: FollowedMessage[] = [];
  const stops = new Inbox<[code: number, reason: string]>();
  const following = followState(topicsUrl(line, topic), {
    transport,
    open: (opening, receive, lost) =>
      open(
        opening,
        (event) => {
          if (event) received.push(event);
          receive(event);
        },
        (code, reason) => void meanwhile().then(() => lost(code, reason, 0)),
      ),
    onChange: (state, key) =>
      calls.put({ key, values: Object.fromEntries([...state].map(([name, { data }]) => [name, data])) }),
    onStop: (...how) => stops.put(how),
  });
  return {
    received,
    next: () => calls.take("a call of onChange"),
    stopped: () => stops.take("the stop"),
    [Symbol.dispose]: () => following.stop(),
  };
}

const nothing = async (): Promise<void> => undefined;

/** The same act, once. */
function once(act: () => Promise<unknown>): () => Promise<void> {
  let acting: Promise<unknown> | undefined;
  return async () => {
    acting ??= act();
    await acting;
  };
}

/** Bytes of the server after which its first connections are cut. */
function cutAfter(...lengths: number[]): CuttableLine {
  return openCuttableLine(server.url, () => lengths.shift() ?? Number.POSITIVE_INFINITY);
}

const old = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`k${index}`, "old"]));
const { k0: _, k3: __, ...others } = old;

for (const transport of transports) {
  describe(`followState by ${transport}`, () => {
    test("has what the server has, wherever its line is cut, and gets no value twice", async () => {
      let isWhole = false;
      for (let length = 0; !isWhole; length += 61) {
        const topic = newTopic();
        await putEach(topic, old);
        const change = once(async () => {
          await putEach(topic, { k1: "new", added: "new" });
          await remove(topic, "k0");
          await remove(topic, "k3");
          await putEach(topic, { last: "new" });
        });
        using line = cutAfter(length);
        using state = followThrough(line, topic, transport, change);
        let call = await state.next();
        expect(call.key).toBeUndefined();
        isWhole = line.carried === 1;
        if (isWhole) {
          expect(call.values).toStrictEqual(old);
          line.cut();
        }
        while (call.values.last === undefined) {
          call = await state.next();
          expect(call.key).toBeString();
        }
        expect([length, call.values]).toStrictEqual([
          length,
          { ...others, k1: "new", added: "new", last: "new" },
        ]);
        const ids = state.received.flatMap(({ topic, id }) => (topic ? [id] : []));
        expect([length, ids]).toEqual([length, [...new Set(ids)]]);
      }
    });

    test("keeps what it had after a gap, until one call has the whole of the new, wherever that is cut", async () => {
      for (const length of [400, 700, 1000, 1300, 1600, 1900, 2200, Number.POSITIVE_INFINITY]) {
        const topic = newTopic();
        await putEach(topic, old);
        // More removals than are remembered: who was away is told a gap.
        const forget = once(async () => {
          for (const key of ["k0", "k3"]) await remove(topic, key);
          for (let count = 0; count < keysMax; count++) {
            await putEach(topic, { [`brief${count}`]: "1" });
            await remove(topic, `brief${count}`);
          }
          await putEach(topic, { k1: "new" });
        });
        using line = cutAfter(Number.POSITIVE_INFINITY, length);
        using state = followThrough(line, topic, transport, forget);
        expect(await state.next()).toStrictEqual({ key: undefined, values: old });
        line.cut();
        expect([length, await state.next()]).toStrictEqual([
          length,
          { key: undefined, values: { ...others, k1: "new" } },
        ]);
        expect(state.received.map(({ type }) => type)).toContain("longwire.gap");
        await putEach(topic, { k4: "newer" });
        expect(await state.next()).toStrictEqual({
          key: "k4",
          values: { ...others, k1: "new", k4: "newer" },
        });
        await remove(topic, "k4");
        const { k4: _, ...left } = others;
        expect(await state.next()).toStrictEqual({ key: "k4", values: { ...left, k1: "new" } });
      }
    });
  });

  test(`followState by ${transport} of /presence has who is on a topic, with a token, below a prefix and through a cut`, async () => {
    const handler = { prefix: "/rt", presence: ["room"], presenceGraceSeconds: 1, jwtSecrets: [secret] };
    await using longwire = createHandler({ ...handler, logLevel: "silent" });
    await using below = Bun.serve({ port: 0, routes: longwire.routes, websocket: longwire.websocket() });
    const enter = async (name: string): Promise<StreamClient> => {
      const headers = { Authorization: `Bearer ${await token(name, true)}` };
      return openStreamAt(below, "/rt/topics/room", headers);
    };
    await using ann = await enter("ann");
    using line = openCuttableLine(below.url, () => Number.POSITIVE_INFINITY);
    const calls = new Inbox<unknown[]>();
    const following = followState(new URL("/rt/presence/room", line.url), {
      transport,
      token: () => token("reader"),
      onChange: (members, key) => calls.put([key, ...members.keys()]),
    });
    const next = () => calls.take("a call of onChange");
    expect(await next()).toEqual([undefined, "ann"]);
    await using bob = await enter("bob");
    expect(await next()).toEqual(["bob", "ann", "bob"]);
    line.cut();
    await ann[Symbol.asyncDispose]();
    expect(await next()).toEqual(["ann", "bob"]);
    expect(bob.response.status).toBe(200);
    following.stop();
  });

  test(`follow by ${transport} comes back into a snapshot, and is told when it is live`, async () => {
    const topic = newTopic();
    await putEach(topic, { a: "1", b: "2" });
    const { position } = await inspect(server, topic);
    const idOf = (offset: number): string => String(position).replace(/\d+$/, String(offset));
    const told = new Inbox<unknown[]>();
    const following = follow(`${topicsUrl(server, topic)}?since=all`, {
      transport,
      onMessage: ({ type, partitionkey }) => told.put([type, partitionkey, following.cursor]),
      onLive: ({ whole }) => told.put(["live", whole, following.cursor]),
    });
    const next = () => told.take("a report");
    expect(await next()).toEqual(["value", "a", `${idOf(1)}.2`]);
    expect(await next()).toEqual(["value", "b", `${idOf(2)}.2`]);
    expect(await next()).toEqual(["live", true, idOf(2)]);
    await remove(topic, "a");
    expect(await next()).toEqual(["longwire.removed", "a", idOf(3)]);
    following.stop();
  });
}

test("followState has an empty state of an empty topic", async () => {
  using line = cutAfter();
  using state = followThrough(line, newTopic(), "websocket");
  expect(await state.next()).toStrictEqual({ key: undefined, values: {} });
});

test("followState stops at a message of a topic that is not keyed", async () => {
  const topic = `plain/${newTopic()}`;
  await post(server, topic, "1");
  using line = cutAfter();
  using state = followThrough(line, topic, "websocket");
  expect(await state.stopped()).toEqual([1008, "The topic is not keyed."]);
});
