/** Bun's WebSocket as a client. Without the `ws` package, whose start costs a program more than that of Bun. */
import { Inbox, within } from "./wait.ts";

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
