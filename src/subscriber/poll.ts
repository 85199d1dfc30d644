/** GET /topics/…?since=: the messages after `since` as a batch of CloudEvents, and the cursor to continue with. */
import type { Permissions } from "../access/permissions.ts";
import type { Purpose } from "../connection/connection.ts";
import type { Connections } from "../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../connection/http-connection.ts";
import { forms } from "../delivery/forms.ts";
import type { Frame } from "../delivery/frame.ts";
import type { HeldBytes } from "../delivery/held-bytes.ts";
import type { Reader } from "../delivery/reader.ts";
import type { TopicReaders } from "../delivery/topic-readers.ts";
import { malformed, type Refusal, type Refusals } from "../http/refusal.ts";
import type { RequestContext } from "../http/request-context.ts";
import type { Counters } from "../metrics.ts";
import { answerPieceBytes } from "../settings/limits.ts";
import { type End, formatId, formatPlace, type Message } from "../topic/message.ts";
import type { Gap, Replayed, Subscriber, Subscription } from "../topic/subscription.ts";
import { ControlEvents } from "../wire/cloud-events.ts";
import type { Encodings } from "../wire/encodings.ts";
import { GzipPiece } from "../wire/gzip.ts";
import { batchOf, gzipBatchOf, PollAnswer } from "./poll-answer.ts";

/** For answers that are stale at once, and different for who accepts an event stream or gzip. */
export const noStoreHeaders = { "Cache-Control": "no-store", Vary: "Accept, Accept-Encoding" } as const;

/** What a poll needs of the server. */
export interface PollDeps {
  readonly connections: Connections;
  readonly encodings: Encodings;
  readonly held: Pick<HeldBytes, "addHeld">;
  readonly counters: Counters;
  readonly refusals: Refusals;
  /** The largest answer, unless one event alone is larger. */
  readonly bufferedBytesMax: number;
}

/** What the URL of a poll asks for beside its topics. */
export interface PollOptions {
  /** The most messages in the answer, 1 to `pollMessagesMax`. */
  readonly messagesMax: number;
  /** How long an empty answer is held back, 0 to `pollWaitSecondsMax`. */
  readonly waitSeconds: number;
  /** The URL of the same poll with another cursor. */
  nextUrl(cursor: string): string;
}

/** A poll is a subscription that ends when it has caught up, when its answer is full, or after its wait. */
export class Poll implements HttpHandler, Subscriber<TopicReaders>, Reader {
  readonly kind = "poll";
  readonly form: (typeof forms)["poll" | "pollGzip"];
  readonly #permissions: Permissions;
  readonly #deps: PollDeps;
  readonly #options: PollOptions;
  readonly subscriptions: readonly Subscription<TopicReaders>[];
  readonly #control = new ControlEvents();
  readonly #events: Frame[] = [];
  /** As they are sent. */
  #bytes = 0;
  /** Not compressed: a page has the same messages for everyone, and grows no larger at a client than elsewhere. */
  #textBytes = 0;
  #messages = 0;
  /** The id to continue after, for each topic in the order of the request. */
  readonly #cursor = new Map<string, string>();
  /** Subscriptions that have not caught up. */
  readonly #lagging: Set<string>;
  #hasMore = false;
  readonly #isTrimmed: boolean;
  #isWaiting = false;
  #waitSecondsLeft: number;
  readonly #answer = Promise.withResolvers<Response>();
  #isEnded = false;

  #connection: HttpConnection | undefined;

  constructor(
    deps: PollDeps,
    permissions: Permissions,
    subscriptions: readonly Subscription<TopicReaders>[],
    options: PollOptions,
    isCompressed: boolean,
  ) {
    this.form = isCompressed ? forms.pollGzip : forms.poll;
    this.#deps = deps;
    this.#permissions = permissions;
    this.#options = options;
    this.subscriptions = subscriptions;
    this.#waitSecondsLeft = options.waitSeconds;
    this.#isTrimmed = subscriptions.some(({ isTrimmed }) => isTrimmed);
    this.#lagging = new Set(subscriptions.map(({ topic }) => topic));
  }

  /** Resolves with the answer. Called once. @throws {Refusal} if it is one connection too many, or its client has left */
  run(context: RequestContext): Promise<Response> {
    const { signal } = context.request;
    const { expiresTime } = this.#permissions;
    if (signal.aborted) throw malformed("The client left before its connection was opened.");
    const connection = this.#deps.connections.openHttp(context, { handler: this, expiresTime });
    this.#connection = connection;
    signal.addEventListener("abort", () => connection.end());
    for (const subscription of this.subscriptions) {
      this.#cursor.set(subscription.topic, formatPlace(subscription.from));
      subscription.begin(this);
    }
    this.#advance();
    return this.#answer.promise;
  }

  replay(message: Message, base: number | undefined): boolean {
    this.#deps.counters.replayedMessages++;
    return this.#add(message, this.#deps.encodings.get(this.form.encoding, message), base);
  }

