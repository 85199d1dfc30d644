/** The store of the engine on disk, without its Worker and on a clock of the test's. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BatchQueue, type Operation } from "../../../src/engine/disk/batch-queue.ts";
import { OwnedDirectory } from "../../../src/engine/disk/directory.ts";
import { Store } from "../../../src/engine/disk/store.ts";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import { text } from "../contract/messages.ts";

const minute = 60;
const hour = 60 * minute;

/** A position lives for an hour, and a message for 10 minutes. */
const limits: EngineLimits = {
  historyMessages: 100,
  historyAgeSeconds: 10 * minute,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  positionAgeSeconds: hour,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
};

/** Times are in seconds since it began. */
class Stage implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "longwire-store-"));
  readonly #limits: EngineLimits;
  readonly #owned: Disposable;
  #store: Store;

  constructor(changed: Partial<EngineLimits> = {}) {
    this.#limits = { ...limits, ...changed };
    this.#owned = new OwnedDirectory(this.#directory, momentOf(0).now);
    this.#store = this.#open(0);
  }

  commit(seconds: number, ...operations: readonly Operation[]): void {
    const queue = new BatchQueue();
    for (const operation of operations) queue.addUnawaited(operation);
    const batch = queue.begin();
    if (batch) this.#store.commit(batch, momentOf(seconds));
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

const momentOf = (seconds: number) => ({
  now: 1_800_000_000_000 + seconds * 1000,
  monotonic: seconds * 1000,
});

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
  using stage = new Stage({ retain: [{ pattern: "logs/*", messages: 100, ageSeconds: 100 * hour }] });
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
    return Object.fromEntries(rows.map(({ used, topics }) => [(used - momentOf(0).now) / 1000, topics]));
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
