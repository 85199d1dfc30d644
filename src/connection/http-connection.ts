/** One open connection over HTTP: a long answer, a request that waits for its answer, or a body that takes its time to arrive. */
import { holdsTooMuch, type Refusal, refusalOfClose } from "../http/refusal.ts";
import type { ConnectionKind } from "../metrics.ts";
import { streamHighWaterMarkBytes } from "../settings/limits.ts";
import { type ClientAddress, nextConnectionNumber, type Purpose } from "./connection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The endpoint of an HTTP connection. */
export interface HttpHandler {
  readonly kind: ConnectionKind;
  /** Bytes that it holds, besides those that are written to the answer. */
  readonly heldBytes?: number;
  /** Without it a connection has no topics. */
  purpose?(): Purpose;
  /** The answer has begun as a stream, and can be written to. */
  open?(connection: HttpConnection): void;
  /** The client took what was written. Bun does not call it again while the result is pending. */
  pull?(connection: HttpConnection): Promise<void> | undefined;
  /** Called once a second. */
  tick?(connection: HttpConnection): void;
  /** The server ends a stream. MUST end the connection, with last words. */
  close?(connection: HttpConnection, code: number, reason: string): void;
  /** The server ends a request whose answer has not begun. MUST answer it. */
  refuse?(refusal: Refusal): void;
  /** The connection is no longer open, whoever ended it. Called once. */
  closed?(): void;
}

/** What a connection is opened for. */
export interface HttpUse {
  readonly handler: HttpHandler;
  /** When its token expires, in milliseconds since 1970. */
  readonly expiresTime: number;
}

/** Where it is registered while it is open. */
interface Register {
  /** @returns false if it was not registered */
  deleteHttp(connection: HttpConnection): boolean;
}

/** Counts bytes, so `desiredSize` is the mark minus the unsent bytes. Bun calls `pull` below the mark. */
const queueing = new ByteLengthQueuingStrategy({ highWaterMark: streamHighWaterMarkBytes });

/** It is the source of the stream that is its answer: a source of three closures takes 200 bytes more. */
export class HttpConnection implements UnderlyingDefaultSource<Bytes> {
  readonly number = nextConnectionNumber();
  /** By `performance.now()`. */
  readonly openedMilliseconds = performance.now();
  readonly handler: HttpHandler;
  readonly expiresTime: number;
  readonly #register: Register;
  /** Set while the answer is a stream that can be written to. */
  #controller: ReadableStreamDefaultController<Bytes> | undefined;

  /** Registered by `Connections.openHttp`. */
  constructor(
    register: Register,
    readonly clientAddress: ClientAddress,
    { handler, expiresTime }: HttpUse,
  ) {
    this.#register = register;
    this.handler = handler;
    this.expiresTime = expiresTime;
  }

  get kind(): ConnectionKind {
    return this.handler.kind;
  }

  purpose(): Purpose {
    return this.handler.purpose?.() ?? { sub: undefined, topics: 0 };
  }

  /** Written to the answer, and not taken by Bun. */
  get unsentBytes(): number {
    return this.#controller ? streamHighWaterMarkBytes - (this.#controller.desiredSize ?? 0) : 0;
  }

  get heldBytes(): number {
    return (this.handler.heldBytes ?? 0) + this.unsentBytes;
  }

  /** The body of an answer that is a stream. The handler's `open` is called before this returns. */
  stream(): ReadableStream<Bytes> {
    return new ReadableStream<Bytes>(this, queueing);
  }

  /** Without effect once the connection is closed. */
  write(bytes: Bytes): void {
    this.#controller?.enqueue(bytes);
  }

  /** Ends the connection, and its stream after what was written. */
  end(): void {
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

  pull(): Promise<void> | undefined {
    return this.handler.pull?.(this);
  }

  /** The client has left, or nothing more will be written. */
  cancel(): void {
    this.#controller = undefined;
    if (this.#register.deleteHttp(this)) this.handler.closed?.();
  }
}