  deliver(message: Message, event: Frame): boolean {
    const isFirst = this.#isWaiting && this.#events.length === 0;
    this.#add(message, event);
    // Messages that are published in one turn go into one answer.
    if (isFirst) setImmediate(() => this.#finish());
    return true;
  }

  /** Its answer is full. */
  tooSlow(): void {
    this.#finish();
  }

  gap(gap: Gap): void {
    this.#deps.counters.gaps++;
    this.#push(this.#control.gap(gap), gap.topic, formatPlace(gap.from));
    // What follows the gap belongs to the answer: without it a reader would take a keyed topic for empty.
    this.#isWaiting = false;
    this.#lagging.add(gap.topic);
  }

  /** Its answer says so by having no `Link`. */
  replayed({ topic, at }: Replayed): void {
    this.#cursor.set(topic, formatId(at));
  }

  live(subscription: Subscription<TopicReaders>): void {
    subscription.live.add(subscription, this);
    this.#hasCaughtUp(subscription.topic);
  }

  end(end: End): void {
    if (this.#isEnded) return;
    const isFirst = this.#isWaiting && this.#events.length === 0;
    this.#push(this.#control.end(end), end.topic, formatId(end));
    if (isFirst) setImmediate(() => this.#finish());
    this.#hasCaughtUp(end.topic);
  }

  fail(error: unknown): void {
    this.#respond(this.#deps.refusals.of(error).response());
  }

  get #isCompressed(): boolean {
    return this.form === forms.pollGzip;
  }

  purpose(): Purpose {
    return { sub: this.#permissions.subject, topics: this.subscriptions.length };
  }

  get heldBytes(): number {
    return this.#bytes;
  }

  get unsentBytes(): number {
    return this.#bytes;
  }

  tick(): void {
    if (this.#isWaiting && --this.#waitSecondsLeft <= 0) this.#finish();
  }

  /** At a drain the client gets what there is, and continues at another node. */
  refuse(refusal: Refusal): void {
    if (refusal.reason === "draining") this.#finish();
    else this.#respond(refusal.response());
  }

  #advance(): void {
    for (const subscription of this.subscriptions) {
      if (!this.#isEnded) subscription.advance();
    }
  }

  /** @returns false if the message does not fit into the answer, which is then finished */
  #add(message: Message, event: Frame, base?: number): boolean {
    if (this.#isEnded) return false;
    const isFull =
      this.#messages === this.#options.messagesMax ||
      (this.#messages > 0 && this.#textBytes + textBytesOf(event) > this.#deps.bufferedBytesMax);
    if (isFull) {
      this.#hasMore = true;
      this.#finish();
      return false;
    }
    this.#messages++;
    this.#push(event, message.topic, formatPlace(message, base));
    return true;
  }

  #push(event: Frame, topic: string, id: string): void {
    this.#events.push(event);
    this.#bytes += Buffer.byteLength(event) + (this.#isCompressed ? 6 : 1); // And a comma.
    this.#textBytes += textBytesOf(event) + 1;
    this.#cursor.set(topic, id);
  }

  #hasCaughtUp(topic: string): void {
    if (!this.#lagging.delete(topic) || this.#lagging.size > 0) return;
    if (this.#events.length > 0 || this.#waitSecondsLeft === 0) this.#finish();
    else this.#isWaiting = true;
  }

  #finish(): void {
    if (this.#isEnded) return;
    const cursor = [...this.#cursor.values()].join(",");
    const headers: Record<string, string> = {
      ...noStoreHeaders,
      "Content-Type": "application/cloudevents-batch+json",
      "Longwire-Cursor": cursor,
    };
    if (this.#isTrimmed) headers["Longwire-Trimmed"] = "1";
    if (this.#isCompressed) headers["Content-Encoding"] = "gzip";
    if (this.#hasMore || this.#lagging.size > 0)
      headers.Link = `<${this.#options.nextUrl(cursor)}>; rel="next"`;
    this.#deps.counters.sentBytes.poll += this.#bytes;
    const body = this.#isCompressed ? gzipBatchOf(this.#events) : batchOf(this.#events);
    if (this.#bytes >= answerPieceBytes) this.#respondInPieces(body, headers);
    else this.#respond(new Response(new Blob([...body]), { headers }));
  }

  #respond(response: Response): void {
    this.#answer.resolve(response);
    this.#connection?.end();
  }

  /** Bun shows no end of an answer that it has whole. The connection stays open until this one is taken. */
  #respondInPieces(body: Iterable<Frame>, headers: Readonly<Record<string, string>>): void {
    const connection = this.#connection;
    if (!connection) return;
    this.closed();
    connection.handler = new PollAnswer(body, this.#bytes, this.purpose());
    this.#answer.resolve(new Response(connection.stream(), { headers }));
    this.#deps.held.addHeld(connection.heldBytes);
  }

  leave(): void {
    for (const subscription of this.subscriptions) subscription.close();
  }

  closed(): void {
    this.#isEnded = true;
    this.leave();
  }
}

const textBytesOf = (event: Frame): number =>
  event instanceof GzipPiece ? event.sourceBytes : Buffer.byteLength(event);
