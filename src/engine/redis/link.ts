/**
 * One connection to Redis, opened again whenever it ends. Each opening is a new client: nothing of the one before, such as
 * a queue of commands, comes over.
 */
import type { RedisClientOptions } from "@redis/client";
import { BrokerUnavailable } from "../../topic/broker.ts";
import { defineHasSubscribers } from "./tracing.ts";

/** How often the oldest unanswered command is looked at. */
const lookMilliseconds = 250;

/**
 * A command that is unanswered for so many looks ends its connection, after 2.25 to 2.5 s: a call of the engine settles within
 * 3 s. Counted in looks, because after a pause of this process the time is over though the answer has arrived.
 */
const looksMax = 9;

const connectMilliseconds = 2000;

/** Attempts to open a connection begin so far apart: it doubles from the first to the last. */
const attemptMilliseconds = { first: 50, last: 2000 };

/** A reply to a command; strings of bytes are Buffers. */
export type Reply = Buffer | string | number | null | readonly Reply[];

export type Argument = string | Buffer;

export interface LinkDeps {
  readonly options: RedisClientOptions;
  /** Looks that a command may be unanswered; `looksMax` unless another server can do the same. */
  readonly looksMax?: number;
  /** Prepares a new connection. The link counts as up only when it has succeeded. */
  readonly opened: (connection: RedisConnection) => Promise<void>;
  readonly up: () => void;
  /** @param reason why the connection ended or could not be opened, in words */
  readonly down: (reason: string) => void;
}

export class Link {
  readonly #deps: LinkDeps;
  #connection: RedisConnection | undefined;
  #isClosed = false;
  #wake: (() => void) | undefined;
  readonly #running: Promise<void>;

  constructor(deps: LinkDeps) {
    this.#deps = deps;
    this.#running = this.#run();
  }

  get isUp(): boolean {
    return this.#connection?.isReady ?? false;
  }

