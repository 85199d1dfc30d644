/** From an HTTP request to a WebSocket (RFC 6455 section 4.2), or to a refusal that says what was missing. */
import type { Server } from "bun";
import { Connection, type Line } from "./connection.ts";
import { type Answer, problem } from "./http.ts";

export function wantsWebSocket(request: Request): boolean {
  return hasToken(request, "upgrade", "websocket") && hasToken(request, "connection", "upgrade");
}

/**
 * Answers a request that `wantsWebSocket`.
 * @param known the subprotocols this endpoint speaks; the first one offered among them is chosen, or none
 */
export function upgrade(
  request: Request,
  server: Server<unknown>,
  line: Line,
  known: readonly string[],
): Answer {
  // Asked before Bun is, which would answer by itself and without a word.
  if (request.headers.get("sec-websocket-version") !== "13") {
    return problem(426, "Only version 13 of WebSocket (RFC 6455) is spoken here.", {
      "Sec-WebSocket-Version": "13",
    });
  }
  const subprotocol = tokens(request, "sec-websocket-protocol").find((name) => known.includes(name)) ?? "";
  const upgraded = server.upgrade(request, {
    data: new Connection(line, server.requestIP(request)?.address),
    // Left out, Bun would choose the first one offered, known or not (oven-sh/bun#18243).
    headers: { "Sec-WebSocket-Protocol": subprotocol },
  });
  if (upgraded) return undefined;
  return problem(400, "The WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.");
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
