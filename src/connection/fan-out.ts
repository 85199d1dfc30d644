/**
 * From one message to all its live subscribers: one publish to Bun's native topic per form, then the event streams and
 * iterators one by one. A reader that is too slow is cut before it would miss a message.
 */
import type { Server } from "bun";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { FanOut } from "../topic/channel.ts";
import type { Message } from "../topic/message.ts";
import type { Subscription } from "../topic/subscription.ts";
import type { Encodings } from "../wire/encodings.ts";
import type { BufferLimits } from "./buffers.ts";
import { bytesSent, type Socket } from "./connection.ts";
import type { Connections } from "./connections.ts";
import type { HeldBytes } from "./held-bytes.ts";
import { LiveList } from "./live-list.ts";
import { NativeTopic, type SocketForm } from "./native-topic.ts";
import { type Frame, SlicedDelivery } from "./sliced-delivery.ts";

/** A live subscriber that is no WebSocket. */
export interface DirectSubscriber {
  deliver(message: Message): void;
  /** Ends it after `deliver` threw. */
  fail(error: unknown): void;
}

/** What the fan-out is joined to. */
export interface FanOutDeps {
  readonly connections: Connections;
  readonly buffers: BufferLimits;
  readonly held: HeldBytes;
  readonly encodings: Encodings;
  readonly counters: Counters;
  readonly log: Logger;
}

export class NativeFanOut implements FanOut {
  readonly #deps: FanOutDeps;
  /** In the names of native topics, because two handlers may share a server and so its native topics. */
  readonly #id = crypto.randomUUID().slice(0, 8);
  /** Servers that upgraded one of the sockets. Native topics belong to a server. */
  readonly #servers = new Set<Server<unknown>>();
  /** By name. */
  readonly #native = new Map<string, NativeTopic>();
  /** By topic. */
  readonly #direct = new Map<string, LiveList<DirectSubscriber>>();
  /** Bytes of all frames published to native topics. */
  #publishedBytes = 0;
  /** `#publishedBytes` when Bun last reported a socket with unsent bytes. */
  #laggingAtBytes = -1;

  constructor(deps: FanOutDeps) {
    this.#deps = deps;
  }

