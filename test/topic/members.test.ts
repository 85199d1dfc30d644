/** Members of topics without an engine: what a node tells its register of those that have a line, and when. */
import { afterEach, beforeEach, describe, expect, jest, setDefaultTimeout, test } from "bun:test";
import { type MemberLine, Members } from "../../src/topic/members.ts";
import {
  type Member,
  type Presence,
  type PresenceFull,
  type PresenceRegister,
  presencePerCallMax,
  type RefusedMember,
} from "../../src/topic/presence.ts";
import { heldHeapBytes } from "../support/heap.ts";
import { settled } from "../support/hub-stage.ts";
import { Random, seed } from "../support/random.ts";
import { type RecordingLog, recordingLog } from "../support/recording-log.ts";

setDefaultTimeout(120_000);

interface Call {
  readonly topic: string;
  /** In short: `ann` is here, `-ann` is not. */
  readonly said: readonly string[];
  readonly members: readonly Presence[];
  answer(refused?: readonly RefusedMember[]): Promise<void>;
  fail(): Promise<void>;
}

/** A register that answers when a test says so. */
class RegisterByHand implements PresenceRegister {
  /** Those without an answer. */
  readonly open: Call[] = [];
  readonly said: string[] = [];
  forget: () => void = () => undefined;

  present(topic: string, members: readonly Presence[]): Promise<readonly RefusedMember[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly RefusedMember[]>();
    const said = members.map(({ key, isHere }) => (isHere ? key : `-${key}`));
    const settle = async (act: () => void): Promise<void> => {
      this.open.splice(this.open.indexOf(call), 1);
      act();
      await settled();
    };
    const call: Call = {
      ...{ topic, said, members },
      answer: (refused = []) => settle(() => resolve(refused)),
      fail: () => settle(() => reject(new Error("the register is away"))),
    };
    this.open.push(call);
    this.said.push(`${topic}: ${said.join(" ")}`);
    return promise;
  }

  onForgotten(forgotten: () => void): void {
    this.forget = forgotten;
  }

  /** The call that waits longest. */
  get first(): Call {
    const [call] = this.open;
    if (!call) throw new Error("nothing is asked of the register");
    return call;
  }

  async answerAll(): Promise<void> {
    while (this.open.length > 0) await this.first.answer();
  }
}

class Line implements MemberLine {
  nextOfMember: MemberLine | undefined;
  readonly errors: PresenceFull[] = [];
  isOpen = false;
  readonly #members: Members;

  constructor(
    members: Members,
    readonly topic: string,
    readonly member: Member,
  ) {
    this.#members = members;
  }

  enter(): this {
    this.#members.enter(this);
    this.isOpen = true;
    return this;
  }

  leave(): void {
    this.isOpen = false;
    this.#members.leave(this);
  }

  refuse(error: PresenceFull): void {
    this.errors.push(error);
    this.leave();
  }
}

const member = (key: string, info = "true", issuedSeconds = 0): Member => ({ key, info, issuedSeconds });

let register: RegisterByHand;
let log: RecordingLog;
let members: Members;

const come = (key: string, topic = "room", info?: string, issued?: number): Line =>
  new Line(members, topic, member(key, info, issued)).enter();

beforeEach(() => {
  jest.useFakeTimers();
  register = new RegisterByHand();
  log = recordingLog();
  members = new Members({ register, log });
});

afterEach(() => {
  members.close();
  jest.useRealTimers();
});

