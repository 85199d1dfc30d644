/** The contract of every engine, held against one that does the worst it may: what the hub is tested with keeps to it too. */

import type { EngineLimits } from "../../src/engine/engine.ts";
import type { Broker } from "../../src/topic/broker.ts";
import { settleSeconds } from "../engine/contract/away.ts";
import { describeBrokerContract } from "../engine/contract/contract.ts";
import { Random, seed } from "../support/random.ts";
import { SimulatedTime, type Time } from "../support/time.ts";
import { type Faults, noFaults, UnreliableEngine, UnreliableNode } from "../support/unreliable-broker.ts";

/** At 459498 positions lag behind what `subscribe` said. `bun run fuzz contract` takes others. */
const seeds = process.env.LONGWIRE_SEED ? [seed] : [seed, 2, 3, 459_498];

/** What the contract is given: an engine with delays of a few milliseconds. */
class DelayedEngine {
  readonly #engine: UnreliableEngine;
  #aheadMilliseconds = 0;
  #isSilent = false;

  constructor(seed: number, time: Time, limits: EngineLimits, faults: Faults) {
    const random = new Random(seed);
    this.#engine = new UnreliableEngine({
      limits,
      random,
      faults,
      later: (task) => {
        if (!this.#isSilent) time.setTimer(random.below(3), task);
      },
      deadline: (fail) => time.setTimer(settleSeconds * 1000, fail),
      now: () => time.now() + this.#aheadMilliseconds,
    });
  }

  async node(): Promise<Broker> {
    return this.#engine.node();
  }

  close(): Promise<void> {
    return this.#engine.close();
  }

  loseEverything(): Promise<void> {
    return this.#engine.loseEverything();
  }

  silence(): void {
    this.#isSilent = true;
  }

  pass(seconds: number): void {
    this.#aheadMilliseconds += seconds * 1000;
    this.#engine.memory.sweep();
  }
}

const harshness: Record<string, Faults> = {
  "is slow": noFaults,
  "is slow, repeats itself and reads behind": { lost: 0, twice: 0.3, lagging: 0.3, shortPage: 0.3 },
  "loses announcements too": { lost: 0.3, twice: 0.3, lagging: 0.3, shortPage: 0.3 },
};

for (const seed of seeds) {
  const time = new SimulatedTime();
  for (const [how, faults] of Object.entries(harshness)) {
    describeBrokerContract(
      `an engine that ${how} (LONGWIRE_SEED=${seed})`,
      async (limits) => new DelayedEngine(seed, time, limits, faults),
      {
        announcesAll: faults.lost === 0,
        announcesOnlySubscribed: true,
        manyNodes: true,
        time,
        loseEverything: (engine) => engine.loseEverything(),
        advance: async (engine, seconds) => engine.pass(seconds),
        silence: async (engine) => engine.silence(),
        cutOff: async (_, node) => unreliable(node).cutOff(),
        reconnect: async (_, node) => unreliable(node).reconnect(),
      },
    );
  }
}

function unreliable(node: Broker): UnreliableNode {
  if (!(node instanceof UnreliableNode)) throw new Error("every node of this engine is an unreliable one");
  return node;
}
