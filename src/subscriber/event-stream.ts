/** An event stream of topics: messages as server-sent events, for `EventSource` and `curl -N`. */
import type { Permissions } from "../access/permissions.ts";
import type { Purpose } from "../connection/connection.ts";
import type { HttpConnection, HttpHandler } from "../connection/http-connection.ts";
import type { Cutter } from "../delivery/cutter.ts";
import { forms } from "../delivery/forms.ts";
import type { Reader } from "../delivery/reader.ts";
import type { TopicReaders } from "../delivery/topic-readers.ts";
import type { Refusals } from "../http/refusal.ts";
import type { Counters } from "../metrics.ts";
import { streamRetryMilliseconds } from "../settings/limits.ts";
import { type End, formatId, formatPlace, type Message } from "../topic/message.ts";
import type { Gap, Replayed, Subscriber, Subscription } from "../topic/subscription.ts";
import { ControlEvents, endData, gapData, type OpenedTopic, openData } from "../wire/cloud-events.ts";
import type { Encodings } from "../wire/encodings.ts";
import { GzipMember, gzipHeader } from "../wire/gzip.ts";
import { closeEvent, serverSentEvent } from "../wire/server-sent-events.ts";
import type { GatheringStream, Turn } from "./turn.ts";

/** The parts of the server that a stream uses. */
export interface EventStreamDeps {
  readonly encodings: Encodings;
  /** A replay pauses while at least this many bytes are unsent. */
  readonly replayAheadBytes: number;
  /** So many bytes do not wait for the end of the turn. */
  readonly gatheredBytesMax: number;
  readonly turn: Turn;
  readonly heartbeatIntervalSeconds: number;
  readonly counters: Counters;
  readonly refusals: Refusals;
}

/** How one format writes events that a topic's readers do not share. */
interface StreamCodec {
  open(topics: readonly OpenedTopic[], cursor: string): string;
  gap(gap: Gap, cursor: string): string;
  live(replayed: Replayed, cursor: string): string;
  end(end: End, cursor: string): string;
  close(code: number, reason: string): string;
}

const plainCodec: StreamCodec = {
  live: () => {
    throw new Error("a plain event stream has no keyed topic");
  },
  open: (topics, cursor) => serverSentEvent(JSON.stringify(openData(topics)), cursor, "longwire.open"),
  gap: (gap, cursor) => serverSentEvent(JSON.stringify(gapData(gap)), cursor, "longwire.gap"),
  end: (end, cursor) => serverSentEvent(JSON.stringify(endData(end)), cursor, "longwire.end"),
  close: closeEvent,
};

/** One for each stream. A class, because four closures take 160 bytes. */
class CloudEventsCodec implements StreamCodec {
  readonly #control = new ControlEvents();