describe("the register is told", () => {
  test("at once of a member that comes, and in the next call of what changes during one: what is so by then", async () => {
    const ann = come("ann");
    expect(register.said).toEqual(["room: ann"]);
    come("bob");
    come("kim").leave();
    come("eve").leave();
    come("eve");
    ann.leave();
    expect(register.open).toHaveLength(1);
    expect(members.pendingCount).toBe(4);
    await register.first.answer();
    expect(register.open).toHaveLength(1);
    expect(register.first.said.toSorted()).toEqual(["-ann", "-kim", "bob", "eve"]);
    await register.first.answer();
    expect([register.open.length, members.pendingCount, members.count]).toEqual([0, 0, 2]);
  });

  test("what the token issued last says, and since when the member is here", async () => {
    jest.setSystemTime(1000);
    come("ann", "room", '{"n":2}', 5);
    jest.setSystemTime(2000);
    const later = come("ann", "room", '{"n":1}', 6);
    come("ann", "room", '{"n":9}', 4);
    const ann = { key: "ann", isHere: true, sinceTime: 1000 };
    expect(register.first.members).toEqual([{ ...ann, info: '{"n":2}', issuedSeconds: 5 }]);
    await register.first.answer();
    expect(register.first.members).toEqual([{ ...ann, info: '{"n":1}', issuedSeconds: 6 }]);
    await register.first.answer();
    later.leave();
    expect(register.open).toEqual([]);
    register.forget();
    expect(register.first.members).toEqual([{ ...ann, info: '{"n":1}', issuedSeconds: 6 }]);
  });

  test("in at most one call per topic and 8 at once, and who waits longest comes first", async () => {
    const topics = Array.from({ length: 20 }, (_, index) => `t${index}`);
    for (const topic of topics) come("ann", topic);
    for (const topic of topics) come("bob", topic);
    expect(register.open.map(({ topic }) => topic)).toEqual(topics.slice(0, 8));
    await register.first.answer();
    expect(register.open.map(({ topic }) => topic)).toEqual(topics.slice(1, 9));
    while (register.open.length > 0) {
      expect(register.open.length).toBeLessThanOrEqual(8);
      expect(new Set(register.open.map(({ topic }) => topic)).size).toBe(register.open.length);
      await register.first.answer();
    }
    expect(register.said).toEqual([
      ...topics.slice(0, 8).map((topic) => `${topic}: ann`),
      ...topics.slice(8).map((topic) => `${topic}: ann bob`),
      ...topics.slice(0, 8).map((topic) => `${topic}: bob`),
    ]);
  });

  test("of at most 100 members in a call", async () => {
    come("first");
    for (let number = 0; number < 250; number++) come(`m${number}`);
    await register.answerAll();
    expect(presencePerCallMax).toBe(100);
    expect(register.said.map((said) => said.split(" ").length - 1)).toEqual([1, 100, 100, 50]);
    expect(new Set(register.said.join(" ").split(" ").slice(1)).size).toBe(251 + 1); // And the topic.
  });

  test("of everyone again when it has forgotten, also while it is told something", async () => {
    come("ann");
    come("bob", "other");
    await register.answerAll();
    const eve = come("eve");
    come("kim", "other");
    register.said.length = 0;
    register.forget();
    eve.leave();
    expect(register.said).toEqual([]);
    await register.answerAll();
    const said = register.said.map((call) => call.split(" ").sort().join(" "));
    expect(said.sort()).toEqual(["-eve ann room:", "bob kim other:"]);
    register.forget();
    await register.answerAll();
    expect(register.said.slice(2).sort()).toEqual(["other: bob kim", "room: ann"]);
  });
});

