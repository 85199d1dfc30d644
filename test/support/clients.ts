/** WebSocket clients of others, with one interface. */
import { resolve } from "node:path";
import { root } from "./server.ts";
import { Inbox, within } from "./wait.ts";

/**
 * The real `ws` package: Bun has an imitation for the bare name.
 */
export const ws = (await import(resolve(root, "node_modules/ws/wrapper.mjs"))) as typeof import("ws");

export interface Close {
  readonly code: number;
  readonly reason: string;
}

export interface Client extends Disposable {
  /** The subprotocol that was chosen, or "". */
  readonly protocol: string;
  readonly closed: Promise<Close>;
  send(message: string | Uint8Array): void;
  /** The next message: a string for a text message, a Buffer for a binary one. */
  next(): Promise<string | Buffer>;
  close(code: number, reason?: string): void;
}

export type OpenClient = (url: string, subprotocols?: readonly string[]) => Promise<Client>;

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

export const openBun: OpenClient = async (url, subprotocols = []) => {
  const socket = new WebSocket(url, [...subprotocols]);
  socket.binaryType = "arraybuffer";
  const inbox = new Inbox<string | Buffer>();
  const opened = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<Close>();
  socket.onopen = () => opened.resolve();
  socket.onmessage = ({ data }) => inbox.put(typeof data === "string" ? data : Buffer.from(data));
  socket.onclose = ({ code, reason }) => {
    opened.reject(new Error(`closed with ${code} ${reason}`));
    inbox.end(new Error(`closed with ${code} ${reason}`));
    closed.resolve({ code, reason });
  };
  await within(opened.promise, "Bun's WebSocket to open");
  return {
    protocol: socket.protocol,
    closed: closed.promise,
    send: (message) => socket.send(message as string | Uint8Array<ArrayBuffer>),
    next: () => inbox.take("a message"),
    close: (code, reason) => socket.close(code, reason),
    [Symbol.dispose]: () => socket.close(),
  };
};

/** For tests that run with each client. */
export const clients: readonly { readonly name: string; readonly open: OpenClient }[] = [
  { name: "the ws package", open: openWs },
  { name: "Bun's WebSocket", open: openBun },
];
