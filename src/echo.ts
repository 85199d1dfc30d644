/** The echo line, /ping: "ping" gets "pong", everything else comes back as it went. */
import type { HandlerConfig } from "./config.ts";
import type { Line, Socket } from "./connection.ts";
import { subprotocols } from "./envelope.ts";
import { chooseSubprotocol, upgrade, wantsWebSocket } from "./handshake.ts";
import { methods, type RequestHandler } from "./http.ts";

const ping = Buffer.from("ping");
const pong = Buffer.from("pong");

/** @param bufferedBytesMax what a peer may leave unread before reading from it pauses */
export function echoEndpoint({ bufferedBytesMax }: Pick<HandlerConfig, "bufferedBytesMax">): RequestHandler {
  const line = new EchoLine(bufferedBytesMax);
  return methods({
    GET: (request, server) =>
      wantsWebSocket(request)
        ? upgrade(request, server, line, chooseSubprotocol(request, [subprotocols.raw]))
        : howToConnect(request),
  });
}

function howToConnect(request: Request): Response {
  const url = new URL(request.url);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.search = "";
  return new Response(
    `This is a WebSocket line: connect with new WebSocket("${url}"), or try it at the page /.\n`,
    {
      status: 426,
      headers: { Upgrade: "websocket", Connection: "Upgrade", "Content-Type": "text/plain; charset=utf-8" },
    },
  );
}

/**
 * The server's end of all echo connections. What a peer is owed and does not take is bounded: reading from it pauses, and
 * TCP slows it down. The pause is bounded by the heartbeat, which hears nothing meanwhile.
 */
export class EchoLine implements Line {
  readonly #bufferedBytesMax: number;
  /** Of each peer whose reading is paused what is not answered yet, such as what Bun had read before the pause. */
  readonly #paused = new Map<Socket, (string | Buffer)[]>();

  constructor(bufferedBytesMax: number) {
    this.#bufferedBytesMax = bufferedBytesMax;
  }

  message(socket: Socket, message: string | Buffer): void {
    const waiting = this.#paused.size > 0 ? this.#paused.get(socket) : undefined;
    if (waiting) waiting.push(message);
    else this.#answer(socket, message);
  }

  /** Bun calls this when nothing is buffered any more. */
  drain(socket: Socket): void {
    const waiting = this.#paused.get(socket);
    if (!waiting) return;
    this.#paused.delete(socket);
    for (const message of waiting) this.message(socket, message);
    if (!this.#paused.has(socket)) socket.resume();
  }

  close(socket: Socket): void {
    this.#paused.delete(socket);
  }

  #answer(socket: Socket, message: string | Buffer): void {
    const isOver = (): boolean => socket.getBufferedAmount() > this.#bufferedBytesMax;
    // Of an empty message Bun says 0 whether it took it or not, so it is not offered where it might not be taken.
    if (message.length === 0 && isOver()) {
      this.#pause(socket, [message]);
      return;
    }
    const sent = socket.send(isPing(message) ? (typeof message === "string" ? "pong" : pong) : message);
    if (sent > 0 || message.length === 0) return;
    if (sent === -1) {
      if (isOver()) this.#pause(socket, []);
    } else if (isOver()) {
      // Bun took nothing. No send had told that the limit was reached: Bun joins what is sent within a tick, reports it
      // as sent, and finds out only between two messages that TCP does not take it.
      this.#pause(socket, [message]);
    } else {
      throw new Error(`Bun did not take an echo of ${message.length} with room for it`);
    }
  }

  #pause(socket: Socket, waiting: (string | Buffer)[]): void {
    socket.pause();
    this.#paused.set(socket, waiting);
  }
}

function isPing(message: string | Buffer): boolean {
  return typeof message === "string" ? message === "ping" : message.length === 4 && message.equals(ping);
}
