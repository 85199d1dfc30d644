/** Feeds: what is published to the topics of a pattern is appended to another topic too, in the same step. */
import { describe, expect, test } from "bun:test";
import { type Broker, ConditionFailed, TopicEnded } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatId, type Message, type Position } from "../../../src/topic/message.ts";
import type { Contract, Engine } from "./engine.ts";
import { absent, set, valueDraft } from "./keyed-topic.ts";
import { after, endTopic, failureOf, once, post, publish, text } from "./messages.ts";

/** Of `generous`: both match `fed/*`, and the second is keyed and has a feed of its own, too. */
const newFed = (): string => `fed/${crypto.randomUUID()}`;
const newFedKeyed = (): string => `fed/keyed/${crypto.randomUUID()}`;

const feed = "feeds/all";
const feedOfKeyed = "feeds/keyed";

/** What is appended to a feed by `act`. */
async function fedBy(broker: Broker, name: string, act: () => Promise<unknown>): Promise<readonly Message[]> {
  await broker.subscribe(name);
  const [before] = await broker.positions([name]);
  await act();
  const history = await broker.history(name, after(before as Position), { messagesMax: 100, bytesMax: 1e6 });
  expect(history?.complete).toBe(true);
  return history?.messages ?? [];
}

const shown = (messages: readonly Message[]): unknown[] =>
  messages.map(({ data, attributes }) => [data, attributes?.origin, attributes?.originid]);

export function describeFeeds<Kind extends Engine>(contract: Contract<Kind>): void {
  if (!contract.can.keepsFeeds) return;
  describe("feeds", () => {
    describeFed(contract);
    describeNotFed(contract);
    describeNotices(contract);
  });
}

function describeFed<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics, withNodes, can, listen } = contract;
  describe("a topic with a feed", () => {
    test(
      "gives it each message as it was published, with its origin and its id there",
      withTopics(async (broker) => {
        const topic = newFed();
        const draft: Draft = {
          data: new Uint8Array([0, 10, 255]),
          contentType: "image/png",
          attributes: {
            type: "thumbnail",
            subject: "a\nb\\",
            partitionkey: "k",
            sequence: -1,
            final: true,
            authid: "ann",
          },
        };
        const positions: Position[] = [];
        const fed = await fedBy(broker, feed, async () => {
          positions.push(await post(broker, topic, text("1")), await post(broker, topic, draft));
        });
        expect(fed.map(({ topic }) => topic)).toEqual([feed, feed]);
        expect(fed[1]?.offset).toBe((fed[0]?.offset ?? 0) + 1);
        expect(shown(fed)).toEqual([
          ["1", topic, formatId(positions[0] as Position)],
          [draft.data, topic, formatId(positions[1] as Position)],
        ]);
        const originid = formatId(positions[1] as Position);
        expect(fed[1]?.contentType).toBe("image/png");
        expect(fed[1]?.attributes).toEqual({ ...draft.attributes, origin: topic, originid });
      }),
    );

    test(
      "gives it several messages of one step in their order",
      withTopics(async (broker) => {
        const topic = newFed();
        const fed = await fedBy(broker, feed, () =>
          publish(broker, topic, { drafts: [text("1"), text("2"), text("3")] }),
        );
        expect(fed.map(({ data }) => data)).toEqual(["1", "2", "3"]);
        const ids = fed.map(({ attributes }) => String(attributes?.originid));
        expect(ids.map((id) => id.split("-")[1])).toEqual(["1", "2", "3"]);
      }),
    );

    test(
      "gives it the items of a stream with a key, and nothing of a step without one",
      withTopics(async (broker) => {
        const topic = newFed();
        const step = (items: number, drafts: Draft[]) =>
          publish(broker, topic, { drafts, step: { once, writer: "w", items, digest: String(items) } });
        const fed = await fedBy(broker, feed, async () => {
          await broker.takeStream(topic, once, "w");
          await step(1, [text("1")]);
          await step(1, []);
          await step(3, [text("2"), text("3")]);
        });
        expect(fed.map(({ data, attributes }) => [data, attributes?.origin])).toEqual(
          ["1", "2", "3"].map((data) => [data, topic]),
        );
        expect((await broker.takeStream(topic, once, "w2")).items).toBe(3);
      }),
    );

    test(
      "gives each of several feeds everything, and is fed itself where it is keyed",
      withTopics(async (broker) => {
        const topic = newFedKeyed();
        let ofKeyed: readonly Message[] = [];
        const fed = await fedBy(broker, feed, async () => {
          ofKeyed = await fedBy(broker, feedOfKeyed, () => set(broker, topic, "a", "1"));
        });
        for (const messages of [fed, ofKeyed])
          expect(messages.map(({ data, attributes }) => [data, attributes?.partitionkey])).toEqual([
            ["1", "a"],
          ]);
      }),
    );

    test(
      "announces what it gives a feed, once and in order",
      withNodes(async (one, other) => {
        const topic = newFed();
        const announced = listen(other);
        const fed = await fedBy(one, feed, async () => {
          await other.subscribe(feed);
          await post(one, topic, text("1"));
          await post(one, topic, text("2"));
        });
        if (!can.announcesAll) return;
        await announced.upTo(feed, fed.at(-1) as Position);
        const own = announced.of(feed).filter(({ attributes }) => attributes?.origin === topic);
        expect(own.map(formatId)).toEqual(fed.map(formatId));
        expect(shown(own)).toEqual(shown(fed));
      }),
    );
  });
}

