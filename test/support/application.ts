/**
 * An application with sockets of its own, at /chat and at /ws, and with Longwire mounted into it. Its own errors must not
 * end other connections. Run by faults.test.ts; it prints its port.
 */
import { createHandler } from "../../src/longwire.ts";

const longwire = createHandler();
const server = Bun.serve<{ path: string }>({
  hostname: "127.0.0.1",
  port: 0,
  routes: longwire.routes,
  fetch(request, server) {
    const path = new URL(request.url).pathname;
    return server.upgrade(request, { data: { path } }) ? undefined : new Response("of the application");
  },
  websocket: longwire.websocket({
    open(socket) {
      if (socket.data.path === "/throw-in-open") throw new Error("the application's open");
    },
    message(socket, message) {
      if (message === "throw") throw new Error("the application's message");
      socket.send(message);
    },
    close(socket) {
      if (socket.data.path === "/throw-in-close") throw new Error("the application's close");
    },
    ...(process.argv.includes("--own-error")
      ? {
          error(error: Error) {
            console.error(`own error handler: ${error.message}`);
            if (process.argv.includes("--error-throws")) throw new Error("the application's error");
          },
        }
      : {}),
  }),
});
console.log(`http://localhost:${server.port}/ and its line is at /ping`);
