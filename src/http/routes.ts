/** The step from `Bun.serve` to handlers: a request is parsed, and what a handler throws is answered. */
import type { Server } from "bun";
import { malformed, Refusal, type Refusals } from "./refusal.ts";
import type { Answer, Handler } from "./request-context.ts";

/** A handler as `Bun.serve` calls it. */
export type RequestHandler = (request: Request, server: Server<unknown>) => Answer | Promise<Answer>;

/** Handlers by path, as `Bun.serve` takes them. */
export type Routes = Record<string, RequestHandler>;

export function routesOf(handlers: Readonly<Record<string, Handler>>, refusals: Refusals): Routes {
  const entries = Object.entries(handlers);
  return Object.fromEntries(entries.map(([path, handler]) => [path, routeOf(handler, refusals)]));
}

export function routeOf(handler: Handler, refusals: Refusals): RequestHandler {
  return async (request, server) => {
    let answer: Answer;
    try {
      const url = urlOf(request);
      requireReadable(request);
      answer = await handler({ request, url, server });
    } catch (error) {
      answer = refusals.of(error).response();
    }
    // A browser must not take a message, whose type its publisher chose, for a page or a script.
    answer?.headers.set("X-Content-Type-Options", "nosniff");
    return answer;
  };
}

/** Refuses, before anything is done, what Bun would leave without an answer, or answer with a bare 400 afterwards. */
function requireReadable({ headers }: Request): void {
  const expected = headers.get("expect");
  if (expected !== null && expected !== "100-continue") {
    const detail = `The header "Expect: ${expected}" is not met here: leave it out, or send "100-continue" in small letters.`;
    throw new Refusal("expectation", detail);
  }
  if (headers.has("trailer"))
    throw malformed("A request with trailers cannot be read here: send it without the header Trailer.");
}

/** What health checks of HTTP/1.0 ask for, such as haproxy's `httpchk`, which send no Host. */
const hostlessPaths: ReadonlySet<string> = new Set(["/", "/healthz", "/readyz"]);

/**
 * Bun makes `request.url` from the Host header as sent, of two such headers from the first. By itself it answers 400 only
 * to HTTP/1.1 without a Host. A proxy may read the other of the two, so RFC 9112 section 3.2 wants both refused.
 */
function urlOf(request: Request): URL {
  const isHostless = !request.headers.has("host") && hostlessPaths.has(request.url);
  const url = URL.parse(isHostless ? `http://localhost${request.url}` : request.url);
  if (url && !request.headers.get("host")?.includes(",")) return url;
  throw malformed("A request needs one Host header, with a host name and an optional port.");
}
