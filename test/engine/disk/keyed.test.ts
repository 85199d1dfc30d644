/** Keyed topics on disk: what the contract cannot ask, because it needs a restart, a fault, or a look into the file. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DiskBroker } from "../../../src/engine/disk/broker.ts";
import { maintenance } from "../../../src/engine/disk/maintenance.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import {
  BrokerUnavailable,
  ConditionFailed,
  type History,
  type Once,
  TopicFull,
} from "../../../src/topic/broker.ts";
import { removalOf } from "../../../src/topic/key.ts";
import type { Position, Since } from "../../../src/topic/message.ts";
import { DiskStage } from "../../support/disk-stage.ts";
import { until } from "../../support/wait.ts";
import { readPage, valueDraft } from "../contract/keyed-topic.ts";
import { all, endTopic, epochOf, failureOf, once, post, text, wholePage } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const limits: EngineLimits = {
  historyMessages: 100,
  historyAgeSeconds: 60,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: ["keyed/*"],
  keysMax: 3,
  feeds: [],
  positionAgeSeconds: 120,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
};

const topic = "keyed/prices";

class Stage extends DiskStage {
  constructor() {
    super(limits);
  }

  /** Of the data file, which another program may read. */
  count(table: string): number {
    using database = this.database();
    return (database.query(`SELECT count(*) AS count FROM ${table}`).get() as { count: number }).count;
  }

  /** Flips the lowest bit of a byte of the data file. The engine is closed. @param place the bytes from there on */
  flip(place: string | Uint8Array): void {
    const path = join(this.directory, "longwire.db");
    {
      using database = this.database();
      database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    const file = readFileSync(path);
    const at = file.indexOf(place);
    if (at < 0) throw new Error("the data file does not have these bytes");
    file[at] = (file[at] ?? 0) ^ 1;
    writeFileSync(path, file);
  }

  /** What the log says of the topics that begin anew. */
  get begunAnew(): unknown[] {
    return this.log.lines.filter(({ message }) => message.includes("--keyed")).map(({ fields }) => fields);
  }
}

const set = (broker: DiskBroker, key: string, data: string, once?: Once): Promise<Position> =>
  post(broker, topic, valueDraft(key, data), once);

const remove = (broker: DiskBroker, key: string): Promise<Position> => post(broker, topic, removalOf(key));

const read = (broker: DiskBroker, since: Since = all): Promise<History> => readPage(broker, topic, since);

/** The data of the values, in their order. */
const values = async (broker: DiskBroker): Promise<unknown[]> =>
  (await read(broker)).messages.map(({ data }) => data);

const after = (position: Position): Since => ({ kind: "position", position });

test("a restart keeps values, removals, the floor, the epoch, and what else was in the same commit", async () => {
  await using stage = new Stage();
  const before = await stage.open();
  const forgotten = await set(before, "0", "zero");
  for (const key of ["1", "2", "3", "0", "1", "2"]) {
    if (!(await before.value(topic, key))?.value) await set(before, key, key);
    await remove(before, key);
  }
  const both = await Promise.all([
    set(before, "a", "one", once),
    post(before, "plain", text("news"), once),
    set(before, "b", "two"),
  ]);
  const states = async (broker: DiskBroker): Promise<unknown> => [
    await read(broker),
    await read(broker, after(forgotten)),
    await read(broker, after({ ...forgotten, offset: both[0].offset - 1 })),
    await broker.value(topic, "a"),
    await broker.value(topic, "1"),
    await broker.positions([topic, "plain"]),
    await broker.inspect([topic]),
  ];
  const expected = await states(before);
  expect(await values(before)).toEqual(["one", "two"]);
  expect((await read(before, after(forgotten))).complete).toBe(false);
  const restarted = await stage.open();
  expect(await states(restarted)).toEqual(expected);
  expect(await set(restarted, "a", "one", once)).toEqual(both[0]);
  expect(await post(restarted, "plain", text("news"), once)).toEqual(both[1]);
  expect((await set(restarted, "a", "three")).offset).toBe(both[2].offset + 1);
  expect(stage.begunAnew).toEqual([]);
  await stage.close();
  expect(maintenance.checkData(stage.directory)).toMatchObject({ faults: [], topics: 2, messages: 3 });
});

