/** Three nodes, of which one hears the replica, a primary and a replica, and all that can happen to them. */
import { openLines } from "../support/followers.ts";
import type { Random } from "../support/random.ts";
import { RedisLine, RedisServer } from "../support/redis.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { until } from "../support/wait.ts";
import type { Checker } from "./checker.ts";
import type { NodeAddress } from "./client.ts";

const nodeCount = 3;
const appendOnly = ["--appendonly", "yes", "--appendfsync", "everysec"];

interface Node {
  readonly line: RedisLine;
  readonly address: NodeAddress;
  server: RunningServer;
}

export interface ClusterOptions {
  readonly random: Random;
  readonly checker: Checker;
  /** Whether nodes wait for the replica, and a failover is said to be lossless. */
  readonly isLossless: boolean;
}

export class Cluster implements AsyncDisposable {
  readonly #options: ClusterOptions;
  readonly #nodes: Node[] = [];
  #primary: RedisServer;
  #replica: RedisServer;
  /** From the primary to the replica. */
  #replication: RedisLine;
  /** From the first node to the replica. */
  readonly #near: RedisLine;

  private constructor(options: ClusterOptions, primary: RedisServer, replica: RedisServer) {
    this.#options = options;
    this.#primary = primary;
    this.#replica = replica;
    this.#replication = new RedisLine(primary);
    this.#near = new RedisLine(replica);
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const [primary, replica] = [
      await RedisServer.start(...appendOnly),
      await RedisServer.start(...appendOnly),
    ];
    const cluster = new Cluster(options, primary, replica);
    await cluster.#replicate();
    for (let number = 0; number < nodeCount; number++) await cluster.#addNode();
    return cluster;
  }

  get nodes(): readonly NodeAddress[] {
    return this.#nodes.map(({ address }) => address);
  }

  /** What can happen, by name. Each is over, and healed, when it resolves. */
  readonly events: Readonly<Record<string, () => Promise<void>>> = {
    "a node is killed": () => this.#restartNode("SIGKILL"),
    "a node is drained": () => this.#restartNode("SIGTERM"),
    "a node is cut off from Redis": async () => {
      const { line } = this.#options.random.pick(this.#nodes);
      line.cut();
      await this.#while(100, 2500);
      line.restore();
    },
    "a node's connections to Redis are forgotten by a router": async () => {
      const { line } = this.#options.random.pick(this.#nodes);
      line.hold();
      await this.#while(500, 3000);
      line.restore();
    },
    "Redis stands still": async () => {
      this.#primary.pause();
      await this.#while(200, 4000);
      this.#primary.resume();
    },
    "Redis is killed": async () => {
      this.#lose();
      await this.#primary.kill();
      await this.#while(0, 1500);
      await this.#primary.restart();
    },
    "Redis is flushed": async () => {
      this.#lose();
      await this.#primary.command("FLUSHALL");
    },
    "the replica is killed": async () => {
      await this.#replica.kill();
      await this.#while(0, 1000);
      await this.#replica.restart();
      await this.#replicate();
    },
    "the replica lags": async () => {
      this.#replication.hold();
      await this.#while(500, 3000);
      this.#replication.leadTo(this.#primary);
      await this.#replicate();
    },
    "the near node is cut off from the replica": async () => {
      this.#near.cut();
      await this.#while(100, 2500);
      this.#near.restore();
    },
    "the near node's connection to the replica is forgotten by a router": async () => {
      this.#near.hold();
      await this.#while(500, 3000);
      this.#near.restore();
    },
    "Redis is killed, and its replica promoted": () => this.#failOver(),
    "Redis is killed, and its replica promoted, which lags": async () => {
      this.#replication.hold();
      await this.#while(100, 1000);
      await this.#failOver();
    },
  };

  /** Resolves when the replica has everything. */
  async #replicate(): Promise<void> {
    this.#replication.restore();
    await this.#replica.follow(this.#primary, this.#replication.port);
  }

  async #failOver(): Promise<void> {
    if (this.#options.isLossless) this.#options.checker.tally.takeovers++;
    else this.#lose();
    const [old, promoted] = [this.#primary, this.#replica];
    await old.kill();
    await promoted.promote();
    this.#primary = promoted;
    this.#replica = old;
    for (const { line } of this.#nodes) line.leadTo(promoted);
    await old.restart();
    this.#replication.leadTo(promoted);
    await this.#replicate();
    this.#near.leadTo(old);
  }

  async ready(): Promise<void> {
    for (const { address } of this.#nodes)
      await until(() => isAvailable(address), `${address.url} to reach Redis`, 20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { server, line } of this.#nodes) {
      await server[Symbol.asyncDispose]();
      line[Symbol.dispose]();
    }
    this.#replication[Symbol.dispose]();
    this.#near[Symbol.dispose]();
    for (const redis of [this.#primary, this.#replica]) await redis[Symbol.asyncDispose]();
  }

  /** Something happens after which a gap may be told. */
  #lose(): void {
    this.#options.checker.losses++;
    this.#options.checker.tally.takeovers++;
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

export const forms = Object.values(openLines);

async function isAvailable({ url }: NodeAddress): Promise<boolean> {
  const answer = await fetch(new URL("/readyz", url)).catch(() => undefined);
  return answer?.ok === true && ((await answer.json()) as { broker: string }).broker === "available";
}
