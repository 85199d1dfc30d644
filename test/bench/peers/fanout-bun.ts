/** The control: Bun's own topics, and event streams in a few lines. */
const streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
const encoder = new TextEncoder();

function publish(text: string | Buffer): void {
  server.publish("bench", text, false);
  if (streams.size === 0) return;
  const event = encoder.encode(`data: ${text}\n\n`);
  for (const stream of streams) stream.enqueue(event);
}

function eventStream(): Response {
  let own: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      own = controller;
      streams.add(own);
      own.enqueue(encoder.encode(": open\n\n"));
    },
    cancel: () => void streams.delete(own),
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request, server) => {
    if (request.method === "POST") {
      publish(await request.text());
      return new Response("published");
    }
    if (server.upgrade(request)) return undefined;
    server.timeout(request, 0);
    return eventStream();
  },
  websocket: {
    open(ws) {
      ws.subscribe("bench");
    },
    message(_, message) {
      publish(message);
    },
  },
});
console.log(server.url.href);
