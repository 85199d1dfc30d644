/** One raw client connection to a WebSocket or an event stream: light, so that the load generator does not limit the rate. */
import type { Socket } from "bun";
import { type Receive, withoutChunks } from "./event-stream.ts";

export interface Opening {
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  /** A WebSocket if left out. */
  readonly as?: "socket" | "stream";
  readonly subprotocol?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

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
   * @param failed is called when the server ends the connection, and when `receive` throws
   * @throws if the server does not answer with 101, or to a stream with 200
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
        open: (socket) => void socket.write(requestOf(opening)),
        data: (socket, chunk) => {
          if (socket.data) return socket.data.#take(chunk);
          head += Buffer.from(chunk).toString("latin1");
          const end = head.indexOf("\r\n\r\n");
          if (end < 0) return;
          const status = opening.as === "stream" ? 200 : 101;
          if (!head.startsWith(`HTTP/1.1 ${status} `)) return opened.reject(new Error(`refused: ${head}`));
          const wire = new Wire(socket);
          const isChunked = /\r\ntransfer-encoding: *chunked\r\n/i.test(head.slice(0, end + 2));
          wire.#receive = isChunked ? withoutChunks(receive) : receive;
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

  /** @param bytes must not change afterwards: the part that TCP does not take is sent later */
  send(bytes: Uint8Array): void {
    if (this.#unsent.length > 0) this.#unsent.push(bytes);
    else this.#write(bytes);
  }

  /** Without a closing handshake, so that no port stays in TIME_WAIT for a minute. */
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

/** @param atOnceMax bounds the server's queue of connections that are not yet accepted */
export async function openMany<Opened>(
  count: number,
  open: () => Promise<Opened>,
  atOnceMax = 100,
): Promise<Opened[]> {
  const opened: Opened[] = [];
  let begun = 0;
  const openInTurn = async (): Promise<void> => {
    while (begun < count) {
      begun++;
      opened.push(await open());
    }
  };
  await Promise.all(Array.from({ length: atOnceMax }, openInTurn));
  return opened;
}

function requestOf({ port, path, as, subprotocol, headers = {} }: Opening): string {
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64");
  const upgrade = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    `Sec-WebSocket-Key: ${key}`,
    "Sec-WebSocket-Version: 13",
    ...(subprotocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${subprotocol}`]),
  ];
  return [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(as === "stream" ? ["Accept: text/event-stream"] : upgrade),
    "\r\n",
  ].join("\r\n");
}
