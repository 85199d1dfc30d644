/** Who is here, in the engine in memory: what it costs, and what it gives back. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import { MemoryBroker } from "../../../src/engine/memory/broker.ts";
import { presenceTopicOf } from "../../../src/topic/presence.ts";
import { heldHeapBytes } from "../../support/heap.ts";
import { until } from "../../support/wait.ts";
import { generous } from "../contract/engine.ts";
import { gone, here } from "../contract/room.ts";

setDefaultTimeout(120_000);

const limits: EngineLimits = { ...generous, historyAgeSeconds: 600, historyBytesMax: 256 * 1024 * 1024 };

class Stage implements AsyncDisposable {
  readonly broker: MemoryBroker;
  #milliseconds = 0;

  constructor(historyBytesMax = limits.historyBytesMax) {
    const clock = {
      now: () => Date.UTC(2027, 0) + this.#milliseconds,
      monotonic: () => this.#milliseconds,
    };
    const presence = { presenceGraceSeconds: 5, presenceMembersMax: 1000 };
    this.broker = new MemoryBroker({ ...limits, historyBytesMax }, { clock, presence });
  }

  /** Each sweep takes some of those away who leave at once. */
  pass(seconds: number, sweeps = 1 + people.length / 1000): void {
    this.#milliseconds += seconds * 1000;
    for (let sweep = 0; sweep < sweeps; sweep++) this.broker.sweep();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker.close();
  }
}

const membersMax = 100;

/** The texts of members, which their lines hold. */
const people = Array.from({ length: 16_000 }, (_, number) => ({
  key: Buffer.from(`user-${1_000_000 + number}`).toString(),
  info: Buffer.from(`{"name":"Person ${number}","role":"member"}`).toString(),
  issued: 1_790_000_000 + number,
}));

const roomOf = (number: number): string => `room/${Math.floor(number / membersMax)}`;

function comeAll({ broker }: Stage, those = people): void {
  for (const [number, { key, info, issued }] of those.entries())
    broker.present(roomOf(number), [here(key, { info, issued, since: issued })]);
}

function goAll({ broker }: Stage, those = people): void {
  for (const [number, { key }] of those.entries()) broker.present(roomOf(number), [gone(key)]);
}

test("a member in memory costs what it is counted as, and gives it back when its leaving is forgotten", async () => {
  await using stage = new Stage();
  comeAll(stage); // What is compiled at first takes memory, too.
  goAll(stage);
  stage.pass(5);
  stage.pass(601);
  expect(stage.broker.historyBytes).toBe(0);
  const empty = heldHeapBytes();
  comeAll(stage);
  const { historyBytes } = stage.broker;
  expect(historyBytes / people.length).toBeWithin(400, 600);
  expect(heldHeapBytes() - empty).toBeWithin(0.7 * historyBytes, 1.3 * historyBytes);
  goAll(stage);
  stage.pass(5);
  stage.pass(601);
  expect(stage.broker.historyBytes).toBe(0);
  expect(heldHeapBytes() - empty).toBeLessThan(0.05 * historyBytes);
});

test("where values and members fill the memory for them, no one joins, and those who are in go on", async () => {
  await using stage = new Stage(10_000);
  const { broker } = stage;
  const data = "x".repeat(5000);
  const value = { data, contentType: "text/plain", attributes: { partitionkey: "a" } };
  broker.publish("keyed/large", { drafts: [value] });
  const joined: string[] = [];
  const refused: string[] = [];
  for (let number = 0; number < 50; number++) {
    const [bound] = broker.present("room", [here(`k${number}`)]);
    if (bound) refused.push(bound.bound);
    else joined.push(`k${number}`);
  }
  expect(joined.length).toBeWithin(8, 20);
  expect(new Set(refused)).toEqual(new Set([expect.stringContaining("--history-bytes")]));
  expect(joined.length + refused.length).toBe(50);
  expect(
    broker.present("room", [here("k0", { info: '{"n":1}', issued: 1 }), gone("k1"), gone("k2")]),
  ).toEqual([]);
  stage.pass(5);
  const [state] = await broker.inspect([presenceTopicOf("room")]);
  expect(state?.retained).toBe(joined.length - 2);
  expect(broker.present("room", [here("another")])).toEqual([]);
});

test("members who leave at once leave in slices, so that nobody waits for all of them", async () => {
  await using stage = new Stage();
  const leaving = people.slice(0, 3000);
  comeAll(stage, leaving);
  goAll(stage, leaving);
  const rooms = Array.from({ length: leaving.length / membersMax }, (_, room) =>
    presenceTopicOf(`room/${room}`),
  );
  const left = async (): Promise<number> => {
    const states = await stage.broker.inspect(rooms);
    return states.reduce((sum, state) => sum + (state?.retained ?? 0), 0);
  };
  stage.pass(5, 1);
  expect(await left()).toBe(leaving.length - 1000);
  await until(async () => (await left()) === 0, "all to leave, with no other sweep");
});
