/** Which pages may use the server: the Origin of each request to /ping and /topics, and CORS for those that may. */
import type { HandlerConfig } from "./config.ts";
import { type Answer, malformedHost, problem, type RequestHandler } from "./http.ts";
import type { Logger } from "./log.ts";

/**
 * Lets through what a permitted page or no page at all sends, and says so in CORS headers (fetch.spec.whatwg.org,
 * "CORS protocol") on every answer. A browser asks nobody before it opens a WebSocket or posts text, so this is asked here.
 */
export function guardOrigin(
  handler: RequestHandler,
  { origins }: Pick<HandlerConfig, "origins">,
  log: Logger,
): RequestHandler {
  return async (request, server) => {
    if (!URL.canParse(request.url)) return malformedHost();
    const origin = request.headers.get("origin");
    if (origin === null) {
      // A browser leaves Origin out of some requests; this header it cannot be made to leave out.
      if (request.headers.get("sec-fetch-site") !== "cross-site" || origins.includes("*"))
        return vary(await handler(request, server));
      return vary(problem(403, "A page of another site may not use this server without saying which it is."));
    }
    if (!isPermitted(origin, new URL(request.url).host, origins)) {
      log.warn({ origin, allow: `--origin ${origin}` }, "a page of another origin was refused");
      return vary(
        problem(
          403,
          `Pages of ${origin} may not use this server. Its operator allows them by --origin ${origin}`,
        ),
      );
    }
    const answer = isPreflight(request) ? preflight() : await handler(request, server);
    answer?.headers.set("Access-Control-Allow-Origin", origin);
    answer?.headers.set("Access-Control-Expose-Headers", "Retry-After");
    return vary(answer);
  };
}

/** @param ownHost the host and port that the request was sent to */
export function isPermitted(origin: string, ownHost: string, origins: readonly string[]): boolean {
  if (origins.includes(origin)) return true;
  if (origin === "null" || !URL.canParse(origin)) return false;
  if (origins.includes("*")) return true;
  const { host, hostname } = new URL(origin);
  return host === ownHost || (isLoopback(hostname) && isLoopback(new URL(`http://${ownHost}`).hostname));
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127(\.\d+){3}$/.test(hostname)
  );
}

function isPreflight(request: Request): boolean {
  return request.method === "OPTIONS" && request.headers.has("access-control-request-method");
}

function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      "Access-Control-Allow-Methods": "GET, HEAD, POST",
      "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID",
      "Access-Control-Max-Age": "600", // Chromium's own limit is 7200 s; a changed --origin is to be felt soon.
    },
  });
}

/** What is answered depends on the Origin, so a cache must not hand it to another. */
function vary(answer: Answer): Answer {
  answer?.headers.append("Vary", "Origin");
  return answer;
}
