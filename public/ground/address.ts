/** Where the page's server is. */
import { token } from "./settings.ts";

/** The address of `path` next to the page, so that it is also right if a proxy serves the page below a path. */
export function nextToPage(path: string): URL {
  return new URL(path, document.baseURI);
}

/** The same address for a WebSocket: some browsers refuse `https:` there. */
export function asSocketUrl(url: URL): URL {
  const socketUrl = new URL(url);
  socketUrl.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return socketUrl;
}

/** Whether the address is on this page's server. The token is sent nowhere else. */
export function isOwnServer(url: URL): boolean {
  return url.host === location.host && /^(http|ws)s?:$/.test(url.protocol);
}

/**
 * The subprotocols of a WebSocket to this page's server. A browser sets no header there, so the token is offered as one.
 * The server chooses the first and never the token.
 */
export function withToken(subprotocols: readonly string[]): readonly string[] {
  const { value } = token;
  if (value === "") return subprotocols;
  return [...(subprotocols.length > 0 ? subprotocols : ["longwire.raw"]), `bearer.${value}`];
}

/** Whether the token can be offered as a subprotocol, which has only the characters of RFC 9110 section 5.6.2. */
export function fitsSocket(text: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]*$/.test(text);
}

export function tokenHeaders(): Record<string, string> {
  return token.value === "" ? {} : { Authorization: `Bearer ${token.value}` };
}
