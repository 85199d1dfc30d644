/** The endpoint /ping: "ping" is answered "pong", every other message is sent back unchanged. */
import type { Access } from "../../access/access.ts";
import type { Socket, SocketHandler } from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import { answerEventStream } from "../../connection/event-stream.ts";
import type { ReceivedFrame } from "../../connection/frames.ts";
import { chooseSubprotocol, type Upgrader, wantsWebSocket } from "../../connection/handshake.ts";
import type { Openings } from "../../connection/openings.ts";
import type { Reading } from "../../connection/reading.ts";
import { refuseStream, wantsEventStream } from "../../http/event-stream.ts";
import { methods } from "../../http/methods.ts";
import type { Proxies, Target } from "../../http/proxies.ts";
import type { Refusals } from "../../http/refusal.ts";
import type { Handler, RequestContext } from "../../http/request-context.ts";
import type { HandlerConfig } from "../../settings/config.ts";
import { subprotocols } from "../../wire/encodings.ts";
import { pingStream } from "./stream.ts";

const ping = Buffer.from("ping");
const pong = Buffer.from("pong");

/** What the endpoint is joined to. */
export interface EchoDeps {
  readonly config: Pick<HandlerConfig, "bufferedBytesMax" | "heartbeatTimeoutSeconds" | "privatePing">;
  readonly access: Access;
  readonly connections: Connections;
  readonly openings: Openings;
  readonly reading: Reading;
  readonly upgrader: Upgrader;
  readonly proxies: Proxies;
  readonly refusals: Refusals;
}

const openToAll = { expiresTime: Number.POSITIVE_INFINITY };

export function echoEndpoint(deps: EchoDeps): Handler {
  const { config, access, openings, upgrader, proxies, refusals } = deps;
  const line = new EchoLine(config.bufferedBytesMax, deps.reading);
  return methods({
    GET: async (context) => {
      const { request } = context;
      if (!wantsWebSocket(request) && wantsEventStream(request)) return await openStream(deps, context);
      if (!wantsWebSocket(request)) {
        refusals.count("upgrade");
        return howToConnect(proxies.targetOf(context), context.pathname);
      }
      const subprotocol = chooseSubprotocol(request, [subprotocols.raw]);
      try {
        const turn = openings.turn(context);
        if (turn) await turn;
        const permissions = config.privatePing ? await access.authenticatePing(context) : openToAll;
        return upgrader.upgrade(context, {
          handler: line,
          subprotocol,
          expiresTime: permissions.expiresTime,
        });
      } catch (error) {
        return upgrader.refuse(context, refusals.of(error));
      }
    },
  });
}

async function openStream(deps: EchoDeps, context: RequestContext): Promise<Response> {
  const { config, access, connections, openings, refusals } = deps;
  try {
    const turn = openings.turn(context);
    if (turn) await turn;
    const { expiresTime } = config.privatePing ? await access.authenticatePing(context) : openToAll;
    const silenceSeconds = Math.min(config.heartbeatTimeoutSeconds + 1, 120);
    return answerEventStream(connections, context, { handler: pingStream, expiresTime }, silenceSeconds);
  } catch (error) {
    return refuseStream(context.request, refusals.of(error));
  }
}

function howToConnect({ host, isSecure }: Target, path: string): Response {
  const url = `${isSecure ? "wss" : "ws"}://${host}${path}`;
  return new Response(`This is a WebSocket line: connect with new WebSocket("${url}").\n`, {
    status: 426,
    headers: { Upgrade: "websocket", Connection: "Upgrade", "Content-Type": "text/plain; charset=utf-8" },
  });
}

/**
 * The server's end of all echo connections. The unsent bytes of a peer are bounded: past the limit the server does not
 * read from it, and TCP slows it down. The heartbeat bounds the pause, because it receives nothing meanwhile.
 */
export class EchoLine implements SocketHandler {
  readonly kind = "echo";
  readonly #bufferedBytesMax: number;
  readonly #reading: Pick<Reading, "hold" | "release">;
  /** Peers that are not read from, each with the message that Bun did not take, if there is one. */
  readonly #held = new Map<Socket, ReceivedFrame | undefined>();

  constructor(bufferedBytesMax: number, reading: Pick<Reading, "hold" | "release">) {
    this.#bufferedBytesMax = bufferedBytesMax;
    this.#reading = reading;
  }

  message(socket: Socket, message: ReceivedFrame): void {
    this.#answer(socket, message);
  }

  /** Bun calls this each time that a part of the unsent bytes was sent. */
  drain(socket: Socket): void {
    if (!this.#held.has(socket) || this.#isOver(socket)) return;
    const message = this.#held.get(socket);
    this.#held.delete(socket);
    if (message !== undefined) this.#answer(socket, message);
    this.#reading.release(socket);
  }

  close(socket: Socket): void {
    if (this.#held.delete(socket)) this.#reading.release(socket);
  }

  #answer(socket: Socket, message: ReceivedFrame): void {
    // Bun returns 0 for an empty message, taken or not. So it is sent only if it will be taken.
    if (message.length === 0 && this.#isOver(socket)) {
      this.#hold(socket, message);
      return;
    }
    const sent = socket.send(isPing(message) ? (typeof message === "string" ? "pong" : pong) : message);
    if (sent > 0 || message.length === 0) return;
    if (sent === -1) {
      if (this.#isOver(socket)) this.#hold(socket);
    } else if (this.#isOver(socket)) {
      // Bun dropped the message, and no earlier send had returned -1: Bun gathers the frames of a turn, reports them as
      // sent, and finds out only between two frames that the kernel does not take them.
      this.#hold(socket, message);
    } else if (socket.readyState === WebSocket.OPEN) {
      throw new Error(`Bun did not take an echo of ${message.length} with room for it`);
    }
  }

  #isOver(socket: Socket): boolean {
    return socket.getBufferedAmount() > this.#bufferedBytesMax;
  }

  #hold(socket: Socket, message?: ReceivedFrame): void {
    this.#reading.hold(socket);
    this.#held.set(socket, message);
  }
}

function isPing(message: string | Buffer): boolean {
  return typeof message === "string" ? message === "ping" : message.length === 4 && message.equals(ping);
}