test("a topic that is made keyed or plain begins a new epoch, the start says how many do, and nothing of it is left", async () => {
  await using stage = new Stage();
  const plain = await stage.open({ keyed: [] });
  await post(plain, topic, valueDraft("a", "plain"));
  await post(plain, "keyed/unused", text("plain"));
  await post(plain, "other", text("plain"));
  const plainEpoch = await epochOf(plain, topic);
  const keyed = await stage.open();
  expect(stage.begunAnew).toEqual([{ topics: 2 }]);
  expect(await keyed.positions([topic])).toEqual([undefined]);
  const first = await set(keyed, "a", "keyed");
  expect(first.offset).toBe(1);
  expect(first.epoch).not.toBe(plainEpoch);
  expect(await values(keyed)).toEqual(["keyed"]);
  expect(await read(keyed, after({ epoch: plainEpoch, offset: 1 }))).toMatchObject({ complete: false });
  const again = await stage.open({ keyed: [] });
  expect(stage.begunAnew).toEqual([{ topics: 1 }]);
  expect(await again.history(topic, all, wholePage)).toBeUndefined();
  const second = await post(again, topic, text("plain again"));
  expect(second.offset).toBe(1);
  expect([plainEpoch, first.epoch]).not.toContain(second.epoch);
  await until(() => stage.count("keyed") + stage.count("keyed_topic") === 0, "what it had to be deleted");
  await stage.open();
  expect(stage.begunAnew).toEqual([{ topics: 2 }]); // The second one has still not been used.
});

test("an ended topic's values go when its position has aged, and those of another topic stay", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  for (const key of ["a", "b", "c"]) await set(broker, key, "1");
  await post(broker, "keyed/other", valueDraft("a", "stays"));
  await endTopic(broker, topic);
  stage.pass(60);
  expect((await broker.inspect([topic]))[0]?.retained).toBe(3);
  stage.pass(61);
  expect(await broker.positions([topic])).toEqual([undefined]);
  await until(
    () => stage.count("keyed") === 1 && stage.count("keyed_topic") === 1,
    "the values to be deleted",
  );
  expect((await broker.value("keyed/other", "a"))?.value?.data).toBe("stays");
  expect((await set(broker, "a", "anew")).offset).toBe(1);
});

test("a commit that fails changes no value and no count", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  const first = await set(broker, "a", "one");
  await set(broker, "b", "two");
  await remove(broker, "b");
  const before = await read(broker);
  using database = stage.database();
  database.run(
    "CREATE TRIGGER refusing BEFORE UPDATE ON keyed_topic BEGIN SELECT RAISE(ABORT, 'refused'); END",
  );
  const refused = [set(broker, "a", "never"), set(broker, "c", "never"), remove(broker, "a")];
  for (const error of await Promise.all(refused.map(failureOf)))
    expect(error).toBeInstanceOf(BrokerUnavailable);
  database.run("DROP TRIGGER refusing");
  await until(() => broker.state.reason === undefined, "the disk to take messages again");
  expect(await read(broker)).toEqual(before);
  const drafts = [valueDraft("a", "two")];
  const condition = { kind: "at", positions: [first] } as const;
  expect((await broker.publish(topic, { drafts, condition })).message?.offset).toBe(first.offset + 3);
  expect(await failureOf(broker.publish(topic, { drafts, condition }))).toBeInstanceOf(ConditionFailed);
  for (const key of ["b", "c"]) await set(broker, key, "3");
  expect(await failureOf(set(broker, "d", "3"))).toBeInstanceOf(TopicFull);
  await stage.close();
  expect(maintenance.checkData(stage.directory)).toMatchObject({ faults: [], messages: 3 });
});

test("a clock that is set back keeps no removal longer", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  const first = await set(broker, "a", "1");
  stage.pass(1000);
  await set(broker, "b", "2");
  await remove(broker, "a");
  stage.pass(-1000);
  const last = await set(broker, "c", "3");
  stage.pass(30);
  expect((await read(broker, after(first))).messages.map(({ offset }) => offset)).toEqual([2, 3, 4]);
  stage.pass(31);
  expect((await read(broker, after(first))).complete).toBe(false);
  expect((await read(broker, after(last))).complete).toBe(true);
  await until(() => stage.count("keyed WHERE removed = 1") === 0, "the removal to be forgotten");
  expect(await values(broker)).toEqual(["2", "3"]);
  await stage.close();
  expect(maintenance.checkData(stage.directory)).toMatchObject({ faults: [], messages: 2 });
});

test("a clock that is set back makes no removal that is forgotten newer", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  stage.pass(1000);
  for (const key of ["a", "b", "c", "d"]) {
    await set(broker, key, "1");
    await remove(broker, key); // The limit is three, so that the fourth one forgets the first.
  }
  stage.pass(-1000);
  await set(broker, "e", "2");
  const since: Since = { kind: "time", time: Date.now() + 100_000 };
  expect(await read(broker, since)).toMatchObject({ complete: true, messages: [] });
  const again = await stage.open();
  expect(await values(again)).toEqual(["2"]);
  await stage.close();
  expect(maintenance.checkData(stage.directory)).toMatchObject({ faults: [], messages: 1 });
});

