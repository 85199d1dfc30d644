/** A proxy in front of a server that passes everything but WebSockets, as some networks do. */

/** `refused`: 403. `stripped`: the request goes on without its upgrade. `swallowed`: there is no answer. */
export type Eating = "refused" | "stripped" | "swallowed";

export interface UpgradeEater extends AsyncDisposable {
  readonly url: URL;
  /** Handshakes that it has eaten. */
  readonly eaten: number;
}

const ofThisHop = ["connection", "host", "upgrade", "sec-websocket-key", "sec-websocket-version"];

export function startUpgradeEater(target: URL, eating: Eating): UpgradeEater {
  let eaten = 0;
  const proxy = Bun.serve({
    port: 0,
    hostname: "localhost",
    idleTimeout: 0,
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      const { method, signal } = request;
      if (request.headers.has("upgrade")) {
        eaten++;
        if (eating === "refused") return new Response("no WebSockets here", { status: 403 });
        if (eating === "swallowed") return new Promise<Response>(() => undefined);
      }
      const headers = new Headers(request.headers);
      for (const name of ofThisHop) headers.delete(name);
      const body = method === "POST" ? await request.arrayBuffer() : null;
      const asItIs = { decompress: false }; // Else the answer would still be called compressed.
      return await fetch(new URL(pathname + search, target), { method, headers, signal, body, ...asItIs });
    },
  });
  return {
    url: proxy.url,
    get eaten() {
      return eaten;
    },
    [Symbol.asyncDispose]: () => proxy.stop(true),
  };
}
