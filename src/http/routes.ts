/** The step from `Bun.serve` to handlers: a request is parsed, and what a handler throws is answered. */
import type { Server } from "bun";
import { ReceivedRequest } from "./received-request.ts";
import type { Refusals } from "./refusal.ts";
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
  const refuse = (error: unknown): Answer => sealed(refusals.of(error).response());
  return (request, server) => {
    try {
      const answer = handler(new ReceivedRequest(request, server));
      return answer instanceof Promise ? answer.then(sealed, refuse) : sealed(answer);
    } catch (error) {
      return refuse(error);
    }
  };
}

/** A browser must not take a message, whose type its publisher chose, for a page or a script. */
function sealed(answer: Answer): Answer {
  answer?.headers.set("X-Content-Type-Options", "nosniff");
  return answer;
}
