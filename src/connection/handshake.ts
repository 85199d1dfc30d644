/** Upgrades an HTTP request to a WebSocket (RFC 6455 section 4.2), or refuses it in words. */
import { malformed, Refusal } from "../http/refusal.ts";
import type { Answer, RequestContext } from "../http/request-context.ts";
import { subprotocols } from "../wire/encodings.ts";
import { closeSocket } from "./closing.ts";
import { Connection, type Socket, type SocketHandler, type Use } from "./connection.ts";
import type { Connections } from "./connections.ts";

export function wantsWebSocket(request: Request): boolean {
  return hasToken(request, "upgrade", "websocket") && hasToken(request, "connection", "upgrade");
}

/** @returns the first of the offered subprotocols that is known */
export function chooseSubprotocol<Name extends string>(
  request: Request,
  known: readonly Name[],
): Name | undefined {
  for (const offered of tokens(request, "sec-websocket-protocol")) {
    const chosen = known.find((name) => name === offered);
    if (chosen) return chosen;
  }
  return undefined;
}

/** The WebSocket that a request asks for. */
export interface SocketUse extends Use<SocketHandler> {
  readonly subprotocol: string | undefined;
}

export class Upgrader {
  readonly #connections: Connections;

  constructor(connections: Connections) {
    this.#connections = connections;
  }

  /**
   * Answers a request for which `wantsWebSocket` is true. The handler's `open` is called before this returns.
   * @throws {Refusal}
   */
  upgrade(context: RequestContext, opening: SocketUse): undefined {
    const { request, server } = context;
    requireVersion(request);
    const clientAddress = this.#connections.admit(context);
    const upgraded = server.upgrade(request, {
      data: new Connection(this.#connections, clientAddress, opening),
      // Without the header Bun chooses the first one offered, known or not (oven-sh/bun#18243).
      headers: { "Sec-WebSocket-Protocol": opening.subprotocol ?? "" },
    });
    if (upgraded) return;
    throw malformed("The WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.");
  }

  /**
   * Refuses a WebSocket so that its client can read the reason. A page only ever sees 1006 of a refused handshake, so for
   * a page, which sends `Origin`, the WebSocket is opened and closed at once with a code. A page that may come back later
   * gets the refused handshake, because 1006 makes it do that.
   */
  refuse(context: RequestContext, refusal: Refusal): Answer {
    const { request } = context;
    const { status, code } = refusal;
    if (!request.headers.has("origin") || status === 426 || status >= 429) return refusal.response();
    const opening: SocketUse = {
      handler: new RefusedConnection(code, refusal.message),
      subprotocol: chooseSubprotocol(request, Object.values(subprotocols)),
      expiresTime: Number.POSITIVE_INFINITY,
    };
    try {
      return this.upgrade(context, opening);
    } catch (error) {
      if (error instanceof Refusal) return refusal.response();
      throw error;
    }
  }
}

/** Checked here, because Bun would answer without words. @throws {Refusal} */
function requireVersion(request: Request): void {
  if (request.headers.get("sec-websocket-version") === "13") return;
  throw new Refusal("upgrade", "Only version 13 of WebSocket (RFC 6455) is spoken here.", {
    "Sec-WebSocket-Version": "13",
  });
}

class RefusedConnection implements SocketHandler {
  readonly kind = "refused";

  constructor(
    readonly code: number,
    readonly reason: string,
  ) {}

  open(socket: Socket): void {
    closeSocket(socket, this.code, this.reason);
  }

  message(): void {
    // The socket is being closed before a message can arrive.
  }
}

function hasToken(request: Request, header: string, token: string): boolean {
  return tokens(request, header).some((found) => found.toLowerCase() === token);
}

function tokens(request: Request, header: string): string[] {
  return (
    request.headers
      .get(header)
      ?.split(",")
      .map((token) => token.trim()) ?? []
  );
}
