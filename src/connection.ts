/** What is known of one open connection, and the register of all of them. */
import type { ServerWebSocket, WebSocketHandler } from "bun";
import type { HandlerConfig } from "./config.ts";
import { closeCode } from "./envelope.ts";
import type { Logger } from "./log.ts";
import type { Subscription } from "./subscription.ts";

export type Socket = ServerWebSocket<Connection>;

/** What an endpoint does with its end of a WebSocket. A throw closes that one connection with 1011. */
export interface Line {
  open?(socket: Socket): void;
  message(socket: Socket, message: string | Buffer<ArrayBuffer>): void;
  /** The peer took everything that had been waiting for it. */
  drain?(socket: Socket): void;
  close?(socket: Socket): void;
  /** Takes a socket that is live on a topic off it, and names its subscription. */
  recall?(socket: Socket, topic: string): Subscription | undefined;
}

/** A long answer over HTTP, which ends with the server as a WebSocket does. */
export interface Stream {
  /** Called once a second. */
  tick(): void;
  close(code: number, reason: string): void;
}

/** The `data` of each of our sockets, and how they are told from an application's own. */
export class Connection {
  /** By the clock of `Connections`, which ticks once a second. */
  lastHeardSeconds = 0;
  pinged = false;

  /**
   * @param line kept here and not looked up, because every message passes through it
   * @param address the peer's, noted before the upgrade: Bun has none for a closed socket
   */
  constructor(
    readonly line: Line,
    readonly address: string | undefined,
  ) {}
}

/** Bun's default, which an application's own sockets keep when they share a server with ours. */
const applicationMessageBytesMax = 16 * 1024 * 1024;
const applicationBufferedBytesMax = 16 * 1024 * 1024;

export class Connections {
  /** Bun cannot list its sockets, and stopping must reach every one. */
  readonly #open = new Set<Socket>();
  readonly #streams = new Set<Stream>();
  /** Unsent bytes of a subscriber beyond which it is cut: never less than one encoded message. */
  readonly bufferedBytesMax: number;
  readonly #config: HandlerConfig;
  readonly #log: Logger;
  /** Seconds since the first connection opened, counted only while one is open: reading it costs a message nothing. */
  #clockSeconds = 0;
  #clock: Timer | undefined;

  constructor(config: HandlerConfig, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.bufferedBytesMax = Math.max(config.bufferedBytesMax, encodedBytesMax(config.messageBytesMax));
  }

  sockets(): Iterable<Socket> {
    return this.#open;
  }

  addStream(stream: Stream): void {
    this.#streams.add(stream);
    this.#startClock();
  }

  deleteStream(stream: Stream): void {
    this.#streams.delete(stream);
    this.#stopClock();
  }

  /** Ends a connection that was not given a message, before it could be given another. */
  cutSlow(socket: Socket): void {
    this.#log.info(
      { address: socket.data.address, bufferedBytes: socket.getBufferedAmount() },
      "a slow reader is cut",
    );
    socket.terminate();
  }

  /** Closes every connection of ours. @param code one that may stand in a Close frame (RFC 6455 section 7.4) */
  closeAll(code: number, reason: string): void {
    for (const socket of this.#open) socket.close(code, reason);
    for (const stream of this.#streams) stream.close(code, reason);
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
        this.bufferedBytesMax + unwatchedBytesMax(this.bufferedBytesMax) + encodedBytesMax(messageBytesMax),
        shared ? (yours.backpressureLimit ?? applicationBufferedBytesMax) : 0,
      ),

      open: (socket) => {
        if (!isOurs(socket)) return yours?.open?.(socket);
        this.#add(socket);
        this.#log.debug({ address: socket.data.address }, "connection opened");
        socket.data.line.open?.(socket);
      },

      message: (socket, message) => {
        if (!isOurs(socket)) return yours?.message?.(socket, message);
        this.#hear(socket);
        if (shared && isLonger(message, messageBytesMax))
          return socket.close(closeCode.tooBig, `over ${messageBytesMax} bytes`);
        socket.data.line.message(socket, message);
      },

      drain: (socket) => {
        if (!isOurs(socket)) return yours?.drain?.(socket);
        this.#hear(socket); // To take what was sent is a sign of life, and the only one while reading is paused.
        socket.data.line.drain?.(socket);
      },

      ping: (socket, data) => {
        if (!isOurs(socket)) return yours?.ping?.(socket, data);
        this.#hear(socket);
      },

      pong: (socket, data) => {
        if (!isOurs(socket)) return yours?.pong?.(socket, data);
        this.#hear(socket);
      },

      close: (socket, code, reason) => {
        if (!isOurs(socket)) return yours?.close?.(socket, code, reason);
        this.#delete(socket);
        this.#log.debug({ address: socket.data.address, code, reason }, "connection closed");
        socket.data.line.close?.(socket);
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

  #add(socket: Socket): void {
    this.#open.add(socket);
    this.#hear(socket);
    this.#startClock();
  }

  #delete(socket: Socket): void {
    this.#open.delete(socket);
    this.#stopClock();
  }

  #startClock(): void {
    this.#clock ??= setInterval(() => this.#tick(), 1000).unref();
  }

  #stopClock(): void {
    if (this.#open.size + this.#streams.size > 0) return;
    clearInterval(this.#clock);
    this.#clock = undefined;
  }

  #hear({ data }: Socket): void {
    data.lastHeardSeconds = this.#clockSeconds;
    data.pinged = false;
  }

  /** Pings the silent and ends those that stay silent, and so bounds every pause in reading: a paused peer is not heard. */
  #tick(): void {
    const { heartbeatIntervalSeconds, heartbeatTimeoutSeconds } = this.#config;
    this.#clockSeconds++;
    for (const stream of this.#streams) stream.tick();
    for (const socket of this.#open) {
      const silentSeconds = this.#clockSeconds - socket.data.lastHeardSeconds;
      if (silentSeconds > heartbeatIntervalSeconds + heartbeatTimeoutSeconds) {
        this.#log.info({ address: socket.data.address, silentSeconds }, "a silent peer is cut");
        socket.terminate();
      } else if (silentSeconds > heartbeatIntervalSeconds && !socket.data.pinged) {
        socket.data.pinged = true;
        socket.ping();
      }
    }
  }
}

function isOurs(socket: ServerWebSocket<unknown>): socket is Socket {
  return socket.data instanceof Connection;
}

/** What the largest message can become as base64 in a CloudEvent, with room for the attributes. */
const encodedBytesMax = (messageBytesMax: number): number => Math.ceil((messageBytesMax * 4) / 3) + 2048;

/** Bytes that may be published between two looks at who holds too much: few beside the limit, so that it is kept. */
export const bytesBetweenLooks = (bufferedBytesMax: number): number => Math.ceil(bufferedBytesMax / 8);

/**
 * What can be added to a socket's unsent bytes and seen only at the next look: what is published until then, and what Bun
 * had not counted at the last one. It gathers frames under 16 KiB for a socket, at most 32, and counts them when it
 * writes them: at the end of the tick, or before the 33rd.
 */
const unwatchedBytesMax = (bufferedBytesMax: number): number =>
  bytesBetweenLooks(bufferedBytesMax) + 32 * (16 * 1024 + 16);

/** Measures only what could be too long: a UTF-16 unit is at most three bytes of UTF-8. */
function isLonger(message: string | Buffer, bytesMax: number): boolean {
  if (typeof message !== "string") return message.byteLength > bytesMax;
  return message.length * 3 > bytesMax && Buffer.byteLength(message) > bytesMax;
}
