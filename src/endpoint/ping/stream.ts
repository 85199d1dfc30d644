/** The echo line for clients of server-sent events: the server's time, once a second. */
import {
  type ClientAddress,
  type HttpConnection,
  nextConnectionNumber,
  type Purpose,
} from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import { streamRetryMilliseconds } from "../../settings/limits.ts";
import { serverSentEvent } from "../../wire/server-sent-events.ts";

const utf8 = new TextEncoder();

/** A reader that has not taken this much is gone: it is half an hour of events. */
const unsentBytesMax = 64 * 1024;

/** It has no ids: nothing is missed. A client sees at the times of arrival whether something in the way buffers or cuts. */
export class PingStream implements HttpConnection, UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> {
  readonly kind = "echo";
  readonly number = nextConnectionNumber();
  readonly openedMilliseconds = performance.now();
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #connections: Connections;
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;

  constructor(
    connections: Connections,
    readonly clientAddress: ClientAddress,
    readonly expiresTime: number,
  ) {
    this.#connections = connections;
    this.body = new ReadableStream(this, new ByteLengthQueuingStrategy({ highWaterMark: 0 }));
  }

  get heldBytes(): number {
    return -(this.#controller?.desiredSize ?? 0);
  }

  purpose(): Purpose {
    return { sub: undefined, topics: 0 };
  }

  /** Called by `body`, as is `cancel`. */
  start(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    this.#controller = controller;
    this.#connections.addHttp(this);
    this.#write(`retry: ${streamRetryMilliseconds}\n`);
    this.tick();
  }

  tick(): void {
    if (this.heldBytes > unsentBytesMax) this.abandon();
    else this.#write(serverSentEvent(new Date().toISOString()));
  }

  abandon(): void {
    const controller = this.#controller;
    this.cancel();
    controller?.error(new Error("the reader of an event stream is too slow"));
  }

  close(code: number, reason: string): void {
    const controller = this.#controller;
    this.#write(serverSentEvent(JSON.stringify({ code, reason }), undefined, "longwire.close"));
    this.cancel();
    controller?.close();
  }

  cancel(): void {
    this.#controller = undefined;
    this.#connections.deleteHttp(this);
  }

  #write(text: string): void {
    this.#controller?.enqueue(utf8.encode(text));
  }
}
