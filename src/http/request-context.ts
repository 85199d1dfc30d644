/** One HTTP request on its way through the guards to its endpoint. */
import type { Server } from "bun";

export interface RequestContext {
  readonly request: Request;
  /** Parsed when it is first read: most requests need only the following parts of it. */
  readonly url: URL;
  /** As `url.searchParams`. Parsed when it is first read, and never changed. */
  readonly query: URLSearchParams;
  /** As `url.hostname`. */
  readonly hostname: string;
  /** As `url.pathname`. */
  readonly pathname: string;
  /** As `url.search`, but "?" where the query is empty. */
  readonly search: string;
  /** The `Bun.serve` that received the request: it upgrades it and knows the address of its peer. */
  readonly server: Server<unknown>;
}

/** `undefined` once the request became a WebSocket. */
export type Answer = Response | undefined;

/** What guards and endpoints are made of. It may throw a Refusal. */
export type Handler = (context: RequestContext) => Answer | Promise<Answer>;
