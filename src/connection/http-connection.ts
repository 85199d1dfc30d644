/** One open connection over HTTP: a long answer, a request that waits for its answer, or a body that takes its time to arrive. */
import type { Holder } from "../delivery/cutter.ts";
import { holdsTooMuch, type Refusal, refusalOfClose } from "../http/refusal.ts";
import { type ClientAddress, type ConnectionHandler, OpenConnection, type Use } from "./connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The endpoint of an HTTP connection. */
export interface HttpHandler extends ConnectionHandler {
  /** Bytes that it holds, besides those that are written to the answer. */
  readonly heldBytes?: number;
  /** The answer has begun as a stream, and can be written to. */
  open?(connection: HttpConnection): void;
  /** The client took all that was written. */
  pull?(connection: HttpConnection): void;
  /** Called once a second. */
  tick?(connection: HttpConnection): void;
  /** The server ends a stream. MUST end the connection, with last words. */
  close?(connection: HttpConnection, code: number, reason: string): void;
  /** The server ends a request whose answer has not begun. MUST answer it. */
  refuse?(refusal: Refusal): void;
  /** The connection is no longer open, whoever ended it. Called once. */
  closed?(): void;
}

/** Where it is registered while it is open. */
interface Register {
  /** @returns false if it was not registered */
  deleteHttp(connection: HttpConnection): boolean;
}

const utf8 = new TextEncoder();

/** Counts bytes. With 0 Bun calls `pull` only once the kernel has taken all that was written. */
const queueing = new ByteLengthQueuingStrategy({ highWaterMark: 0 });

/** It is the source of the stream that is its answer: a source of three closures takes 200 bytes more. */
export class HttpConnection
  extends OpenConnection<HttpHandler>
  implements Holder, UnderlyingDefaultSource<Bytes>
{
  readonly #register: Register;
  /** Set while the answer is a stream that can be written to. */
  #controller: ReadableStreamDefaultController<Bytes> | undefined;
  /** Written since the kernel had taken all. */
  #writtenBytes = 0;
  #largestBytes = 0;

  /** Registered by `Connections.openHttp`. */
  constructor(register: Register, clientAddress: ClientAddress, use: Use<HttpHandler>) {
    super(clientAddress, use);
    this.#register = register;
  }

  get address(): string | undefined {
    return this.clientAddress.address;
  }

  /** Written to the answer, and not sent. Bun shows what waits for it, and holds one chunk more until all of that is sent. */
  get unsentBytes(): number {
    if (!this.#controller || this.#writtenBytes === 0) return 0;
    return Math.min(this.#writtenBytes, this.#largestBytes - (this.#controller.desiredSize ?? 0));
  }

  get heldBytes(): number {
    return (this.handler.heldBytes ?? 0) + this.unsentBytes;
  }

  /** The body of an answer that is a stream. The handler's `open` is called before this returns. */
  stream(): ReadableStream<Bytes> {
    return new ReadableStream<Bytes>(this, queueing);
  }

  /** Without effect once the connection is closed. */
  write(chunk: Bytes | string): void {
    if (!this.#controller) return;
    const bytes = typeof chunk === "string" ? utf8.encode(chunk) : chunk;
    this.#writtenBytes += bytes.length;
    this.#largestBytes = Math.max(this.#largestBytes, bytes.length);
    this.#controller.enqueue(bytes);
  }

  /** Ends the connection, and its stream after what was written. */
  end(lastWords?: string): void {
    if (lastWords !== undefined) this.write(lastWords);
    const controller = this.#controller;
    this.cancel();
    controller?.close();
  }

  /** The server ends it: a stream with last words, a request whose answer has not begun with a refusal. */
  close(code: number, reason: string): void {
    if (this.#controller) this.handler.close?.(this, code, reason);
    else this.handler.refuse?.(refusalOfClose(code, reason));
  }

  /** The server ends it because it holds too much: a stream without a word. */
  abandon(): void {
    const controller = this.#controller;
    if (!controller) {
      this.handler.refuse?.(holdsTooMuch());
      return;
    }
    this.cancel();
    controller.error(new Error("the reader of an answer is too slow"));
  }

  /** Called by the stream, as are `pull` and `cancel`. */
  start(controller: ReadableStreamDefaultController<Bytes>): void {
    this.#controller = controller;
    this.handler.open?.(this);
  }

  pull(): void {
    this.#writtenBytes = 0;
    this.#largestBytes = 0;
    this.handler.pull?.(this);
  }

  leave(): void {
    this.handler.leave?.();
  }

  /** The client has left, or nothing more will be written. */
  cancel(): void {
    this.#controller = undefined;
    if (this.#register.deleteHttp(this)) this.handler.closed?.();
  }
}
