/** A request as `Bun.serve` hands it over. What a URL costs is spent only where more of it is needed than its path. */
import type { Server } from "bun";
import { remembered } from "../topic/remembered.ts";
import { malformed, Refusal } from "./refusal.ts";
import type { RequestContext } from "./request-context.ts";

export class ReceivedRequest implements RequestContext {
  readonly hostname: string;
  readonly pathname: string;
  readonly search: string;
  readonly #href: string;
  #url: URL | undefined;
  #query: URLSearchParams | undefined;

  /** @throws {Refusal} for a request that has no URL, or that Bun would leave without an answer */
  constructor(
    readonly request: Request,
    readonly server: Server<unknown>,
  ) {
    const href = hrefOf(request);
    const path = href.indexOf("/", href.indexOf("//") + 2);
    const hostname = hostnameOf(href.slice(0, path));
    if (hostname === undefined || request.headers.get("host")?.includes(",")) throw malformed(hostDetail);
    requireReadable(request);
    const fragment = href.indexOf("#", path);
    const target = href.slice(path, fragment < 0 ? undefined : fragment);
    const query = target.indexOf("?");
    this.#href = href;
    this.hostname = hostname;
    this.pathname = query < 0 ? target : target.slice(0, query);
    this.search = query < 0 ? "" : target.slice(query);
  }

  get url(): URL {
    this.#url ??= new URL(this.#href);
    return this.#url;
  }

  get query(): URLSearchParams {
    this.#query ??= this.search === "" ? noQuery : new URLSearchParams(this.search);
    return this.#query;
  }
}

/** Of the many requests that have none. Nobody changes it. */
const noQuery = new URLSearchParams();

const hostDetail = "A request needs one Host header, with a host name and an optional port.";

/** What health checks of HTTP/1.0 ask for, such as haproxy's `httpchk`, which send no Host. */
const hostlessPaths: ReadonlySet<string> = new Set(["/", "/healthz", "/readyz"]);

/**
 * Bun makes `request.url` from the Host header, of two such headers from the first, and resolves the dots of its path. Where
 * the Host cannot be part of a URL, it is the target alone. By itself Bun answers 400 only to HTTP/1.1 without a Host. A
 * proxy may read the other of two Hosts, so RFC 9112 section 3.2 wants both refused.
 */
function hrefOf({ url, headers }: Request): string {
  if (!url.startsWith("/")) return url;
  if (!headers.has("host") && hostlessPaths.has(url)) return `http://localhost${url}`;
  throw malformed(hostDetail);
}

/** @param origin a scheme and a host, as Bun wrote them. @returns undefined where they are none */
const hostnameOf = remembered((origin: string) => URL.parse(origin)?.hostname);

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
