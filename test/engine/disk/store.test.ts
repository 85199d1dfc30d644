/** The store of the engine on disk, without its Worker and on a clock of the test's. */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatchQueue, type Operation } from "../../../src/engine/disk/batch-queue.ts";
import { OwnedDirectory } from "../../../src/engine/disk/directory.ts";
import { Entries } from "../../../src/engine/disk/entry.ts";
import type { StoredHistory } from "../../../src/engine/disk/protocol.ts";
import { Store } from "../../../src/engine/disk/store.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import type { Message, Since } from "../../../src/topic/message.ts";
import { makeOwn, schema1 } from "../../power/fixtures/old-data.ts";
import { text } from "../contract/messages.ts";

setDefaultTimeout(120_000);

const minute = 60;
const hour = 60 * minute;

/** A position lives for an hour, and a message for 10 minutes. */
const limits: EngineLimits = {
  historyMessages: 100,
  historyAgeSeconds: 10 * minute,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
  positionAgeSeconds: hour,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
};

function messagesOf(topic: string, bytes: Uint8Array<ArrayBuffer>, epoch: string): Message[] {
  const entries = new Entries(bytes);
  return Array.from(entries.places(), (at) => entries.messageAt(at, topic, epoch));
}

/** No segment is deleted before it would be too old for these. */
const keepingLogs = { retain: [{ pattern: "logs/*", messages: 100, ageSeconds: 100 * hour }] };