describe("a call that fails", () => {
  test("is repeated after a second with what is so by then", async () => {
    const ann = come("ann");
    come("bob", "other");
    ann.leave();
    come("eve");
    await register.first.fail();
    await register.first.answer();
    // The change that came meanwhile is told without a pause, and what failed goes with it.
    expect(register.said.slice(2)).toEqual(["room: -ann eve"]);
    await register.first.fail();
    jest.advanceTimersByTime(999);
    expect(register.open).toEqual([]);
    expect(members.pendingCount).toBe(2);
    jest.advanceTimersByTime(1);
    expect(register.said.slice(3)).toEqual(["room: -ann eve"]);
    await register.answerAll();
    expect(members.pendingCount).toBe(0);
    jest.advanceTimersByTime(5000);
    expect(register.said).toHaveLength(4);
  });

  test("holds up no change of a topic, as where a full engine takes those who leave and nobody who comes", async () => {
    const ann = come("ann");
    await register.answerAll();
    for (let topic = 0; topic < 20; topic++) come("eve", `t${topic}`);
    while (register.open.length > 0) await register.first.fail();
    ann.leave();
    expect(register.open.map(({ topic, said }) => [topic, said])).toEqual([["room", ["-ann"]]]);
    await register.first.answer();
    expect(members.pendingCount).toBe(20);
    expect(log.lines.map(({ level }) => level)).toEqual(["warn"]);
    jest.advanceTimersByTime(1000);
    await register.answerAll();
    expect([members.pendingCount, log.lines.map(({ level }) => level)]).toEqual([0, ["warn", "info"]]);
  });

  test("of a topic with more members than a call takes is repeated after a second, too", async () => {
    for (let number = 0; number < 250; number++) come(`m${number}`);
    for (let second = 0; second < 3; second++) {
      const said = register.said.length;
      while (register.open.length > 0) await register.first.fail();
      // The first call has one member, and what came during it is told without a pause.
      expect(register.said.length - said).toBe(second === 0 ? 1 : 0);
      jest.advanceTimersByTime(1000);
    }
    await register.answerAll();
    expect([members.pendingCount, register.open.length]).toEqual([0, 0]);
  });

  test("is reported once, and that it works again, too", async () => {
    for (const topic of ["a", "b", "c"]) come("ann", topic);
    for (let round = 0; round < 3; round++) {
      while (register.open.length > 0) await register.first.fail();
      jest.advanceTimersByTime(1000);
    }
    expect(log.lines.map(({ level }) => level)).toEqual(["warn"]);
    await register.answerAll();
    expect(log.lines.map(({ level }) => level)).toEqual(["warn", "info"]);
  });

  test("at once is repeated as one that fails later is", async () => {
    let isAway = true;
    const said: string[] = [];
    const failing = new Members({
      register: {
        present: (_, all) => {
          if (isAway) throw new Error("the register is away");
          said.push(...all.map(({ key }) => key));
          return [];
        },
        onForgotten: () => undefined,
      },
      log,
    });
    new Line(failing, "room", member("ann")).enter();
    new Line(failing, "room", member("bob")).enter();
    isAway = false;
    jest.advanceTimersByTime(999);
    expect(said).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(said).toEqual(["ann", "bob"]);
  });

  test("as the node stops is neither repeated nor reported", async () => {
    come("ann");
    const { first } = register;
    members.close();
    await first.fail();
    come("bob");
    jest.advanceTimersByTime(5000);
    expect([register.open.length, register.said.length, log.lines.length]).toEqual([0, 1, 0]);
  });
});

describe("a member with several lines", () => {
  /** Every order of the numbers below `count`. */
  const ordersOf = (count: number): number[][] =>
    count === 0
      ? [[]]
      : ordersOf(count - 1).flatMap((order) =>
          Array.from({ length: count }, (_, at) => [...order.slice(0, at), count - 1, ...order.slice(at)]),
        );

  test("is gone with the last one, in whichever order they are closed", async () => {
    const orders = ordersOf(4);
    expect(new Set(orders.map(String)).size).toBe(24);
    for (const order of orders) {
      register.said.length = 0;
      const lines = order.map(() => come("ann"));
      await register.answerAll();
      for (const [closed, index] of order.entries()) {
        expect([register.said, members.count]).toEqual([["room: ann"], 1]);
        lines[index]?.leave();
        if (closed === 1) lines.push(come("ann")); // One that comes meanwhile.
      }
      expect(members.count).toBe(1);
      lines.at(-1)?.leave();
      await register.answerAll();
      expect([register.said, members.count]).toEqual([["room: ann", "room: -ann"], 0]);
    }
  });

  test("counts once in each topic", async () => {
    const lines = [come("ann"), come("ann"), come("bob"), come("ann", "other")];
    expect(members.count).toBe(3);
    for (const line of lines) line.leave();
    expect(members.count).toBe(0);
  });

  test("is refused with all of them, also those that came while the register was asked", async () => {
    const lines = [come("ann"), come("ann"), come("ann", "other")];
    const bob = come("bob");
    await register.first.answer();
    register.forget();
    lines.push(come("ann"));
    const call = register.open.find(({ topic }) => topic === "room");
    await call?.answer([{ key: "bob", bound: "it has 1, and that is --presence-members" }]);
    expect(bob.errors.map(({ topic, message }) => [topic, message])).toEqual([
      ["room", "The topic room takes no further member: it has 1, and that is --presence-members."],
    ]);
    const again = register.open.find(({ topic }) => topic === "room");
    expect(again?.said.toSorted()).toEqual(["-bob", "ann"]);
    lines.push(come("ann"));
    await again?.answer([{ key: "ann", bound: "it has 0" }]);
    expect(lines.map(({ isOpen, errors }) => [isOpen, errors.length])).toEqual([
      [false, 1],
      [false, 1],
      [true, 0],
      [false, 1],
      [false, 1],
    ]);
    expect(members.count).toBe(1);
    await register.answerAll();
    expect(register.said.slice(-2).sort()).toEqual(["other: ann", "room: -ann"]);
  });

  test("is refused with all of them where one that is closed takes another one with it", () => {
    let isFull = false;
    let forget = (): void => undefined;
    const refusing = new Members({
      register: {
        present: (_, all) => (all.length > 0 && isFull ? [{ key: "ann", bound: "it has 0" }] : []),
        onForgotten: (forgotten) => {
          forget = forgotten;
        },
      },
      log,
    });
    const lines = Array.from({ length: 4 }, () => new Line(refusing, "room", member("ann")).enter());
    for (const [index, line] of lines.entries()) {
      line.refuse = () => {
        for (const one of [line, lines[(index + 3) % 4]]) if (one?.isOpen) one.leave();
      };
    }
    isFull = true;
    forget();
    expect([lines.map(({ isOpen }) => isOpen), refusing.count]).toEqual([[false, false, false, false], 0]);
  });
});

