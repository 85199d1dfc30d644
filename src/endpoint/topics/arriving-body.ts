/** The body of a POST while it arrives: a connection with bytes, like every other. */
import type { Permissions } from "../../access/permissions.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { BoundedBody } from "../../http/bounded-body.ts";
import { type Body, type Coding, codingOf, decode } from "../../http/content-coding.ts";
import type { RequestContext } from "../../http/request-context.ts";
import type { Logger } from "../../log.ts";
import { nextTurn } from "../../next-turn.ts";
import { wholeBodyBytesMax } from "../../settings/limits.ts";
import { DraftError } from "../../topic/draft-error.ts";
import type { PublishTarget } from "./publish-target.ts";

/** What reading a body needs of the server. */
export interface ArrivingBodyDeps {
  readonly connections: Connections;
  readonly log: Logger;
  readonly messageBytesMax: number;
}

/** It is read from the moment on in which it is made. */
export class ArrivingBody {
  readonly #context: RequestContext;
  readonly #permissions: Pick<Permissions, "expiresTime">;
  readonly #targets: readonly PublishTarget[];
  readonly #deps: ArrivingBodyDeps;
  readonly #coding: Coding | undefined;
  /** NaN where the request does not say. */
  readonly #declaredBytes: number;
  /** Of a body that Bun does not collect itself. */
  readonly #pieces: BoundedBody | undefined;
  readonly #whole: Promise<Body>;

  /** @throws {Refusal} for a coding that is not known */
  constructor(
    context: RequestContext,
    permissions: Pick<Permissions, "expiresTime">,
    targets: readonly PublishTarget[],
    deps: ArrivingBodyDeps,
  ) {
    this.#context = context;
    this.#permissions = permissions;
    this.#targets = targets;
    this.#deps = deps;
    const { request } = context;
    this.#coding = codingOf(request);
    const declared = request.headers.get("content-length");
    this.#declaredBytes = declared === null ? Number.NaN : Number(declared);
    if (this.#declaredBytes > deps.messageBytesMax) {
      this.#whole = tooLarge;
      return;
    }
    // Bun collects a whole body for half the cost of its pieces, but shows neither how much has arrived nor an end to it.
    const isCollected = this.#declaredBytes <= wholeBodyBytesMax;
    this.#pieces = isCollected ? undefined : piecesOf(request, deps.messageBytesMax);
    this.#whole = this.#pieces?.read() ?? request.bytes();
  }

  /**
   * What comes within the turn of the event loop: most bodies come with their head. Those are no connections, since nothing
   * waits for them. They must be answered within the turn: when the next request of the packet finds one that is not
   * answered, Bun ends the connection.
   */
  inTurn(): Promise<Body | undefined> {
    return Promise.race([this.#whole, nextTurn()]);
  }

  /**
   * The body, decoded. Apart from `inTurn`, because one async function for both takes 300 bytes more of each request.
   * @param arrived what `inTurn` resolved with
   * @returns undefined if it is larger than a message, of which no more than that was read
   * @throws {Refusal} if its connection is one too many, or is ended
   * @throws {DraftError} for a body that is not what its coding says
   */
  body(arrived: Body | undefined): Body | Promise<Body> {
    return arrived && !this.#coding ? arrived : this.#decoded(arrived);
  }

  async #decoded(arrived: Body | undefined): Promise<Body> {
    const isPending = Bun.peek.status(this.#whole) === "pending";
    const body = arrived ?? (await (isPending ? this.#waitFor() : this.#whole));
    return this.#coding ? await decode(this.#coding, body, this.#deps.messageBytesMax) : body;
  }

  /** Counts the request as a connection until its body is whole. Bun itself ends a body that is silent for 12 s. */
  async #waitFor(): Promise<Body> {
    const { connections, log } = this.#deps;
    const pieces = this.#pieces;
    const declaredBytes = this.#declaredBytes;
    const targets = this.#targets;
    const refused = Promise.withResolvers<never>();
    const handler: HttpHandler = {
      kind: "publish",
      get heldBytes() {
        return pieces?.heldBytes ?? declaredBytes;
      },
      purpose: () => ({ sub: targets[0]?.sender.subject, topics: targets.length }),
      refuse: refused.reject,
    };
    let connection: HttpConnection | undefined;
    try {
      const { expiresTime } = this.#permissions;
      connection = connections.openHttp(this.#context, { handler, expiresTime });
      return await Promise.race([this.#whole, refused.promise]);
    } catch (error) {
      pieces?.cancel().catch((err) => log.debug({ err }, "a body that was cancelled had an error"));
      throw error;
    } finally {
      connection?.end();
    }
  }
}

/** A body that declares more bytes than a message has is not read. */
const tooLarge: Promise<undefined> = Promise.resolve(undefined);

/** Bun's error of a body whose connection was lost before its end, in words. Another error as it is. */
export const errorOfBody = (error: unknown): unknown =>
  error instanceof DOMException && error.name === "AbortError"
    ? new DraftError("The body broke off.")
    : error;

/** A body of which every piece is seen; undefined where there is no body. */
const piecesOf = ({ body }: Request, bytesMax: number): BoundedBody | undefined =>
  body === null ? undefined : new BoundedBody(body as ReadableStream<Uint8Array>, bytesMax);
