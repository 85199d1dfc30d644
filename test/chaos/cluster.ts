/** Three nodes, of which one hears the replica, a primary, a replica and a spare, and all that can happen to them. */
import { cp, rm } from "node:fs/promises";
import { RedisKeys } from "../../src/engine/redis/keys.ts";
import { openLines, openPolls } from "../support/followers.ts";
import type { Random } from "../support/random.ts";
import { RedisLine, RedisServer } from "../support/redis.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { until } from "../support/wait.ts";
import type { Checker } from "./checker.ts";
import type { NodeAddress } from "./client.ts";
import { keyedTopic } from "./keyed.ts";
import { presenceGraceSeconds, presenceTopic } from "./presence.ts";
import type { Refuses, Troubles } from "./troubles.ts";

const nodeCount = 3;
const keys = new RedisKeys("longwire", 0);
const appendOnly = ["--appendonly", "yes", "--appendfsync", "everysec"];

interface Node {
  readonly line: RedisLine;
  readonly address: NodeAddress;
  server: RunningServer;
}

/** What can happen. It is over, and healed, when `happen` resolves. */
export interface ChaosEvent {
  readonly happen: () => Promise<void>;
  readonly refuses: Refuses;
  /** Whether acknowledged messages may be lost by it, so that gaps are told: so many times. */
  readonly losses?: number;
}

export interface ClusterOptions {
  readonly topics: readonly string[];
  readonly random: Random;
  readonly checker: Checker;
  readonly troubles: Troubles;
  /** Whether nodes wait for the replica, and a failover is said to be lossless. */
  readonly isLossless: boolean;
}

export class Cluster implements AsyncDisposable {
  readonly #options: ClusterOptions;
  /** Epochs that topics had before an event, and that the primary did not know after it. */
  readonly forgotten: string[] = [];
  readonly #nodes: Node[] = [];
  readonly #notes: string[] = [];
  #primary: RedisServer;
  #replica: RedisServer;
  /** Follows the primary only while it takes the place of the replica. */
  readonly #spare: RedisServer;
  /** From the primary to the replica. */
  readonly #replication: RedisLine;
  /** From the first node to the replica. */
  readonly #near: RedisLine;

