/** The control: an echo by Bun alone. */
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