test("what a register knows in the end is who has a line, however it fails, forgets, refuses nobody and answers late", async () => {
  for (let one = seed * 40; one < seed * 40 + 40; one++) {
    const random = new Random(one);
    const known = new Map<string, Set<string>>();
    const lines: Line[] = [];
    register = new RegisterByHand();
    members = new Members({ register, log });
    const settle = async (call: Call, isDone: boolean): Promise<void> => {
      const of = known.get(call.topic) ?? new Set();
      known.set(call.topic, of);
      // A call that fails may have been taken in.
      if (isDone || random.chance(0.5))
        for (const { key, isHere } of call.members) isHere ? of.add(key) : of.delete(key);
      await (isDone ? call.answer() : call.fail());
    };
    for (let step = 0; step < 200; step++) {
      const what = random.below(100);
      if (what < 40) lines.push(come(`m${random.below(5)}`, `t${random.below(12)}`));
      else if (what < 70 && lines.length > 0) random.take(lines).leave();
      else if (what < 90 && register.open.length > 0)
        await settle(random.pick(register.open), random.chance(0.8));
      else if (what < 96) jest.advanceTimersByTime(1000);
      else if (what < 98) {
        known.clear();
        register.forget();
      }
    }
    while (register.open.length > 0 || members.pendingCount > 0) {
      jest.advanceTimersByTime(1000);
      while (register.open.length > 0) await settle(register.first, true);
    }
    const expected = new Set(lines.map(({ topic, member }) => `${topic} ${member.key}`));
    const found = [...known].flatMap(([topic, keys]) => [...keys].map((key) => `${topic} ${key}`));
    expect({ one, found: found.sort() }).toEqual({ one, found: [...expected].sort() });
    expect(members.count).toBe(expected.size);
    members.close();
  }
});

test("a register in this process may be told of any number of topics at once", () => {
  let said = 0;
  let forget = (): void => undefined;
  const many = new Members({
    register: {
      present: (_, all) => {
        said += all.length;
        return [];
      },
      onForgotten: (forgotten) => {
        forget = forgotten;
      },
    },
    log,
  });
  for (let number = 0; number < 20_000; number++) new Line(many, `t${number}`, member("ann")).enter();
  forget();
  expect(said).toBe(40_000);
});

test("lines that came and went leave nothing in the node", async () => {
  const comeAndGo = async (): Promise<void> => {
    for (let round = 0; round < 5; round++) {
      const lines = Array.from({ length: 4000 }, (_, index) =>
        come(`m${round} ${index % 1200}`, `room/${round}/${index % 2000}`),
      );
      if (round % 2 === 0) await register.answerAll();
      for (const line of lines) line.leave();
      await register.answerAll();
    }
    register.said.length = 0;
  };
  jest.useRealTimers();
  // A stack that goes on in microtasks has places of the past, which a collection takes for references.
  const heldBytes = async (): Promise<number> => {
    await new Promise((resolve) => setImmediate(resolve));
    return heldHeapBytes();
  };
  await comeAndGo();
  const before = await heldBytes();
  await comeAndGo();
  expect([members.count, members.pendingCount]).toEqual([0, 0]);
  // A topic and its two tables take 500 bytes: 5 MB if they stayed.
  expect((await heldBytes()) - before).toBeLessThan(1_000_000);
  register.forget();
  expect(register.said).toEqual([]);
});
