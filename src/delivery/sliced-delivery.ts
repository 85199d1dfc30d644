/**
 * Gives a topic's messages to its readers one by one, a slice in each turn of the event loop. It takes the place of delivery
 * at once where all of a message's copies together would hold the event loop, or may not fit into memory: one by one it is
 * known for each reader which bytes the kernel did not take.
 */
import { sliceBytes, sliceMilliseconds } from "../settings/limits.ts";
import type { Message } from "../topic/message.ts";
import type { Frame } from "./frame.ts";

/** A message in the form of its readers. */
export interface FramedMessage {
  readonly message: Message;
  readonly frame: Frame;
  readonly bytes: number;
  /** All copies together. */
  readonly allBytes: number;
}

export interface SlicedDeliveryDeps<Reader> {
  /** The readers that are live now. One that is removed meanwhile is not visited. */
  readers(): Iterable<Reader>;
  /** Whether readers may be given so many bytes. If not, the next turn asks again. */
  hasRoom(bytes: number): boolean;
  /** Gives a message to a reader, or cuts the reader. */
  give(reader: Reader, framed: FramedMessage): void;
  /** Called once all readers have been given a message. */
  gave(framed: FramedMessage): void;
  /** Bytes of all copies of waiting messages, past which publishers wait. */
  readonly waitingBytesMax: number;
}

export class SlicedDelivery<Reader extends object> {
  readonly #deps: SlicedDeliveryDeps<Reader>;
  readonly #waiting: FramedMessage[] = [];
  #waitingBytes = 0;
  /** Messages that all readers have been given. */
  #finished = 0;
  /** Readers that became live while messages waited, and the number of the last message that they must not get. */
  readonly #joined = new Map<Reader, number>();
  /** The readers that have not been given the first waiting message. */
  #rest: Iterator<Reader> | undefined;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(deps: SlicedDeliveryDeps<Reader>) {
    this.#deps = deps;
  }

  /** True while messages wait. A later message must wait for them. */
  get isBusy(): boolean {
    return this.#waiting.length > 0;
  }

  /** Set while so many messages wait that publishers must wait, too. */
  get room(): Promise<void> | undefined {
    return this.#room?.promise;
  }

  /** A reader became live: its replay has already given it the messages that wait. */
  join(reader: Reader): void {
    if (this.isBusy) this.#joined.set(reader, this.#finished + this.#waiting.length);
  }

  push(framed: FramedMessage): void {
    this.#waitingBytes += framed.allBytes;
    if (this.#waitingBytes > this.#deps.waitingBytesMax) this.#room ??= Promise.withResolvers();
    if (this.#waiting.push(framed) === 1) setImmediate(() => this.#slice());
  }

  /** Whether a reader has not been given all messages that wait. */
  owes(reader: Reader): boolean {
    return this.isBusy && (this.#joined.get(reader) ?? 0) < this.#finished + this.#waiting.length;
  }

  #slice(): void {
    const [first] = this.#waiting;
    if (!first) return;
    const readersMax = Math.max(1, Math.floor(sliceBytes / first.bytes));
    if (this.#deps.hasRoom(first.bytes * readersMax)) this.#giveSome(first, readersMax);
    if (this.isBusy) setImmediate(() => this.#slice());
  }

  #giveSome(first: FramedMessage, readersMax: number): void {
    const endMilliseconds = performance.now() + sliceMilliseconds;
    this.#rest ??= this.#deps.readers()[Symbol.iterator]();
    for (let count = 0; count < readersMax; count++) {
      if (count > 0 && performance.now() > endMilliseconds) return;
      const { done, value: reader } = this.#rest.next();
      if (done) {
        this.#finishFirst(first);
        return;
      }
      if ((this.#joined.get(reader) ?? 0) <= this.#finished) this.#deps.give(reader, first);
    }
  }

  #finishFirst(first: FramedMessage): void {
    this.#deps.gave(first);
    this.#waiting.shift();
    this.#waitingBytes -= first.allBytes;
    this.#finished++;
    this.#rest = undefined;
    if (!this.isBusy) this.#joined.clear();
    if (this.#waitingBytes > this.#deps.waitingBytesMax) return;
    this.#room?.resolve();
    this.#room = undefined;
  }
}