  /** Must be called before one of the server's sockets is added. */
  addServer(server: Server<unknown>): void {
    if (this.#servers.has(server)) return;
    // A renewed certificate is another server. Those that it replaced must not stay when their last socket is gone.
    for (const other of this.#servers) if (other.pendingWebSockets === 0) this.#servers.delete(other);
    this.#servers.add(server);
  }

  /** Makes a socket live. */
  addSocket(form: SocketForm, subscription: Subscription, socket: Socket): void {
    const name = this.#nativeName(form, subscription.topic);
    let native = this.#native.get(name);
    if (!native) {
      native = new NativeTopic(name, this.#deps.buffers.bufferedBytesMax, this.#publishedBytes);
      this.#native.set(name, native);
    }
    native.add(socket, subscription);
  }

  /** Takes a closed socket off a topic. */
  removeSocket(form: SocketForm, subscription: Subscription): void {
    const name = this.#nativeName(form, subscription.topic);
    const native = this.#native.get(name);
    native?.delete(subscription);
    if (native?.size === 0) this.#native.delete(name);
  }

  addDirect(subscription: Subscription, subscriber: DirectSubscriber): void {
    const { topic } = subscription;
    let subscribers = this.#direct.get(topic);
    if (!subscribers) {
      subscribers = new LiveList();
      this.#direct.set(topic, subscribers);
    }
    subscribers.add(subscriber, subscription);
  }

  removeDirect(subscription: Subscription): void {
    const subscribers = this.#direct.get(subscription.topic);
    subscribers?.delete(subscription);
    if (subscribers?.size === 0) this.#direct.delete(subscription.topic);
  }

  deliver(message: Message): void {
    const raw = this.#native.get(this.#nativeName("raw", message.topic));
    if (raw) this.#publish(raw, "raw", message.data, message.time);
    const cloudEvents = this.#native.get(this.#nativeName("cloudevents", message.topic));
    if (cloudEvents)
      this.#publish(
        cloudEvents,
        "cloudevents",
        this.#deps.encodings.get("cloudEvents", message),
        message.time,
      );
    const subscribers = this.#direct.get(message.topic);
    if (!subscribers) return;
    const bytes = frameBytes(message.data) * subscribers.size;
    this.#deps.held.makeRoom(bytes);
    this.#deps.held.add(bytes);
    subscribers.visit((subscriber) => this.#give(subscriber, message));
    this.#delivered(message.time);
  }

  detachLive(topic: string): Iterable<Subscription> {
    const names = [this.#nativeName("raw", topic), this.#nativeName("cloudevents", topic)];
    const sockets = names.flatMap((name) => this.#native.get(name)?.detach() ?? []);
    for (const name of names) this.#native.delete(name);
    const direct = this.#direct.get(topic);
    this.#direct.delete(topic);
    return [...sockets, ...(direct?.clear() ?? [])];
  }

  #nativeName(form: SocketForm, topic: string): string {
    return `${this.#id}/${form}/${topic}`;
  }

  /** A subscriber that throws is ended. Otherwise it would miss this message and get the next. */
  #give(subscriber: DirectSubscriber, message: Message): void {
    try {
      subscriber.deliver(message);
    } catch (error) {
      subscriber.fail(error);
    }
  }

  /** @param time of the message, which another clock may have stamped */
  #delivered(time: number): void {
    this.#deps.counters.deliverySeconds.observe(Math.max(0, Date.now() - time) / 1000);
  }

  #publish(native: NativeTopic, form: SocketForm, frame: Message["data"], time: number): void {
    const { counters, held } = this.#deps;
    if (this.#isCheckDue(native)) this.#cutSlowReaders(native);
    counters.delivered[form] += native.size;
    const bytes = frameBytes(frame);
    this.#publishedBytes += bytes;
    if (native.isBusy || !held.fits(bytes * native.size)) {
      native.deliverSliced({ frame, time }, () => this.#slicedDelivery(native, form));
      return;
    }
    held.add(bytes * native.size);
    native.limit.gave(bytes);
    for (const server of this.#servers) {
      const subscribers = server.subscriberCount(native.name);
      if (subscribers === 0) continue;
      // Uncompressed, because Bun compresses a published frame once per subscriber.
      const result = server.publish(native.name, frame, false);
      counters.sentBytes[form] += subscribers * bytesSent(result, frame);
      if (result > 0) continue;
      this.#laggingAtBytes = this.#publishedBytes; // -1: buffered for a socket; 0: dropped, or an empty frame.
      if (result === 0 && frame.length > 0) this.#cutAfterDrop(native);
    }
    this.#delivered(time);
  }

  /**
   * A socket of several topics is checked at each of them, so all that is published counts, and not only to this topic.
   * Then no socket exceeds its limit by more than `checkEveryBytes` and the bytes that Bun has gathered.
   */
  #isCheckDue({ checkedAtBytes }: NativeTopic): boolean {
    if (this.#laggingAtBytes < checkedAtBytes) return false;
    return this.#publishedBytes - checkedAtBytes >= this.#deps.buffers.checkEveryBytes;
  }

  /**
   * Cuts each reader that holds too much, before Bun drops a message for it: Bun would send it later messages once it
   * drained, which is a hole. Bun reports a drop too late. It gathers frames under 16 KiB until the end of the tick and
   * drops them only then, when `publish` has long reported success, and `closeOnBackpressureLimit` acts a tick later still.
   */
  #cutSlowReaders(native: NativeTopic): void {
    native.checkedAtBytes = this.#publishedBytes;
    for (const socket of native.sockets()) if (this.#isTooSlow(socket, native)) this.#cut(socket);
  }

  /** A socket of several topics may hold a large message of another topic, so the limit of each must be exceeded. */
  #isTooSlow(socket: Socket, native: NativeTopic): boolean {
    const unsentBytes = socket.getBufferedAmount();
    if (!native.limit.isExceededBy(unsentBytes)) return false;
    return socket.subscriptions.every((name) => this.#native.get(name)?.limit.isExceededBy(unsentBytes));
  }

  /** Bun dropped a message for a socket that holds more than `backpressureBytesMax`. It must get no later one. */
  #cutAfterDrop(native: NativeTopic): void {
    const { bufferedBytesMax } = this.#deps.buffers;
    for (const socket of native.sockets())
      if (socket.getBufferedAmount() > bufferedBytesMax) this.#cut(socket);
  }

  #slicedDelivery(native: NativeTopic, form: SocketForm): SlicedDelivery {
    const { buffers, held } = this.#deps;
    return new SlicedDelivery({
      sockets: () => native.sockets(),
      waitingBytesMax: buffers.waitingBytesMax,
      gave: ({ frame, time }) => {
        native.limit.gave(frameBytes(frame));
        this.#delivered(time);
      },
      give: (socket, frame) => {
        if (this.#isTooSlow(socket, native)) return this.#cut(socket);
        const before = socket.getBufferedAmount();
        const result = socket.send(frame);
        if (result === 0 && frame.length > 0) return this.#cut(socket);
        this.#deps.counters.sentBytes[form] += bytesSent(result, frame);
        held.add(Math.max(0, socket.getBufferedAmount() - before)); // What the kernel took is not held.
        held.makeRoom(0);
      },
    });
  }

  #cut(socket: Socket): void {
    const { counters, log } = this.#deps;
    counters.cut.slow++;
    const { address } = socket.data.clientAddress;
    log.info({ address, bufferedBytes: socket.getBufferedAmount() }, "a slow reader is cut");
    socket.terminate();
  }
}

/** Bytes of a frame on the wire (RFC 6455 section 5.2). */
function frameBytes(payload: Frame): number {
  const bytes = typeof payload === "string" ? Buffer.byteLength(payload) : payload.length;
  return bytes + (bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10);
}
