/** A WebSocket of topics: it receives messages, live and in replay, and its frames are published. */
import type { Permissions } from "../access/permissions.ts";
import { closeSocket } from "../connection/closing.ts";
import { holderOf, type Purpose, type Socket, type SocketHandler } from "../connection/connection.ts";
import type { ReceivedFrame } from "../connection/frames.ts";
import type { Reading } from "../connection/reading.ts";
import type { Cutter } from "../delivery/cutter.ts";
import { forms } from "../delivery/forms.ts";
import { bytesSent, type Frame } from "../delivery/frame.ts";
import type { Reader } from "../delivery/reader.ts";
import type { TopicReaders } from "../delivery/topic-readers.ts";
import type { Refusals } from "../http/refusal.ts";
import type { Counters } from "../metrics.ts";
import { publishAheadMax } from "../settings/limits.ts";
import { DraftError } from "../topic/draft.ts";
import { isRemoval } from "../topic/key.ts";
import type { End, Message } from "../topic/message.ts";
import { shownTopic } from "../topic/presence.ts";
import type { Gap, Replayed, Subscriber, Subscription } from "../topic/subscription.ts";
import { type ClientFrame, type PublishFrame, readEventFrame, readRawFrame } from "../wire/client-frame.ts";
import { closeCode } from "../wire/close-code.ts";
import { ControlEvents } from "../wire/cloud-events.ts";
import type { Encodings } from "../wire/encodings.ts";

/** The parts of the server that a socket uses. */
export interface TopicSocketDeps {
  readonly publish: PublishOfSocket;
  readonly reading: Reading;
  readonly counters: Counters;
  /** A replay pauses while at least this many bytes are unsent. */
  readonly replayAheadBytes: number;
  readonly refusals: Refusals;
}

/** Publishes a frame of a client. @throws what ends the client's connection */
export type PublishOfSocket = (frame: PublishFrame, permissions: Permissions) => Promise<void>;

/** How one subprotocol reads and writes frames. All its sockets share it. */
export interface SocketCodec {
  readonly form: typeof forms.raw | typeof forms.cloudEvents;
  /** Without them a socket is told nothing: a gap closes it. */
  readonly hasControlEvents: boolean;
  encode(message: Message): string | Uint8Array<ArrayBuffer>;
  /**
   * @param topic the connection's topic, if it has only one
   * @throws {DraftError}
   */
  read(frame: string | Buffer<ArrayBuffer>, topic: string | undefined): ClientFrame;
}

/** The published bytes of one topic. */
export const rawCodec: SocketCodec = {
  form: forms.raw,
  hasControlEvents: false,
  encode: ({ data }) => data,
  read: readRawFrame,
};

/** Every frame is a CloudEvent. */
export const cloudEventsCodec = (encodings: Encodings): SocketCodec => ({
  form: forms.cloudEvents,
  hasControlEvents: true,
  encode: (message) => encodings.get("cloudEvents", message),
  read: readEventFrame,
});

/** Past 12 fields JavaScriptCore takes more than 112 bytes for it. */
export class TopicSocket implements SocketHandler, Subscriber<TopicReaders>, Reader {
  readonly #deps: TopicSocketDeps;
  readonly #permissions: Permissions;
  readonly #codec: SocketCodec;
  readonly #control: ControlEvents | undefined;
  /** Replaced and not changed, because it may be walked meanwhile. */
  subscriptions: readonly Subscription<TopicReaders>[];
  /** As clients name it. Set if the connection was opened for only one topic. */
  readonly #topic: string | undefined;
  #socket: Socket | undefined;
  /** Frames that wait for the message that is being published. Undefined while nothing is being published. */
  #publishing: ClientFrame[] | undefined;
  #isHeld = false;
  /** From then on nothing is published. */
  #hasFailed = false;
  /** Replayed since the socket's buffer was last looked at. */
  #replayedBytes = 0;

  constructor(
    deps: TopicSocketDeps,
    permissions: Permissions,
    codec: SocketCodec,
    subscriptions: readonly Subscription<TopicReaders>[],
  ) {
    this.#deps = deps;
    this.#permissions = permissions;
    this.#codec = codec;
    this.#control = codec.hasControlEvents ? new ControlEvents() : undefined;
    this.subscriptions = subscriptions;
    const [first, ...others] = subscriptions;
    this.#topic = first && others.length === 0 ? shownTopic(first.topic) : undefined;
  }

  open(socket: Socket): void {
    this.#socket = socket;
    if (this.#control) socket.send(this.#control.open(this.subscriptions));
    for (const subscription of this.subscriptions) subscription.begin(this);
    this.#advance();
  }

  /**
   * Adds a topic to those of the open socket: its gap, its replay and its messages follow.
   * @param subscription to a topic that the socket does not have. It is closed if the socket was closed meanwhile
   */
  addTopic(subscription: Subscription<TopicReaders>): void {
    if (!this.#socket) {
      subscription.close();
      return;
    }
    this.subscriptions = [...this.subscriptions, subscription];
    subscription.begin(this);
    subscription.advance();
  }

  /** From this call on the socket gets no message of the topic. It stays open, also without any topic. */
  removeTopic(topic: string): void {
    for (const subscription of this.subscriptions) if (subscription.topic === topic) subscription.close();
    this.subscriptions = this.subscriptions.filter((other) => other.topic !== topic);
  }

  get form(): SocketCodec["form"] {
    return this.#codec.form;
  }

  get kind(): SocketCodec["form"]["kind"] {
    return this.form.kind;
  }

  get unsentBytes(): number {
    return this.#socket?.getBufferedAmount() ?? 0;
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: this.subscriptions.length };
  }

