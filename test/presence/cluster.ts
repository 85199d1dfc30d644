/** Nodes of one Redis, which are killed, stopped and replaced. */
import { RedisServer } from "../support/redis.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import type { Door } from "./people.ts";

export const graceSeconds = 5;

/** A node that has stood still for so long in the eyes of another is dead. */
export const leaseSeconds = 10;

export interface Node {
  readonly door: Door;
  server: RunningServer;
}

export class Cluster implements AsyncDisposable {
  readonly nodes: readonly Node[];
  readonly #redis: RedisServer;
  readonly #away = new Set<Node>();

  private constructor(redis: RedisServer, nodes: readonly Node[]) {
    this.#redis = redis;
    this.nodes = nodes;
  }

  static async start(nodes: number): Promise<Cluster> {
    const redis = await RedisServer.start();
    const node = async (): Promise<Node> => {
      const server = await spawnServer(flagsFor(redis));
      const { url, socketUrl } = server;
      return { server, door: { url, socketUrl, stoodStill: false } };
    };
    const started: Node[] = [];
    while (started.length < nodes) started.push(await node());
    return new Cluster(redis, started);
  }

  /** Of the nodes that answer. */
  get doors(): readonly Door[] {
    return this.nodes.filter((node) => !this.#away.has(node)).map(({ door }) => door);
  }

  /** Ends a node, and starts another one at its address. */
  async replace(node: Node, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#away.add(node);
    node.server.process.kill(signal);
    await node.server.process.exited;
    const flags = [...flagsFor(this.#redis), "--port", node.door.url.port];
    node.server = await spawnServer(flags, { withoutPort: true });
    this.#away.delete(node);
  }

  async standStill(node: Node, seconds: number): Promise<void> {
    this.#away.add(node);
    node.door.stoodStill = true;
    node.server.process.kill("SIGSTOP");
    await Bun.sleep(seconds * 1000);
    node.server.process.kill("SIGCONT");
    this.#away.delete(node);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { server } of this.nodes) await server[Symbol.asyncDispose]();
    await this.#redis[Symbol.asyncDispose]();
  }
}

const flagsFor = ({ url }: RedisServer): string[] => [
  ...["--redis", url, "--presence", "room/*", "--presence-grace", `${graceSeconds}s`],
  ...["--log-level", "warn", "--drain-window", "1s", "--max-connections-per-ip", "10000"],
];
