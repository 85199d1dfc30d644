/** Feeds on disk: what the contract cannot ask, because it needs a restart, a fault, or a look into the file. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { DiskBroker } from "../../../src/engine/disk/broker.ts";
import { Entries } from "../../../src/engine/disk/entry.ts";
import { maintenance } from "../../../src/engine/disk/maintenance.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import { BrokerUnavailable, KeyAbsent, StreamTakenOver, TopicFull } from "../../../src/topic/broker.ts";
import type { Draft } from "../../../src/topic/draft.ts";
import { removalOf } from "../../../src/topic/key.ts";
import { formatId, type Message } from "../../../src/topic/message.ts";
import { DiskStage } from "../../support/disk-stage.ts";
import { until } from "../../support/wait.ts";
import { valueDraft } from "../contract/keyed-topic.ts";
import { all, endTopic, failureOf, once, post, text, wholePage } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const limits: EngineLimits = {
  historyMessages: 100,
  historyAgeSeconds: 600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [
    { pattern: "newest", messages: 2, ageSeconds: 600 },
    { pattern: "none", messages: 0, ageSeconds: 600 },
  ],
  keyed: ["chat/state"],
  keysMax: 2,
  feeds: ["all", "newest", "none"].map((topic) => ({ pattern: "chat/*", topic })),
  positionAgeSeconds: 86_400,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
};

class Stage extends DiskStage {
  constructor() {
    super(limits);
  }

  /** The entries of a topic in a table, byte for byte. */
  entriesIn(table: "batch" | "segment", topic: string): string[] {
    using database = this.database();
    const { id } = database.query("SELECT id FROM topic WHERE name = ?").get(topic) as { id: number };
    const rows = database.query(`SELECT entries FROM ${table} ORDER BY rowid`).all() as StoredEntries[];
    return rows
      .map((row) => new Entries(row.entries))
      .flatMap((entries) =>
        [...entries.places()]
          .filter((at) => entries.topicAt(at) === id)
          .map((at) => entries.bytes.subarray(at, at + entries.lengthAt(at)).toHex()),
      );
  }

  async faults(): Promise<readonly string[]> {
    await this.close();
    return maintenance.checkData(this.directory).faults;
  }
}

interface StoredEntries {
  readonly entries: Uint8Array<ArrayBuffer>;
}

async function messagesOf(broker: DiskBroker, topic: string): Promise<readonly Message[]> {
  return (await broker.history(topic, all, wholePage))?.messages ?? [];
}

const dataOf = async (broker: DiskBroker, topic: string): Promise<unknown[]> =>
  (await messagesOf(broker, topic)).map(({ data }) => data);

test("a feed survives restarts and the merge byte for byte, with what else was in the same commit", async () => {
  await using stage = new Stage();
  const before = await stage.open();
  const draft: Draft = {
    data: new Uint8Array([0, 10, 255]),
    contentType: "image/png",
    attributes: { subject: 'ü"\\', partitionkey: "k" },
  };
  const [first, second] = await Promise.all([
    post(before, "chat/1", draft),
    post(before, "chat/2", text("ä"), once),
    post(before, "news", text("of no feed"), once),
    post(before, "chat/state", valueDraft("a", "1"), once),
  ]);
  await post(before, "chat/state", removalOf("a"));
  await endTopic(before, "chat/1");
  const fed = await messagesOf(before, "all");
  expect(fed.map(({ offset, data }) => [offset, data])).toEqual([
    [1, draft.data],
    [2, "ä"],
    [3, "1"],
    [4, '{"topic":"chat/state","key":"a"}'],
    [5, '{"topic":"chat/1"}'],
  ]);
  expect(fed[0]?.attributes).toEqual({ ...draft.attributes, origin: "chat/1", originid: formatId(first) });
  expect(fed[1]?.attributes).toEqual({ origin: "chat/2", originid: formatId(second) });
  const stored = stage.entriesIn("batch", "all");
  expect(stored).toHaveLength(5);
  expect(await messagesOf(await stage.open(), "all")).toEqual([...fed]);
  stage.pass(70);
  await until(() => stage.entriesIn("segment", "all").length > 0, "the feed to be merged");
  expect(stage.entriesIn("segment", "all")).toEqual(stored);
  const after = await stage.open();
  expect(await messagesOf(after, "all")).toEqual([...fed]);
  await post(after, "chat/2", text("more"));
  expect((await after.positions(["all"]))[0]?.offset).toBe(6);
  expect(await stage.faults()).toEqual([]);
});

