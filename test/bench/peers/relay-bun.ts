/** The control: relays the bytes of each request's body to the viewers of its path, as they come, and keeps nothing. */
const viewers = new Map<string, Set<ReadableStreamDefaultController<Uint8Array>>>();

async function relay(body: ReadableStream<Uint8Array>, path: string): Promise<void> {
  for await (const bytes of body) for (const viewer of viewers.get(path) ?? []) viewer.enqueue(bytes);
}

function view(path: string): Response {
  const all = viewers.get(path) ?? new Set();
  viewers.set(path, all);
  let own: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      own = controller;
      all.add(own);
      own.enqueue(new TextEncoder().encode(": open\n\n"));
    },
    cancel: () => void all.delete(own),
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request, server) => {
    server.timeout(request, 0);
    const { pathname } = new URL(request.url);
    if (request.method !== "POST" || !request.body) return view(pathname);
    await relay(request.body, pathname);
    return new Response("relayed");
  },
});
console.log(server.url.href);
