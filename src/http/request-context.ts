/** One HTTP request on its way through the guards to its endpoint, and the step from Bun's routes into it. */
import type { Server } from "bun";
import { problem } from "./problem.ts";

/** A request with its URL parsed, once for all that read it. */
export interface RequestContext {
  readonly request: Request;
  readonly url: URL;
  /** The `Bun.serve` that received the request: it upgrades it and knows the address of its peer. */
  readonly server: Server<unknown>;
}

/** `undefined` once the request became a WebSocket. */
export type Answer = Response | undefined;

/** What guards and endpoints are made of. */
export type Handler = (context: RequestContext) => Answer | Promise<Answer>;

/** A handler as `Bun.serve` calls it. */
export type RequestHandler = (request: Request, server: Server<unknown>) => Answer | Promise<Answer>;

/** Handlers by path, as `Bun.serve` takes them. */
export type Routes = Record<string, RequestHandler>;

export function routesOf(handlers: Readonly<Record<string, Handler>>): Routes {
  return Object.fromEntries(Object.entries(handlers).map(([path, handler]) => [path, routeOf(handler)]));
}

export function routeOf(handler: Handler): RequestHandler {
  return (request, server) => {
    // Bun makes `request.url` from the Host header as sent, and answers 400 by itself only where HTTP/1.1 lacks one.
    const url = URL.parse(request.url);
    if (url) return handler({ request, url, server });
    return problem(400, "The Host header is not a host name with an optional port.");
  };
}
