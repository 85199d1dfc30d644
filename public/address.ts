/** Where the page's server is. */

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
