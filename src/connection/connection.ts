/** What is known of one open connection, and the register of all of them. */
import { readFileSync } from "node:fs";
import type { ServerWebSocket, WebSocketHandler } from "bun";
import { Refusal, retryAfter } from "../http/refusal.ts";
import type { Logger } from "../log.ts";
import type { ConnectionKind, Counters } from "../metrics.ts";
import type { HandlerConfig } from "../settings/config.ts";
import type { Subscription } from "../topic/subscription.ts";
import { closeCode } from "../wire/close-code.ts";

export type Socket = ServerWebSocket<Connection>;

/** What an endpoint does with its end of a WebSocket. A throw closes that one connection with 1011. */
export interface SocketHandler {
  open?(socket: Socket): void;
  message(socket: Socket, message: string | Buffer<ArrayBuffer>): void;
  /** The peer took everything that had been waiting for it. */
  drain?(socket: Socket): void;
  close?(socket: Socket): void;
  /** Takes a socket that is live on a topic off it, and names its subscription. */
  detachLive?(socket: Socket, topic: string): Subscription | undefined;
}

/** A long answer over HTTP, which ends with the server as a WebSocket does. */
export interface HttpConnection {
  readonly peer: ClientAddress;
  readonly kind: ConnectionKind;
  /** Milliseconds since 1970. */
  readonly expiresTime: number;
  /** Called once a second. */
  tick(): void;
  close(code: number, reason: string): void;
}

/** Everyone who connects from one address, which is one string for all of them. */
export class ClientAddress {
  connections = 0;

  /** @param address unknown on a unix socket */
  constructor(readonly address: string | undefined) {}
}

/** The `data` of each of our sockets, and how they are told from an application's own. */
export class Connection {
  /** By the clock of `Connections`, which ticks once a second. */
  lastReceivedSeconds = 0;
  pinged = false;
  /** Messages and pings in the second of `lastReceivedSeconds`. */
  receivedInSecond = 0;

  /**
   * @param line kept here and not looked up, because every message passes through it
   * @param peer noted before the upgrade: Bun has no address for a closed socket
   * @param expiresTime milliseconds since 1970
   */
  constructor(
    readonly handler: SocketHandler,
    readonly kind: ConnectionKind,
    readonly peer: ClientAddress,
    readonly expiresTime: number,
  ) {}
}

/** Bun's default, which an application's own sockets keep when they share a server with ours. */
const applicationMessageBytesMax = 16 * 1024 * 1024;
const applicationBufferedBytesMax = 16 * 1024 * 1024;

export class Connections {
  /** Bun cannot list its sockets, and stopping must reach every one. */
  readonly #open = new Set<Socket>();
  readonly #httpConnections = new Set<HttpConnection>();
  /** Those with an open connection, by address. */
  readonly #peers = new Map<string | undefined, ClientAddress>();
  /** Unsent bytes of a subscriber beyond which it is cut: never less than one encoded message. */
  readonly bufferedBytesMax: number;
  readonly #config: HandlerConfig;
  readonly #connectionsMax: number;
  /** Unknown where it cannot be read. */
  readonly descriptorsMax = descriptorsAllowed();
  readonly #counters: Counters;
  readonly #log: Logger;
  /** Seconds since the first connection opened, counted only while one is open: reading it costs a message nothing. */
  #clockSeconds = 0;
  #clock: Timer | undefined;
  /** Told to load balancers, which need a while to send new clients elsewhere; until `#isClosed` they are served. */
  #isDraining = false;
  #isClosed = false;

  constructor(config: HandlerConfig, counters: Counters, log: Logger) {
    this.#config = config;
    this.#connectionsMax = config.connectionsMax || connectionsAllowed(this.descriptorsMax);
    this.#counters = counters;
    this.#log = log;
    this.bufferedBytesMax = Math.max(config.bufferedBytesMax, encodedBytesMax(config.messageBytesMax));
  }

  get connectionsMax(): number {
    return this.#connectionsMax;
  }

  /** Open now. */
  get count(): number {
    return this.#open.size + this.#httpConnections.size;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  sockets(): Iterable<Socket> {
    return this.#open;
  }