function describeNotFed<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a feed gets nothing", () => {
    test(
      "of another topic, of itself, and of a repetition",
      withTopics(async (broker) => {
        const topic = newFed();
        const fed = await fedBy(broker, feed, async () => {
          await post(broker, `other/${topic}`, text("other"));
          const first = await post(broker, topic, text("1"), once);
          expect(await post(broker, topic, text("1"), once)).toEqual(first);
        });
        expect(fed.map(({ data }) => data)).toEqual(["1"]);
      }),
    );

    test(
      "of what is refused",
      withTopics(async (broker) => {
        const [ended, keyed] = [newFed(), newFedKeyed()];
        await endTopic(broker, ended);
        await set(broker, keyed, "a", "1");
        const fed = await fedBy(broker, feed, async () => {
          expect(await failureOf(post(broker, ended, text("late")))).toBeInstanceOf(TopicEnded);
          const again = { drafts: [valueDraft("a", "2")], condition: absent };
          expect(await failureOf(publish(broker, keyed, again))).toBeInstanceOf(ConditionFailed);
        });
        expect(fed).toEqual([]);
      }),
    );
  });
}

function describeNotices<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withTopics } = contract;
  describe("a feed is told", () => {
    test(
      "the end of an origin, and goes on",
      withTopics(async (broker) => {
        const [topic, other] = [newFed(), newFed()];
        let end: Position | undefined;
        const fed = await fedBy(broker, feed, async () => {
          end = (await publish(broker, topic, { drafts: [text("last")], end: true })).end;
          await post(broker, other, text("after"));
        });
        expect(fed.map(({ data, attributes }) => [attributes?.type, data])).toEqual([
          [undefined, "last"],
          ["longwire.origin.end", JSON.stringify({ topic })],
          [undefined, "after"],
        ]);
        expect(fed[1]?.attributes).toMatchObject({ origin: topic, originid: formatId(end as Position) });
      }),
    );

    test(
      "the removal of a key, which it does not take for its own",
      withTopics(async (broker) => {
        const topic = newFedKeyed();
        await set(broker, topic, "a", "1");
        let removed: Position | undefined;
        const fed = await fedBy(broker, feed, async () => {
          removed = (await publish(broker, topic, { drafts: [removalOf("a")] })).message;
        });
        expect(fed.map(({ data, contentType }) => [data, contentType])).toEqual([
          [JSON.stringify({ topic, key: "a" }), "application/json"],
        ]);
        expect(fed[0]?.attributes).toEqual({
          type: "longwire.origin.removed",
          origin: topic,
          originid: formatId(removed as Position),
        });
      }),
    );
  });
}
