/**
 * Gives a topic's messages to its sockets one by one, a slice in each turn of the event loop. It takes the place of Bun's
 * native publish while all of a message's copies together may not fit into memory: one by one it is known for each
 * socket which bytes the kernel did not take.
 */
import { sliceBytes, sliceSockets } from "../settings/limits.ts";
import type { Socket } from "./connection.ts";

export type Frame = string | Uint8Array<ArrayBuffer>;

/** A frame of a message. */
export interface TimedFrame {
  readonly frame: Frame;
  /** Of its message, in milliseconds since 1970. */
  readonly time: number;
}

export interface SlicedDeliveryDeps {
  /** The sockets that are live now. One that is removed meanwhile is not visited. */
  sockets(): Iterable<Socket>;
  /** Sends a frame, or cuts the socket. */
  give(socket: Socket, frame: Frame): void;
  /** Called once all sockets have been given a frame. */
  gave(timed: TimedFrame): void;
  /** Bytes of waiting frames past which a publisher waits for the delivery. */
  readonly waitingBytesMax: number;
}

interface Waiting extends TimedFrame {
  readonly bytes: number;
  /** Its number among the messages of this delivery. */
  readonly number: number;
}

export class SlicedDelivery {
  readonly #deps: SlicedDeliveryDeps;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #count = 0;
  /** Sockets that became live while messages were waiting, and the number of the last message that they must not get. */
  readonly #joined = new Map<Socket, number>();
  /** The sockets that have not been given the first waiting frame. */
  #rest: Iterator<Socket> | undefined;
  #isScheduled = false;

  constructor(deps: SlicedDeliveryDeps) {
    this.#deps = deps;
  }

  /** True while messages wait. A later message must wait for them. */
  get isBusy(): boolean {
    return this.#waiting.length > 0;
  }

  /** A socket became live: its replay has already given it the messages that are waiting. */
  join(socket: Socket): void {
    if (this.isBusy) this.#joined.set(socket, this.#count);
  }

  push({ frame, time }: TimedFrame): void {
    const bytes = Buffer.byteLength(frame);
    this.#waiting.push({ frame, time, bytes, number: ++this.#count });
    this.#waitingBytes += bytes;
    while (this.#waitingBytes > this.#deps.waitingBytesMax && this.isBusy) this.#slice();
    this.#schedule();
  }

  /** Whether a socket has not been given all messages that are waiting. */
  owes(socket: Socket): boolean {
    return this.isBusy && (this.#joined.get(socket) ?? 0) < this.#count;
  }

  #schedule(): void {
    if (this.#isScheduled || !this.isBusy) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#slice();
      this.#schedule();
    });
  }

  #slice(): void {
    const first = this.#waiting[0];
    if (!first) return;
    this.#rest ??= this.#deps.sockets()[Symbol.iterator]();
    const socketsMax = Math.min(sliceSockets, Math.max(1, Math.floor(sliceBytes / (first.bytes + 1))));
    for (let count = 0; count < socketsMax; count++) {
      const { done, value: socket } = this.#rest.next();
      if (done) {
        this.#finishFirst(first);
        return;
      }
      if ((this.#joined.get(socket) ?? 0) < first.number) this.#deps.give(socket, first.frame);
    }
  }

  #finishFirst(first: Waiting): void {
    this.#deps.gave(first);
    this.#waiting.shift();
    this.#waitingBytes -= first.bytes;
    this.#rest = undefined;
    if (!this.isBusy) this.#joined.clear();
  }
}
