/** The body of a POST while it arrives: a connection with bytes, like every other. */
import type { Permissions } from "../../access/permissions.ts";
import type { Purpose } from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { BoundedBody } from "../../http/bounded-body.ts";
import type { Refusal } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import type { Logger } from "../../log.ts";
import { nextTurn } from "../../next-turn.ts";
import { wholeBodyBytesMax } from "../../settings/limits.ts";

/** What reading a body needs of the server. */
export interface ArrivingBodyDeps {
  readonly connections: Connections;
  readonly log: Logger;
  readonly messageBytesMax: number;
}

/** What the body is of. */
export interface BodyPurpose extends Purpose {
  readonly permissions: Pick<Permissions, "expiresTime">;
}

/**
 * Reads the body of a request.
 * @returns undefined if the body is larger than a message, of which no more than that was read
 * @throws {Refusal} if its connection is one too many, or is ended
 * @throws an AbortError of Bun's for a body that broke off
 */
export async function readBody(
  context: RequestContext,
  purpose: BodyPurpose,
  deps: ArrivingBodyDeps,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { request } = context;
  if (!request.body) return new Uint8Array();
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > deps.messageBytesMax) return undefined;
  const source = sourceOf(request, declared === null ? undefined : Number(declared), deps);
  const whole = source.read();
  // Most bodies come with their head. Those are no connections, since nothing waits for them.
  const isWhole = await Promise.race([whole.then(() => true), nextTurn().then(() => false)]);
  return isWhole
    ? await whole
    : await new ArrivingBody(purpose, source, deps.log).wait(context, whole, deps.connections);
}

/** Where the bytes come from. */
interface Source {
  readonly heldBytes: number;
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  cancel(): Promise<void>;
}

/** Bun collects a whole body for half the cost of its pieces, but shows neither how much has arrived nor an end to it. */
function sourceOf(request: Request, declared: number | undefined, deps: ArrivingBodyDeps): Source {
  if (declared !== undefined && declared <= wholeBodyBytesMax)
    return { heldBytes: declared, read: () => request.bytes(), cancel: async () => undefined };
  return new BoundedBody(request.body as ReadableStream<Uint8Array>, deps.messageBytesMax);
}

class ArrivingBody implements HttpHandler {
  readonly kind = "publish";
  readonly #purpose: BodyPurpose;
  readonly #source: Source;
  readonly #log: Logger;
  readonly #refused = Promise.withResolvers<never>();

  constructor(purpose: BodyPurpose, source: Source, log: Logger) {
    this.#purpose = purpose;
    this.#source = source;
    this.#log = log;
  }

  /** Counts it as a connection until it is whole. Bun itself ends a body that is silent for 12 s. */
  async wait(
    context: RequestContext,
    whole: ReturnType<Source["read"]>,
    connections: Connections,
  ): ReturnType<Source["read"]> {
    let connection: HttpConnection | undefined;
    try {
      const { expiresTime } = this.#purpose.permissions;
      connection = connections.openHttp(context, { handler: this, expiresTime });
      return await Promise.race([whole, this.#refused.promise]);
    } catch (error) {
      this.#cancel();
      throw error;
    } finally {
      connection?.end();
    }
  }

  get heldBytes(): number {
    return this.#source.heldBytes;
  }

  purpose(): Purpose {
    return this.#purpose;
  }

  refuse(refusal: Refusal): void {
    this.#refused.reject(refusal);
  }

  #cancel(): void {
    this.#source
      .cancel()
      .catch((error) => this.#log.debug({ err: error }, "a body that was cancelled had an error"));
  }
}
