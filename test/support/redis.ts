/** Real redis-server processes that a test starts, stops and kills, and lines to them that it can cut. */
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { freePort } from "./free-port.ts";
import { endWithTests } from "./orphans.ts";
import { commandOf } from "./tool.ts";
import { until, within } from "./wait.ts";

/** The part of a client that is used. */
interface Admin {
  readonly isReady: boolean;
  sendCommand<Answer>(command: readonly string[]): Promise<Answer>;
  destroy(): void;
}

/** The section of INFO by the first word of a name in it. All of them at once cost ten times as much. */
const sections: Readonly<Record<string, string>> = {
  aof: "persistence",
  rdb: "persistence",
  run: "server",
  used: "memory",
  cmdstat: "commandstats",
};

export class RedisServer implements AsyncDisposable {
  readonly directory: string;
  readonly port: number;
  readonly #flags: readonly string[];
  #process: Subprocess | undefined;
  #admin: Admin | undefined;

  private constructor(directory: string, port: number, flags: readonly string[]) {
    this.directory = directory;
    this.port = port;
    this.#flags = flags;
  }

  /** @param flags such as `--appendonly yes`; nothing is persisted without */
  static async start(...flags: string[]): Promise<RedisServer> {
    const directory = await mkdtemp(join(tmpdir(), "longwire-redis-"));
    const server = new RedisServer(directory, await freePort(), flags);
    await server.restart();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    if (!this.#process) throw new Error("the Redis server does not run");
    return this.#process.pid;
  }

  /** Starts it again after `kill` or `shutdown`, on the same files and port. */
  async restart(...flags: string[]): Promise<void> {
    const fixed = ["--port", String(this.port), "--dir", this.directory, "--bind", "127.0.0.1"];
    const quick = ["--save", "", "--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0"];
    const started = Bun.spawn([commandOf("redis-server"), ...fixed, ...quick, ...this.#flags, ...flags], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "ignore",
    });
    this.#process = started;
    endWithTests(started);
    await within(isReady(started), "a Redis server");
  }

  /** Sends a command by a connection of its own. */
  async command(...command: string[]): Promise<unknown> {
    if (!this.#admin?.isReady) {
      const { createClient } = await import("@redis/client");
      const admin = createClient({
        url: this.url,
        disableOfflineQueue: true,
        maintNotifications: "disabled",
        socket: { reconnectStrategy: false },
      });
      admin.on("error", () => admin.destroy());
      await admin.connect();
      this.#admin = admin;
    }
    return await this.#admin.sendCommand(command);
  }

  async tryCommand(...command: string[]): Promise<unknown> {
    try {
      return await this.command(...command);
    } catch {
      return undefined;
    }
  }

  /** A value of INFO. */
  async info(name: string): Promise<string | undefined> {
    const section = sections[name.split("_", 1)[0] ?? ""] ?? "replication";
    return new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(String(await this.command("INFO", section)))?.[1];
  }

  /** Its append-only file has everything: with `everysec` a write waits for the fsync before it, for up to 2 s. */
  async written(): Promise<void> {
    await until(
      async () => (await this.info("aof_buffer_length")) === "0",
      "the append-only file to be written",
    );
  }

  /** Stops answering, and goes on after `resume`. */
  pause(): void {
    process.kill(this.pid, "SIGSTOP");
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  async kill(): Promise<void> {
    this.#admin?.destroy();
    this.#admin = undefined;
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  async shutdown(): Promise<void> {
    this.#admin?.destroy();
    this.#admin = undefined;
    this.#process?.kill("SIGTERM");
    await within(this.#process?.exited ?? Promise.resolve(0), "the end of a Redis server");
  }

  /** Follows another server, and resolves when it has everything of it. */
  async follow(primary: RedisServer, port = primary.port): Promise<void> {
    await this.command("REPLICAOF", "127.0.0.1", String(port));
    await until(
      async () => (await this.info("master_link_status")) === "up",
      "a replica to follow its primary",
    );
    await this.caughtUp(primary);
  }

  async caughtUp(primary: RedisServer): Promise<void> {
    const offset = Number(await primary.info("master_repl_offset"));
    await until(async () => Number(await this.info("slave_repl_offset")) >= offset, "a replica to catch up");
  }

  async promote(): Promise<void> {
    await this.command("REPLICAOF", "NO", "ONE");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Resolves when it takes connections and has loaded its data, and reads its log until it ends. */
async function isReady(server: Subprocess<"ignore", "pipe", "ignore">): Promise<void> {
  const ready = Promise.withResolvers<void>();
  const readLog = async (): Promise<void> => {
    const decoder = new TextDecoder();
    let log = "";
    for await (const chunk of server.stdout) {
      log = log.slice(-1000) + decoder.decode(chunk, { stream: true });
      if (log.includes("Ready to accept connections")) ready.resolve();
    }
    ready.reject(new Error(`redis-server ended at once, with ${await server.exited}:\n${log}`));
  };
  void readLog();
  await ready.promise;
}

/** A TCP line to a Redis server. */
export class RedisLine implements Disposable {
  readonly #server;
  readonly #sockets = new Set<Socket>();
  /** The socket of the node by that of the server. */
  readonly #pairs = new Map<Socket, Socket>();
  #port: number;
  #isCut = false;
  #isHeld = false;

  constructor(target: RedisServer) {
    this.#port = target.port;
    this.#server = createServer((near) => this.#carry(near));
    this.#server.listen(0, "127.0.0.1");
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the line is closed");
    return address.port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Ends every connection and refuses new ones. */
  cut(): void {
    this.#isCut = true;
    this.#endAll();
  }

  /** Carries nothing more on open connections, which stay open: as when a router forgets them. New ones, too, are held. */
  hold(): void {
    this.#isHeld = true;
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** The same with the one open connection that the server knows by this port. */
  holdOne(port: number): void {
    for (const [far, near] of this.#pairs) {
      if (far.localPort !== port) continue;
      near.unpipe().pause();
      far.unpipe().pause();
      return;
    }
    throw new Error(`the line has no connection from the port ${port}`);
  }

  /** New connections are carried again. */
  restore(): void {
    this.#isCut = false;
    this.#isHeld = false;
  }

  /** Leads to another server from the next connection on, as a failover of a virtual address does. */
  leadTo(target: RedisServer): void {
    this.#port = target.port;
    this.#endAll();
  }

  [Symbol.dispose](): void {
    this.#endAll();
    this.#server.close();
  }

  #carry(near: Socket): void {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = connect(this.#port, "127.0.0.1");
    this.#pairs.set(far, near);
    const end = (): void => {
      this.#pairs.delete(far);
      this.#sockets.delete(near);
      this.#sockets.delete(far);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", end).on("close", end);
    }
    if (this.#isHeld) return;
    near.pipe(far);
    far.pipe(near);
  }

  #endAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
