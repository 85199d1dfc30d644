/** POST with a body that goes on: each event or line in it is published when it has arrived. */
import type { Purpose } from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpHandler } from "../../connection/http-connection.ts";
import type { BodyStream } from "../../http/content-coding.ts";
import { Refusal } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import type { Logger } from "../../log.ts";
import type { Counters } from "../../metrics.ts";
import { nextTurn } from "../../next-turn.ts";
import type { Draft } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { errorOfBody } from "./arriving-body.ts";
import { ItemPublisher, stepsOf } from "./item-publisher.ts";
import { refusalOfPublication } from "./publish.ts";
import type { PublishTarget } from "./publish-target.ts";
import type { StreamItems } from "./stream-items.ts";

/** What a stream of publications needs of the server. */
export interface PublishStreamDeps {
  readonly hub: Hub;
  readonly connections: Connections;
  readonly counters: Counters;
  readonly log: Logger;
  readonly messageBytesMax: number;
  /** As for `stepsOf`. */
  readonly stepBytesMax: number;
  readonly publishSilenceSeconds: number;
  /** Items that one stream may publish in a second; 0 for no limit. */
  readonly messagesPerSecondMax: number;
}

export interface PublishStreamOptions {
  readonly expiresTime: number;
  readonly target: PublishTarget;
  /** The request's idempotency key. */
  readonly key: string | undefined;
  /** Whether the topic ends with the body. */
  readonly ends: boolean;
  readonly items: StreamItems;
}

/** A request that publishes is a connection like every other: it is counted, limited, drained, and it expires. */
export class PublishStream implements HttpHandler {
  readonly kind = "publish";
  readonly #deps: PublishStreamDeps;
  readonly #options: PublishStreamOptions;
  readonly #publisher: ItemPublisher;
  #body: BodyStream | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Bytes of the piece that is being published. */
  #pieceBytes = 0;
  #silentSeconds = 0;
  #publishedInSecond = 0;
  /** Resolves at the next second, for a stream that has used up its rate. */
  #nextSecond: PromiseWithResolvers<void> | undefined;
  /** Set where the server ends the request. */
  #stopped: Refusal | undefined;

  constructor(deps: PublishStreamDeps, options: PublishStreamOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#publisher = new ItemPublisher(deps.hub, options.target, options.key);
  }

  /**
   * Publishes until the body ends. Called once.
   * @throws {Refusal} if it is one connection too many; with `published`, which says how far it has come
   */
  async run(context: RequestContext, body: BodyStream | undefined): Promise<Response> {
    const { ends, expiresTime, items } = this.#options;
    const connection = this.#deps.connections.openHttp(context, { handler: this, expiresTime });
    try {
      await this.#publisher.begin();
      if (body) await this.#readAll(body);
      await this.#publishAll(items.finish());
      await this.#publisher.finish(ends);
      return Response.json({ published: [this.#publisher.published] });
    } catch (error) {
      throw refusalOfPublication([error], [this.#publisher.published]);
    } finally {
      this.#cancel(); // Releases what decodes a body that was not read to its end.
      connection.end();
    }
  }

  /** The piece that is being published, the item that has not arrived whole, and what decodes them. */
  get heldBytes(): number {
    return (this.#body?.heldBytes ?? 0) + this.#pieceBytes + this.#options.items.heldBytes;
  }

  purpose(): Purpose {
    const { target } = this.#options;
    return { sub: target.sender.subject, topics: 1 };
  }

  tick(): void {
    this.#publishedInSecond = 0;
    this.#nextSecond?.resolve();
    this.#nextSecond = undefined;
    if (++this.#silentSeconds < this.#deps.publishSilenceSeconds) return;
    this.#deps.counters.cut.silent++;
    const detail = `The body was silent for ${this.#deps.publishSilenceSeconds} s (--publish-silence).`;
    this.refuse(new Refusal("silence", detail));
  }

  refuse(refusal: Refusal): void {
    if (this.#stopped) return;
    this.#stopped = refusal;
    this.#nextSecond?.resolve();
    this.#cancel();
  }

  #cancel(): void {
    this.#reader
      ?.cancel()
      .catch((error) => this.#deps.log.debug({ err: error }, "a body that was cancelled had an error"));
  }

  /** @throws {DraftError} if the body broke off: what is not whole must not be taken for the last item */
  async #readAll(body: BodyStream): Promise<void> {
    this.#body = body;
    const reader = body.stream.getReader();
    this.#reader = reader;
    for (;;) {
      this.#requireRunning(); // It may have been stopped before there was a reader to cancel.
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw errorOfBody(error);
      });
      this.#requireRunning();
      if (done) return;
      this.#silentSeconds = 0;
      this.#pieceBytes = value.length;
      await this.#publishAll(this.#options.items.read(value));
      this.#pieceBytes = 0;
      // Bun joins what arrives in one turn. Read at once, a body in pieces of one byte costs a step for each byte.
      await nextTurn();
    }
  }

  async #publishAll(drafts: Iterable<Draft>): Promise<void> {
    for await (const step of stepsOf(drafts, this.#deps.stepBytesMax)) {
      for (let published = 0; published < step.length; ) {
        const count = Math.min(step.length - published, await this.#rateLeft());
        this.#requireRunning();
        await this.#publisher.publish(step.slice(published, published + count));
        published += count;
        this.#publishedInSecond += count;
        this.#silentSeconds = 0;
      }
    }
  }

  /** How many items the rate allows now, at least one. The body is not read meanwhile, so TCP slows the producer down. */
  async #rateLeft(): Promise<number> {
    const messagesPerSecondMax = this.#deps.messagesPerSecondMax || Number.POSITIVE_INFINITY;
    while (this.#publishedInSecond >= messagesPerSecondMax && !this.#stopped) {
      this.#nextSecond ??= Promise.withResolvers();
      await this.#nextSecond.promise;
    }
    return messagesPerSecondMax - this.#publishedInSecond;
  }

  #requireRunning(): void {
    if (this.#stopped) throw this.#stopped;
  }
}
