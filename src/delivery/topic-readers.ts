/**
 * From one message to all its live readers on this node: one publish to Bun's native topic for each form of WebSockets, then
 * event streams, polls and iterators one by one. A reader that is too slow is cut before it would miss a message.
 */
import type { Counters } from "../metrics.ts";
import { nextTurn } from "../next-turn.ts";
import { atOnceBytesMax } from "../settings/limits.ts";
import { isRemoval } from "../topic/key.ts";
import type { Message } from "../topic/message.ts";
import type { LiveSubscribers, Subscription } from "../topic/subscription.ts";
import type { Encodings } from "../wire/encodings.ts";
import type { BufferLimits } from "./buffer-limits.ts";
import type { Cutter } from "./cutter.ts";
import type { Form } from "./forms.ts";
import { frameBytes } from "./frame.ts";
import type { HeldBytes } from "./held-bytes.ts";
import { LiveList } from "./live-list.ts";
import type { NativeTopics } from "./native-topics.ts";
import type { Reader, ReaderLimits } from "./reader.ts";
import { Given, isTooSlow } from "./rule.ts";
import { type FramedMessage, SlicedDelivery } from "./sliced-delivery.ts";

/** What the readers of all topics share. */
export interface DeliveryDeps {
  readonly buffers: BufferLimits;
  readonly held: HeldBytes;
  readonly cutter: Cutter;
  readonly native: NativeTopics;
  readonly encodings: Encodings;
  readonly counters: Counters;
}

/** The live readers of one topic. Its channel owns it. */
export class TopicReaders implements LiveSubscribers, ReaderLimits {
  readonly #deps: DeliveryDeps;
  /** Replaced and not changed, because readers come and go during a delivery. Only forms with a reader are in it. */
  #forms: readonly FormReaders[] = [];

  constructor(deps: DeliveryDeps) {
    this.#deps = deps;
  }

