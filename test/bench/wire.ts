/** One raw client connection that became a WebSocket: light enough that the load generator is not what is measured. */
import type { Socket } from "bun";

interface Opening {
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  readonly subprotocol?: string;
}

/** Takes bytes as they come from TCP, frames not yet told apart. */
export type Receive = (chunk: Uint8Array) => void;

const openSecondsMax = 10;
const ignore: Receive = () => {};

export class Wire {
  #receive: Receive = ignore;
  #failed: (error: Error) => void = () => {};
  #unsent: Uint8Array[] = [];
  #ended = false;
  readonly #socket: Socket<Wire | undefined>;

  private constructor(socket: Socket<Wire | undefined>) {
    this.#socket = socket;
  }

  /**
   * @param failed is told when the server ends the connection, and when `receive` throws
   * @throws when the server does not answer with 101
   */
  static async open(
    opening: Opening,
    receive: Receive = ignore,
    failed?: (error: Error) => void,
  ): Promise<Wire> {
    const opened = Promise.withResolvers<Wire>();
    let head = "";
    const deadline = setTimeout(
      () => opened.reject(new Error("no answer to a handshake")),
      openSecondsMax * 1000,
    );
    const socket = await Bun.connect<Wire | undefined>({
      hostname: "127.0.0.1",
      port: opening.port,
      data: undefined,
      socket: {
        binaryType: "uint8array",
        open: (socket) => void socket.write(handshake(opening)),
        data: (socket, chunk) => {
          if (socket.data) return socket.data.#take(chunk);
          head += Buffer.from(chunk).toString("latin1");
          const end = head.indexOf("\r\n\r\n");
          if (end < 0) return;
          if (!head.startsWith("HTTP/1.1 101 ")) return opened.reject(new Error(`refused: ${head}`));
          const wire = new Wire(socket);
          wire.#receive = receive;
          if (failed) wire.#failed = failed;
          socket.data = wire;
          opened.resolve(wire);
          const rest = Buffer.from(head.slice(end + 4), "latin1");
          if (rest.length > 0) wire.#take(rest);
        },
        drain: (socket) => {
          if (socket.data) socket.data.#flush();
        },
        close: (socket) => {
          const error = new Error(`the server at port ${opening.port} ended a connection`);
          opened.reject(error);
          if (socket.data && !socket.data.#ended) socket.data.#failed(error);
        },
        error: (_, error) => opened.reject(error),
      },
    });
    try {
      return await opened.promise;
    } catch (error) {
      socket.terminate();
      throw error;
    } finally {
      clearTimeout(deadline);
    }
  }

  /** @param bytes must not change afterwards: what TCP does not take is sent later */
  send(bytes: Uint8Array): void {
    if (this.#unsent.length > 0) this.#unsent.push(bytes);
    else this.#write(bytes);
  }

  /** Without a farewell, and so without a port that waits for a minute. */
  end(): void {
    this.#ended = true;
    this.#socket.terminate();
  }

  #take(chunk: Uint8Array): void {
    try {
      this.#receive(chunk);
    } catch (error) {
      this.#failed(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #flush(): void {
    const waiting = this.#unsent;
    this.#unsent = [];
    for (const bytes of waiting) this.send(bytes);
  }

  #write(bytes: Uint8Array): void {
    const written = Math.max(0, this.#socket.write(bytes));
    if (written < bytes.length) this.#unsent.push(bytes.subarray(written));
  }
}

/** @param atOnceMax so that the server's queue of those not yet accepted does not overflow */
export async function openMany<Opened>(
  count: number,
  open: () => Promise<Opened>,
  atOnceMax = 100,
): Promise<Opened[]> {
  const opened: Opened[] = [];
  while (opened.length < count) {
    const batch = Math.min(atOnceMax, count - opened.length);
    opened.push(...(await Promise.all(Array.from({ length: batch }, open))));
  }
  return opened;
}

function handshake({ port, path, subprotocol }: Opening): string {
  return [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64")}`,
    "Sec-WebSocket-Version: 13",
    ...(subprotocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${subprotocol}`]),
    "\r\n",
  ].join("\r\n");
}
