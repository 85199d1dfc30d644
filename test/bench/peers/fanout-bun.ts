/** The control: what Bun's own topics do, with nothing of ours in the way. */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request, server) => {
    if (request.method === "POST") {
      server.publish("bench", await request.text(), false);
      return new Response("published");
    }
    return server.upgrade(request) ? undefined : new Response(null, { status: 426 });
  },
  websocket: {
    open(ws) {
      ws.subscribe("bench");
    },
    message(_, message) {
      server.publish("bench", message, false);
    },
  },
});
console.log(server.url.href);