  /** @param subscription that is not among the live ones */
  add(subscription: Subscription, reader: Reader): void {
    let readers = this.#of(reader.form);
    if (!readers) {
      readers = new FormReaders(reader.form, this.#deps);
      this.#forms = [...this.#forms, readers];
    }
    readers.add(subscription, reader);
  }

  remove(subscription: Subscription): void {
    for (const readers of this.#forms) {
      readers.remove(subscription);
      if (readers.size === 0) this.#forms = this.#forms.filter((others) => others !== readers);
    }
  }

  deliver(message: Message): void {
    const hasData = !isRemoval(message);
    for (const readers of this.#forms) if (hasData || !readers.form.isDataOnly) readers.deliver(message);
  }

  detach(): readonly Subscription[] {
    const subscriptions = this.#forms.flatMap((readers) => readers.detach());
    this.#forms = [];
    return subscriptions;
  }

  get room(): Promise<void> | undefined {
    for (const { room } of this.#forms) if (room) return room;
    return undefined;
  }

  get isFull(): boolean {
    return this.#forms.some(({ isFull }) => isFull);
  }

  get isLagging(): boolean {
    return this.#forms.some(({ isLagging }) => isLagging);
  }

  isTooSlow(form: Form, unsentBytes: number, limitBytes: number): boolean {
    return this.#of(form)?.isTooSlow(unsentBytes, limitBytes) ?? true;
  }

  #of(form: Form): FormReaders | undefined {
    return this.#forms.find((readers) => readers.form === form);
  }
}

/** The live readers of one topic in one form. */
class FormReaders {
  readonly form: Form;
  readonly #deps: DeliveryDeps;
  readonly #list = new LiveList<Reader>();
  readonly #given = new Given();
  /** Bun's name for its WebSockets. */
  readonly #nativeName: string;
  /** How much had been published when the WebSockets were last checked. */
  #checkedAtBytes: number;
  /** Set from the first message of which all copies together were too much for one turn or for memory. */
  #slices: SlicedDelivery<Reader> | undefined;
  /** Given since publishers last waited for the readers, and until when they waited, by `performance.now()`. */
  #sincePauseBytes = 0;
  #pausedUntilMilliseconds = Number.NEGATIVE_INFINITY;
  /** Set while publishers wait. */
  #pause: Promise<void> | undefined;
  /** Those that lag, as far as is known. The pause is for them. Undefined without a pause. */
  #lagging: Reader[] | undefined;

  constructor(form: Form, deps: DeliveryDeps) {
    this.form = form;
    this.#deps = deps;
    this.#nativeName = form.isNative ? deps.native.newName() : "";
    this.#checkedAtBytes = deps.native.publishedBytes;
  }

  get size(): number {
    return this.#list.size;
  }

  get room(): Promise<void> | undefined {
    return this.#slices?.room ?? this.#pause;
  }

  get isFull(): boolean {
    return this.#slices?.room !== undefined;
  }

  get isLagging(): boolean {
    return this.#lagging !== undefined && this.#lagging.length > 0;
  }

  add(subscription: Subscription, reader: Reader): void {
    this.#slices?.join(reader);
    this.#list.add(reader, subscription);
    reader.enter?.(this.#nativeName);
  }

  remove(subscription: Subscription): void {
    this.#list.delete(subscription)?.exit?.(this.#nativeName);
  }

  /**
   * Takes all off. One that a message waits for is cut: after the detachment it would never get that message.
   * @returns the subscriptions of the others
   */
  detach(): readonly Subscription[] {
    for (const reader of this.#list) if (this.#slices?.owes(reader)) reader.tooSlow(this.#deps.cutter);
    for (const reader of this.#list) reader.exit?.(this.#nativeName);
    return this.#list.clear();
  }

  deliver(message: Message): void {
    const { encodings, held } = this.#deps;
    const { encoding, isNative } = this.form;
    const frame = encoding ? encodings.get(encoding, message) : message.data;
    const bytes = frameBytes(frame);
    this.#check();
    const allBytes = bytes * this.size;
    const framed = { message, frame, bytes, allBytes };
    if (this.#slices?.isBusy || allBytes > atOnceBytesMax || !held.mayHold(allBytes)) {
      this.#slices ??= this.#slicedDelivery();
      this.#slices.push(framed);
      return;
    }
    held.add(allBytes);
    if (isNative) this.#publish(framed);
    else this.#list.visit((reader) => this.#give(reader, framed));
    this.#gave(framed);
  }

  isTooSlow(unsentBytes: number, limitBytes: number): boolean {
    return isTooSlow(unsentBytes, this.#given, limitBytes);
  }

  #gave({ message, bytes }: FramedMessage): void {
    const { buffers, counters, native } = this.#deps;
    this.#given.add(bytes, buffers.bufferedBytesMax);
    // Another clock may have stamped the message.
    counters.deliverySeconds.observe(Math.max(0, Date.now() - message.time) / 1000);
    native.publishedBytes += bytes;
    this.#sincePauseBytes += bytes;
    if (this.#sincePauseBytes < buffers.checkEveryBytes) return;
    this.#pause ??= this.#waitForReaders(native.publishedBytes - this.#sincePauseBytes).finally(() => {
      this.#pause = undefined;
      this.#lagging = undefined;
      this.#pausedUntilMilliseconds = performance.now();
    });
    this.#sincePauseBytes = 0;
  }

  /**
   * Resolves in the next turn, in which readers take what they were given in this one. If a reader lags, it resolves later,
   * but not after the time in which this topic's readers may be given `checkEveryBytes`: a reader that lags on purpose
   * slows down nobody who publishes less, and no other topic.
   */
  async #waitForReaders(sinceBytes: number): Promise<void> {
    const { buffers } = this.#deps;
    const endMilliseconds = this.#pausedUntilMilliseconds + buffers.laggingMilliseconds;
    await nextTurn();
    const lagging: Reader[] = [];
    if (this.#mayLag(sinceBytes)) this.#list.visit((reader) => this.#lags(reader) && lagging.push(reader));
    this.#lagging = lagging;
    for (
      let last = this.#lagging.at(-1);
      last && performance.now() < endMilliseconds;
      last = this.#lagging.at(-1)
    ) {
      if (this.#lags(last)) await Bun.sleep(1);
      else this.#lagging.pop();
    }
  }

  /** Whether a reader may hold some of what was published since, by what is known without a look at it. */
  #mayLag(sinceBytes: number): boolean {
    return !this.form.isNative || this.#deps.native.mayLag(sinceBytes);
  }

  #lags(reader: Reader): boolean {
    return this.#holdsMoreThan(this.#deps.buffers.laggingBytes, reader);
  }

  #publish({ frame }: FramedMessage): void {
    const { native, counters } = this.#deps;
    const { kind } = this.form;
    if (!kind) return;
    counters.delivered[kind] += this.size;
    if (!native.publish(this.#nativeName, kind, frame, this.size)) this.#cutAfterDrop();
  }

  /**
   * Finds the readers that lag, and cuts each that holds too much. A WebSocket is cut before Bun drops a message for it:
   * Bun would send it later messages once it drained, which is a hole. Bun reports a drop too late. It gathers frames under 16 KiB until the end of the tick and
   * drops them only then, when `publish` has long reported success, and `closeOnBackpressureLimit` acts a tick later still.
   *
   * A reader of several topics is looked at at each of them, so all that is published counts, and not only to this topic.
   * Then none exceeds its limit by more than `checkEveryBytes` and the bytes that Bun has gathered.
   */
  #check(): void {
    const { native, cutter, buffers } = this.#deps;
    if (native.publishedBytes - this.#checkedAtBytes < buffers.checkEveryBytes) return;
    if (!this.#mayLag(this.#checkedAtBytes)) return;
    this.#checkedAtBytes = native.publishedBytes;
    const lagging: Reader[] = [];
    this.#list.visit((reader) => {
      if (this.#holdsMoreThan(buffers.bufferedBytesMax, reader)) reader.tooSlow(cutter);
      else if (this.#lags(reader)) lagging.push(reader);
    });
    if (this.#pause) this.#lagging = lagging;
  }

  /** Bun dropped a message for a WebSocket that holds more than `backpressureBytesMax`. It must get no later one. */
  #cutAfterDrop(): void {
    const { buffers, cutter } = this.#deps;
    this.#list.visit((reader) => reader.unsentBytes > buffers.bufferedBytesMax && reader.tooSlow(cutter));
  }

  /** A reader of several topics may hold a large message of another topic, so the limit of each must be exceeded. */
  #holdsMoreThan(limitBytes: number, reader: Reader): boolean {
    const { unsentBytes } = reader;
    if (!this.isTooSlow(unsentBytes, limitBytes)) return false;
    for (const { live } of reader.subscriptions)
      if (!live.isTooSlow(this.form, unsentBytes, limitBytes)) return false;
    return true;
  }

  /** A reader that throws is ended. Otherwise it would miss this message and get the next. */
  #give(reader: Reader, { message, frame }: FramedMessage): void {
    try {
      if (this.#holdsMoreThan(this.#deps.buffers.bufferedBytesMax, reader) || !reader.deliver(message, frame))
        reader.tooSlow(this.#deps.cutter);
      else if (this.form.kind) this.#deps.counters.delivered[this.form.kind]++;
    } catch (error) {
      reader.fail(error);
    }
  }

  #slicedDelivery(): SlicedDelivery<Reader> {
    const { buffers, held } = this.#deps;
    return new SlicedDelivery({
      readers: () => this.#list,
      waitingBytesMax: buffers.waitingBytesMax,
      hasRoom: (bytes) => held.makeRoom(bytes),
      gave: (framed) => this.#gave(framed),
      give: (reader, framed) => {
        const before = reader.unsentBytes;
        this.#give(reader, framed);
        held.add(Math.max(0, reader.unsentBytes - before)); // What the kernel took is not held.
      },
    });
  }
}