  open(topics: readonly OpenedTopic[], cursor: string): string {
    return serverSentEvent(this.#control.open(topics), cursor);
  }

  gap(gap: Gap, cursor: string): string {
    return serverSentEvent(this.#control.gap(gap), cursor);
  }

  live(replayed: Replayed, cursor: string): string {
    return serverSentEvent(this.#control.live(replayed), cursor);
  }

  end(end: End, cursor: string): string {
    return serverSentEvent(this.#control.end(end), cursor);
  }

  close(code: number, reason: string): string {
    return serverSentEvent(this.#control.close(code, reason));
  }
}

/** How a stream writes its events. */
export interface StreamFormat {
  /** Every event is a CloudEvent. Needed for several topics, because it names its topic, and for keyed ones. */
  readonly inCloudEvents: boolean;
  /** The `id:` of an event is not that of its message: for several topics, and for places in a keyed one. */
  readonly hasOwnCursor: boolean;
  readonly isCompressed: boolean;
}

function formOf({ inCloudEvents, hasOwnCursor, isCompressed }: StreamFormat) {
  const format = hasOwnCursor
    ? "cloudEventStreamOfTopics"
    : inCloudEvents
      ? "cloudEventStream"
      : "eventStream";
  return forms[isCompressed ? (`${format}Gzip` as const) : format];
}

/** Past 12 fields JavaScriptCore takes more than 112 bytes for it. */
export class EventStream implements HttpHandler, Subscriber<TopicReaders>, Reader, GatheringStream {
  readonly #permissions: Permissions;
  readonly #deps: EventStreamDeps;
  readonly #codec: StreamCodec;
  readonly subscriptions: readonly Subscription<TopicReaders>[];
  readonly form: ReturnType<typeof formOf>;
  /** Set if what is written is compressed. */
  readonly #member: GzipMember | undefined;
  /** The place in each topic, in the order of the request; only with a cursor of its own. A browser returns them together. */
  readonly #cursor: Map<string, string> | undefined;
  /** Set while it is open. */
  #connection: HttpConnection | undefined;
  /** Whole events that are written together: by the end of the turn, or before if they are many. */
  #gathered: Uint8Array<ArrayBuffer>[] | undefined;
  #gatheredBytes = 0;
  #silentSeconds = 0;

  constructor(
    deps: EventStreamDeps,
    permissions: Permissions,
    subscriptions: readonly Subscription<TopicReaders>[],
    format: StreamFormat,
  ) {
    this.#deps = deps;
    this.#permissions = permissions;
    this.subscriptions = subscriptions;
    this.#cursor = format.hasOwnCursor ? new Map() : undefined;
    this.#codec = format.inCloudEvents ? new CloudEventsCodec() : plainCodec;
    this.form = formOf(format);
    this.#member = format.isCompressed ? new GzipMember() : undefined;
  }

  replay(message: Message, base: number | undefined): boolean {
    this.#deps.counters.replayedMessages++;
    this.#put(message, this.#deps.encodings.get(this.form.encoding, message), base);
    // What is compressed in one turn is limited, too: it takes ten times as long as what is sent as it is.
    const bytes = Math.max(this.unsentBytes, this.#member?.addedBytes ?? 0);
    return this.#connection !== undefined && bytes < this.#deps.replayAheadBytes;
  }

  deliver(message: Message, event: Uint8Array<ArrayBuffer>): boolean {
    this.#put(message, event);
    // Early, because a reader that takes all it is given must not reach its limit within a turn.
    if (this.#gatheredBytes >= this.#deps.gatheredBytesMax) this.flush();
    return true;
  }

  tooSlow(cutter: Cutter): void {
    if (this.#connection) cutter.cut(this.#connection, "slow");
  }

  get kind(): EventStream["form"]["kind"] {
    return this.form.kind;
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: this.subscriptions.length };
  }

  /** Gathered. */
  get heldBytes(): number {
    return this.#gatheredBytes;
  }

  abandon(): void {
    this.#connection?.abandon();
  }

  gap(gap: Gap): void {
    this.#deps.counters.gaps++;
    this.#write(this.#codec.gap(gap, this.#cursorAt(gap.topic, formatPlace(gap.from))));
  }

  replayed(replayed: Replayed): void {
    this.#write(this.#codec.live(replayed, this.#cursorAt(replayed.topic, formatId(replayed.at))));
  }

  live(subscription: Subscription<TopicReaders>): void {
    subscription.live.add(subscription, this);
  }

  end(end: End): void {
    const connection = this.#connection;
    if (!connection) return;
    this.#write(this.#codec.end(end, this.#cursorAt(end.topic, formatId(end))));
    if (this.subscriptions.every(({ isClosed }) => isClosed)) this.#end(connection);
  }

  fail(error: unknown): void {
    const { code, message } = this.#deps.refusals.of(error);
    this.#connection?.close(code, message);
  }

  tick(): void {
    if (++this.#silentSeconds >= this.#deps.heartbeatIntervalSeconds) this.#write(":\n\n");
  }

  close(connection: HttpConnection, code: number, reason: string): void {
    this.#write(this.#codec.close(code, reason));
    this.#end(connection);
  }

  #end(connection: HttpConnection): void {
    if (this.#member) this.#gather(this.#member.trailer());
    this.#deps.turn.add(this); // For `join`.
    this.#writeGathered();
    connection.end();
  }

  /** While the client has not taken the last chunk, the next one grows. */
  flush(): void {
    if (this.#connection?.unsentBytes === 0) this.#writeGathered();
  }

  #writeGathered(): void {
    if (!this.#gathered) return;
    const bytes = this.#deps.turn.join(this.#gathered);
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    if (this.#member) this.#member.addedBytes = 0;
    this.#deps.counters.sentBytes[this.kind] += bytes.length;
    this.#connection?.write(bytes);
  }

  open(connection: HttpConnection): void {
    this.#connection = connection;
    if (this.#member) this.#gather(gzipHeader);
    let cursor = "";
    for (const { topic, openId } of this.subscriptions) cursor = this.#cursorAt(topic, openId);
    const opened = this.#codec.open(this.subscriptions, cursor);
    this.#write(`retry: ${streamRetryMilliseconds}\n${opened}`);
    for (const subscription of this.subscriptions) subscription.begin(this);
    this.pull();
  }

  /** What was gathered meanwhile is written, and a replay that waits for the client continues. */
  pull(): void {
    if (this.#gathered) this.#deps.turn.add(this);
    for (const subscription of this.subscriptions) subscription.advance();
  }

  leave(): void {
    for (const subscription of this.subscriptions) subscription.close();
  }

  closed(): void {
    this.#connection = undefined;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    this.leave();
  }

  #put(message: Message, event: Uint8Array<ArrayBuffer>, base?: number): void {
    this.#write(event);
    if (!this.#cursor) return;
    this.#write(`id: ${this.#cursorAt(message.topic, formatPlace(message, base))}\n\n`);
  }

  #write(event: Uint8Array<ArrayBuffer> | string): void {
    if (!this.#connection) return;
    const bytes = typeof event === "string" ? this.#deps.turn.encode(event) : event;
    this.#silentSeconds = 0;
    this.#gather(this.#member ? this.#member.added(bytes) : bytes);
  }

  #gather(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#gathered) this.#gathered.push(bytes);
    else {
      this.#deps.turn.add(this);
      this.#gathered = [bytes];
    }
    this.#gatheredBytes += bytes.length;
  }

  /** Gathered, or written and not sent. */
  get unsentBytes(): number {
    return this.#gatheredBytes + (this.#connection?.unsentBytes ?? 0);
  }

  /** The `id:` once a topic has come to an id. The browser returns it as `Last-Event-ID`. */
  #cursorAt(topic: string, id: string): string {
    if (!this.#cursor) return id;
    this.#cursor.set(topic, id);
    return [...this.#cursor.values()].join(",");
  }
}