  message(socket: Socket, frame: ReceivedFrame): void {
    if (this.#hasFailed) return;
    let request: ClientFrame;
    try {
      request = this.#codec.read(frame, this.#topic);
    } catch (error) {
      if (!(error instanceof DraftError)) throw error;
      this.fail(error);
      return;
    }
    if (this.#publishing) {
      this.#publishing.push(request);
      if (this.#publishing.length >= publishAheadMax) this.#hold(socket);
    } else if (request === "pong") this.#pong(socket);
    else void this.#publish(socket, request);
  }

  drain(): void {
    this.#replayedBytes = 0;
    this.#advance();
  }

  close(socket: Socket): void {
    this.#socket = undefined;
    // What was read before the failure is handed over now, and dropped.
    if (this.#isHeld && this.#hasFailed) this.#release(socket);
    this.leave();
  }

  leave(): void {
    for (const subscription of this.subscriptions) subscription.close();
  }

  replay(message: Message): boolean {
    const socket = this.#socket;
    if (!socket) return false;
    if (this.#codec === rawCodec && isRemoval(message)) return true;
    this.#deps.counters.replayedMessages++;
    const sentBytes = this.#send(socket, this.#codec.encode(message));
    if (sentBytes === 0) {
      socket.terminate();
      return false;
    }
    // -1: the frame is buffered, so Bun counts everything that is unsent, and calls `drain` when less is.
    if (sentBytes < 0) return socket.getBufferedAmount() < this.#deps.replayAheadBytes;
    return this.#mayReplayMoreAfter(sentBytes);
  }

  deliver(_message: Message, frame: Frame): boolean {
    return this.#socket !== undefined && this.#send(this.#socket, frame) !== 0;
  }

  tooSlow(cutter: Cutter): void {
    if (this.#socket) cutter.cut(holderOf(this.#socket), "slow");
  }

  enter(nativeTopic: string): void {
    this.#socket?.subscribe(nativeTopic);
  }

  exit(nativeTopic: string): void {
    this.#socket?.unsubscribe(nativeTopic);
  }

  gap(gap: Gap): void {
    this.#deps.counters.gaps++;
    if (!this.#socket) return;
    if (this.#control) this.#socket.send(this.#control.gap(gap));
    else closeSocket(this.#socket, closeCode.cannotResume, `cannot continue after ${gap.requested}`);
  }

  replayed(replayed: Replayed): void {
    if (this.#control) this.#socket?.send(this.#control.live(replayed));
  }

  live(subscription: Subscription<TopicReaders>): void {
    subscription.live.add(subscription, this);
  }

  end(end: End): void {
    const socket = this.#socket;
    if (!socket) return;
    if (this.#control) socket.send(this.#control.end(end));
    if (!this.subscriptions.every(({ isClosed }) => isClosed)) return;
    this.#hasFailed = true;
    closeSocket(socket, closeCode.normal, "ended");
  }

  fail(error: unknown): void {
    this.#hasFailed = true;
    const { code, message } = this.#deps.refusals.of(error);
    if (this.#socket) closeSocket(this.#socket, code, message);
  }

  #pong(socket: Socket): void {
    socket.send(this.#control?.pong() ?? "pong");
  }

  /** @returns the bytes that were sent, -1 if they are held, 0 if Bun dropped the frame */
  #send(socket: Socket, frame: Frame): number {
    const result = socket.send(frame);
    if (result === 0 && frame.length > 0) return 0;
    this.#deps.counters.sentBytes[this.kind] += bytesSent(result, frame);
    return result || 1; // Bun returns 0 for an empty frame, too.
  }

  #advance(): void {
    for (const subscription of this.subscriptions) subscription.advance();
  }

  /**
   * Within a handler Bun gathers up to 128 KiB of frames for a socket and counts them as unsent only when it writes them,
   * after the handler. So a turn of the event loop replays `replayAheadBytes`, and the next one looks at the buffer.
   */
  #mayReplayMoreAfter(sentBytes: number): boolean {
    const { replayAheadBytes } = this.#deps;
    const before = this.#replayedBytes;
    this.#replayedBytes += sentBytes;
    if (this.#replayedBytes < replayAheadBytes) return true;
    if (before < replayAheadBytes) setImmediate(() => this.#continueReplay());
    return false;
  }

  /** Bun calls `drain` only for a socket that has unsent bytes. */
  #continueReplay(): void {
    const socket = this.#socket;
    if (socket?.getBufferedAmount() === 0) socket.cork(() => this.drain());
  }

  /** Publishes in order. After the first failure nothing more is published and the socket is closed. */
  async #publish(socket: Socket, first: ClientFrame): Promise<void> {
    const waiting: ClientFrame[] = [];
    this.#publishing = waiting;
    try {
      for (let request: ClientFrame | undefined = first; request; request = waiting.shift()) {
        if (request === "pong") this.#pong(socket);
        else await this.#deps.publish(request, this.#permissions);
        if (this.#isHeld && waiting.length === 0) this.#release(socket);
      }
      this.#publishing = undefined;
    } catch (error) {
      this.fail(error);
      if (this.#isHeld) this.#release(socket); // It had closed before.
    }
  }

  #hold(socket: Socket): void {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#deps.reading.hold(socket);
  }

  #release(socket: Socket): void {
    this.#isHeld = false;
    this.#deps.reading.release(socket);
  }
}