test("each feed has a retention of its own, and its position outlives what it does not keep", async () => {
  await using stage = new Stage();
  const before = await stage.open();
  for (const word of ["1", "2", "3"]) await post(before, "chat/1", text(word));
  const state = async (broker: DiskBroker): Promise<unknown> => [
    await Promise.all(["chat/1", "all", "newest", "none"].map((topic) => dataOf(broker, topic))),
    (await broker.positions(["all", "newest", "none"])).map((position) => position?.offset),
  ];
  const expected = [
    [["1", "2", "3"], ["1", "2", "3"], ["2", "3"], []],
    [3, 3, 3],
  ];
  expect(await state(before)).toEqual(expected);
  const after = await stage.open();
  expect(await state(after)).toEqual(expected);
  stage.pass(70);
  await until(() => stage.entriesIn("segment", "all").length === 3, "the feeds to be merged");
  expect(await state(after)).toEqual(expected);
});

test("the steps of a stream go into feeds once, and what is refused does not", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  await broker.takeStream("chat/1", once, "w1");
  const step = { once, writer: "w1", items: 2, digest: "d" };
  await broker.publish("chat/1", { drafts: [text("1"), text("2")], step });
  await broker.takeStream("chat/1", once, "w2");
  const late = broker.publish("chat/1", { drafts: [text("3")], step: { ...step, items: 3 } });
  expect(await failureOf(late)).toBeInstanceOf(StreamTakenOver);
  const absent = post(broker, "chat/state", removalOf("a"));
  expect(await failureOf(absent)).toBeInstanceOf(KeyAbsent);
  for (const key of ["a", "b"]) await post(broker, "chat/state", valueDraft(key, key));
  expect(await failureOf(post(broker, "chat/state", valueDraft("c", "c")))).toBeInstanceOf(TopicFull);
  expect(await dataOf(broker, "all")).toEqual(["1", "2", "a", "b"]);
});

test("a commit that fails is told, and appends neither to the topic nor to its feeds", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  await post(broker, "chat/1", text("one"));
  using database = stage.database();
  database.run("CREATE TRIGGER refusing BEFORE INSERT ON batch BEGIN SELECT RAISE(ABORT, 'refused'); END");
  expect(await failureOf(post(broker, "chat/1", text("two"), once))).toBeInstanceOf(BrokerUnavailable);
  database.run("DROP TRIGGER refusing");
  await until(() => broker.state.reason === undefined, "the disk to take messages again");
  for (const topic of ["chat/1", "all"]) expect(await dataOf(broker, topic)).toEqual(["one"]);
  for (let time = 0; time < 2; time++) await post(broker, "chat/1", text("two"), once);
  for (const topic of ["chat/1", "all"]) expect(await dataOf(broker, topic)).toEqual(["one", "two"]);
});

test("a damaged feed is the failure of its topics, to which nothing is appended, and of no other", async () => {
  await using stage = new Stage();
  await (await stage.open()).subscribe("newest");
  {
    using database = stage.database();
    database.run("UPDATE topic SET checksum = checksum + 1 WHERE name = 'newest'");
  }
  const broker = await stage.open();
  const [failure] = await Promise.all([
    failureOf(post(broker, "chat/1", text("two"))),
    post(broker, "news", text("sound")),
  ]);
  expect(failure).toBeInstanceOf(BrokerUnavailable);
  expect((failure as BrokerUnavailable).reason).toContain('"newest"');
  for (const topic of ["chat/1", "all"]) expect(await dataOf(broker, topic)).toEqual([]);
});

test("a topic that had ended before it was made a feed begins anew", async () => {
  await using stage = new Stage();
  const before = await stage.open({ feeds: [] });
  await post(before, "all", text("before"));
  const { epoch } = await endTopic(before, "all");
  const broker = await stage.open();
  for (const word of ["1", "2"]) await post(broker, "chat/1", text(word));
  const fed = async (of: DiskBroker): Promise<unknown> =>
    (await messagesOf(of, "all")).map(({ epoch: own, offset, data }) => [own === epoch, offset, data]);
  const expected = [
    [false, 1, "1"],
    [false, 2, "2"],
  ];
  expect(await fed(broker)).toEqual(expected);
  expect(await fed(await stage.open())).toEqual(expected);
});