  /**
   * Asked before a connection is opened.
   * @returns who it is from
   * @throws {Refusal} where it is one too many, or the server is draining
   */
  admit(address: string | undefined): ClientAddress {
    const { connectionsPerAddressMax } = this.#config;
    const peer = this.#peers.get(address) ?? new ClientAddress(address);
    if (this.#isClosed) {
      this.#counters.refused.draining++;
      throw new Refusal(
        503,
        closeCode.serviceRestart,
        "This node is draining; come back, elsewhere.",
        retryLater,
      );
    }
    if (this.count >= this.#connectionsMax) {
      this.#counters.refused.connections++;
      throw new Refusal(
        503,
        closeCode.tryAgainLater,
        "All connections are taken (--max-connections); try later.",
        retryLater,
      );
    }
    if (connectionsPerAddressMax > 0 && peer.connections >= connectionsPerAddressMax) {
      this.#counters.refused.connections_per_ip++;
      const detail = `An address may have ${connectionsPerAddressMax} connections open (--max-connections-per-ip).`;
      throw new Refusal(429, closeCode.tryAgainLater, detail, retryLater);
    }
    return peer;
  }

  addHttp(stream: HttpConnection): void {
    this.#httpConnections.add(stream);
    this.#count(stream);
  }

  deleteHttp(stream: HttpConnection): void {
    if (this.#httpConnections.delete(stream)) this.#uncount(stream);
  }

  /** Ends a connection that was not given a message, before it could be given another. */
  cutSlow(socket: Socket): void {
    this.#counters.cut.slow++;
    const { address } = socket.data.peer;
    this.#log.info({ address, bufferedBytes: socket.getBufferedAmount() }, "a slow reader is cut");
    socket.terminate();
  }

  /**
   * Closes every connection of ours. What a reader is still owed goes before its Close frame, so it is given
   * `closingSecondsMax` to take it.
   * @param code one that may stand in a Close frame (RFC 6455 section 7.4)
   */
  async closeAll(code: number, reason: string): Promise<void> {
    this.#isDraining = true;
    this.#isClosed = true;
    for (const stream of this.#httpConnections) stream.close(code, reason);
    const deadline = performance.now() + closingSecondsMax * 1000;
    for (;;) {
      const isLate = performance.now() >= deadline;
      for (const socket of this.#open)
        if (isLate || socket.getBufferedAmount() === 0) socket.close(code, reason);
      if (this.#open.size === 0) return;
      await Bun.sleep(closingStepMilliseconds);
    }
  }

  /** From here on /readyz says so; who comes nevertheless is admitted until `drain`. */
  beginDraining(): void {
    this.#isDraining = true;
  }

  /** Takes no connection any more, and closes those there are spread over `drainWindowSeconds`. */
  async drain(): Promise<void> {
    this.beginDraining();
    this.#isClosed = true;
    const code = closeCode.serviceRestart;
    const closings = [
      // One that is owed something is closed when it took that, at the end.
      ...Array.from(
        this.#open,
        (socket) => () => socket.getBufferedAmount() === 0 && socket.close(code, drainReason),
      ),
      ...Array.from(this.#httpConnections, (stream) => () => stream.close(code, drainReason)),
    ];
    const steps = Math.max(1, Math.floor((this.#config.drainWindowSeconds * 1000) / closingStepMilliseconds));
    const perStep = Math.ceil(closings.length / steps);
    for (let next = 0; next < closings.length; next += perStep) {
      if (next > 0) await Bun.sleep(closingStepMilliseconds);
      for (const close of closings.slice(next, next + perStep)) close();
    }
    await this.closeAll(code, drainReason);
  }

  /**
   * The one handler that `Bun.serve` takes for all sockets of a server.
   * @param yours gets every event of a socket that is not Longwire's, and its limits are never narrowed by ours
   */
  websocket<Data>(yours?: WebSocketHandler<Data>): WebSocketHandler<Data> {
    const { messageBytesMax } = this.#config;
    const shared = yours !== undefined;
    return {
      // Off, because Bun's idle timeout never ends a dead peer that is still being sent to (oven-sh/bun#39255) nor one
      // whose reading is paused; the heartbeat below does both.
      ...(shared ? yours : { idleTimeout: 0, sendPings: false }),
      maxPayloadLength: shared
        ? Math.max(messageBytesMax, yours.maxPayloadLength ?? applicationMessageBytesMax)
        : messageBytesMax,
      // Never reached: whoever holds `bufferedBytesMax` is cut before Bun would pass over it (fan-out.ts).
      backpressureLimit: Math.max(
        this.bufferedBytesMax + uncheckedBytesMax(this.bufferedBytesMax) + encodedBytesMax(messageBytesMax),
        shared ? (yours.backpressureLimit ?? applicationBufferedBytesMax) : 0,
      ),

      open: (socket) => {
        if (!isOurs(socket)) return yours?.open?.(socket);
        this.#open.add(socket);
        this.#touch(socket.data);
        this.#count(socket.data);
        this.#log.debug({ address: socket.data.peer.address, form: socket.data.kind }, "connection opened");
        socket.data.handler.open?.(socket);
      },

      message: (socket, message) => {
        if (!isOurs(socket)) return yours?.message?.(socket, message);
        const { data } = socket; // Once: each look is a call into Bun, and every message comes through here.
        if (!this.#receive(socket, data)) return;
        this.#counters.receivedMessages++;
        this.#counters.receivedCharacters += message.length;
        if (shared && isLonger(message, messageBytesMax)) {
          this.#counters.refused.message_size++;
          return socket.close(closeCode.tooBig, `over ${messageBytesMax} bytes`);
        }
        data.handler.message(socket, message);
      },

      drain: (socket) => {
        if (!isOurs(socket)) return yours?.drain?.(socket);
        // To take what was sent is a sign of life, and the only one while reading is paused.
        this.#touch(socket.data);
        socket.data.handler.drain?.(socket);
      },

      ping: (socket, data) => {
        if (!isOurs(socket)) return yours?.ping?.(socket, data);
        this.#receive(socket, socket.data);
      },

      pong: (socket, data) => {
        if (!isOurs(socket)) return yours?.pong?.(socket, data);
        // The answer to our own ping is no message of the peer's.
        if (socket.data.pinged) this.#touch(socket.data);
        else this.#receive(socket, socket.data);
      },

      close: (socket, code, reason) => {
        if (!isOurs(socket)) return yours?.close?.(socket, code, reason);
        this.#open.delete(socket);
        this.#uncount(socket.data);
        if (code === 1006 && reason === tooBigReason) this.#counters.refused.message_size++;
        this.#log.debug({ address: socket.data.peer.address, code, reason }, "connection closed");
        socket.data.handler.close?.(socket);
      },

      // Without this handler Bun ends the process at the first throw, and so it does when this handler throws.
      error: (error, socket) => {
        let cause: unknown = error;
        if (!isOurs(socket) && yours?.error) {
          try {
            return yours.error(error, socket);
          } catch (thrown) {
            cause = thrown;
          }
        }
        this.#log.error({ err: cause }, "a WebSocket handler threw; its connection is closed");
        socket.close(closeCode.serverFault, "a fault of the server");
      },
    };
  }

  #count({ peer, kind }: Connection | HttpConnection): void {
    if (peer.connections++ === 0) this.#peers.set(peer.address, peer);
    this.#counters.open[kind]++;
    this.#counters.opened[kind]++;
    this.#clock ??= setInterval(() => this.#tick(), 1000).unref();
  }

  #uncount({ peer, kind }: Connection | HttpConnection): void {
    if (--peer.connections === 0) this.#peers.delete(peer.address);
    this.#counters.open[kind]--;
    if (this.count > 0) return;
    clearInterval(this.#clock);
    this.#clock = undefined;
  }

  /** @returns false where this was one too many in this second, and the connection is closed */
  #receive(socket: Socket, data: Connection): boolean {
    const { messagesPerSecondMax } = this.#config;
    this.#touch(data);
    if (messagesPerSecondMax === 0 || ++data.receivedInSecond <= messagesPerSecondMax) return true;
    this.#counters.cut.rate++;
    socket.close(closeCode.tryAgainLater, `more than ${messagesPerSecondMax} messages a second (--max-rate)`);
    return false;
  }

  #touch(data: Connection): void {
    data.pinged = false;
    if (data.lastReceivedSeconds === this.#clockSeconds) return;
    data.lastReceivedSeconds = this.#clockSeconds;
    data.receivedInSecond = 0;
  }

  /**
   * Ends what has expired, pings the silent and ends those that stay silent, and so bounds every pause in reading: a
   * paused peer is not heard.
   */
  #tick(): void {
    const { heartbeatIntervalSeconds, heartbeatTimeoutSeconds } = this.#config;
    const now = Date.now();
    this.#clockSeconds++;
    for (const stream of this.#httpConnections) {
      if (stream.expiresTime <= now) this.#expire(stream);
      else stream.tick();
    }
    for (const socket of this.#open) {
      const silentSeconds = this.#clockSeconds - socket.data.lastReceivedSeconds;
      if (socket.data.expiresTime <= now) {
        this.#expire(socket);
      } else if (silentSeconds > heartbeatIntervalSeconds + heartbeatTimeoutSeconds) {
        this.#counters.cut.silent++;
        this.#log.info({ address: socket.data.peer.address, silentSeconds }, "a silent peer is cut");
        socket.terminate();
      } else if (silentSeconds > heartbeatIntervalSeconds && !socket.data.pinged) {
        socket.data.pinged = true;
        socket.ping();
      }
    }
  }

  #expire(connection: { close(code: number, reason: string): void }): void {
    this.#counters.cut.expired++;
    connection.close(closeCode.unauthorized, "the token has expired");
  }
}

/** How soon after a refusal that time mends a client is to try again. */
const retryLater = retryAfter(5);

/** Bun refuses a frame over the limit by itself, and of every broken rule says 1006; only these words tell which. */
const tooBigReason = "Received too big message";

const drainReason = "this node is draining: come back, elsewhere";
const closingStepMilliseconds = 20;

/** How long a reader that is owed something is waited for when the server stops. */
const closingSecondsMax = 1;

/** Descriptors for all that is no connection: the listener, logs, libraries, and who is being refused. */
const descriptorsReserved = 256;

/** Bun raises the soft limit on descriptors to the hard one, which Linux tells. */
function descriptorsAllowed(): number | undefined {
  if (process.platform !== "linux") return undefined;
  const line = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return line ? Number(line[1]) : undefined;
}

/** Where the limit on descriptors is unknown a modest guess is made. */
function connectionsAllowed(descriptorsMax = 10_000 + descriptorsReserved): number {
  return Math.max(1, descriptorsMax - descriptorsReserved);
}

function isOurs(socket: ServerWebSocket<unknown>): socket is Socket {
  return socket.data instanceof Connection;
}

/** What the largest message can become as base64 in a CloudEvent, with room for the attributes. */
const encodedBytesMax = (messageBytesMax: number): number => Math.ceil((messageBytesMax * 4) / 3) + 2048;

/** Bytes that may be published between two looks at who holds too much: few beside the limit, so that it is kept. */
export const checkEveryBytes = (bufferedBytesMax: number): number => Math.ceil(bufferedBytesMax / 8);

/**
 * What can be added to a socket's unsent bytes and seen only at the next look: what is published until then, and what Bun
 * had not counted at the last one. It gathers frames under 16 KiB for a socket, at most 32, and counts them when it
 * writes them: at the end of the tick, or before the 33rd.
 */
const uncheckedBytesMax = (bufferedBytesMax: number): number =>
  checkEveryBytes(bufferedBytesMax) + 32 * (16 * 1024 + 16);

/** Measures only what could be too long: a UTF-16 unit is at most three bytes of UTF-8. */
function isLonger(message: string | Buffer, bytesMax: number): boolean {
  if (typeof message !== "string") return message.byteLength > bytesMax;
  return message.length * 3 > bytesMax && Buffer.byteLength(message) > bytesMax;
}
