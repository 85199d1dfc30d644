/** From an HTTP request to a WebSocket (RFC 6455 section 4.2), or to a refusal that says what was missing. */
import type { Server } from "bun";
import { Connection, type Line, type Socket } from "./connection.ts";
import { subprotocols } from "./envelope.ts";
import { type Answer, type ProblemStatus, problem } from "./http.ts";

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

/** @returns what is wrong with a handshake that `wantsWebSocket`, asked before Bun answers it without a word */
export function refuseVersion(request: Request): Response | undefined {
  if (request.headers.get("sec-websocket-version") === "13") return undefined;
  return problem(426, "Only version 13 of WebSocket (RFC 6455) is spoken here.", {
    "Sec-WebSocket-Version": "13",
  });
}

/** Answers a request that `wantsWebSocket`; `line` is opened before this returns, or not at all. */
export function upgrade(
  request: Request,
  server: Server<unknown>,
  line: Line,
  subprotocol: string | undefined,
): Answer {
  const refusal = refuseVersion(request);
  if (refusal) return refusal;
  const upgraded = server.upgrade(request, {
    data: new Connection(line, server.requestIP(request)?.address),
    // Left out, Bun would choose the first one offered, known or not (oven-sh/bun#18243).
    headers: { "Sec-WebSocket-Protocol": subprotocol ?? "" },
  });
  if (upgraded) return undefined;
  return problem(400, "The WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64.");
}

/**
 * Refuses a WebSocket so that its client can tell why. A browser shows a page nothing of a refused handshake but 1006,
 * so where a page asks (its Origin says so) the line is opened and closed at once.
 */
export function refuseUpgrade(
  request: Request,
  server: Server<unknown>,
  { status, code, detail }: { status: ProblemStatus; code: number; detail: string },
): Answer {
  if (!request.headers.has("origin")) return problem(status, detail);
  const subprotocol = chooseSubprotocol(request, Object.values(subprotocols));
  return upgrade(request, server, new RefusedLine(code, detail), subprotocol);
}

class RefusedLine implements Line {
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
