/** From an HTTP request to a WebSocket (RFC 6455 section 4.2), or to a refusal that says what was missing. */
import type { Proxies } from "../http/proxies.ts";
import { malformed, Refusal } from "../http/refusal.ts";
import type { Answer, RequestContext } from "../http/request-context.ts";
import type { ConnectionKind } from "../metrics.ts";
import { subprotocols } from "../wire/encodings.ts";
import { Connection, type Socket, type SocketHandler } from "./connection.ts";
import type { Connections } from "./connections.ts";

export function wantsWebSocket(request: Request): boolean {
  return hasToken(request, "upgrade", "websocket") && hasToken(request, "connection", "upgrade");
}

/** @returns the first subprotocol offered among those `known`, or none */
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

/** Which WebSocket a request is to become. */
export interface Opening {
  readonly handler: SocketHandler;
  readonly kind: ConnectionKind;
  readonly subprotocol: string | undefined;
  /** When its token expires, in milliseconds since 1970. */
  readonly expiresTime: number;
}

export class Upgrader {
  readonly #connections: Connections;
  readonly #proxies: Proxies;

  constructor(connections: Connections, proxies: Proxies) {
    this.#connections = connections;
    this.#proxies = proxies;
  }

  /**
   * Answers a request that `wantsWebSocket`; the line is opened before this returns, or not at all.
   * @throws {Refusal}
   */
  upgrade(context: RequestContext, { handler, kind, subprotocol, expiresTime }: Opening): undefined {
    const { request, server } = context;
    requireVersion(request);
    const clientAddress = this.#connections.admit(this.#proxies.addressOf(context));
    const upgraded = server.upgrade(request, {
      data: new Connection(handler, kind, clientAddress, expiresTime),
      // Left out, Bun would choose the first one offered, known or not (oven-sh/bun#18243).
      headers: { "Sec-WebSocket-Protocol": subprotocol ?? "" },
    });
    if (upgraded) return;
    throw malformed("The WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.");
  }

  /**
   * Refuses a WebSocket so that its client can tell why. A browser shows a page nothing of a refused handshake but 1006,
   * so where a page asks (its Origin says so) the line is opened and closed at once. Not so where there is no room or no
   * time for one: 1006 makes a page come back later, and that is right.
   */
  refuse(context: RequestContext, refusal: Refusal): Answer {
    const { request } = context;
    const { status, code } = refusal;
    if (!request.headers.has("origin") || status === 426 || status >= 429) return refusal.response();
    const opening: Opening = {
      handler: new RefusedConnection(code, refusal.message),
      kind: "refused",
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

/** @throws {Refusal} before Bun would answer without a word */
function requireVersion(request: Request): void {
  if (request.headers.get("sec-websocket-version") === "13") return;
  throw new Refusal("upgrade", "Only version 13 of WebSocket (RFC 6455) is spoken here.", {
    "Sec-WebSocket-Version": "13",
  });
}

class RefusedConnection implements SocketHandler {
  constructor(
    readonly code: number,
    readonly reason: string,
  ) {}

  open(socket: Socket): void {
    socket.close(this.code, this.reason);
  }

  message(): void {
    // It was closed before it could say anything.
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
