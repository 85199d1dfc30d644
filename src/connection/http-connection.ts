/** One open connection over HTTP: a long answer, a request that waits for its answer, or a body that takes its time to arrive. */
import type { DirectUnderlyingSource } from "bun";
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

/**
 * It is the source of the stream that is its answer: a source of three closures takes 200 bytes more. A direct stream,
 * because Bun frees the connection of a client that does not read when such a stream is closed with an error, and keeps
 * that of any other until its silence ends it, minutes later.
 */
export class HttpConnection
  extends OpenConnection<HttpHandler>
  implements Holder, DirectUnderlyingSource<Bytes>
{
  readonly #register: Register;
  /** Bun calls `pull` once if it is "direct". */
  readonly type = "direct";
  /** True while the answer is a stream that can be written to. */
  #isStreaming = false;
  /** Set from Bun's call of `pull`. */
  #controller: ReadableStreamDirectController | undefined;
  /** Chunks that the kernel has not taken, if there are any. Bun has been given the first of them. */
  #unsent: Bytes[] | undefined;
  #unsentBytes = 0;

  /** Registered by `Connections.openHttp`. */
  constructor(register: Register, clientAddress: ClientAddress, use: Use<HttpHandler>) {
    super(clientAddress, use);
    this.#register = register;
  }

  get address(): string | undefined {
    return this.clientAddress.address;
  }

  /** Written to the answer, and not taken by the kernel. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  get heldBytes(): number {
    return (this.handler.heldBytes ?? 0) + this.unsentBytes;
  }

  /** The body of an answer that is a stream. The handler's `open` is called before this returns. */
  stream(): ReadableStream<Bytes> {
    this.#isStreaming = true;
    this.handler.open?.(this);
    // The type that is chosen for the constructor knows no direct source.
    return new ReadableStream<Bytes>(this as unknown as UnderlyingDefaultSource<Bytes>);
  }

  /** Without effect once the connection is closed. */
  write(chunk: Bytes | string): void {
    if (!this.#isStreaming) return;
    const bytes = typeof chunk === "string" ? utf8.encode(chunk) : chunk;
    this.#unsentBytes += bytes.length;
    if (this.#unsent) this.#unsent.push(bytes);
    else {
      this.#unsent = [bytes];
      this.#send();
    }
  }

  /** Ends the connection, and its stream after what was written. */
  end(lastWords?: string): void {
    if (lastWords !== undefined) this.write(lastWords);
    const isStreaming = this.#isStreaming;
    this.cancel();
    if (isStreaming && this.#controller) this.#sendRest(this.#controller, 1);
  }

  /** The server ends it: a stream with last words, a request whose answer has not begun with a refusal. */
  close(code: number, reason: string): void {
    if (this.#isStreaming) this.handler.close?.(this, code, reason);
    else this.handler.refuse?.(refusalOfClose(code, reason));
  }

  leave(): void {
    this.handler.leave?.();
  }

  /** The server ends it because it holds too much: a stream without a word. */
  abandon(): void {
    if (!this.#isStreaming) {
      this.handler.refuse?.(holdsTooMuch());
      return;
    }
    this.cancel();
    this.#controller?.close(new Error("the reader of an answer is too slow"));
  }

  /** Called by the stream, as is `cancel`. */
  pull(controller: ReadableStreamDirectController): void {
    this.#controller = controller;
    if (this.#isStreaming) this.#send();
    else this.#sendRest(controller, 0); // It has ended before Bun asked for the first chunk.
  }

  /** The client has left, or nothing more will be written. */
  cancel(): void {
    this.#isStreaming = false;
    if (this.#register.deleteHttp(this)) this.handler.closed?.();
  }

  /** Gives Bun one chunk after the other, as long as the kernel takes them. */
  #send(): void {
    const controller = this.#controller;
    if (!controller) return;
    for (let bytes = this.#unsent?.[0]; bytes; bytes = this.#unsent?.[0]) {
      const result = controller.write(bytes);
      if (typeof result !== "number") {
        const next = (): void => {
          this.#shift();
          if (this.#isStreaming) this.#send();
        };
        result.then(next, next); // It is rejected when the client has left, which `cancel` reports.
        return;
      }
      void controller.flush();
      this.#shift();
    }
    this.#unsent = undefined;
    queueMicrotask(() => this.#isStreaming && this.handler.pull?.(this));
  }

  #shift(): void {
    this.#unsentBytes -= this.#unsent?.shift()?.length ?? 0;
  }

  /** Gives Bun all chunks from one on. It sends them when the client takes them, and then ends the answer. */
  #sendRest(controller: ReadableStreamDirectController, start: number): void {
    for (const bytes of this.#unsent?.slice(start) ?? []) void controller.write(bytes);
    void controller.end();
  }
}
