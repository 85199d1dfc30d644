/** The control: what Bun itself does, with nothing of ours in the way. */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response(null, { status: 426 })),
  websocket: {
    message(ws, message) {
      ws.send(message);
    },
  },
});
console.log(server.url.href);
