/** The contract of every engine, held against a real Redis server. */
import { afterAll, describe } from "bun:test";
import { RedisBroker, type RedisBrokerSettings } from "../../../src/engine/redis/broker.ts";
import type { Broker } from "../../../src/topic/broker.ts";
import { recordingLog } from "../../support/recording-log.ts";
import { RedisLine, RedisServer } from "../../support/redis.ts";
import { lacks } from "../../support/tool.ts";
import { until } from "../../support/wait.ts";
import { describeBrokerContract } from "../contract/contract.ts";
import type { Abilities, ContractLimits } from "../contract/engine.ts";

const databases = ["--databases", "1000"];
const shared = lacks("redis-server") ? undefined : await RedisServer.start(...databases);
/** Follows `shared`. */
const replica = lacks("redis-server") ? undefined : await RedisServer.start(...databases);
if (shared) await replica?.follow(shared);
afterAll(async () => {
  await replica?.[Symbol.asyncDispose]();
  await shared?.[Symbol.asyncDispose]();
});

const shortenLives = `
  for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, left - ARGV[2]) end
  end`;

let enginesOpened = 0;

/**
 * A database of its own on the server that all tests share: all engines have the same names in it, and so the same scripts, which
 * Redis compiles once.
 */
class Engine {
  readonly #database = ++enginesOpened;
  readonly #lines = new Map<RedisBroker, RedisLine>();
  readonly #server: RedisServer;
  readonly #limits: ContractLimits;
  readonly #replica: RedisServer | undefined;

  /** @param replica where the nodes hear and read */
  constructor(server: RedisServer, limits: ContractLimits, replica?: RedisServer) {
    this.#server = server;
    this.#limits = limits;
    this.#replica = replica;
  }

  async node(): Promise<Broker> {
    const line = new RedisLine(this.#server);
    const settings: RedisBrokerSettings = {
      ...this.#limits,
      presenceLimits: this.#limits,
      url: `${line.url}/${this.#database}`,
      database: this.#database,
      prefix: "test",
      acknowledge: 0,
      losslessFailover: false,
      ...(this.#replica && { replicaUrl: `${this.#replica.url}/${this.#database}` }),
      clockAhead: "(redis.call('GET', 'clock') or 0)",
    };
    const broker = new RedisBroker(settings, recordingLog());
    this.#lines.set(broker, line);
    await until(() => broker.state.available, "a node to reach Redis");
    await until(() => broker.near?.isNear ?? true, "a node to hear the replica");
    return broker;
  }

  line(node: Broker): RedisLine {
    return this.#lines.get(node as RedisBroker) as RedisLine;
  }

  async loseEverything(): Promise<void> {
    await this.#run("redis.call('FLUSHDB')");
  }

  silence(): void {
    this.#server.pause();
  }

  async setClock(aheadSeconds: number): Promise<void> {
    await this.#run("redis.call('SET', 'clock', ARGV[2])", aheadSeconds * 1000);
  }

  /** Sets the clock, and shortens the life of every key. */
  async pass(seconds: number): Promise<void> {
    await this.#run(`redis.call('INCRBY', 'clock', ARGV[2]) ${shortenLives}`, seconds * 1000);
    // Each node looks once a second.
    for (const node of this.#lines.keys()) node.presence?.look();
  }

  /** @param value the script's ARGV[2] */
  async #run(script: string, value = 0): Promise<void> {
    const inDatabase = `redis.call('SELECT', ARGV[1]) ${script}`;
    await this.#server.command("EVAL", inDatabase, "0", String(this.#database), String(value));
  }

  async close(): Promise<void> {
    this.#server.resume();
    for (const [node, line] of this.#lines) {
      await node.close();
      line[Symbol.dispose]();
    }
  }
}

describe.skipIf(!shared)("with redis-server", () => {
  const abilities: Abilities<Engine> = {
    announcesAll: true,
    isShared: true,
    announcesOnlySubscribed: true,
    ignoresBytesMax: true,
    keepsKeys: true,
    keepsFeeds: true,
    presenceOf: (_, node) => {
      const { presence } = node as RedisBroker;
      if (!presence) throw new Error("the node was opened with presence");
      return presence;
    },
    manyNodes: true,
    loseEverything: (engine: Engine) => engine.loseEverything(),
    reopen: (engine: Engine) => engine.node(),
    advance: (engine: Engine, seconds: number) => engine.pass(seconds),
    setClock: (engine: Engine, aheadSeconds: number) => engine.setClock(aheadSeconds),
    silence: async (engine: Engine) => engine.silence(),
    cutOff: async (engine: Engine, node: Broker) => {
      engine.line(node).cut();
      await until(() => !node.state.available, "the node to notice");
    },
    reconnect: async (engine: Engine, node: Broker) => engine.line(node).restore(),
  };
  const engineOf = (limits: ContractLimits, replica?: RedisServer) =>
    new Engine(shared as RedisServer, limits, replica);
  describeBrokerContract("the engine in Redis", async (limits) => engineOf(limits), abilities);
  describeBrokerContract(
    "the engine in Redis, at a replica",
    async (limits) => engineOf(limits, replica),
    { ...abilities, randomSeeds: 1 }, // All of its steps are those of the engine before, but for where it reads.
  );
});
