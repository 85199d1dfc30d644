/** The echo line, /ping: "ping" gets "pong", everything else comes back as it went. */

import type { Access } from "../access/access.ts";
import type { Socket, SocketHandler } from "../connection/connection.ts";
import { chooseSubprotocol, type Upgrader, wantsWebSocket } from "../connection/handshake.ts";
import type { Openings } from "../connection/openings.ts";
import { methods } from "../http/methods.ts";
import type { Proxies, Target } from "../http/proxies.ts";
import type { Refusals } from "../http/refusal.ts";
import type { Handler } from "../http/request-context.ts";
import type { HandlerConfig } from "../settings/config.ts";
import { subprotocols } from "../wire/encodings.ts";

const ping = Buffer.from("ping");
const pong = Buffer.from("pong");

/** What the endpoint is joined to. */
export interface EchoDeps {
  readonly config: Pick<HandlerConfig, "bufferedBytesMax" | "privatePing">;
  readonly access: Access;
  readonly openings: Openings;
  readonly upgrader: Upgrader;
  readonly proxies: Proxies;
  readonly refusals: Refusals;
}

export function echoEndpoint({ config, access, openings, upgrader, proxies, refusals }: EchoDeps): Handler {
  const line = new EchoLine(config.bufferedBytesMax);
  const expiresTime = Number.POSITIVE_INFINITY;
  return methods({
    GET: async (context) => {
      const { request, url } = context;
      if (!wantsWebSocket(request)) {
        refusals.count("upgrade");
        return howToConnect(proxies.targetOf(context), url.pathname);
      }
      const subprotocol = chooseSubprotocol(request, [subprotocols.raw]);
      try {
        await openings.turn(context);
        const permissions = config.privatePing ? await access.authenticatePing(context) : { expiresTime };
        return upgrader.upgrade(context, {
          handler: line,
          kind: "echo",
          subprotocol,
          expiresTime: permissions.expiresTime,
        });
      } catch (error) {
        return upgrader.refuse(context, refusals.of(error));
      }
    },
  });
}

function howToConnect({ host, isSecure }: Target, path: string): Response {
  const url = `${isSecure ? "wss" : "ws"}://${host}${path}`;
  return new Response(`This is a WebSocket line: connect with new WebSocket("${url}").\n`, {
    status: 426,
    headers: { Upgrade: "websocket", Connection: "Upgrade", "Content-Type": "text/plain; charset=utf-8" },
  });
}

/**
 * The server's end of all echo connections. What a peer is owed and does not take is bounded: reading from it pauses, and
 * TCP slows it down. The pause is bounded by the heartbeat, which hears nothing meanwhile.
 */
export class EchoLine implements SocketHandler {
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
    // Of an empty message Bun says 0 whether it took it or not, so it is not offered where it might not be taken.
    if (message.length === 0 && this.#isOver(socket)) {
      this.#pause(socket, [message]);
      return;
    }
    const sent = socket.send(isPing(message) ? (typeof message === "string" ? "pong" : pong) : message);
    if (sent > 0 || message.length === 0) return;
    if (sent === -1) {
      if (this.#isOver(socket)) this.#pause(socket, []);
    } else if (this.#isOver(socket)) {
      // Bun took nothing. No send had told that the limit was reached: Bun joins what is sent within a tick, reports it
      // as sent, and finds out only between two messages that TCP does not take it.
      this.#pause(socket, [message]);
    } else {
      throw new Error(`Bun did not take an echo of ${message.length} with room for it`);
    }
  }

  #isOver(socket: Socket): boolean {
    return socket.getBufferedAmount() > this.#bufferedBytesMax;
  }

  #pause(socket: Socket, waiting: (string | Buffer)[]): void {
    socket.pause();
    this.#paused.set(socket, waiting);
  }
}

function isPing(message: string | Buffer): boolean {
  return typeof message === "string" ? message === "ping" : message.length === 4 && message.equals(ping);
}
