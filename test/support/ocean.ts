/** A long line: a TCP proxy that delays and stalls each direction by itself, and that can be cut. */
import { connect, createServer, type Socket } from "node:net";

/** From the side that connects to the server, or back. */
export type Direction = "there" | "back";

export class Ocean implements Disposable {
  /** One way, in milliseconds. */
  readonly delayMilliseconds: Record<Direction, number>;
  readonly #isStalled: Record<Direction, boolean> = { there: false, back: false };
  readonly #sockets = new Set<Socket>();
  /** What a stalled direction holds back, in order. */
  readonly #held: Record<Direction, (() => void)[]> = { there: [], back: [] };
  readonly #server;
  #isCut = false;

  constructor(
    readonly target: number,
    oneWayMilliseconds = 0,
  ) {
    this.delayMilliseconds = { there: oneWayMilliseconds, back: oneWayMilliseconds };
    this.#server = createServer((near) => this.#carry(near));
    this.#server.listen(0, "127.0.0.1");
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the ocean is closed");
    return address.port;
  }

  /** Ends every connection and refuses new ones. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Holds back what goes in a direction; connections stay open. */
  stall(direction: Direction): void {
    this.#isStalled[direction] = true;
  }

  /** What was held back goes on, and new connections are carried. */
  restore(): void {
    this.#isCut = false;
    for (const direction of ["there", "back"] as const) {
      this.#isStalled[direction] = false;
      for (const pass of this.#held[direction].splice(0)) pass();
    }
  }

  [Symbol.dispose](): void {
    this.cut();
    this.#server.close();
  }

  #carry(near: Socket): void {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    this.#sockets.add(near);
    let far: Socket | undefined;
    const end = (): void => {
      for (const socket of [near, far]) {
        if (!socket) continue;
        this.#sockets.delete(socket);
        socket.destroy();
      }
    };
    near.on("error", end).on("close", end);
    near.pause();
    // The handshake of TCP crosses twice before the first byte of the client is sent.
    setTimeout(() => {
      if (near.destroyed) return;
      const socket = connect(this.target, "127.0.0.1");
      far = socket;
      this.#sockets.add(socket);
      socket.on("error", end).on("close", end);
      near.on("data", (chunk: Buffer) => this.#pass("there", socket, chunk)).resume();
      socket.on("data", (chunk: Buffer) => this.#pass("back", near, chunk));
    }, this.delayMilliseconds.there + this.delayMilliseconds.back);
  }

  #pass(direction: Direction, to: Socket, chunk: Buffer): void {
    const write = (): void => {
      if (this.#isStalled[direction]) this.#held[direction].push(write);
      else if (!to.destroyed) to.write(chunk);
    };
    if (this.delayMilliseconds[direction] === 0) write();
    else setTimeout(write, this.delayMilliseconds[direction]);
  }
}