test("a backup has the values; a restored one goes on in new epochs, so that every earlier condition fails", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  const first = await set(broker, "a", "one");
  await set(broker, "b", "two");
  const backup = join(stage.directory, "..", `${crypto.randomUUID()}.db`);
  await using _ = { [Symbol.asyncDispose]: async () => rmSync(backup, { force: true }) };
  maintenance.backUp(stage.directory, backup);
  await remove(broker, "a");
  await stage.close();
  maintenance.restore(backup, stage.directory);
  const restored = await stage.open();
  expect(await values(restored)).toEqual(["one", "two"]);
  const condition = { kind: "at", positions: [first] } as const;
  const refused = await failureOf(restored.publish(topic, { drafts: [valueDraft("a", "never")], condition }));
  expect(refused).toBeInstanceOf(ConditionFailed);
  expect((refused as ConditionFailed).current).toEqual({
    epoch: await epochOf(restored, topic),
    offset: first.offset,
  });
  expect(await read(restored, after(first))).toMatchObject({ complete: false });
});

test("a file that was written before there were keyed topics is opened, and has them then", async () => {
  await using stage = new Stage();
  const before = await stage.open({ keyed: [] });
  const position = await post(before, "news", text("kept"));
  await stage.close();
  {
    using database = stage.database();
    database.run("DROP TABLE keyed; DROP TABLE keyed_topic; PRAGMA user_version = 2");
  }
  expect(maintenance.checkData(stage.directory)).toMatchObject({ faults: [], messages: 1 });
  const broker = await stage.open();
  expect(await broker.positions(["news"])).toEqual([position]);
  await set(broker, "a", "one");
  expect(await values(broker)).toEqual(["one"]);
});

test("a flipped bit in a value is an error for its topic alone, and the check finds it", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  for (const key of ["a", "b", "c"]) await set(broker, key, `the value of ${key}`);
  const other = await post(broker, "keyed/other", valueDraft("a", "whole"));
  await stage.close();
  stage.flip("the value of b");
  const again = await stage.open();
  const refused = [read(again), again.value(topic, "b"), set(again, "b", "new")];
  for (const error of await Promise.all(refused.map(failureOf)))
    expect(String(error)).toContain("the data is damaged: the entry 2 of topic");
  expect((await again.value(topic, "a"))?.value?.data).toBe("the value of a");
  expect((await again.value("keyed/other", "a"))?.value).toMatchObject(other);
  await set(again, "a", "new");
  await stage.close();
  const { faults } = maintenance.checkData(stage.directory);
  expect(faults).toEqual([`the entry 2 of the topic ${topic} does not match its checksum`]);
});

test("a key that no search finds any more, though the index has it, is an error and not absent", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  for (const key of ["a", "b", "c"]) await set(broker, key, key);
  await stage.close();
  // The type of the key in its index becomes BLOB, by https://sqlite.org/fileformat2.html#record_format: its bytes stay.
  const [textOfOneByte, integerOfOneByte, id] = [15, 1, 2];
  stage.flip(new Uint8Array([textOfOneByte, integerOfOneByte, "b".charCodeAt(0), id]));
  const again = await stage.open();
  const publication = { drafts: [valueDraft("b", "never")], condition: { kind: "absent" } } as const;
  const refused = [again.value(topic, "b"), again.publish(topic, publication), read(again)];
  for (const error of await Promise.all(refused.map(failureOf)))
    expect(String(error)).toContain("the data is damaged: an index of the keys of topic");
});

test("a flipped bit in the time of an entry, or of a topic's forgotten removal, is an error", async () => {
  await using stage = new Stage();
  const broker = await stage.open();
  for (const key of ["a", "b"]) await set(broker, key, key);
  await remove(broker, "a");
  await post(broker, "keyed/other", valueDraft("a", "whole"));
  await stage.close();
  {
    using database = stage.database();
    database.run(
      "UPDATE keyed SET received = received - (received & 1024) + (~received & 1024) WHERE key = 'b'",
    );
    database.run("UPDATE keyed_topic SET forgotten_time = 1 << 40 WHERE floor = 0 AND removal_count = 0");
  }
  const again = await stage.open();
  expect(String(await failureOf(again.value(topic, "b")))).toContain("the entry 2 of topic");
  expect(String(await failureOf(again.value("keyed/other", "a")))).toContain("the keys of topic");
  await stage.close();
  expect(maintenance.checkData(stage.directory).faults.toSorted()).toEqual([
    `the entry 2 of the topic ${topic} does not match its checksum`,
    "the keys of the topic keyed/other do not match their checksum",
  ]);
});
