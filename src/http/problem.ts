/** What every HTTP answer has in common: methods, refusals in words, and nothing about the inside. */
import type { Server } from "bun";

/** `undefined` once the request became a WebSocket. */
export type Answer = Response | undefined;
export type RequestHandler = (request: Request, server: Server<unknown>) => Answer | Promise<Answer>;
export type Routes = Record<string, RequestHandler>;

const titles = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  410: "Gone",
  413: "Content Too Large",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
} as const;

export type ProblemStatus = keyof typeof titles;

/**
 * A refusal as RFC 9457 writes it.
 * @param detail what was wrong and what to do, for a person
 * @param members what the answer tells beside it (section 3.2)
 */
export function problem(
  status: ProblemStatus,
  detail: string,
  headers: Record<string, string> = {},
  members: Record<string, unknown> = {},
): Response {
  return Response.json(
    { title: titles[status], status, detail, ...members },
    { status, headers: { "Content-Type": "application/problem+json", ...headers } },
  );
}

export function notFound(request: Request): Response {
  if (!URL.canParse(request.url)) return malformedHost();
  const { pathname } = new URL(request.url);
  return problem(
    404,
    `Nothing is at ${pathname}. The page is at /, the echo line at /ping, topics at /topics/….`,
  );
}

/** Bun makes `request.url` of the Host header as it came, and answers 400 by itself only where there is none. */
export const malformedHost = (): Response =>
  problem(400, "The Host header is not a host name with an optional port.");

/**
 * One handler for all methods of a path. Bun's own table of methods is not used because it answers 404 where RFC 9110
 * section 15.5.6 wants 405 with Allow.
 */
export function methods(table: {
  readonly GET: RequestHandler;
  readonly POST?: RequestHandler;
}): RequestHandler {
  const allow = ["GET", "HEAD", ...(table.POST ? ["POST"] : []), "OPTIONS"].join(", ");
  return (request, server) => {
    if (!URL.canParse(request.url)) return malformedHost();
    switch (request.method) {
      case "GET":
      case "HEAD": // Bun leaves the body out.
        return table.GET(request, server);
      case "OPTIONS":
        return new Response(null, { status: 204, headers: { Allow: allow } });
      case "POST":
        if (table.POST) return table.POST(request, server);
    }
    return problem(405, `${request.method} is not possible here; use one of ${allow}.`, { Allow: allow });
  };
}

/** For answers that are old in the next moment, and another thing to who accepts an event stream. */
export const noStoreHeaders = { "Cache-Control": "no-store", Vary: "Accept" } as const;
