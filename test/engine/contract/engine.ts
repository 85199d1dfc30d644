/** What the contract needs of an engine to test it, and what only some engines can be made to do. */
import { test } from "bun:test";
import type { EngineLimits, PresenceLimits } from "../../../src/engine/engine.ts";
import type { Broker } from "../../../src/topic/broker.ts";
import type { PresenceRegister } from "../../../src/topic/presence.ts";
import { realTime, type Time } from "../../support/time.ts";
import { Waits } from "./waits.ts";

/** An engine that one test has to itself. */
export interface Engine {
  /** Opens a node on it that can be used at once. */
  node(): Promise<Broker>;
  /** Closes its nodes too. */
  close(): Promise<void>;
}

export interface ContractLimits extends EngineLimits, PresenceLimits {}

export type OpenEngine<Kind extends Engine> = (limits: ContractLimits) => Promise<Kind>;

/** A test that needs an ability which the engine does not have is no test of it: see `testIf`. */
export interface Abilities<Kind extends Engine> {
  /** False if announcements are lost even while nothing is wrong. */
  readonly announcesAll: boolean;
  /** False if a node also receives announcements of topics that it is not subscribed to. */
  readonly announcesOnlySubscribed: boolean;
  /** True if the memory of the engine's server is the limit, and not `historyBytesMax`. */
  readonly ignoresBytesMax?: true;
  /** An engine takes long to open, so that the tests which use only topics of their own share those with the same limits. */
  readonly isShared?: true;
  /** True if a page is as large as was asked, so that the parts about keyed topics can say what is in it. */
  readonly keepsKeys?: true;
  /** True if its topics have feeds. */
  readonly keepsFeeds?: true;
  /** What a node says who is here with; left out where its engine does not know that. */
  readonly presenceOf?: (engine: Kind, node: Broker) => PresenceRegister;
  /** Whether `node` may be called more than once. */
  readonly manyNodes: boolean;
  /** How many seeds of random changes it is put under; 3 if left out. */
  readonly randomSeeds?: 1 | 2;
  /** The time that the engine lives in; left out, the machine's. */
  readonly time?: Time;
  /** Makes the engine forget every topic, while its nodes stay connected. */
  readonly loseEverything?: (engine: Kind) => Promise<void>;
  /** Opens a node that has what the engine keeps, in the place of one that it may close. */
  readonly reopen?: (engine: Kind, node: Broker) => Promise<Broker>;
  /** Lets time pass on the engine. */
  readonly advance?: (engine: Kind, seconds: number) => Promise<void>;
  /** Sets the engine's clock, and lets no time pass. */
  readonly setClock?: (engine: Kind, aheadSeconds: number) => Promise<void>;
  /** Makes the engine answer nothing more, as if its process were stopped. */
  readonly silence?: (engine: Kind) => Promise<void>;
  /** Takes the engine away from a node. */
  readonly cutOff?: (engine: Kind, node: Broker) => Promise<void>;
  /** Gives the engine back to a node. */
  readonly reconnect?: (engine: Kind, node: Broker) => Promise<void>;
}

/** A test of an engine that has the ability. It is not skipped for another engine, because nothing is left out there. */
export const testIf = (ability: unknown): ((name: string, act: () => Promise<void>) => void) =>
  ability ? test : () => {};

export const generous: ContractLimits = {
  historyMessages: 1000,
  historyAgeSeconds: 3600,
  historyBytesMax: 64 * 1024 * 1024,
  retain: [],
  keyed: ["keyed/*", "fed/keyed/*"],
  keysMax: 1000,
  feeds: [
    { pattern: "fed/*", topic: "feeds/all" },
    { pattern: "fed/keyed/*", topic: "feeds/keyed" },
  ],
  positionAgeSeconds: 7200,
  positionBytesMax: 64 * 1024 * 1024,
  idempotencyBytesMax: 64 * 1024 * 1024,
  presence: ["room/*"],
  presenceGraceSeconds: 60,
  presenceMembersMax: 1000,
};
export const five: ContractLimits = { ...generous, historyMessages: 5 };
export const none: ContractLimits = { ...generous, historyMessages: 0 };

/** An engine that tests share, and the nodes that are open on it. */
interface Shared<Kind extends Engine> {
  readonly engine: Kind;
  readonly nodes: Promise<Broker>[];
}

/** One engine under test: each part of the contract takes from it what its tests need. */
export class Contract<Kind extends Engine> extends Waits {
  readonly can: Abilities<Kind>;
  readonly #openEngine: OpenEngine<Kind>;
  readonly #shared = new Map<ContractLimits, Promise<Shared<Kind>>>();

  constructor(openEngine: OpenEngine<Kind>, can: Abilities<Kind>) {
    super(can.time ?? realTime);
    this.#openEngine = openEngine;
    this.can = can;
  }

  /** The body of a test that has an engine of its own, with one node. */
  readonly withNode =
    (run: (broker: Broker, engine: Kind) => Promise<void>, limits = generous): (() => Promise<void>) =>
    async () => {
      const engine = await this.#openEngine(limits);
      try {
        await run(await engine.node(), engine);
      } finally {
        await engine.close();
      }
    };

  /** The body of a test that uses only topics of its own: of its engine it changes nothing but that time passes. */
  readonly withTopics = (
    run: (broker: Broker, engine: Kind) => Promise<void>,
    limits = generous,
  ): (() => Promise<void>) =>
    this.can.isShared
      ? async () => {
          const { engine, nodes } = await this.#sharedNodes(limits, 1);
          await run(nodes[0] as Broker, engine);
        }
      : this.withNode(run, limits);

  /** `withTopics` with two nodes if the engine has them, else with the same one twice. */
  readonly withNodes = (
    run: (one: Broker, other: Broker, engine: Kind) => Promise<void>,
  ): (() => Promise<void>) => {
    if (!this.can.manyNodes) return this.withTopics((node, engine) => run(node, node, engine));
    if (!this.can.isShared)
      return this.withNode(async (one, engine) => run(one, await engine.node(), engine));
    return async () => {
      const { engine, nodes } = await this.#sharedNodes(generous, 2);
      const [one, other] = nodes as [Broker, Broker];
      await run(one, other, engine);
    };
  };

  async #sharedNodes(
    limits: ContractLimits,
    count: number,
  ): Promise<{ readonly engine: Kind; readonly nodes: readonly Broker[] }> {
    const opening =
      this.#shared.get(limits) ?? this.#openEngine(limits).then((engine) => ({ engine, nodes: [] }));
    this.#shared.set(limits, opening);
    const { engine, nodes } = await opening;
    while (nodes.length < count) nodes.push(engine.node());
    const opened = await Promise.all(nodes.slice(0, count));
    // A test before may have taken the server of all engines away.
    await this.until(() => opened.every(({ state }) => state.available), "the nodes that tests share");
    return { engine, nodes: opened };
  }

  /** After the last test. */
  readonly close = async (): Promise<void> => {
    for (const opening of this.#shared.values()) await (await opening).engine.close();
  };
}