  private constructor(options: ClusterOptions, servers: readonly [RedisServer, RedisServer, RedisServer]) {
    this.#options = options;
    [this.#primary, this.#replica, this.#spare] = servers;
    this.#replication = new RedisLine(this.#primary);
    this.#near = new RedisLine(this.#replica);
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const server = (): Promise<RedisServer> => RedisServer.start(...appendOnly);
    const cluster = new Cluster(options, [await server(), await server(), await server()]);
    await cluster.#replicate();
    for (let number = 0; number < nodeCount; number++) await cluster.#addNode();
    return cluster;
  }

  get nodes(): readonly NodeAddress[] {
    return this.#nodes.map(({ address }) => address);
  }

  /** Every event, by name. */
  get events(): Readonly<Record<string, ChaosEvent>> {
    return { ...this.#nodeEvents(), ...this.#replicaEvents(), ...this.#redisEvents(), ...this.#failovers() };
  }

  /** Lets something happen, and notes it. */
  async happen(name: string, { happen, refuses, losses = 0 }: ChaosEvent): Promise<void> {
    const { checker, troubles } = this.#options;
    const before = await this.#askKnown(`before "${name}"`);
    checker.losses += losses;
    if (losses > 0) checker.tally.takeovers++;
    const end = troubles.begin(name, refuses);
    await happen();
    await until(async () => (await this.#primary.tryCommand("PING")) === "PONG", "the primary to answer");
    end();
    checker.lossesOver += losses;
    const after = await this.#askKnown(`after "${name}"`);
    for (const [topic, [epoch = ""]] of before)
      if (!after.get(topic)?.includes(epoch)) this.forgotten.push(`after "${name}" the epoch of ${topic}`);
  }

  /** Tells the checker of which epochs the primary knows. @returns them by topic, its own first */
  async #askKnown(when: string): Promise<ReadonlyMap<string, readonly string[]>> {
    const fence = await this.#primary.command("HMGET", keys.fence, "generation", "lossy");
    const isRewriting = (await this.#primary.info("aof_rewrite_in_progress")) === "1";
    this.#notes.push(`${when} the fence is ${fence}${isRewriting ? ", and the file is rewritten" : ""}`);
    const known = new Map<string, readonly string[]>();
    for (const topic of this.#options.topics) {
      const position = await this.#primary.command("HMGET", keys.position(topic), "epoch", "last", "forks");
      const [epoch, last, forks] = (position as (string | null)[]).map(String);
      this.#notes.push(`  ${topic} is at ${epoch}-${last}, after ${forks}`);
      const epochs = `${epoch},${forks}`.split(",").map((place) => place.split(":", 1)[0] ?? "");
      this.#options.checker.serves(topic, epochs);
      known.set(topic, epochs);
    }
    return known;
  }

  async ready(): Promise<void> {
    for (const { address } of this.#nodes)
      await until(() => isAvailable(address), `${address.url} to reach Redis`, 60);
  }

  /** Resolves when the primary and the nodes have answered, or cannot be reached. */
  async ask(): Promise<void> {
    const nodes = this.nodes.map(({ url }) => fetch(new URL("/healthz", url)).catch(() => undefined));
    await Promise.all([this.#primary.tryCommand("PING"), ...nodes]);
  }

  /** What was found after the last events, and the last lines of the nodes' logs, for the report of a violation. */
  get logs(): readonly string[] {
    const lines = this.#nodes.flatMap(({ server, address }) =>
      server
        .log()
        .slice(-15)
        .map(({ time, msg, reason, generation, lossy, err }) =>
          [address.url.port, time, msg, reason, generation, lossy, (err as Error | undefined)?.message].join(
            " ",
          ),
        ),
    );
    return [...this.#notes.slice(-80), ...lines];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { server, line } of this.#nodes) {
      await server[Symbol.asyncDispose]();
      line[Symbol.dispose]();
    }
    this.#replication[Symbol.dispose]();
    this.#near[Symbol.dispose]();
    for (const redis of [this.#primary, this.#replica, this.#spare]) await redis[Symbol.asyncDispose]();
  }

  #nodeEvents(): Record<string, ChaosEvent> {
    const { random } = this.#options;
    return {
      "a node is killed": { refuses: "everything", happen: () => this.#restartNode("SIGKILL") },
      "a node is drained": { refuses: "everything", happen: () => this.#restartNode("SIGTERM") },
      "a node stands still": {
        refuses: "everything",
        happen: async () => {
          const { server } = random.pick(this.#nodes);
          server.process.kill("SIGSTOP");
          await this.#while(500, 4000);
          server.process.kill("SIGCONT");
        },
      },
      "a node is cut off from Redis": {
        refuses: "everything",
        happen: async () => {
          const { line } = random.pick(this.#nodes);
          line.cut();
          await this.#while(100, 2500);
          line.restore();
        },
      },
      "a node's connections to Redis are forgotten by a router": {
        refuses: "everything",
        happen: async () => {
          const { line } = random.pick(this.#nodes);
          line.hold();
          await this.#while(500, 3000);
          line.restore();
        },
      },
    };
  }

  #replicaEvents(): Record<string, ChaosEvent> {
    // Where replicas must acknowledge, publishing depends on them.
    const refuses = this.#options.isLossless ? "publications" : "nothing";
    return {
      "the replica is killed": {
        refuses,
        happen: async () => {
          await this.#replica.kill();
          await this.#while(0, 1000);
          await this.#replica.restart();
          await this.#replicate();
        },
      },
      "the replica lags": {
        refuses,
        happen: async () => {
          this.#replication.hold();
          await this.#while(500, 3000);
          this.#replication.leadTo(this.#primary);
          await this.#replicate();
        },
      },
      "the replica's link is half open, and it has another": {
        refuses,
        happen: async () => {
          this.#replication.hold();
          this.#replication.restore();
          await this.#replica.command("CLIENT", "KILL", "TYPE", "master");
          await this.#replicate();
        },
      },
      "the near node is cut off from the replica": {
        refuses: "nothing",
        happen: async () => {
          this.#near.cut();
          await this.#while(100, 2500);
          this.#near.restore();
        },
      },
      "the near node's connection to the replica is forgotten by a router": {
        refuses: "nothing",
        happen: async () => {
          this.#near.hold();
          await this.#while(500, 3000);
          this.#near.restore();
        },
      },
    };
  }

  #redisEvents(): Record<string, ChaosEvent> {
    return {
      "Redis stands still": {
        refuses: "everything",
        happen: async () => {
          this.#primary.pause();
          await this.#while(200, 4000);
          this.#primary.resume();
        },
      },
      "Redis is full": {
        refuses: "publications",
        happen: async () => {
          await this.#primary.command("CONFIG", "SET", "maxmemory", "1");
          await this.#while(500, 7000);
          await this.#primary.command("CONFIG", "SET", "maxmemory", "0");
        },
      },
      "Redis is killed": {
        refuses: "everything",
        losses: 1,
        happen: async () => {
          await this.#primary.kill();
          await this.#while(0, 1500);
          await this.#primary.restart();
          await this.#replicate();
        },
      },
      "Redis is flushed": {
        refuses: "everything",
        losses: 1,
        happen: async () => void (await this.#primary.command("FLUSHALL")),
      },
      "the power of Redis is cut": { refuses: "everything", losses: 1, happen: () => this.#cutPower() },
      "Redis is restarted from a snapshot": {
        refuses: "everything",
        losses: 1,
        happen: () => this.#restartFromSnapshot(),
      },
    };
  }

  #failovers(): Record<string, ChaosEvent> {
    const losses = this.#options.isLossless ? 0 : 1;
    return {
      "Redis is killed, and its replica promoted": {
        refuses: "everything",
        losses,
        happen: () => this.#failOver(),
      },
      "Redis is killed, and its replica promoted, which lags": {
        refuses: "everything",
        losses,
        happen: async () => {
          this.#replication.hold();
          await this.#while(100, 1000);
          await this.#failOver();
        },
      },
      "replicas take turns, and the one that was left behind is promoted": {
        refuses: "everything",
        losses: 1,
        happen: async () => {
          this.#replication.cut();
          await this.#spare.follow(this.#primary);
          await this.#while(200, 1500);
          await this.#failOver();
          await this.#spare.promote();
        },
      },
      "the address leads to the replica, and back to the old primary": {
        refuses: "everything",
        losses: 2,
        happen: async () => {
          await this.#replica.promote();
          this.#leadTo(this.#replica);
          await this.#while(200, 2500);
          this.#leadTo(this.#primary);
          await this.#while(200, 2500);
          await this.#replicate();
        },
      },
    };
  }

  /** Resolves when the replica has everything. */
  async #replicate(): Promise<void> {
    this.#replication.restore();
    await this.#replica.follow(this.#primary, this.#replication.port);
  }

  async #failOver(): Promise<void> {
    const [old, promoted] = [this.#primary, this.#replica];
    await old.kill();
    await promoted.promote();
    if (this.#options.isLossless) this.#options.checker.tally.takeovers++;
    this.#primary = promoted;
    this.#replica = old;
    this.#leadTo(promoted);
    await old.restart();
    this.#replication.leadTo(promoted);
    await this.#replicate();
    this.#near.leadTo(old);
  }

  /** What Redis had written in the last moment is gone. */
  async #cutPower(): Promise<void> {
    const [files, earlier] = ["appendonlydir", "earlier"].map((name) => `${this.#primary.directory}/${name}`);
    await cp(files as string, earlier as string, { recursive: true });
    await this.#while(50, 1000);
    await this.#primary.kill();
    await rm(files as string, { recursive: true });
    await cp(earlier as string, files as string, { recursive: true });
    await rm(earlier as string, { recursive: true });
    await this.#primary.restart();
    await this.#replicate();
  }

  /** As a primary does that has snapshots and no append-only file. */
  async #restartFromSnapshot(): Promise<void> {
    await this.#primary.command("SAVE");
    await this.#while(50, 1000);
    await this.#primary.kill();
    await rm(`${this.#primary.directory}/appendonlydir`, { recursive: true });
    await this.#primary.restart("--appendonly", "no");
    await this.#primary.command("CONFIG", "SET", "appendonly", "yes");
    await rm(`${this.#primary.directory}/dump.rdb`);
    await this.#replicate();
  }

  #leadTo(server: RedisServer): void {
    for (const { line } of this.#nodes) line.leadTo(server);
  }

  async #while(leastMilliseconds: number, mostMilliseconds: number): Promise<void> {
    await Bun.sleep(this.#options.random.between(leastMilliseconds, mostMilliseconds));
  }

  async #addNode(): Promise<void> {
    const line = new RedisLine(this.#primary);
    const server = await spawnServer(this.#flags(line, this.#nodes.length === 0));
    const { url, socketUrl } = server; // The port stays the same.
    this.#nodes.push({ line, server, address: { url, socketUrl } });
  }

  #flags(line: RedisLine, isNear: boolean): string[] {
    const lossless = ["--redis-acknowledge", "1", "--redis-lossless-failover"];
    return [
      ...["--keyed", keyedTopic],
      ...["--presence", presenceTopic, "--presence-grace", `${presenceGraceSeconds}s`],
      ...["--redis", line.url, "--history-messages", "1000000", "--history-age", "1d"],
      ...["--log-level", "warn", "--drain-window", "1s"],
      ...(this.#options.isLossless ? lossless : []),
      ...(isNear ? ["--redis-replica", this.#near.url] : []),
    ];
  }

  async #restartNode(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const node = this.#options.random.pick(this.#nodes);
    node.server.process.kill(signal);
    await node.server.process.exited;
    await this.#while(0, 500);
    const flags = [...this.#flags(node.line, node === this.#nodes[0]), "--port", node.address.url.port];
    node.server = await spawnServer(flags, { withoutPort: true });
  }
}

export const forms = [...Object.values(openLines), openPolls];

async function isAvailable({ url }: NodeAddress): Promise<boolean> {
  const answer = await fetch(new URL("/readyz", url)).catch(() => undefined);
  return answer?.ok === true && ((await answer.json()) as { broker: string }).broker === "available";
}
