/** Where a request carries its API key or token. */
import type { RequestContext } from "../http/request-context.ts";

/** The token of `Authorization: Bearer` (RFC 6750 section 2.1). */
export function bearerToken({ headers }: Request): string | undefined {
  return /^Bearer +(\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/**
 * The token of the Authorization header, or of one of the places that a page can use, which cannot set that header: a
 * subprotocol, the query, a cookie.
 * @param cookie name of the cookie that may carry a token; empty for none
 */
export function tokenOf(context: RequestContext, cookie: string): string | undefined {
  const { request } = context;
  const { headers } = request;
  const token = bearerToken(request) ?? offeredToken(request) ?? tokenInQuery(context);
  if (token !== undefined || !cookie) return token;
  // A browser sends the cookie with the requests of every page. guardOrigin has let through only permitted origins; a
  // request without Origin counts only if it is known to come from the server's own page.
  const isOwnPage = headers.has("origin") || headers.get("sec-fetch-site") === "same-origin";
  if (!isOwnPage) return undefined;
  return new Bun.CookieMap(headers.get("cookie") ?? "").get(cookie) ?? undefined;
}

const offeredToken = ({ headers }: Request): string | undefined =>
  /(?:^|,)\s*bearer\.([^\s,]+)/.exec(headers.get("sec-websocket-protocol") ?? "")?.[1];

const tokenInQuery = (context: RequestContext): string | undefined =>
  context.search === "" ? undefined : context.query.get("access_token") || undefined;
