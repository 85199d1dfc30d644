/** The operations that wait for the disk, without a disk. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { BatchQueue, type Operation, type PublishOperation } from "../../../src/engine/disk/batch-queue.ts";
import { Entries, EntryWriter, entryKinds } from "../../../src/engine/disk/entry.ts";
import { noOutcomes } from "../../../src/engine/disk/outcomes.ts";
import { BrokerUnavailable } from "../../../src/topic/broker.ts";
import { text } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const later = 1000;

const subscribe: Operation = { kind: "subscribe", topic: "news" };
const publish = (data: string): PublishOperation => ({
  kind: "publish",
  topic: "news",
  publication: { drafts: [text(data)] },
});

/** Ends a commit that did nothing. @returns the topics of what was announced */
function endWithoutWriting(queue: BatchQueue, operations: number): string[] {
  const announced: string[] = [];
  queue.end(noOutcomes(operations), {
    unavailable: () => new BrokerUnavailable("the disk is away"),
    announce: ({ topic }) => announced.push(topic),
  });
  return announced;
}

function commitAll(queue: BatchQueue): number[] {
  const sizes: number[] = [];
  for (let batch = queue.begin(); batch; batch = queue.begin()) {
    endWithoutWriting(queue, batch.operations);
    sizes.push(batch.operations);
  }
  return sizes;
}

test("what has waited too long is not done, and not announced", async () => {
  const queue = new BatchQueue();
  const late = queue.add(publish("late"), 10);
  queue.add(publish("in time"), later);
  for (const { reject } of queue.takeLate(10)) reject(new BrokerUnavailable("too late"));
  await expect(late).rejects.toThrow(BrokerUnavailable);
  const batch = queue.begin();
  const entries = new Entries(batch?.entries ?? new Uint8Array());
  expect(Array.from(entries.places(), (at) => entries.kindAt(at))).toEqual([
    entryKinds.void,
    entryKinds.text,
  ]);
  expect(endWithoutWriting(queue, batch?.operations ?? 0)).toEqual([]);
});

describe("a batch", () => {
  test("has at most 8192 operations", () => {
    const queue = new BatchQueue();
    for (let count = 0; count < 8193; count++) queue.addUnawaited(subscribe);
    expect(commitAll(queue)).toEqual([8192, 1]);
  });

  test("takes no more past 8 MiB", () => {
    const queue = new BatchQueue();
    for (const data of ["x".repeat(9 * 1024 * 1024), "y", "z"]) queue.addUnawaited(publish(data));
    expect(commitAll(queue)).toEqual([1, 2]);
  });
});

describe("what waits is bounded:", () => {
  test("past 20,000 operations one is refused, until some are done", () => {
    const queue = new BatchQueue();
    for (let count = 0; count < 20_000; count++) queue.addUnawaited(subscribe);
    expect(() => queue.add(subscribe, later)).toThrow(BrokerUnavailable);
    commitAll(queue);
    queue.add(subscribe, later);
  });

  test("past 64 MiB one is refused, until some are done", () => {
    const queue = new BatchQueue();
    const data = "x".repeat(22 * 1024 * 1024);
    for (let count = 0; count < 3; count++) queue.addUnawaited(publish(data));
    expect(() => queue.add(subscribe, later)).toThrow(BrokerUnavailable);
    commitAll(queue);
    queue.add(subscribe, later);
  });
});

test("an entry keeps every number that an offset or a time can be", () => {
  const writer = new EntryWriter();
  const numbers = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 1.5 * 2 ** 32, Number.MAX_SAFE_INTEGER];
  for (const number of numbers) {
    const at = writer.write({ kind: entryKinds.text, contentType: "", data: "" }, true);
    writer.entries.placeAt(at, { topic: number, offset: number, time: number, received: number });
  }
  const { entries } = writer;
  const read = Array.from(entries.places(), (at) => [
    ...[entries.topicAt(at), entries.offsetAt(at)],
    ...[entries.timeAt(at), entries.receivedAt(at)],
  ]);
  expect(read).toEqual(numbers.map((number) => Array(4).fill(number)));
});
