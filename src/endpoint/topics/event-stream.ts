/** A stream of server-sent events on /topics: the same messages for a browser's EventSource and for curl -N. */
import type { Connections, Peer, Stream } from "../../connection/connection.ts";
import type { Listener, NativeFanOut } from "../../connection/fan-out.ts";
import type { Refusal } from "../../http/refusal.ts";
import type { Logger } from "../../log.ts";
import type { Counters } from "../../metrics.ts";
import { formatId, type Message, type Position } from "../../topic/message.ts";
import type { Gap, Subscriber, Subscription } from "../../topic/subscription.ts";
import {
  ControlEvents,
  type EncodedForm,
  type Encodings,
  gapData,
  type OpenedTopic,
  openedTopic,
  serverSentEvent,
} from "../../wire/cloud-events.ts";

/** What a stream needs of the server. */
export interface EventStreamHost {
  readonly connections: Connections;
  readonly fanOut: NativeFanOut;
  readonly encodings: Encodings;
  /** Unsent bytes held for a reader before it is cut. */
  readonly bufferedBytesMax: number;
  /** Bytes put ahead of what a reader takes of a replay. */
  readonly replayAheadBytes: number;
  readonly heartbeatIntervalSeconds: number;
  readonly counters: Counters;
  readonly log: Logger;
  /** What a client is told of an error. */
  refusalOf(error: unknown): Refusal;
}

/** How soon an EventSource is to come back. Bun's clients wait 3 s by themselves; a resume is cheap. */
const retryMilliseconds = 1000;

const utf8 = new TextEncoder();

export const eventStreamHeaders = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store, no-transform",
  "X-Accel-Buffering": "no",
  Vary: "Accept",
} as const;

/** The two ways to write the same stream. */
interface Form {
  open(topics: readonly OpenedTopic[], cursor: string): string;
  gap(gap: Gap, cursor: string): string;
  close(code: number, reason: string): string;
}

const plainForm: Form = {
  open: (topics, cursor) =>
    serverSentEvent(JSON.stringify({ topics: topics.map(openedTopic) }), { event: "start", id: cursor }),
  gap: (gap, cursor) => serverSentEvent(JSON.stringify(gapData(gap)), { event: "gap", id: cursor }),
  close: (code, reason) => serverSentEvent(JSON.stringify({ code, reason }), { event: "close" }),
};

function cloudEventsForm(): Form {
  const control = new ControlEvents();
  return {
    open: (topics, cursor) => serverSentEvent(control.open(topics), { id: cursor }),
    gap: (gap, cursor) => serverSentEvent(control.gap(gap), { id: cursor }),
    close: (code, reason) => serverSentEvent(control.close(code, reason)),
  };
}

export class EventStream implements Stream, Subscriber, Listener {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly form: "events" | "events_cloudevents";
  readonly #host: EventStreamHost;
  readonly #form: Form;
  readonly #encoded: EncodedForm & `serverSent${string}`;
  readonly #subscriptions: readonly Subscription[];
  /** Where each topic stands in this stream, in the order they were asked for; of a single topic the last gap or the start. */
  readonly #cursor = new Map<string, Position>();
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  #silentSeconds = 0;

  /** @param inCloudEvents every event a CloudEvent, as several topics need it */
  constructor(
    host: EventStreamHost,
    readonly peer: Peer,
    readonly expiresTime: number,
    subscriptions: readonly Subscription[],
    inCloudEvents: boolean,
  ) {
    this.form = inCloudEvents ? "events_cloudevents" : "events";
    this.#host = host;
    this.#subscriptions = subscriptions;
    this.#form = inCloudEvents ? cloudEventsForm() : plainForm;
    if (!inCloudEvents) this.#encoded = "serverSentEvents";
    else
      this.#encoded = subscriptions.length === 1 ? "serverSentCloudEvents" : "serverSentCloudEventsWithoutId";
    this.body = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => this.#start(controller),
        pull: () => this.#advance(),
        cancel: () => this.#end(),
      },
      // Counts what is not sent yet, which `desiredSize` then tells; `pull` is called while it is less than the mark.
      { highWaterMark: host.replayAheadBytes, size: (chunk) => chunk?.byteLength ?? 0 },
    );
  }

  replay(message: Message): boolean {
    this.#host.counters.replayedMessages++;
    const controller = this.#put(message);
    return controller !== undefined && this.#bufferedBytes(controller) < this.#host.replayAheadBytes;
  }

  /** In the step in which a reader is not given a message its stream ends, so it is given no other. */
  deliver(message: Message): void {
    const controller = this.#controller;
    if (!controller) return;
    if (this.#bufferedBytes(controller) < this.#host.bufferedBytesMax) {
      this.#host.counters.delivered[this.form]++;
      this.#put(message);
      return;
    }
    this.#host.counters.cut.slow++;
    this.#host.log.info({ address: this.peer.address }, "a slow reader of an event stream is cut");
    this.#end();
    controller.error(new Error("the reader of an event stream is too slow"));
  }

  gap(gap: Gap): void {
    this.#host.counters.gaps++;
    this.#cursor.set(gap.topic, gap.from);
    this.#write(utf8.encode(this.#form.gap(gap, this.#cursorText())));
  }

  live(subscription: Subscription): void {
    this.#host.fanOut.addListener(subscription, this);
  }

  fail(error: unknown): void {
    const { code, message } = this.#host.refusalOf(error);
    this.close(code, message);
  }

  tick(): void {
    if (++this.#silentSeconds >= this.#host.heartbeatIntervalSeconds) this.#write(utf8.encode(":\n\n"));
  }

  close(code: number, reason: string): void {
    const controller = this.#controller;
    if (!controller) return;
    this.#write(utf8.encode(this.#form.close(code, reason)));
    this.#end();
    controller.close();
  }

  #start(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): void {
    this.#controller = controller;
    this.#host.connections.addStream(this);
    for (const { topic, from } of this.#subscriptions) this.#cursor.set(topic, from);
    const opened = this.#form.open(this.#subscriptions, this.#cursorText());
    this.#write(utf8.encode(`retry: ${retryMilliseconds}\n${opened}`));
    for (const subscription of this.#subscriptions) subscription.begin(this);
  }

  #advance(): void {
    for (const subscription of this.#subscriptions) subscription.advance();
  }

  #end(): void {
    this.#controller = undefined;
    this.#host.connections.deleteStream(this);
    for (const subscription of this.#subscriptions) {
      this.#host.fanOut.removeListener(subscription.topic, this);
      subscription.close();
    }
  }

  #put(message: Message): ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined {
    if (this.#encoded === "serverSentCloudEventsWithoutId") {
      this.#cursor.set(message.topic, { epoch: message.epoch, offset: message.offset });
      this.#write(utf8.encode(`id: ${this.#cursorText()}\n`));
    }
    this.#write(this.#host.encodings.get(this.#encoded, message));
    return this.#controller;
  }

  #write(bytes: Uint8Array<ArrayBuffer>): void {
    this.#silentSeconds = 0;
    this.#controller?.enqueue(bytes);
  }

  #bufferedBytes({ desiredSize }: ReadableStreamDefaultController): number {
    return this.#host.replayAheadBytes - (desiredSize ?? 0);
  }

  /** What the browser hands back as Last-Event-ID: one id for each topic. */
  #cursorText(): string {
    return Array.from(this.#cursor.values(), formatId).join(",");
  }
}
