/** A WebSocket on /topics: what it is sent, live and in replay, and what it publishes. */

import type { Pass } from "../../access/permissions.ts";
import type { Line, Socket } from "../../connection/connection.ts";
import { nativeTopic } from "../../connection/fan-out.ts";
import type { Refusal } from "../../http/refusal.ts";
import type { Counters } from "../../metrics.ts";
import { DraftError } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import type { Message } from "../../topic/message.ts";
import type { Gap, Subscriber, Subscription } from "../../topic/subscription.ts";
import { readEventFrame, readRawFrame, type Wish } from "../../wire/client-frame.ts";
import { ControlEvents, closeCode, type Encodings, type OpenedTopic } from "../../wire/cloud-events.ts";

/** What a socket of topics needs of the server. */
export interface TopicSocketHost {
  readonly hub: Hub;
  readonly counters: Counters;
  /** Bytes sent ahead of what a client takes of a replay. */
  readonly replayAheadBytes: number;
  /** What a client is told of an error. */
  refusalOf(error: unknown): Refusal;
}

/** How one subprotocol speaks. */
interface Form {
  native(topic: string): string;
  encode(message: Message): string | Uint8Array<ArrayBuffer>;
  open(socket: Socket, topics: readonly OpenedTopic[]): void;
  gap(socket: Socket, gap: Gap): void;
  /**
   * @param topic the connection's, where it has only one
   * @throws {DraftError}
   */
  read(frame: string | Buffer<ArrayBuffer>, topic: string | undefined): Wish;
  pong(): string;
}

/** Frames read ahead of what the broker has taken; past it reading from the socket pauses. */
const publishAheadMax = 64;

/** Bytes as they were published, of one topic. */
export const rawForm: Form = {
  native: nativeTopic.raw,
  encode: ({ data }) => data,
  open: () => undefined,
  gap: (socket, { requested }) => socket.close(closeCode.cannotResume, `cannot continue after ${requested}`),
  read: readRawFrame,
  pong: () => "pong",
};

/** Every frame a CloudEvent. */
export function cloudEventsForm(encodings: Encodings): Form {
  const control = new ControlEvents();
  return {
    native: nativeTopic.cloudEvents,
    encode: (message) => encodings.get("cloudEvents", message),
    open: (socket, topics) => void socket.send(control.open(topics)),
    gap: (socket, gap) => void socket.send(control.gap(gap)),
    read: readEventFrame,
    pong: () => control.pong(),
  };
}

export class TopicSocket implements Line, Subscriber {
  readonly #host: TopicSocketHost;
  readonly #pass: Pass;
  readonly #form: Form;
  readonly #subscriptions: readonly Subscription[];
  /** Where there is only one. */
  readonly #topic: string | undefined;
  #socket: Socket | undefined;
  /** What waits behind the message that is being published; undefined while none is. */
  #publishing: Wish[] | undefined;
  #paused = false;

  constructor(host: TopicSocketHost, pass: Pass, form: Form, subscriptions: readonly Subscription[]) {
    this.#host = host;
    this.#pass = pass;
    this.#form = form;
    this.#subscriptions = subscriptions;
    this.#topic = subscriptions.length === 1 ? subscriptions[0]?.topic : undefined;
  }

  open(socket: Socket): void {
    this.#socket = socket;
    this.#form.open(socket, this.#subscriptions);
    for (const subscription of this.#subscriptions) subscription.begin(this);
  }

  message(socket: Socket, frame: string | Buffer<ArrayBuffer>): void {
    let wish: Wish;
    try {
      wish = this.#form.read(frame, this.#topic);
    } catch (error) {
      if (!(error instanceof DraftError)) throw error;
      this.fail(error);
      return;
    }
    if (this.#publishing) {
      this.#publishing.push(wish);
      if (this.#publishing.length >= publishAheadMax) this.#pause(socket);
    } else if (wish === "pong") socket.send(this.#form.pong());
    else void this.#publish(socket, wish);
  }

  drain(): void {
    for (const subscription of this.#subscriptions) subscription.advance();
  }

  close(): void {
    this.#socket = undefined;
    for (const subscription of this.#subscriptions) subscription.close();
  }

  recall(socket: Socket, topic: string): Subscription | undefined {
    const native = this.#form.native(topic);
    if (!socket.isSubscribed(native)) return undefined;
    socket.unsubscribe(native);
    return this.#subscriptions.find((subscription) => subscription.topic === topic);
  }

  replay(message: Message): boolean {
    const socket = this.#socket;
    if (!socket) return false;
    const frame = this.#form.encode(message);
    this.#host.counters.replayedMessages++;
    if (socket.send(frame) === 0 && frame.length > 0) {
      socket.terminate();
      return false;
    }
    return socket.getBufferedAmount() < this.#host.replayAheadBytes;
  }

  gap(gap: Gap): void {
    this.#host.counters.gaps++;
    if (this.#socket) this.#form.gap(this.#socket, gap);
  }

  live({ topic }: Subscription): void {
    this.#socket?.subscribe(this.#form.native(topic));
  }

  fail(error: unknown): void {
    const { code, message } = this.#host.refusalOf(error);
    this.#socket?.close(code, message);
  }

  /** One after the other: behind the first that cannot be published, nothing is. */
  async #publish(socket: Socket, first: Wish): Promise<void> {
    const waiting: Wish[] = [];
    this.#publishing = waiting;
    try {
      for (let wish: Wish | undefined = first; wish; wish = waiting.shift()) {
        if (wish === "pong") socket.send(this.#form.pong());
        else await this.#publishOne(wish);
        if (this.#paused && waiting.length === 0) this.#resume(socket);
      }
      this.#publishing = undefined;
    } catch (error) {
      this.fail(error);
    }
  }

  async #publishOne({ topic, draft }: Exclude<Wish, "pong">): Promise<void> {
    const asked = this.#pass.require("publish", topic);
    if (asked) await asked;
    await this.#host.hub.publish(topic, draft);
  }

  #pause(socket: Socket): void {
    if (this.#paused) return;
    this.#paused = true;
    socket.pause();
  }

  #resume(socket: Socket): void {
    this.#paused = false;
    socket.resume();
  }
}
