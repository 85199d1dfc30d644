/** The body of a POST while it arrives: a connection with bytes, like every other. */
import type { Permissions } from "../../access/permissions.ts";
import {
  type ClientAddress,
  type HttpConnection,
  nextConnectionNumber,
  type Purpose,
} from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import { BoundedBody } from "../../http/bounded-body.ts";
import type { Proxies } from "../../http/proxies.ts";
import { Refusal, retryAfter } from "../../http/refusal.ts";
import type { RequestContext } from "../../http/request-context.ts";
import type { Logger } from "../../log.ts";
import { brokerRetrySeconds, wholeBodyBytesMax } from "../../settings/limits.ts";
import { closeCode } from "../../wire/close-code.ts";

/** What reading a body needs of the server. */
export interface ArrivingBodyDeps {
  readonly connections: Connections;
  readonly proxies: Proxies;
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
  return isWhole ? await whole : await new ArrivingBody(context, purpose, source, deps).wait(whole);
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

class ArrivingBody implements HttpConnection {
  readonly kind = "publish";
  readonly number = nextConnectionNumber();
  readonly openedMilliseconds = performance.now();
  readonly clientAddress: ClientAddress;
  readonly #purpose: BodyPurpose;
  readonly #source: Source;
  readonly #deps: ArrivingBodyDeps;
  readonly #stopped = Promise.withResolvers<never>();

  /** @throws {Refusal} if it is one connection too many */
  constructor(context: RequestContext, purpose: BodyPurpose, source: Source, deps: ArrivingBodyDeps) {
    this.#purpose = purpose;
    this.#source = source;
    this.#deps = deps;
    try {
      this.clientAddress = deps.connections.admit(deps.proxies.addressOf(context));
    } catch (error) {
      this.#cancel();
      throw error;
    }
  }

  /** Counts it as a connection until it is whole. */
  async wait(whole: ReturnType<Source["read"]>): ReturnType<Source["read"]> {
    this.#deps.connections.addHttp(this);
    try {
      return await Promise.race([whole, this.#stopped.promise]);
    } finally {
      this.#deps.connections.deleteHttp(this);
    }
  }

  get expiresTime(): number {
    return this.#purpose.permissions.expiresTime;
  }

  get heldBytes(): number {
    return this.#source.heldBytes;
  }

  purpose(): Purpose {
    return this.#purpose;
  }

  /** Bun itself ends a body that is silent for 12 s. */
  tick(): void {}

  abandon(): void {
    this.#stop(holdsTooMuch());
  }

  close(code: number, reason: string): void {
    this.#stop(refusalOfClose(code, reason));
  }

  #stop(refusal: Refusal): void {
    this.#stopped.reject(refusal);
    this.#cancel();
  }

  #cancel(): void {
    this.#source
      .cancel()
      .catch((error) => this.#deps.log.debug({ err: error }, "a body that was cancelled had an error"));
  }
}

/** The answer to a body that is not read further, because all connections together hold too much. */
export const holdsTooMuch = (): Refusal =>
  new Refusal(
    "unavailable",
    "All connections together hold too much (--max-buffered-total); try again.",
    retryAfter(brokerRetrySeconds),
  );

/** The answer to a body whose connection is ended with a close code. */
export function refusalOfClose(code: number, reason: string): Refusal {
  if (code !== closeCode.unauthorized)
    return new Refusal("draining", `${reason}: continue at another node.`, retryAfter(brokerRetrySeconds));
  const expired = { "WWW-Authenticate": 'Bearer error="invalid_token"' };
  return new Refusal("token", `${reason}: continue with a new one.`, expired);
}

export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
