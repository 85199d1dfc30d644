/** Presence under random statements, beside its model: what a reader folds is who is here, wherever it was cut. */
import { describe, expect } from "bun:test";
import type { Position } from "../../../src/topic/message.ts";
import { type MemberHere, presencePerCallMax } from "../../../src/topic/presence.ts";
import { Random, seed } from "../../support/random.ts";
import { type Contract, type ContractLimits, type Engine, generous, testIf } from "./engine.ts";
import { after, all } from "./messages.ts";
import { PresenceModel } from "./presence-model.ts";
import { entryOf, gone, here, Room, type RoomNode } from "./room.ts";
import type { Waits } from "./waits.ts";

/** Time goes on by itself, too: no member is ever so long gone that this could decide. */
const stepSeconds = 150;

export const presenceLimits: ContractLimits = {
  ...generous,
  presenceGraceSeconds: 400,
  historyAgeSeconds: 1_000_000,
  positionAgeSeconds: 1_000_000,
};

export function describePresenceFold<Kind extends Engine>(contract: Contract<Kind>): void {
  const { withNode, can } = contract;
  describe("presence under random statements", () => {
    for (const one of [seed * 3, seed * 3 + 1, seed * 3 + 2].slice(0, can.randomSeeds))
      testIf(can.advance)(
        `is what every reader folds, from any place where it was cut (seed ${one})`,
        withNode(async (broker, engine) => {
          const random = new Random(one);
          const brokers = [broker];
          while (can.manyNodes && brokers.length < 3 && random.chance(0.8)) brokers.push(await engine.node());
          const nodes = brokers.map((broker) => {
            const register = can.presenceOf?.(engine, broker);
            if (!register) throw new Error("the engine does not know who is here");
            return { broker, register };
          });
          const advance = async (seconds: number) => can.advance?.(engine, seconds);
          await walkPresence({ random, nodes, waits: contract, advance, steps: 150 });
        }, presenceLimits),
      );
  });
}

interface PresenceWalk {
  readonly random: Random;
  readonly nodes: readonly RoomNode[];
  readonly waits: Waits;
  advance(seconds: number): Promise<void>;
  readonly steps: number;
}

/** Says things at random, lets time pass, and compares with the model after each step. @returns the entries that were made */
export async function walkPresence({ random, nodes, waits, advance, steps }: PresenceWalk): Promise<number> {
  const room = await Room.open(waits, nodes);
  const model = new PresenceModel(presenceLimits.presenceGraceSeconds);
  const keys = Array.from({ length: random.between(1, 8) }, (_, index) => `k${index}`);
  /** What each node has said last of those who are there. */
  const lines = nodes.map(() => new Map<string, MemberHere>());
  const reader = new FoldingReader(room, random);
  for (let step = 0; step < steps; step++) {
    const what = random.below(100);
    const node = random.below(nodes.length);
    const known = lines[node] ?? new Map<string, MemberHere>();
    if (what < 20) {
      model.pass(stepSeconds);
      await advance(stepSeconds);
    } else {
      const some = keys.filter(() => random.chance(0.4));
      const repeated = [...known.values()].slice(0, presencePerCallMax);
      const said = what < 30 ? repeated : some.map((key) => change(random, key, step));
      expect(await room.sayAt(node, ...said)).toEqual([]);
      for (const presence of said) {
        model.say(node, presence);
        if (presence.isHere) known.set(presence.key, presence);
        else known.delete(presence.key);
      }
    }
    await waits.until(async () => {
      await reader.readOn();
      return reader.members() === model.members();
    }, `the members after step ${step} to be\n${model.members()}`);
    await reader.returnFromAnywhere();
  }
  return (await room.position()).offset;
}

const change = (random: Random, key: string, step: number) =>
  random.chance(0.5)
    ? gone(key)
    : here(key, { info: `{"n":${random.below(10)}}`, issued: random.below(4), since: step });

/** Folds what is announced, and finds fault with an entry that changes nothing. */
class FoldingReader {
  readonly #room: Room;
  readonly #random: Random;
  #state: ReadonlyMap<string, string> = new Map();
  #read = 0;
  #last: Position | undefined;
  /** Where it has been, and what it had there. */
  readonly #places: { readonly position: Position; readonly state: ReadonlyMap<string, string> }[] = [];

  constructor(room: Room, random: Random) {
    this.#room = room;
    this.#random = random;
  }

  async readOn(): Promise<void> {
    const messages = await this.#room.messages();
    const state = new Map(this.#state);
    for (const entry of messages.slice(this.#read).map(entryOf)) {
      const [, sign, key = "", rest = ""] = /^([+~-])(\S+) ?(.*)$/.exec(entry) ?? [];
      const before = state.get(key);
      expect({ entry, isIn: before !== undefined }).toEqual({ entry, isIn: sign !== "+" });
      expect(rest).not.toBe(before ?? "none");
      fold(state, entry);
    }
    this.#read = messages.length;
    this.#state = state;
    this.#last = messages.at(-1) ?? (await this.#room.position());
    this.#places.push({ position: this.#last, state });
  }

  members(): string {
    return membersOf(this.#state);
  }

  /** A snapshot, and what follows a place where it was, lead to the same. */
  async returnFromAnywhere(): Promise<void> {
    const snapshot = new Map<string, string>();
    for (const message of (await this.#room.read(all, this.#last)).messages) fold(snapshot, entryOf(message));
    expect(membersOf(snapshot)).toBe(this.members());
    const { position, state } = this.#random.pick(this.#places);
    const returning = new Map(state);
    const { complete, messages } = await this.#room.read(after(position), this.#last);
    expect(complete).toBe(true);
    for (const message of messages) fold(returning, entryOf(message));
    expect(membersOf(returning)).toBe(this.members());
  }
}

function fold(state: Map<string, string>, entry: string): void {
  const [key = "", ...rest] = entry.slice(1).split(" ");
  if (entry.startsWith("-")) state.delete(key);
  else state.set(key, rest.join(" "));
}

const membersOf = (state: ReadonlyMap<string, string>): string =>
  [...state]
    .map(([key, shown]) => `${key} ${shown}`)
    .sort()
    .join("\n");
