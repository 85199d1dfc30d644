/** Checks of the headers that a browser sends: the Origin of a page, and the Host against DNS rebinding. */
import type { Logger } from "../log.ts";
import type { Config, HandlerConfig } from "../settings/config.ts";
import { parseAddress } from "../settings/networks.ts";
import type { Proxies, Target } from "./proxies.ts";
import { type Answering, Refusal, type Refusals } from "./refusal.ts";
import type { Answer, Handler, RequestContext } from "./request-context.ts";

/** What the check of the Origin needs of the server. */
export interface OriginDeps {
  readonly config: Pick<HandlerConfig, "origins" | "tokenCookie">;
  readonly proxies: Proxies;
  readonly refusals: Refusals;
  readonly log: Logger;
}

/**
 * Refuses requests of pages that are not permitted. A permitted page gets the headers of CORS (fetch.spec.whatwg.org, "CORS
 * protocol") with every answer, refusals included. A browser opens a WebSocket and posts text without a preflight, so a
 * preflight alone protects nothing.
 */
export function guardOrigin(handler: Handler, deps: OriginDeps): Handler {
  const { origins } = deps.config;
  const answering = deps.refusals.answering(handler);
  return (context) => {
    const { method, headers } = context.request;
    const origin = headers.get("origin");
    if (origin !== null) return answerPage(answering, context, origin, deps);
    // A browser omits Origin from some requests of pages, and this header from none.
    if (headers.get("sec-fetch-site") === "cross-site" && !origins.includes("*"))
      throw refusalOfOrigin("A page of another site must send Origin to use this server.");
    // The answer to a POST is not kept by caches, so it need not say what it depends on.
    return method === "POST" ? handler(context) : answering(context).then(vary);
  };
}

async function answerPage(
  answering: Answering,
  context: RequestContext,
  origin: string,
  { config: { origins, tokenCookie }, proxies, log }: OriginDeps,
): Promise<Answer> {
  const { request } = context;
  if (!isPermitted(origin, proxies.targetOf(context), origins)) {
    log.warn({ origin, allow: `--origin ${origin}` }, "a page of another origin was refused");
    const way = `Its operator allows them by --origin ${origin}`;
    throw refusalOfOrigin(`Pages of ${origin} may not use this server. ${way}`);
  }
  const answer = isPreflight(request) ? preflight(request) : await answering(context);
  answer?.headers.set("Access-Control-Allow-Origin", origin);
  answer?.headers.set("Access-Control-Expose-Headers", exposedHeaders(answer.headers));
  // Access refuses a token cookie together with origins that any page can have.
  if (tokenCookie) answer?.headers.set("Access-Control-Allow-Credentials", "true");
  return vary(answer);
}

/**
 * Stops DNS rebinding: the name of another site is made to resolve to 127.0.0.1. To the browser its page and this server
 * then have the same origin, and only the Host shows the name.
 */
export function guardHost(handler: Handler, { config, log }: HostGuardDeps): Handler {
  const named = [
    config.host,
    ...config.origins.filter((origin) => URL.canParse(origin)).map((origin) => new URL(origin).hostname),
  ];
  return (context) => {
    const { hostname } = context;
    if (isLoopback(hostname) || named.includes(hostname)) return handler(context);
    log.warn(
      { host: hostname, allow: `--origin http://${hostname}` },
      "a request for another host was refused",
    );
    const ways = `Its operator allows it by --origin http://${hostname}, by setting a key, or by --insecure.`;
    throw new Refusal("host", `This server has no key and serves only loopback, not ${hostname}. ${ways}`);
  };
}

/** What the check of the Host needs of the server. */
export interface HostGuardDeps {
  readonly config: Pick<Config, "host" | "origins">;
  readonly log: Logger;
}

/** @param target the host that the request was sent to */
export function isPermitted(origin: string, target: Target, origins: readonly string[]): boolean {
  if (origins.includes(origin)) return true;
  if (!URL.canParse(origin)) return false; // As for "null", the origin of a page without one.
  if (origins.includes("*")) return true;
  const { protocol, host, hostname } = new URL(origin);
  // A page that was loaded without TLS can be written by anyone on the way, whatever its host is.
  if (host === target.host) return protocol === "https:" || !target.isSecure;
  const own = `http://${target.host}`;
  return isLoopback(hostname) && URL.canParse(own) && isLoopback(new URL(own).hostname);
}

/** @param hostname a name or an address; one of IPv6 with or without the brackets that it has in a URL */
export function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "127.0.0.1" || hostname.endsWith(".localhost")) return true;
  return parseAddress(hostname.replace(/^\[(.*)\]$/, "$1"))?.range() === "loopback";
}

function isPreflight(request: Request): boolean {
  return request.method === "OPTIONS" && request.headers.has("access-control-request-method");
}

/** A page may read these, and the attributes of an event in binary mode. */
const exposedHeaders = (headers: Headers): string =>
  [
    "ETag, Link, Longwire-Cursor, Longwire-Trimmed, Retry-After",
    ...[...headers.keys()].filter((name) => name.startsWith("ce-")),
  ].join(", ");

const allowedHeaders = [
  "Authorization",
  "Content-Encoding",
  "Content-Type",
  "Idempotency-Key",
  "If-Match",
  "If-None-Match",
  "Last-Event-ID",
];

/** Attributes of a CloudEvent in binary mode, which have any name, and those of W3C Trace Context. */
const attributeHeader = /^(?:ce-[a-z0-9]+|traceparent|tracestate)$/;

/** `*` would not do for headers: it does not cover Authorization, nor anything in a request with credentials. */
function preflight(request: Request): Response {
  const requested = (request.headers.get("access-control-request-headers") ?? "")
    .split(",")
    .map((header) => header.trim().toLowerCase())
    .filter((header) => attributeHeader.test(header));
  return new Response(null, {
    status: 204,
    headers: {
      "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
      "Access-Control-Allow-Headers": [...allowedHeaders, ...requested].join(", "),
      "Access-Control-Max-Age": "600", // Seconds. Chromium allows 7200; a changed --origin should take effect sooner.
    },
  });
}

/** Without the headers of CORS, so that the page cannot read it. */
const refusalOfOrigin = (detail: string): Refusal => new Refusal("origin", detail, { Vary: "Origin" });

/** The answer depends on the Origin, so a cache must not give it to another page. */
function vary(answer: Answer): Answer {
  answer?.headers.append("Vary", "Origin");
  return answer;
}
