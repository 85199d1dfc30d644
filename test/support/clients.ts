/** WebSocket clients of others, with one interface. */
import { resolve } from "node:path";
import { type Close, type OpenClient, openBun } from "./bun-client.ts";
import { root } from "./server.ts";
import { Inbox, within } from "./wait.ts";

/**
 * The real `ws` package: Bun has an imitation for the bare name.
 */
export const ws = (await import(resolve(root, "node_modules/ws/wrapper.mjs"))) as typeof import("ws");

export const openWs: OpenClient = async (url, subprotocols = []) => {
  const socket = new ws.WebSocket(url, [...subprotocols]);
  const inbox = new Inbox<string | Buffer>();
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<Close>();
  socket.on("open", opened.resolve);
  socket.on("error", opened.reject);
  socket.on("message", (data, isBinary) => {
    const bytes = data as Buffer;
    inbox.put(isBinary ? bytes : bytes.toString());
  });
  socket.on("close", (code, reason) => {
    inbox.end(new Error(`closed with ${code} ${reason}`));
    closed.resolve({ code, reason: reason.toString() });
  });
  await within(opened.promise, "the ws package to open");
  return {
    protocol: socket.protocol,
    closed: closed.promise,
    send: (message) => socket.send(message),
    next: () => inbox.take("a message"),
    close: (code, reason) => socket.close(code, reason),
    [Symbol.dispose]: () => socket.terminate(),
  };
};

/** For tests that run with each client. */
export const clients: readonly { readonly name: string; readonly open: OpenClient }[] = [
  { name: "the ws package", open: openWs },
  { name: "Bun's WebSocket", open: openBun },
];