/** Times are in seconds since it began. */
class Stage implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "longwire-store-"));
  readonly #limits: EngineLimits;
  readonly #owned: Disposable;
  #store: Store;

  /** @param prepare puts a data file there */
  constructor(changed: Partial<EngineLimits> = {}, prepare?: (path: string) => void) {
    this.#limits = { ...limits, ...changed };
    prepare?.(join(this.#directory, "longwire.db"));
    this.#owned = new OwnedDirectory(this.#directory, momentOf(0).now);
    this.#store = this.#open(0);
  }

  commit(seconds: number, ...operations: readonly Operation[]): void {
    const queue = new BatchQueue();
    for (const operation of operations) queue.addUnawaited(operation);
    const batch = queue.begin();
    if (batch) this.#store.commit(batch, momentOf(seconds));
  }

  /** As the Worker does after each commit. */
  mergeSlice(seconds: number): void {
    const { now } = momentOf(seconds);
    if (this.#store.isMergeDue(now)) this.#store.mergeSlice(now);
  }

  sweep(seconds: number): void {
    this.#store.sweep(momentOf(seconds));
  }

  /** The subscribers do not come back. */
  restart(seconds: number): void {
    this.#store.close();
    this.#store = this.#open(seconds);
  }

  position(topic: string, seconds: number) {
    return this.#store.existing(topic, momentOf(seconds).now);
  }

  retained(topic: string, seconds: number): number | undefined {
    return this.#store.inspect([topic], momentOf(seconds).now)[0]?.retained;
  }

  /** All pages: on a busy machine one ends early. */
  history(topic: string, since: Since, seconds: number) {
    const { complete, messages } = this.#page(topic, since, seconds);
    for (let more = messages; more.length > 0; messages.push(...more)) {
      const { epoch = "", offset = 0 } = messages.at(-1) ?? {};
      more = this.#page(topic, { kind: "position", position: { epoch, offset } }, seconds).messages;
    }
    return {
      complete,
      texts: messages.map(({ data }) => data),
      seconds: messages.map(({ time }) => secondsOf(time)),
    };
  }

  #page(topic: string, since: Since, seconds: number) {
    const { complete, entries, position } = this.stored(topic, since, seconds);
    return { complete, messages: messagesOf(topic, entries, position.epoch) };
  }

  /** A page as the Worker has it. */
  stored(topic: string, since: Since, seconds: number): StoredHistory {
    const page = { messagesMax: 1000, bytesMax: 1024 * 1024 };
    const history = this.#store.history(topic, since, page, momentOf(seconds).now);
    if (!history) throw new Error(`there is no topic "${topic}"`);
    return history;
  }

  get unmergedBytes(): number {
    return this.#store.usage().unmergedBytes;
  }

  /** By offsets, and when they were received. */
  segments(): unknown[] {
    const rows = this.rows<Record<"first" | "last" | "received" | "received_last", number>>(
      "SELECT first, last, received, received_last FROM segment ORDER BY id",
    );
    return rows.map(({ first, last, received, received_last }) => ({
      ...{ first, last },
      received: [secondsOf(received), secondsOf(received_last)],
    }));
  }

  /** What another program sees. */
  rows<Row>(sql: string): Row[] {
    using database = new Database(join(this.#directory, "longwire.db"), { readonly: true });
    return database.query(sql).all() as Row[];
  }

  [Symbol.dispose](): void {
    this.#store.close();
    this.#owned[Symbol.dispose]();
    rmSync(this.#directory, { recursive: true });
  }

  #open(seconds: number): Store {
    const options = { directory: this.#directory, limits: this.#limits, subscribed: [] };
    return new Store(options, momentOf(seconds));
  }
}

const beginning = 1_800_000_000_000;

const momentOf = (seconds: number) => ({ now: beginning + seconds * 1000, monotonic: seconds * 1000 });

const secondsOf = (time: number): number => (time - beginning) / 1000;

const subscribe = (topic: string): Operation => ({ kind: "subscribe", topic });
const unsubscribe = (topic: string): Operation => ({ kind: "unsubscribe", topic });
const publish = (topic: string, ...texts: readonly string[]): Operation => ({
  kind: "publish",
  topic,
  publication: { drafts: texts.map(text) },
});

test("a restart finds the position of a quiet topic whose subscriber was there until then", () => {
  using stage = new Stage();
  stage.commit(0, subscribe("quiet"), subscribe("left"), unsubscribe("left"));
  const position = stage.position("quiet", 0);
  stage.sweep(0.6 * hour);
  stage.restart(1.2 * hour);
  expect(stage.position("quiet", 1.2 * hour)).toEqual(position);
  expect(stage.position("left", 1.2 * hour)).toBeUndefined();
});

test("a restart finds it also where messages that nobody sees any more are still in the file", () => {
  using stage = new Stage(keepingLogs);
  stage.commit(0, subscribe("quiet"), publish("quiet", "one"));
  const position = stage.position("quiet", 0);
  stage.sweep(2 * minute);
  expect(stage.rows("SELECT first, last FROM segment")).toEqual([{ first: 1, last: 1 }]);
  stage.sweep(0.6 * hour);
  stage.restart(1.2 * hour);
  expect(stage.position("quiet", 1.2 * hour)).toEqual(position);
});

test("a sweep notes the use of some subscribed topics, the next one of others, each twice in the age of positions", () => {
  using stage = new Stage();
  const topics = Array.from({ length: 501 }, (_, index) => `t/${index}`);
  stage.commit(0, ...topics.map(subscribe));
  const uses = (): Record<number, number> => {
    const rows = stage.rows<{ used: number; topics: number }>(
      "SELECT used, count(*) AS topics FROM topic GROUP BY used",
    );
    return Object.fromEntries(rows.map(({ used, topics }) => [secondsOf(used), topics]));
  };
  stage.sweep(29 * minute);
  stage.sweep(29 * minute);
  expect(uses()).toEqual({ 0: 501 });
  stage.sweep(31 * minute);
  expect(uses()).toEqual({ 0: 1, [31 * minute]: 500 });
  stage.sweep(31 * minute);
  expect(uses()).toEqual({ [31 * minute]: 501 });
  stage.sweep(62 * minute);
  stage.sweep(62 * minute);
  expect(uses()).toEqual({ [62 * minute]: 501 });
});

test("the use of a topic counts from its last publication, and from when its last subscriber left, over a restart", () => {
  using stage = new Stage();
  stage.commit(0, subscribe("published"), subscribe("left"), subscribe("neither"));
  for (const topic of ["published", "left", "neither"]) stage.commit(0, unsubscribe(topic));
  stage.commit(50 * minute, subscribe("left"), publish("published", "one"));
  stage.commit(50 * minute, unsubscribe("left"));
  stage.sweep(52 * minute);
  expect(stage.rows("SELECT seq FROM batch")).toEqual([]);
  for (const name of ["in this run", "in the next one"]) {
    const known = (topic: string, seconds: number): boolean => stage.position(topic, seconds) !== undefined;
    expect([name, known("neither", 1.1 * hour)]).toEqual([name, false]);
    for (const topic of ["published", "left"]) {
      expect([name, topic, known(topic, 109 * minute)]).toEqual([name, topic, true]);
      expect([name, topic, known(topic, 111 * minute)]).toEqual([name, topic, false]);
    }
    stage.restart(1.1 * hour);
  }
});

test("a page has one topic's messages, merged or not, and stays as it is while others are read", () => {
  using stage = new Stage();
  const publishAll = (...data: string[]) =>
    data.flatMap((text) => [publish("news", text), publish("other", `other ${text}`)]);
  stage.commit(0, ...publishAll("one", "two", "three"));
  stage.sweep(100);
  stage.commit(100, ...publishAll("four", "five"));
  const topics = ["news", "other"];
  const pages = topics.map((topic) => stage.stored(topic, { kind: "all" }, 200));
  const texts = pages.map(({ entries, position }, index) =>
    messagesOf(topics[index] ?? "", entries, position.epoch).map(({ data }) => data),
  );
  const all = ["one", "two", "three", "four", "five"];
  expect(texts).toEqual([all, all.map((text) => `other ${text}`)]);
});

describe("a merge", () => {
  test("leaves nothing in the batches, and says when the first and the last message of a segment came", () => {
    using stage = new Stage();
    stage.commit(10, publish("news", "one", "two"));
    stage.commit(20, publish("news", "three"));
    stage.sweep(100);
    expect(stage.rows("SELECT seq FROM batch")).toEqual([]);
    expect(stage.segments()).toEqual([{ first: 1, last: 3, received: [10, 20] }]);
    expect(stage.history("news", { kind: "all" }, 100).texts).toEqual(["one", "two", "three"]);
  });

  test("writes no message that is too many, and deletes segments of such", () => {
    using stage = new Stage({ historyMessages: 3 });
    stage.commit(0, publish("news", "1", "2", "3", "4", "5"));
    stage.sweep(100);
    expect(stage.segments()).toEqual([{ first: 3, last: 5, received: [0, 0] }]);
    stage.commit(200, publish("news", "6", "7", "8"));
    stage.sweep(300);
    expect(stage.segments()).toEqual([{ first: 6, last: 8, received: [200, 200] }]);
    stage.commit(400, publish("news", "9"));
    stage.sweep(500);
    expect(stage.history("news", { kind: "all" }, 500).texts).toEqual(["7", "8", "9"]);
  });

  test("writes nothing of a topic that has begun anew since", () => {
    using stage = new Stage(keepingLogs);
    stage.commit(0, publish("news", "old"));
    stage.commit(2 * hour, publish("news", "new"));
    stage.sweep(2 * hour + 100);
    expect(stage.rows("SELECT topic, first, last FROM segment")).toEqual([{ topic: 2, first: 1, last: 1 }]);
  });

  test("divides the messages of a topic into segments of 64 KiB", () => {
    using stage = new Stage();
    const large = "x".repeat(10_000);
    stage.commit(0, publish("news", ...Array(20).fill(large)));
    stage.sweep(100);
    const segments = stage.rows<{ bytes: number }>("SELECT length(entries) AS bytes FROM segment");
    expect(segments.length).toBe(Math.ceil(20 / 6));
    expect(Math.max(...segments.map(({ bytes }) => bytes))).toBeLessThanOrEqual(64 * 1024);
  });

  test("that falls behind holds up commits, so that what is not merged is bounded by the limit of the history", () => {
    using stage = new Stage({ historyBytesMax: 1024 * 1024 });
    for (let commit = 0; commit < 8; commit++) {
      // More topics than a slice merges.
      const topics = Array.from({ length: 300 }, (_, index) => `${commit}/${index}`);
      stage.commit(commit, ...topics.map((topic) => publish(topic, "x".repeat(500))));
      stage.mergeSlice(commit);
      expect(stage.unmergedBytes).toBeLessThan(500_000); // Two tables, each with a sixteenth and one commit.
    }
  });
});

test("a topic that begins anew leaves no segment of its past", () => {
  using stage = new Stage(keepingLogs);
  stage.commit(0, publish("news", "old"));
  stage.sweep(100);
  expect(stage.rows("SELECT topic FROM segment")).toEqual([{ topic: 1 }]);
  stage.commit(2 * hour, publish("news", "new"));
  expect(stage.rows("SELECT topic FROM segment")).toEqual([]);
});

test("a topic that keeps no message knows when the last one came", () => {
  using stage = new Stage({ historyMessages: 0 });
  stage.commit(100, publish("news", "one"));
  const since = (seconds: number): Since => ({ kind: "time", time: momentOf(seconds).now });
  expect(stage.history("news", since(50), 200)).toMatchObject({ complete: false, texts: [] });
  expect(stage.history("news", since(150), 200)).toMatchObject({ complete: true, texts: [] });
});

test("a clock that is set back twice makes no message younger than the last time, before and after a restart", () => {
  using stage = new Stage();
  stage.commit(10, publish("early", "zero"));
  stage.commit(100, publish("news", "one"));
  stage.sweep(60);
  stage.commit(61, publish("other", "two"));
  stage.sweep(30);
  expect(stage.retained("early", 9 + 10 * minute)).toBe(1);
  expect(stage.retained("early", 11 + 10 * minute)).toBe(0);
  for (const name of ["before", "after"]) {
    expect([name, stage.retained("news", 30 + 10 * minute)]).toEqual([name, 1]);
    expect([name, stage.retained("news", 31 + 10 * minute)]).toEqual([name, 0]);
    expect([name, stage.retained("other", 31 + 10 * minute)]).toEqual([name, 0]);
    stage.restart(31 + 10 * minute);
  }
});

test("the end of a topic stays where it is, over a merge, what is published then, and a restart", () => {
  using stage = new Stage();
  const end: Operation = {
    kind: "publish",
    topic: "news",
    publication: { drafts: [text("two")], end: true },
  };
  stage.commit(0, publish("news", "one"), end);
  const position = stage.position("news", 0);
  expect(position).toMatchObject({ offset: 3, end: { offset: 3 } });
  stage.restart(10);
  expect(stage.position("news", 10)).toEqual(position);
  stage.commit(20, publish("other", "one"), publish("news", "refused"));
  stage.sweep(100);
  expect(stage.rows("SELECT name, last, ended FROM topic")).toEqual([
    { name: "news", last: 2, ended: 1 },
    { name: "other", last: 1, ended: 0 },
  ]);
  stage.restart(200);
  expect(stage.position("news", 200)).toEqual(position);
  expect(stage.history("news", { kind: "all" }, 200).texts).toEqual(["one", "two"]);
  expect(stage.history("other", { kind: "all" }, 200).texts).toEqual(["one"]);
});

test("a repetition writes nothing, whatever else is in its batch", () => {
  using stage = new Stage();
  const once = { key: "key", publisher: "publisher" };
  const keyed: Operation = { kind: "publish", topic: "news", publication: { drafts: [text("one")], once } };
  stage.commit(0, keyed);
  stage.commit(10, publish("other", "one"), keyed);
  const texts = (seconds: number): unknown[] =>
    ["news", "other"].map((topic) => stage.history(topic, { kind: "all" }, seconds).texts);
  expect(texts(10)).toEqual([["one"], ["one"]]);
  stage.sweep(100);
  stage.restart(100);
  expect(texts(100)).toEqual([["one"], ["one"]]);
});

test("the time of a topic never decreases, though the clock is set back", () => {
  using stage = new Stage();
  const times: number[] = [];
  for (const seconds of [100, 50, 99.5, 200]) {
    stage.commit(seconds, publish("news", `${seconds}`));
    times.push(...stage.history("news", { kind: "last", count: 1 }, seconds).seconds);
  }
  expect(times).toEqual([100, 100, 100, 200]);
});

test("text of every length keeps its characters", () => {
  using stage = new Stage();
  const texts = [2000, 16_383, 16_384, 40_000].flatMap((length) =>
    ["x", "ü", "好"].map((character) => character.repeat(length)),
  );
  texts.push("\u{feff}with a byte order mark");
  for (const [second, each] of texts.entries()) stage.commit(second, publish("news", each));
  stage.sweep(100);
  const { texts: kept } = stage.history("news", { kind: "all" }, 100);
  expect(kept.map((each) => texts.indexOf(String(each)))).toEqual([...texts.keys()]);
});

/** A message of schema 1. */
interface OldMessage {
  readonly topic: string;
  readonly offset: number;
  readonly received: number;
  readonly bytes?: number;
}

/** A file of schema 1 with these messages. @param clockStep the clock was set back to then, after all of them */
function oldFile(messages: readonly OldMessage[], clockStep?: number): (path: string) => void {
  return (path) => {
    writeFileSync(path, schema1().database);
    makeOwn(path);
    using database = new Database(path);
    for (const table of ["message", "topic", "publication", "clock_step"])
      database.run(`DELETE FROM ${table}`);
    const topics = Map.groupBy(messages, ({ topic }) => topic);
    const names = [...topics.keys()];
    for (const [name, own] of topics) {
      const { offset = 0, received = 0 } = own.at(-1) ?? {};
      const { now } = momentOf(received);
      database.run("INSERT INTO topic VALUES (?, ?, ?, 0, ?, 0, NULL, ?)", [
        ...[names.indexOf(name) + 1, name, offset, now, now],
      ]);
    }
    for (const [index, { topic, offset, received, bytes = 10 }] of messages.entries()) {
      const { now } = momentOf(received);
      database.run("INSERT INTO message VALUES (?, ?, ?, ?, ?, 'text/plain', NULL, ?)", [
        ...[index + 1, names.indexOf(topic) + 1, offset, now, now, `${offset} `.padEnd(bytes, "x")],
      ]);
    }
    if (clockStep !== undefined)
      database.run("INSERT INTO clock_step VALUES (?, ?)", [messages.length, momentOf(clockStep).now]);
    const last = clockStep ?? messages.at(-1)?.received ?? 0;
    database.run("UPDATE state SET topics = ?, idle = 0, latest_time = ?", [
      ...[names.length, momentOf(last).now],
    ]);
    database.run("PRAGMA wal_checkpoint(TRUNCATE)");
  };
}

describe("messages of schema 1", () => {
  const five = [1, 2, 3, 4, 5].map((offset) => ({ topic: "news", offset, received: 0 }));
  const left = (stage: Stage): unknown[] => stage.rows("SELECT offset FROM old_message ORDER BY seq");

  test("are moved by half a MiB at a time, into segments of 64 KiB", () => {
    const offsets = Array.from({ length: 40 }, (_, index) => index + 1);
    using stage = new Stage(
      {},
      oldFile(offsets.map((offset) => ({ topic: "news", offset, received: 0, bytes: 20_000 }))),
    );
    stage.sweep(10);
    expect(left(stage).length).toBe(40 - 27); // Past 524,288 bytes.
    expect(stage.segments().slice(0, 2)).toMatchObject([
      { first: 1, last: 3 },
      { first: 4, last: 6 },
    ]);
    expect(stage.retained("news", 10)).toBe(40);
  });

  test("are older than all that was merged, also those that are moved later", () => {
    const many = Array.from({ length: 501 }, (_, index) => ({
      topic: "old",
      offset: index + 1,
      received: 0,
    }));
    using stage = new Stage({}, oldFile(many));
    stage.commit(1, publish("new", "one"));
    stage.mergeSlice(70);
    for (let sweep = 0; sweep < 3; sweep++) stage.sweep(70);
    expect(stage.rows("SELECT id, first, last FROM segment ORDER BY id")).toEqual([
      { id: 1, first: 1, last: 500 },
      { id: 2, first: 501, last: 501 },
      { id: 2 ** 40, first: 1, last: 1 },
    ]);
  });

  test("came before the last clock step, wherever they are", () => {
    using stage = new Stage({}, oldFile([{ topic: "news", offset: 1, received: 100 }], 50));
    expect(stage.retained("news", 9 * minute)).toBe(1);
    expect(stage.retained("news", 51 + 10 * minute)).toBe(0);
    stage.sweep(51 + 10 * minute);
    expect(stage.segments()).toEqual([{ first: 1, last: 1, received: [50, 50] }]);
  });

  test("came before a clock step of now, when they are moved", () => {
    using stage = new Stage({}, oldFile([{ topic: "news", offset: 1, received: 100 }]));
    stage.sweep(50);
    expect(stage.retained("news", 49 + 10 * minute)).toBe(1);
    expect(stage.retained("news", 51 + 10 * minute)).toBe(0);
  });

  test("are deleted where newer ones make them too many", () => {
    using stage = new Stage({ historyMessages: 3 }, oldFile(five));
    stage.commit(1, publish("news", "6", "7", "8", "9"));
    stage.mergeSlice(70);
    expect(left(stage)).toEqual([]);
    expect(stage.segments()).toMatchObject([{ first: 7, last: 9 }]);
  });

  test("are not moved where newer segments were dropped after them", () => {
    using stage = new Stage({ historyMessages: 3 }, oldFile(five));
    stage.commit(1, publish("news", "6", "7", "8"));
    stage.mergeSlice(70);
    stage.commit(71, publish("news", "9", "10", "11"));
    stage.mergeSlice(140);
    expect(left(stage).length).toBe(5);
    stage.sweep(140);
    expect(left(stage)).toEqual([]);
    expect(stage.segments()).toMatchObject([{ first: 9, last: 11 }]);
  });

  test("are deleted where their topic begins anew", () => {
    using stage = new Stage({}, oldFile(five));
    stage.commit(2 * hour, publish("news", "one"));
    expect(left(stage)).toEqual([]);
  });
});