  /** The open connection. @throws {BrokerUnavailable} while there is none */
  get connection(): RedisConnection {
    if (!this.#connection?.isReady) throw new BrokerUnavailable("Redis cannot be reached");
    return this.#connection;
  }

  /** Ends the connection. A new one is opened. */
  drop(reason: string): void {
    this.#connection?.end(reason);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#connection?.end("the server stops");
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#isClosed) {
      const began = performance.now();
      const connection = new RedisConnection(this.#deps.options, this.#deps.looksMax);
      this.#connection = connection;
      try {
        await connection.open();
        await this.#deps.opened(connection);
        if (connection.isOpen) {
          connection.isReady = true;
          failures = 0;
          this.#deps.up();
        }
      } catch (error) {
        connection.end(reasonOf(error));
      }
      const reason = await connection.ended;
      if (this.#isClosed) return;
      this.#deps.down(reason);
      await this.#pause(pauseMilliseconds(failures++, performance.now() - began));
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const timer = setTimeout(resolve, milliseconds);
    await promise;
    clearTimeout(timer);
  }
}

/**
 * The pause before the next attempt, with jitter, so that the nodes of a cluster do not return in one moment. An attempt that
 * hung for 2.5 s, in a network that loses everything, was pause enough: with 2 s more, a node refused publications for up to
 * 4.5 s after the network was well again.
 * @param failures in a row, before the last attempt
 * @param tookMilliseconds from the beginning of the last attempt to the end of its connection
 */
export function pauseMilliseconds(failures: number, tookMilliseconds: number): number {
  const { first, last } = attemptMilliseconds;
  const rest = Math.min(first * 2 ** failures, last) - tookMilliseconds;
  return Math.max(first, rest) * (0.5 + Math.random() / 2);
}

/** A command that was sent and not yet answered. */
interface Unanswered {
  /** The number of looks before it was sent. */
  readonly sentAfter: number;
  readonly fail: (error: BrokerUnavailable) => void;
}

export type Listener = (message: Buffer, channel: Buffer) => void;

/** The part of a client of `@redis/client` that is used. */
interface Client {
  connect(): Promise<unknown>;
  sendCommand<Answer>(command: readonly Argument[]): Promise<Answer>;
  subscribe(channels: string[], listener: Listener, asBuffers: true): Promise<void>;
  unsubscribe(channels: string[], listener: Listener, asBuffers: true): Promise<void>;
  destroy(): void;
}

/** One client of `@redis/client`, and what it has not yet answered. */
export class RedisConnection {
  /** Set when it is prepared. */
  isReady = false;
  /** Resolves with the reason why it ended. */
  readonly ended: Promise<string>;
  readonly #end = Promise.withResolvers<string>();
  readonly #options: RedisClientOptions;
  readonly #unanswered = new Set<Unanswered>();
  readonly #watch: Timer;
  readonly #looksMax: number;
  #looks = 0;
  #client: Client | undefined;
  #isEnded = false;

  constructor(options: RedisClientOptions, looks = looksMax) {
    this.#options = options;
    this.#looksMax = looks;
    this.ended = this.#end.promise;
    this.#watch = setInterval(() => this.#look(), lookMilliseconds).unref();
  }

  get isOpen(): boolean {
    return !this.#isEnded;
  }

  async open(): Promise<void> {
    const { createClient } = await import("@redis/client"); // Not at start: most servers have no Redis.
    defineHasSubscribers();
    if (this.#isEnded) return;
    const client = createClient({
      ...this.#options,
      RESP: 3,
      disableOfflineQueue: true,
      maintNotifications: "disabled",
      disableClientInfo: true, // CLIENT SETINFO would be one more permission, and Redis 7.0 does not know it.
      // Zero is none. The client's own would make a timer for each command.
      commandOptions: { timeout: 0, typeMapping: blobsAsBuffers },
      socket: { ...this.#options.socket, connectTimeout: connectMilliseconds, reconnectStrategy: false },
    });
    client.on("error", (error) => this.end(reasonOf(error)));
    client.on("end", () => this.end("the connection ended"));
    this.#client = client;
    await this.#answer(() => client.connect());
  }

  /** @throws {BrokerUnavailable} if the connection ends before the answer, and what Redis answers otherwise */
  command(command: readonly Argument[]): Promise<Reply> {
    return this.#answer((client) => client.sendCommand<Reply>(command));
  }

  subscribe(channels: string[], listener: Listener): Promise<void> {
    return this.#answer((client) => client.subscribe(channels, listener, true));
  }

  unsubscribe(channels: string[], listener: Listener): Promise<void> {
    return this.#answer((client) => client.unsubscribe(channels, listener, true));
  }

  /** Ends it at once. What is unanswered fails. */
  end(reason: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.isReady = false;
    clearInterval(this.#watch);
    this.#end.resolve(reason);
    const error = new BrokerUnavailable(reason);
    for (const { fail } of this.#unanswered) fail(error);
    this.#unanswered.clear();
    this.#client?.destroy();
  }

  /** Fails at the end of the connection, too: a client that is destroyed while it connects leaves its promise pending. */
  #answer<Answer>(ask: (client: Client) => Promise<Answer>): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (!this.#client || this.#isEnded) {
      reject(new BrokerUnavailable("the connection to Redis ended"));
      return promise;
    }
    const unanswered = { sentAfter: this.#looks, fail: reject };
    this.#unanswered.add(unanswered);
    ask(this.#client).then(
      (answer) => {
        this.#unanswered.delete(unanswered);
        resolve(answer);
      },
      (error) => {
        this.#unanswered.delete(unanswered);
        reject(error);
      },
    );
    return promise;
  }

  /** Answers come in the order of commands, so the first is the oldest. */
  #look(): void {
    this.#looks++;
    for (const { sentAfter } of this.#unanswered) {
      if (this.#looks - sentAfter > this.#looksMax) this.end("Redis does not answer");
      return;
    }
  }
}

/** The type of a reply of bytes in the protocol, `$`, to a Buffer: data must not go through text. */
const blobsAsBuffers = { 36: Buffer };

export function reasonOf(error: unknown): string {
  if (error instanceof BrokerUnavailable) return error.reason;
  return error instanceof Error ? error.message : String(error);
}
