/** A subscription of the library: messages for `for await`, as fast as the program takes them. */
import type { DirectSubscriber, NativeFanOut } from "../../connection/fan-out.ts";
import type { Hub } from "../../topic/hub.ts";
import { formatId, type Message, type Position, retainedBytes, type Since } from "../../topic/message.ts";
import type { Gap, Subscriber, Subscription } from "../../topic/subscription.ts";

/** A message as the library hands it out. */
export interface ReceivedMessage {
  readonly topic: string;
  /** `<epoch>-<offset>`: hand it back as `since` to continue after it. */
  readonly id: string;
  /** When it was published. */
  readonly time: Date;
  readonly contentType: string;
  readonly data: string | Uint8Array;
}

/** Messages were lost for good between the last one received and the next. Subscribe again with `since: error.from`. */
export class GapError extends Error {
  /** The id to continue after. */
  readonly from: string;

  constructor({ topic, requested, from }: Gap) {
    super(`messages of ${topic} after ${requested} are gone; it continues after ${formatId(from)}`);
    this.name = "GapError";
    this.from = formatId(from);
  }
}

/**
 * Subscribes at the first `next()`, and ends with the loop or the signal.
 * @param since nothing means from now on
 * @param requested `since` as the program wrote it
 * @throws {GapError} behind the last message before the gap
 */
export async function* iterateMessages(
  { hub, fanOut, bufferedBytesMax }: { hub: Hub; fanOut: NativeFanOut; bufferedBytesMax: number },
  topic: string,
  since: Since | undefined,
  requested: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ReceivedMessage, void> {
  if (signal?.aborted) return;
  const inbox = new Inbox(await hub.open(topic, since, requested), fanOut, bufferedBytesMax);
  const stop = (): void => inbox.stop();
  signal?.addEventListener("abort", stop);
  if (signal?.aborted) stop(); // It was, while the subscription was being prepared.
  try {
    for (let message = await inbox.take(); message; message = await inbox.take()) {
      const { topic, time, contentType, data } = message;
      yield { topic, id: formatId(message), time: new Date(time), contentType, data };
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    inbox.stop();
  }
}

/** What was received and not taken yet. A program that falls behind is not cut: it goes back to being replayed to. */
class Inbox implements Subscriber, DirectSubscriber {
  readonly #subscription: Subscription;
  readonly #fanOut: NativeFanOut;
  readonly #bufferedBytesMax: number;
  readonly #waiting: Message[] = [];
  #waitingBytes = 0;
  /** Of the last message put in. */
  #last: Position;
  #end: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(subscription: Subscription, fanOut: NativeFanOut, bufferedBytesMax: number) {
    this.#subscription = subscription;
    this.#fanOut = fanOut;
    this.#bufferedBytesMax = bufferedBytesMax;
    this.#last = subscription.from;
    subscription.begin(this);
  }

  /** @returns nothing at the end @throws what ended it, once what was received before is taken */
  async take(): Promise<Message | undefined> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message) {
        this.#waitingBytes -= retainedBytes(message);
        return message;
      }
      if (this.#end) {
        if (this.#end.error !== undefined) throw this.#end.error;
        return undefined;
      }
      this.#subscription.advance();
      if (this.#waiting.length === 0 && !this.#end) await this.#something();
    }
  }

  stop(error?: unknown): void {
    this.#end ??= { error };
    this.#fanOut.removeDirect(this.#subscription.topic, this);
    this.#subscription.close();
    this.#wake?.();
  }

  replay(message: Message): boolean {
    this.#put(message);
    return this.#waitingBytes < this.#bufferedBytesMax;
  }

  deliver(message: Message): void {
    if (this.#waitingBytes < this.#bufferedBytesMax) {
      this.#put(message);
      return;
    }
    this.#fanOut.removeDirect(this.#subscription.topic, this);
    this.#subscription.fallBack(this.#last);
  }

  gap(gap: Gap): void {
    this.stop(new GapError(gap));
  }

  live(subscription: Subscription): void {
    this.#fanOut.addDirect(subscription, this);
  }

  fail(error: unknown): void {
    this.stop(error);
  }

  #put(message: Message): void {
    this.#waiting.push(message);
    this.#waitingBytes += retainedBytes(message);
    this.#last = { epoch: message.epoch, offset: message.offset };
    this.#wake?.();
  }

  #something(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    return promise;
  }
}
