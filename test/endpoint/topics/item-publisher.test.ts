/** How the items of one request are divided into steps, and what a step says to the engine, without a server. */
import { describe, expect, test } from "bun:test";
import { program } from "../../../src/access/publishers.ts";
import { ItemPublisher, stepsOf } from "../../../src/endpoint/topics/item-publisher.ts";
import { stepItemsMax } from "../../../src/settings/limits.ts";
import { IdempotencyConflict, type Publication, type StreamRecord } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import type { Hub } from "../../../src/topic/hub.ts";
import { retainedBytes } from "../../../src/topic/message.ts";
import { text } from "../../engine/contract/messages.ts";

async function sizesOf(items: Iterable<Draft>, bytesMax: number): Promise<number[]> {
  const sizes: number[] = [];
  for await (const step of stepsOf(items, bytesMax)) sizes.push(step.length);
  return sizes;
}

const itemsOf = (count: number, bytes = 10): Draft[] => Array(count).fill(text("x".repeat(bytes)));

describe("a step", () => {
  test(`has at most ${stepItemsMax} items`, async () => {
    expect(await sizesOf(itemsOf(2 * stepItemsMax + 1), 1_000_000)).toEqual([stepItemsMax, stepItemsMax, 1]);
  });

  test("has at most so many bytes, or one item that is larger", async () => {
    const bytes = retainedBytes(text("x".repeat(1000)));
    expect(await sizesOf(itemsOf(7, 1000), 3 * bytes)).toEqual([3, 3, 1]);
    expect(await sizesOf(itemsOf(2, 1000), 10)).toEqual([1, 1]);
  });

  test("has what came before an item that cannot be read", async () => {
    function* broken(): Generator<Draft> {
      yield* itemsOf(2);
      throw new Error("broken");
    }
    const sizes: number[] = [];
    const read = async (): Promise<void> => {
      for await (const step of stepsOf(broken(), 1_000_000)) sizes.push(step.length);
    };
    await expect(read()).rejects.toThrow("broken");
    expect(sizes).toEqual([2]);
  });
});

/** A publisher of items with a key to a hub that gives ids, and remembers what it was asked. */
function stage(record: StreamRecord = { items: 0, digest: "" }) {
  const publications: Publication[] = [];
  let last = record.items;
  const hub: Pick<Hub, "takeStream" | "publish"> = {
    takeStream: async () => record,
    publish: async (_topic, publication) => {
      publications.push(publication);
      last += publication.drafts.length;
      return { message: { epoch: "e", offset: last }, time: 0 };
    },
  };
  const publisher = new ItemPublisher(hub as Hub, { topic: "news", sender: program }, "key");
  return { publisher, publications };
}

describe("a stream with a key", () => {
  const items = ["one", "two", "three"].map(text);

  test("names its first item in each later step, for an engine that has forgotten the record", async () => {
    const { publisher, publications } = stage();
    await publisher.begin();
    for (const item of items) await publisher.publish([item]);
    const first = { epoch: "e", offset: 1 };
    expect(publications.map(({ step }) => step?.first)).toEqual([undefined, first, first]);
    expect(publications.map(({ step }) => step?.items)).toEqual([1, 2, 3]);
    expect(publisher.published).toEqual({ topic: "news", first: "e-1", last: "e-3", count: 3 });
  });

  test("publishes only what an earlier request has not, and counts what that one has", async () => {
    const earlier = stage();
    await earlier.publisher.begin();
    await earlier.publisher.publish(items.slice(0, 2));
    const digest = earlier.publications[0]?.step?.digest ?? "";
    const [first, last] = [1, 2].map((offset) => ({ epoch: "e", offset }));
    const later = stage({ items: 2, digest, first, last });
    await later.publisher.begin();
    await later.publisher.publish(items.slice(0, 1));
    expect(later.publisher.published.count).toBe(2);
    await expect(later.publisher.finish(false)).rejects.toThrow(IdempotencyConflict);
    await later.publisher.publish(items.slice(1));
    await later.publisher.finish(false);
    expect(later.publications.map(({ drafts }) => drafts.map(({ data }) => data))).toEqual([["three"]]);
    expect(later.publisher.published).toEqual({ topic: "news", first: "e-1", last: "e-3", count: 3 });
    const other = stage({ items: 2, digest, first, last });
    await other.publisher.begin();
    await expect(other.publisher.publish([text("one"), text("other")])).rejects.toThrow(IdempotencyConflict);
  });
});
