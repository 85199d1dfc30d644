/** The engine on disk: the contract of every engine, and what a restart must not change. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../../src/engine/clock.ts";
import { DiskBroker } from "../../../src/engine/disk/broker.ts";
import { OwnedDirectory } from "../../../src/engine/disk/directory.ts";
import type { WorkerAnswer, WorkerQuestion, WorkerRequest } from "../../../src/engine/disk/protocol.ts";
import { Store } from "../../../src/engine/disk/store.ts";
import { withMembersInMemory } from "../../../src/engine/members-in-memory.ts";
import { MemoryBroker } from "../../../src/engine/memory/broker.ts";
import { type Broker, BrokerUnavailable, idempotencySeconds, TopicEnded } from "../../../src/topic/broker.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { realTime } from "../../support/time.ts";
import { until } from "../../support/wait.ts";
import { describeBrokerContract } from "../contract/contract.ts";
import type { ContractLimits } from "../contract/engine.ts";
import { all, failureOf, post, publicPart, text } from "../contract/messages.ts";
import { Waits } from "../contract/waits.ts";

const { read } = new Waits(realTime);
const workerUrl = new URL("../../support/disk-worker.ts", import.meta.url);

const limits: ContractLimits = {
  historyMessages: 100,
  historyAgeSeconds: 600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: [],
  keysMax: 1000,
  feeds: [],
  positionAgeSeconds: 86_400,
  positionBytesMax: 1024 * 1024,
  idempotencyBytesMax: 1024 * 1024,
  presence: [],
  presenceGraceSeconds: 5,
  presenceMembersMax: 1000,
};

class DiskEngine {
  #aheadMilliseconds = 0;
  #passedMilliseconds = 0;
  readonly clock: Clock = {
    now: () => Date.now() + this.#aheadMilliseconds,
    monotonic: () => performance.now() + this.#passedMilliseconds,
  };
  #broker: Broker | undefined;
  #presence: MemoryBroker | undefined;

  constructor(
    readonly directory: string,
    readonly limits: ContractLimits,
  ) {}

  get presence(): MemoryBroker {
    if (!this.#presence) throw new Error("the engine has no node yet");
    return this.#presence;
  }

  async node(): Promise<Broker> {
    const { directory, limits, clock } = this;
    const file = new DiskBroker({ directory, workerUrl, limits, clock, log: recordingLog() });
    const memory = new MemoryBroker(limits, { clock, presence: limits });
    const metrics = () => [];
    const { broker } = withMembersInMemory(
      { kind: "disk", broker: file, metrics },
      { kind: "memory", broker: memory, presence: memory, metrics },
    );
    this.#broker = broker;
    this.#presence = memory;
    await until(() => broker.state.available, "the disk to be opened");
    return broker;
  }

  pass(seconds: number): void {
    this.#aheadMilliseconds += seconds * 1000;
    this.#passedMilliseconds += seconds * 1000;
    this.#presence?.sweep();
  }

  setClock(aheadSeconds: number): void {
    this.#aheadMilliseconds = aheadSeconds * 1000;
  }

  async cutOff(): Promise<void> {
    renameSync(this.directory, `${this.directory}-away`);
    await until(() => this.#broker?.state.available === false, "the directory to be missed");
  }

  reconnect(): void {
    renameSync(`${this.directory}-away`, this.directory);
  }

  silence(): void {
    writeFileSync(join(this.directory, "silence"), "");
  }

  speak(): void {
    rmSync(join(this.directory, "silence"), { force: true });
  }

  async close(): Promise<void> {
    this.speak();
    await this.#broker?.close();
    for (const path of [this.directory, `${this.directory}-away`])
      if (existsSync(path)) await rm(path, { recursive: true, force: true });
  }
}

describeBrokerContract(
  "the engine on disk",
  async (limits) => new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits),
  {
    announcesAll: true,
    isShared: true,
    announcesOnlySubscribed: false,
    keepsKeys: true,
    keepsFeeds: true,
    manyNodes: false,
    presenceOf: ({ presence }) => presence,
    reopen: async (engine, node) => {
      await node.close();
      return await engine.node();
    },
    advance: async (engine, seconds) => engine.pass(seconds),
    setClock: async (engine, aheadSeconds) => engine.setClock(aheadSeconds),
    silence: async (engine) => engine.silence(),
    cutOff: (engine) => engine.cutOff(),
    reconnect: async (engine) => engine.reconnect(),
  },
);

test("a Worker that dies is started again; what it was asked fails, and announcements may have been missed", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  let missed = 0;
  broker.listen({ announced: () => undefined, missed: () => void missed++, subscriberCount: () => 0 });
  const draft = { data: "one", contentType: "text/plain" };
  const first = await post(broker, "news", draft);
  writeFileSync(join(engine.directory, "death"), "");
  const failed = await post(broker, "news", draft).then(
    () => undefined,
    (error) => error,
  );
  expect(failed).toBeInstanceOf(BrokerUnavailable);
  expect(broker.state.reason).toContain("Worker ended");
  await until(() => broker.state.available, "another Worker");
  expect(missed).toBe(1);
  const { epoch, offset } = await post(broker, "news", draft);
  expect(epoch).toBe(first.epoch);
  expect(offset).toBe(2);
});

test("a Worker that has closed its files serves no read that waited: it would open them again", async () => {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "longwire-disk-"));
  stack.defer(() => rm(directory, { recursive: true, force: true }));
  stack.use(new OwnedDirectory(directory, Date.now()));
  const worker = new Worker(workerUrl);
  stack.defer(() => worker.terminate());
  const answered: number[] = [];
  worker.onmessage = ({ data: { id } }: MessageEvent<WorkerAnswer>) => answered.push(id);
  const ask = (id: number, question: WorkerQuestion) =>
    worker.postMessage({ ...question, id, now: Date.now(), monotonic: 0 } satisfies WorkerRequest);
  ask(1, { kind: "open", directory, limits, subscribed: [] });
  ask(2, { kind: "positions", topics: ["news"] });
  ask(3, { kind: "close" });
  await until(() => answered.includes(3), "the files to be closed");
  ask(4, { kind: "close" });
  await until(() => answered.includes(4), "another answer");
  expect(answered.slice(answered.indexOf(3))).toEqual([3, 4]);
});

test("a restart keeps attributes, ends and the records of streams", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const before = await engine.node();
  const once = { key: "key", publisher: "p" };
  await before.takeStream("answers/42", once, "w1");
  const draft = { ...text("Hi"), attributes: { type: "token", sequence: 7, final: true } };
  const step = { once, writer: "w1", items: 1, digest: "d" };
  const { message } = await before.publish("answers/42", { drafts: [draft], step });
  const { end } = await before.publish("answers/42", { drafts: [], end: true, step });
  if (!message || !end) throw new Error("no positions");
  await before.close();
  const after = await engine.node();
  const history = await read(after, "answers/42", all, end);
  expect(history).toMatchObject({ position: end, end });
  expect(history.messages.map(publicPart)).toEqual([{ topic: "answers/42", ...message, ...draft }]);
  const record = await after.takeStream("answers/42", once, "w2");
  expect(record).toMatchObject({ items: 1, digest: "d", first: message, last: message, end });
  expect(await failureOf(post(after, "answers/42", text("late")))).toBeInstanceOf(TopicEnded);
});

test("a publication whose record cannot be kept is not kept either, so that its repetition is published once", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  const first = await post(broker, "news", text("one"));
  using database = new Database(join(engine.directory, "longwire.db"));
  database.run("CREATE TRIGGER refusing BEFORE INSERT ON batch BEGIN SELECT RAISE(ABORT, 'refused'); END");
  const once = { key: "key", publisher: "publisher" };
  expect(await failureOf(post(broker, "news", text("two"), once))).toBeInstanceOf(BrokerUnavailable);
  database.run("DROP TRIGGER refusing");
  await until(() => broker.state.reason === undefined, "the disk to take messages again");
  const second = { epoch: first.epoch, offset: 2 };
  for (let time = 0; time < 2; time++) expect(await post(broker, "news", text("two"), once)).toEqual(second);
  const { messages } = await read(broker, "news", all, second);
  expect(messages.map(({ data }) => data)).toEqual(["one", "two"]);
});

test("more topics than memory holds go on where they are, also those whose messages are not merged yet", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  const names = (prefix: string, length: number) =>
    Array.from({ length }, (_, index) => `${prefix}/${index}`);
  // The table of topics forgets past 20,000, which is in the publications that follow.
  for (let turn = 0; turn < 10; turn++)
    await Promise.all(names(`quiet/${turn}`, 2000).map((topic) => broker.subscribe(topic)));
  const publish = () => Promise.all(names("loud", 100).map((topic) => post(broker, topic, text("x"))));
  const last = await publish();
  expect(await publish()).toEqual(last.map(({ epoch }) => ({ epoch, offset: 2 })));
});

test("messages of thousands of topics are merged early: a commit that waits for a merge waits for few topics", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  const topics = Array.from({ length: 4096 }, (_, index) => `t/${index}`);
  await Promise.all(topics.map((topic) => post(broker, topic, text("x"))));
  using database = new Database(join(engine.directory, "longwire.db"), { readonly: true });
  // Less than 4 MiB and less than a minute after they came.
  await until(() => database.query("SELECT id FROM segment").get() !== null, "a merge to begin");
});

test("messages of a topic that keeps none any more are deleted, so that its position can be forgotten without a rest", async () => {
  await using stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "longwire-disk-"));
  const [keeping, keepingNone] = [100, 0].map(
    (historyMessages) => new DiskEngine(directory, { ...limits, historyMessages }),
  ) as [DiskEngine, DiskEngine];
  stack.defer(() => keepingNone.close());
  const before = await keeping.node();
  using database = new Database(join(directory, "longwire.db"), { readonly: true });
  const segments = (): unknown => database.query("SELECT first, last FROM segment").get();
  await post(before, "news", text("kept"));
  keeping.pass(70);
  await until(() => segments() !== null, "it to be merged");
  await before.close();
  keepingNone.pass(70);
  await post(await keepingNone.node(), "news", text("not kept"));
  keepingNone.pass(70);
  await until(() => segments() === null, "the first one to be deleted");
});

test("a damaged row of a topic is that topic's failure, and others are published and subscribed to", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const before = await engine.node();
  await before.subscribe("damaged");
  const first = await post(before, "sound", text("one"));
  await before.close();
  using database = new Database(join(engine.directory, "longwire.db"));
  database.run("UPDATE topic SET checksum = checksum + 1 WHERE name = 'damaged'");
  const broker = await engine.node();
  const [subscription, publication, sound] = await Promise.all([
    failureOf(broker.subscribe("damaged")),
    failureOf(post(broker, "damaged", text("two"))),
    post(broker, "sound", text("two")),
  ]);
  for (const failure of [subscription, publication]) {
    expect(failure).toBeInstanceOf(BrokerUnavailable);
    expect((failure as BrokerUnavailable).reason).toContain('the row of topic 1, "damaged"');
  }
  expect(sound).toEqual({ ...first, offset: 2 });
  expect(await broker.subscribe("sound")).toEqual(sound);
});

test("a damaged row of an unused topic stops neither the sweep nor what is published to others", async () => {
  const hourSeconds = 3600;
  await using stack = new AsyncDisposableStack();
  const aging = { ...limits, positionAgeSeconds: hourSeconds };
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), aging);
  stack.defer(() => engine.close());
  const before = await engine.node();
  for (const topic of ["damaged", "unused"]) await before.subscribe(topic);
  await before.close();
  using database = new Database(join(engine.directory, "longwire.db"));
  database.run("UPDATE topic SET checksum = checksum + 1 WHERE name = 'damaged'");
  const now = Date.now() + 2 * hourSeconds * 1000;
  using _owned = new OwnedDirectory(engine.directory, now);
  const store = new Store(
    { directory: engine.directory, limits: aging, subscribed: [] },
    { now, monotonic: 0 },
  );
  stack.defer(() => store.close());
  store.sweep({ now, monotonic: 0 });
  expect(database.query("SELECT name FROM topic").all()).toEqual([{ name: "damaged" }]);
  expect(store.usage().damage).toContain('the row of topic 1, "damaged"');
});

test("a damaged batch is tried again without holding more files each time", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const before = await engine.node();
  await post(before, "news", text("one"));
  await before.close();
  using database = new Database(join(engine.directory, "longwire.db"));
  database.run("UPDATE batch SET checksum = checksum + 1");
  const now = Date.now();
  using _owned = new OwnedDirectory(engine.directory, now);
  const open = () =>
    new Store({ directory: engine.directory, limits, subscribed: [] }, { now, monotonic: 0 });
  const heldFiles = (): number =>
    readdirSync("/proc/self/fd").filter((name) => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`).startsWith(engine.directory);
      } catch {
        return false; // The descriptor of the listing itself.
      }
    }).length;
  expect(open).toThrow("batch 1");
  const held = heldFiles();
  for (let time = 0; time < 5; time++) expect(open).toThrow("batch 1");
  expect(heldFiles()).toBe(held);
});

test("a clock that was set back makes no later message older, when all earlier ones are gone", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  using database = new Database(join(engine.directory, "longwire.db"), { readonly: true });
  const segments = (): number =>
    (database.query("SELECT count(*) AS count FROM segment").get() as { count: number }).count;
  await post(broker, "news", text("one"));
  engine.setClock(-10);
  await until(() => segments() === 1, "the step to be noticed");
  engine.pass(limits.historyAgeSeconds + 100);
  await until(() => segments() === 0, "the message to be dropped");
  const second = await post(broker, "news", text("two"));
  engine.pass(70);
  await until(() => segments() === 1, "the second message to be merged");
  const { messages } = await read(broker, "news", all, second);
  expect(messages.map(({ data }) => data)).toEqual(["two"]);
});

test("a topic with a subscriber keeps its epoch past the age of positions, before any sweep", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const broker = await engine.node();
  const position = await broker.subscribe("quiet");
  await broker.subscribe("left");
  broker.unsubscribe("left");
  await post(broker, "other", text("takes the unsubscription along"));
  engine.pass(limits.positionAgeSeconds + 60);
  expect(await broker.positions(["quiet", "left"])).toEqual([position, undefined]);
  expect((await post(broker, "quiet", text("one"))).epoch).toBe(position.epoch);
});

test("a file that may have lost its end says so with what it has, from its first message on", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const before = await engine.node();
  const position = await post(before, "news", text("one"));
  expect(await read(before, "news", all, position)).toMatchObject({ complete: true, isTrimmed: false });
  await before.close();
  for (const name of readdirSync(engine.directory))
    if (name.startsWith("high-water.")) rmSync(join(engine.directory, name));
  const after = await engine.node();
  const [reached] = await after.positions(["news"]);
  expect(reached?.epoch).not.toBe(position.epoch);
  const history = await read(after, "news", all, reached);
  expect(history.messages.map(({ data }) => data)).toEqual(["one"]);
  expect(history).toMatchObject({ complete: true, isTrimmed: true });
});

test("a restart makes no idempotency key younger", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), limits);
  stack.defer(() => engine.close());
  const once = { key: "key", publisher: "publisher" };
  const before = await engine.node();
  const first = await post(before, "news", text("one"), once);
  engine.pass(idempotencySeconds - 100);
  await before.close();
  const after = await engine.node();
  expect(await post(after, "news", text("one"), once)).toEqual(first);
  engine.pass(200);
  expect(await post(after, "news", text("one"), once)).toEqual({ epoch: first.epoch, offset: 2 });
});

test("a crowd of readers does not hold up a publication", async () => {
  await using stack = new AsyncDisposableStack();
  const engine = new DiskEngine(await mkdtemp(join(tmpdir(), "longwire-disk-")), {
    ...limits,
    historyMessages: 10_000,
  });
  stack.defer(() => engine.close());
  const broker = await engine.node();
  const draft = { data: "x".repeat(1000), contentType: "text/plain" };
  await Promise.all(Array.from({ length: 1000 }, () => broker.publish("news", { drafts: [draft] })));
  let read = 0;
  // The Worker stands still until all of it has arrived there.
  engine.silence();
  const page = { messagesMax: 50, bytesMax: 16 * 1024 * 1024 };
  // So few that a busy machine serves them before they are given up.
  const reads = Array.from({ length: 60 }, async () => {
    await broker.history("news", { kind: "all" }, page);
    read++;
  });
  const published = broker.publish("news", { drafts: [draft] });
  await new Promise(setImmediate); // It is sent.
  engine.speak();
  await published;
  expect(read).toBeLessThan(30);
  await Promise.all(reads);
  expect(read).toBe(60);
});
