/** The one handler that `Bun.serve` takes for all its WebSockets: Longwire's and those of the program around it. */
import type { ServerWebSocket, WebSocketHandler } from "bun";
import type { BufferLimits } from "../delivery/buffer-limits.ts";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { HandlerConfig } from "../settings/config.ts";
import { programBufferedBytesMax, programMessageBytesMax } from "../settings/limits.ts";
import { closeCode } from "../wire/close-code.ts";
import { Connection, type Socket } from "./connection.ts";
import { logClosed, logOpened } from "./connection-log.ts";
import type { Connections } from "./connections.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { Reading } from "./reading.ts";

/** What the handler is joined to. */
export interface WebSocketDeps {
  readonly config: Pick<HandlerConfig, "messageBytesMax" | "messagesPerSecondMax">;
  readonly buffers: BufferLimits;
  readonly connections: Connections;
  readonly heartbeat: Heartbeat;
  readonly reading: Reading;
  readonly counters: Counters;
  readonly log: Logger;
}

/**
 * Bun refuses frames by itself: those over its limit, those that break RFC 6455, and text that is not UTF-8. It reports
 * 1006 for each of them. Only the reason says which rule was broken, and that it was a refusal and not a lost connection.
 */
const refusedReason = /^Received /;
const tooBigReason = "Received too big message";

/**
 * @param yours receives every event of a socket that is not this handler's, and its limits are not narrowed by ours. It may
 * be the handler of another Longwire.
 */
export function webSocketHandler<Data>(
  deps: WebSocketDeps,
  yours?: WebSocketHandler<Data>,
): WebSocketHandler<Data> {
  const ours = new SocketEvents(deps);
  const isOurs = (socket: ServerWebSocket<unknown>): socket is Socket =>
    socket.data instanceof Connection && socket.data.register === deps.connections;
  return {
    // Off, because the heartbeat takes their place.
    ...(yours ?? { idleTimeout: 0, sendPings: false }),
    ...sharedLimits(deps, yours),
    open: (socket) => {
      if (isOurs(socket)) ours.open(socket);
      else if (yours) return yours.open?.(socket);
      else closeStray(socket, deps.log);
    },
    message: (socket, message) =>
      isOurs(socket) ? ours.message(socket, message) : yours?.message?.(socket, message),
    drain: (socket) => (isOurs(socket) ? ours.drain(socket) : yours?.drain?.(socket)),
    ping: (socket, data) => (isOurs(socket) ? ours.ping(socket) : yours?.ping?.(socket, data)),
    pong: (socket, data) => (isOurs(socket) ? ours.pong(socket, data) : yours?.pong?.(socket, data)),
    close: (socket, code, reason) =>
      isOurs(socket) ? ours.close(socket, code, reason) : yours?.close?.(socket, code, reason),
    // Without this handler Bun ends the process at the first throw, and also when this handler throws.
    error: (error, socket) => {
      let cause: unknown = error;
      if (!isOurs(socket) && yours?.error) {
        try {
          return yours.error(error, socket);
        } catch (thrown) {
          cause = thrown;
        }
      }
      deps.log.error({ err: cause }, "a WebSocket handler threw; its connection is closed");
      socket.close(closeCode.serverFault, "a fault of the server");
    },
  };
}

/** Bun has one value of each for all sockets of a server, so the wider one is set. */
function sharedLimits<Data>(
  { config, buffers }: WebSocketDeps,
  yours: WebSocketHandler<Data> | undefined,
): Pick<WebSocketHandler<Data>, "maxPayloadLength" | "backpressureLimit"> {
  const { messageBytesMax } = config;
  const { backpressureBytesMax } = buffers;
  if (!yours) return { maxPayloadLength: messageBytesMax, backpressureLimit: backpressureBytesMax };
  return {
    maxPayloadLength: Math.max(messageBytesMax, yours.maxPayloadLength ?? programMessageBytesMax),
    backpressureLimit: Math.max(backpressureBytesMax, yours.backpressureLimit ?? programBufferedBytesMax),
  };
}

/** No handler would answer on this socket. It is closed, and the log says how to mount two handlers. */
function closeStray(socket: ServerWebSocket<unknown>, log: Logger): void {
  log.error(
    {},
    "a WebSocket is not of this handler: give the handler that it is of to websocket(), as in one.websocket(other.websocket())",
  );
  socket.close(closeCode.serverFault, "a fault of the server");
}

/** What happens at each event of one of our sockets, before its endpoint sees it. */
class SocketEvents {
  readonly #deps: WebSocketDeps;

  constructor(deps: WebSocketDeps) {
    this.#deps = deps;
  }

  open(socket: Socket): void {
    const { connections, heartbeat, log } = this.#deps;
    const { data } = socket;
    heartbeat.touch(data);
    connections.add(socket);
    logOpened(log, data);
    data.handler.open?.(socket);
  }

  message(socket: Socket, message: string | Buffer<ArrayBuffer>): void {
    const { config, counters, reading } = this.#deps;
    const { data } = socket; // Read once: it is a call into Bun, and every message comes through here.
    if (!this.#receive(socket, data)) return;
    counters.receivedMessages++;
    counters.receivedCharacters += message.length;
    // Bun's limit may be wider, for sockets that share the server.
    if (isLonger(message, config.messageBytesMax)) {
      counters.refused.message_size++;
      socket.close(closeCode.tooBig, `a frame has at most ${config.messageBytesMax} bytes (--max-message)`);
      return;
    }
    reading.message(socket, data, message);
  }

  drain(socket: Socket): void {
    const { data } = socket;
    // A client that takes bytes is alive. There is no other sign of it while reading is paused.
    this.#deps.heartbeat.touch(data);
    this.#deps.reading.drain(socket, data);
    data.handler.drain?.(socket);
  }

  ping(socket: Socket): void {
    const { data } = socket;
    if (this.#receive(socket, data)) this.#deps.reading.ping(socket, data);
  }

  pong(socket: Socket, payload: Buffer): void {
    const { data } = socket;
    data.handler.pong?.(payload);
    // The answer to our own ping does not count against the client's rate.
    if (data.pinged) this.#deps.heartbeat.touch(data);
    else if (this.#receive(socket, data)) this.#deps.reading.ping(socket, data);
  }

  close(socket: Socket, code: number, reason: string): void {
    const { connections, counters, log } = this.#deps;
    const { data } = socket;
    connections.delete(socket);
    if (code === closeCode.abnormal && refusedReason.test(reason))
      counters.refused[reason === tooBigReason ? "message_size" : "malformed"]++;
    logClosed(log, data, { code, reason });
    this.#deps.reading.drain(socket, data);
    data.handler.close?.(socket);
  }

  /** @returns false if this was one too many in this second, and the connection is closed */
  #receive(socket: Socket, data: Connection): boolean {
    const { config, counters, heartbeat } = this.#deps;
    const { messagesPerSecondMax } = config;
    heartbeat.touch(data);
    if (messagesPerSecondMax === 0 || ++data.receivedInSecond <= messagesPerSecondMax) return true;
    counters.cut.rate++;
    socket.close(closeCode.tryAgainLater, `more than ${messagesPerSecondMax} messages a second (--max-rate)`);
    return false;
  }
}

/** Measures only what could be too long: a UTF-16 unit is at most three bytes of UTF-8. */
function isLonger(message: string | Buffer, bytesMax: number): boolean {
  if (typeof message !== "string") return message.byteLength > bytesMax;
  return message.length * 3 > bytesMax && Buffer.byteLength(message) > bytesMax;
}
