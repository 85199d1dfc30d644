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
import { NativeTopic, type SocketForm } from "./native-topic.ts";
import { SlicedDelivery } from "./sliced-delivery.ts";

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
  readonly #direct = new Map<string, Map<DirectSubscriber, Subscription>>();
  /** Bytes published since the last check. */
  #publishedSinceCheck = 0;
  /** The largest frame since the last check: it may be the last one that a socket was given. */
  #largestFrame: Message["data"] = "";
  /** Whether a socket had unsent bytes at a publish since the last check. */
  #someoneIsLagging = false;

  constructor(deps: FanOutDeps) {
    this.#deps = deps;
  }

  /** Must be called before one of the server's sockets is added. */
  addServer(server: Server<unknown>): void {
    this.#servers.add(server);
  }

  /** Makes a socket live. */
  addSocket(form: SocketForm, subscription: Subscription, socket: Socket): void {
    const name = this.#nativeName(form, subscription.topic);
    let native = this.#native.get(name);
    if (!native) {
      native = new NativeTopic(name);
      this.#native.set(name, native);
    }
    native.add(socket, subscription);
  }

  /** Takes a closed socket off a topic. */
  removeSocket(form: SocketForm, topic: string, socket: Socket): void {
    const name = this.#nativeName(form, topic);
    const native = this.#native.get(name);
    native?.delete(socket);
    if (native?.size === 0) this.#native.delete(name);
  }

  addDirect(subscription: Subscription, subscriber: DirectSubscriber): void {
    const subscribers = this.#direct.get(subscription.topic);
    if (subscribers) subscribers.set(subscriber, subscription);
    else this.#direct.set(subscription.topic, new Map([[subscriber, subscription]]));
  }

  removeDirect(topic: string, subscriber: DirectSubscriber): void {
    const subscribers = this.#direct.get(topic);
    if (subscribers?.delete(subscriber) && subscribers.size === 0) this.#direct.delete(topic);
  }

  deliver(message: Message): void {
    const raw = this.#native.get(this.#nativeName("raw", message.topic));
    if (raw) this.#publish(raw, "raw", message.data);
    const cloudEvents = this.#native.get(this.#nativeName("cloudevents", message.topic));
    if (cloudEvents)
      this.#publish(cloudEvents, "cloudevents", this.#deps.encodings.get("cloudEvents", message));
    const subscribers = this.#direct.get(message.topic);
    if (!subscribers) return;
    const bytes = frameBytesMax(message.data) * subscribers.size;
    this.#deps.held.makeRoom(bytes);
    this.#deps.held.add(bytes);
    for (const subscriber of subscribers.keys()) this.#give(subscriber, message);
  }

  detachLive(topic: string): Iterable<Subscription> {
    const names = [this.#nativeName("raw", topic), this.#nativeName("cloudevents", topic)];
    const sockets = names.flatMap((name) => this.#native.get(name)?.detach() ?? []);
    for (const name of names) this.#native.delete(name);
    const direct = this.#direct.get(topic);
    this.#direct.delete(topic);
    return [...sockets, ...(direct?.values() ?? [])];
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

  #publish(native: NativeTopic, form: SocketForm, frame: Message["data"]): void {
    const { counters, held } = this.#deps;
    counters.delivered[form] += native.size;
    const bytes = frameBytesMax(frame) * native.size;
    if (native.isBusy || !held.fits(bytes)) {
      native.deliverSliced(frame, () => this.#slicedDelivery(native));
      return;
    }
    held.add(bytes);
    for (const server of this.#servers) {
      const subscribers = server.subscriberCount(native.name);
      if (subscribers === 0) continue;
      // Uncompressed, because Bun compresses a published frame once per subscriber.
      const result = server.publish(native.name, frame, false);
      counters.sentBytes[form] += subscribers * bytesSent(result, frame);
      if (result <= 0) this.#someoneIsLagging = true; // -1: buffered for a socket; 0: dropped, or an empty frame.
      this.#publishedSinceCheck += frameBytesMax(frame);
      if (frame.length > this.#largestFrame.length) this.#largestFrame = frame;
      if (result === 0 || this.#publishedSinceCheck >= this.#deps.buffers.checkEveryBytes)
        this.#cutSlowReaders();
    }
  }

  /**
   * Cuts each reader that holds too much, before Bun drops a message for it: Bun would send it later messages once it
   * drained, which is a hole. Bun reports a drop too late. It gathers frames under 16 KiB until the end of the tick and
   * drops them only then, when `publish` has long reported success, and `closeOnBackpressureLimit` acts a tick later still.
   */
  #cutSlowReaders(): void {
    this.#publishedSinceCheck = 0;
    const allowedBytes = this.#deps.buffers.bufferedBytesMax + Buffer.byteLength(this.#largestFrame);
    this.#largestFrame = "";
    if (!this.#someoneIsLagging) return;
    this.#someoneIsLagging = false;
    for (const socket of this.#deps.connections.sockets()) {
      if (socket.getBufferedAmount() > allowedBytes && socket.subscriptions.length > 0) this.#cut(socket);
    }
  }

  #slicedDelivery(native: NativeTopic): SlicedDelivery {
    const { buffers, held } = this.#deps;
    return new SlicedDelivery({
      sockets: () => native.sockets(),
      waitingBytesMax: buffers.waitingBytesMax,
      give: (socket, frame, lastBytes) => {
        const before = socket.getBufferedAmount();
        if (before > buffers.bufferedBytesMax + lastBytes) return this.#cut(socket);
        const result = socket.send(frame);
        if (result === 0 && frame.length > 0) return this.#cut(socket);
        this.#deps.counters.sentBytes[socket.data.kind] += bytesSent(result, frame);
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

/** At least the bytes that a frame takes on the wire: a UTF-16 unit is at most three bytes of UTF-8. */
function frameBytesMax(frame: Message["data"]): number {
  return 10 + (typeof frame === "string" ? frame.length * 3 : frame.length);
}
