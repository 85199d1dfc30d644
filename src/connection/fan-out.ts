/**
 * From one message to everyone live: once through Bun's native topics for each form of WebSocket that someone listens in,
 * and once to each stream or iterator of this process. Who reads too slowly is cut before it is passed over.
 */
import type { Server } from "bun";
import type { Logger } from "../log.ts";
import type { Counters } from "../metrics.ts";
import type { FanOut } from "../topic/channel.ts";
import type { Message } from "../topic/message.ts";
import type { Subscription } from "../topic/subscription.ts";
import { type Encodings, subprotocols } from "../wire/encodings.ts";
import type { BufferLimits } from "./buffers.ts";
import type { Socket } from "./connection.ts";
import type { Connections } from "./connections.ts";

/** The native topics of a topic: one for each form, since a native topic carries the same bytes to all. */
export const nativeTopic = {
  raw: (topic: string): string => `${subprotocols.raw}/${topic}`,
  cloudEvents: (topic: string): string => `${subprotocols.cloudEvents}/${topic}`,
} as const;

/** A live subscriber that is no WebSocket. */
export interface DirectSubscriber {
  deliver(message: Message): void;
  /** Ends it, because of an error of its own. */
  fail(error: unknown): void;
}

/** What the fan-out is joined to. */
export interface FanOutDeps {
  readonly connections: Connections;
  readonly buffers: BufferLimits;
  readonly encodings: Encodings;
  readonly counters: Counters;
  readonly log: Logger;
}

export class NativeFanOut implements FanOut {
  /** Each of them that upgraded a socket of ours: native topics belong to a server. */
  readonly #servers = new Set<Server<unknown>>();
  readonly #direct = new Map<string, Map<DirectSubscriber, Subscription>>();
  readonly #deps: FanOutDeps;
  /** Published since the last look. */
  #publishedSinceCheck = 0;
  /** Whether since the last look anyone had unsent bytes when something was published. */
  #someoneIsLagging = false;

  constructor(deps: FanOutDeps) {
    this.#deps = deps;
  }

  /** Names a server whose sockets subscribe to native topics. */
  addServer(server: Server<unknown>): void {
    this.#servers.add(server);
  }

  addDirect(subscription: Subscription, listener: DirectSubscriber): void {
    const listeners = this.#direct.get(subscription.topic);
    if (listeners) listeners.set(listener, subscription);
    else this.#direct.set(subscription.topic, new Map([[listener, subscription]]));
  }

  removeDirect(topic: string, listener: DirectSubscriber): void {
    const listeners = this.#direct.get(topic);
    if (listeners?.delete(listener) && listeners.size === 0) this.#direct.delete(topic);
  }

  deliver(message: Message): void {
    const { encodings, counters } = this.#deps;
    const { delivered } = counters;
    for (const server of this.#servers) {
      const raw = nativeTopic.raw(message.topic);
      const rawCount = server.subscriberCount(raw);
      if (rawCount > 0) {
        delivered.raw += rawCount;
        this.#publish(server, raw, message.data);
      }
      const cloudEvents = nativeTopic.cloudEvents(message.topic);
      const cloudEventsCount = server.subscriberCount(cloudEvents);
      if (cloudEventsCount > 0) {
        delivered.cloudevents += cloudEventsCount;
        this.#publish(server, cloudEvents, encodings.get("cloudEvents", message));
      }
    }
    const listeners = this.#direct.get(message.topic);
    if (listeners) for (const listener of listeners.keys()) this.#give(listener, message);
  }

  *detachLive(topic: string): Iterable<Subscription> {
    for (const socket of this.#deps.connections.sockets()) {
      const subscription = socket.data.handler.detachLive?.(socket, topic);
      if (subscription) yield subscription;
    }
    const listeners = this.#direct.get(topic);
    this.#direct.delete(topic);
    if (listeners) yield* listeners.values();
  }

  /** One that throws is ended: were it left, those behind it would lack this message, and it would get the next. */
  #give(listener: DirectSubscriber, message: Message): void {
    try {
      listener.deliver(message);
    } catch (error) {
      listener.fail(error);
    }
  }

  #publish(server: Server<unknown>, native: string, frame: Message["data"]): void {
    // Uncompressed: Bun compresses a published frame once for every subscriber. 0 or less says that someone is behind.
    const result = server.publish(native, frame, false);
    if (result <= 0) this.#someoneIsLagging = true;
    this.#publishedSinceCheck += frameBytesMax(frame);
    if (result === 0 || this.#publishedSinceCheck >= this.#deps.buffers.checkEveryBytes)
      this.#cutSlowReaders();
  }

  /**
   * Cuts whoever holds too much before Bun passes over it, for Bun would give it later messages once it drained: a hole.
   * Bun's word comes too late for that. Frames under 16 KiB it gathers until the end of the tick and passes over a socket
   * only then, when `publish` has long said that all is well; and `closeOnBackpressureLimit` acts a tick later still.
   */
  #cutSlowReaders(): void {
    this.#publishedSinceCheck = 0;
    if (!this.#someoneIsLagging) return;
    this.#someoneIsLagging = false;
    const { bufferedBytesMax } = this.#deps.buffers;
    for (const socket of this.#deps.connections.sockets()) {
      if (socket.getBufferedAmount() > bufferedBytesMax && socket.subscriptions.length > 0) this.#cut(socket);
    }
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
