/** One HTTP request on its way through the guards to its endpoint. */
import type { Server } from "bun";

/** A request with its URL parsed, once for all that read it. */
export interface RequestContext {
  readonly request: Request;
  readonly url: URL;
  /** The `Bun.serve` that received the request: it upgrades it and knows the address of its peer. */
  readonly server: Server<unknown>;
}

/** `undefined` once the request became a WebSocket. */
export type Answer = Response | undefined;

/** What guards and endpoints are made of. It may throw a Refusal. */
export type Handler = (context: RequestContext) => Answer | Promise<Answer>;
