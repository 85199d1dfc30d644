/**
 * From one message to everyone live: once through Bun's native topics for each form of WebSocket that someone listens in,
 * and once to each stream or iterator of this process. Who reads too slowly is cut before it is passed over.
 */
import type { Server } from "bun";
import type { Counters } from "../metrics.ts";
import type { FanOut } from "../topic/hub.ts";
import type { Message } from "../topic/message.ts";
import type { Subscription } from "../topic/subscription.ts";
import { type Encodings, subprotocols } from "../wire/cloud-events.ts";
import { bytesBetweenLooks, type Connections } from "./connection.ts";

/** The native topics of a topic: one for each form, since a native topic carries the same bytes to all. */
export const nativeTopic = {
  raw: (topic: string): string => `${subprotocols.raw}/${topic}`,
  cloudEvents: (topic: string): string => `${subprotocols.cloudEvents}/${topic}`,
} as const;

/** A live subscriber that is no WebSocket. */
export interface Listener {
  deliver(message: Message): void;
  /** Ends it, because of an error of its own. */
  fail(error: unknown): void;
}

export class NativeFanOut implements FanOut {
  /** Each of them that upgraded a socket of ours: native topics belong to a server. */
  readonly #servers = new Set<Server<unknown>>();
  readonly #listeners = new Map<string, Map<Listener, Subscription>>();
  readonly #connections: Connections;
  readonly #encodings: Encodings;
  readonly #counters: Counters;
  /** Published since the last look. */
  #unwatchedBytes = 0;
  readonly #bytesBetweenLooks: number;
  /** Whether since the last look anyone had unsent bytes when something was published. */
  #someoneIsBehind = false;

  constructor(connections: Connections, encodings: Encodings, counters: Counters) {
    this.#counters = counters;
    this.#connections = connections;
    this.#encodings = encodings;
    this.#bytesBetweenLooks = bytesBetweenLooks(connections.bufferedBytesMax);
  }

  /** Names a server whose sockets subscribe to native topics. */
  addServer(server: Server<unknown>): void {
    this.#servers.add(server);
  }

  addListener(subscription: Subscription, listener: Listener): void {
    const listeners = this.#listeners.get(subscription.topic);
    if (listeners) listeners.set(listener, subscription);
    else this.#listeners.set(subscription.topic, new Map([[listener, subscription]]));
  }

  removeListener(topic: string, listener: Listener): void {
    const listeners = this.#listeners.get(topic);
    if (listeners?.delete(listener) && listeners.size === 0) this.#listeners.delete(topic);
  }

  deliver(message: Message): void {
    const { delivered } = this.#counters;
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
        this.#publish(server, cloudEvents, this.#encodings.get("cloudEvents", message));
      }
    }
    const listeners = this.#listeners.get(message.topic);
    if (listeners) for (const listener of listeners.keys()) this.#give(listener, message);
  }

  *recall(topic: string): Iterable<Subscription> {
    for (const socket of this.#connections.sockets()) {
      const subscription = socket.data.line.recall?.(socket, topic);
      if (subscription) yield subscription;
    }
    const listeners = this.#listeners.get(topic);
    this.#listeners.delete(topic);
    if (listeners) yield* listeners.values();
  }

  /** One that throws is ended: were it left, those behind it would lack this message, and it would get the next. */
  #give(listener: Listener, message: Message): void {
    try {
      listener.deliver(message);
    } catch (error) {
      listener.fail(error);
    }
  }

  #publish(server: Server<unknown>, native: string, frame: Message["data"]): void {
    // Uncompressed: Bun compresses a published frame once for every subscriber. 0 or less says that someone is behind.
    const result = server.publish(native, frame, false);
    if (result <= 0) this.#someoneIsBehind = true;
    this.#unwatchedBytes += frameBytesMax(frame);
    if (result === 0 || this.#unwatchedBytes >= this.#bytesBetweenLooks) this.#look();
  }

  /**
   * Cuts whoever holds too much before Bun passes over it, for Bun would give it later messages once it drained: a hole.
   * Bun's word comes too late for that. Frames under 16 KiB it gathers until the end of the tick and passes over a socket
   * only then, when `publish` has long said that all is well; and `closeOnBackpressureLimit` acts a tick later still.
   */
  #look(): void {
    this.#unwatchedBytes = 0;
    if (!this.#someoneIsBehind) return;
    this.#someoneIsBehind = false;
    for (const socket of this.#connections.sockets()) {
      if (socket.getBufferedAmount() > this.#connections.bufferedBytesMax && socket.subscriptions.length > 0)
        this.#connections.cutSlow(socket);
    }
  }
}

/** At least the bytes that a frame takes on the wire: a UTF-16 unit is at most three bytes of UTF-8. */
function frameBytesMax(frame: Message["data"]): number {
  return 10 + (typeof frame === "string" ? frame.length * 3 : frame.length);
}
