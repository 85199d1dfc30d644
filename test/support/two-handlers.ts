/**
 * Two Longwire handlers in one server: one at the root with narrow limits, one below /roomy. Run by two-handlers.test.ts.
 * `--roomy-first` gives the handlers to Bun in the other order, `--narrow-only` forgets the other one. `POST /drain`
 * drains the one at the root.
 */
import { createHandler } from "../../src/longwire.ts";

const KiB = 1024;

const narrow = createHandler({
  messageBytesMax: 16 * KiB,
  bufferedBytesMax: 32 * KiB,
  messagesPerSecondMax: 100_000,
  connectionsPerAddressMax: 60,
  drainWindowSeconds: 0,
});
const roomy = createHandler({ prefix: "/roomy", historyMessages: 3, drainWindowSeconds: 0 });
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  routes: {
    ...narrow.routes,
    ...roomy.routes,
    "/drain": {
      POST: async () => {
        await narrow.drain();
        return new Response("drained");
      },
    },
  },
  fetch: () => new Response("neither", { status: 404 }),
  websocket: websocket(),
});

function websocket(): Bun.WebSocketHandler<unknown> {
  if (process.argv.includes("--narrow-only")) return narrow.websocket();
  if (process.argv.includes("--roomy-first")) return roomy.websocket(narrow.websocket());
  return narrow.websocket(roomy.websocket());
}

console.log(`http://localhost:${server.port}/ and its line is at /ping`);
