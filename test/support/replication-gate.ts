/** A line from a replica to its primary on which the replica gets no more than a test lets through. */
import { connect, createServer, type Socket } from "node:net";

export class ReplicationGate implements Disposable {
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #replica: Socket | undefined;
  #held: Buffer = Buffer.alloc(0);
  /** The offset of replication that the replica has been given; undefined while everything is let through. */
  #given: number | undefined;
  #isCut = false;

  constructor(primaryPort: number) {
    this.#server = createServer((replica) => this.#carry(replica, primaryPort));
    this.#server.listen(0, "127.0.0.1");
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the gate is closed");
    return address.port;
  }

  /** Holds what the primary sends from now on. @param offset which the primary and the replica have */
  close(offset: number): void {
    this.#given = offset;
  }

  /** Lets through what the primary has sent up to an offset. @returns whether all of it was there */
  letThrough(offset: number): boolean {
    const bytes = offset - (this.#given ?? offset);
    if (bytes > this.#held.length) return false;
    if (bytes <= 0) return true;
    this.#replica?.write(this.#held.subarray(0, bytes));
    this.#held = this.#held.subarray(bytes);
    this.#given = offset;
    return true;
  }

  /** Ends the replication; it does not come back. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.cut();
    this.#server.close();
  }

  #carry(replica: Socket, primaryPort: number): void {
    if (this.#isCut) {
      replica.destroy();
      return;
    }
    const primary = connect(primaryPort, "127.0.0.1");
    this.#replica = replica;
    const end = (): void => {
      replica.destroy();
      primary.destroy();
    };
    for (const socket of [replica, primary]) {
      this.#sockets.add(socket);
      socket.on("error", end).on("close", end);
    }
    replica.pipe(primary);
    primary.on("data", (bytes: Buffer) => {
      if (this.#given === undefined) replica.write(bytes);
      else this.#held = Buffer.concat([this.#held, bytes]);
    });
  }
}
