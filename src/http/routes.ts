/** The step from `Bun.serve` to handlers: a request is parsed, and what a handler throws is answered. */
import type { Server } from "bun";
import { malformed, type Refusals } from "./refusal.ts";
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
    try {
      return await handler({ request, url: urlOf(request), server });
    } catch (error) {
      return refusals.of(error).response();
    }
  };
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
