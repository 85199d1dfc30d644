/** The body of a POST while it arrives: a connection with bytes, like every other. */
import type { Permissions } from "../../access/permissions.ts";
import type { Purpose } from "../../connection/connection.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { BoundedBody } from "../../http/bounded-body.ts";
import type { Body } from "../../http/content-coding.ts";
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
): Promise<Body> {
  const { request } = context;
  const declared = request.headers.get("content-length");
  const declaredBytes = declared === null ? Number.NaN : Number(declared);
  if (declaredBytes > deps.messageBytesMax) return undefined;
  const source = declaredBytes <= wholeBodyBytesMax ? undefined : piecesOf(request, deps.messageBytesMax);
  // Bun collects a whole body for half the cost of its pieces, but shows neither how much has arrived nor an end to it.
  const whole: Promise<Body> = source ? source.read() : request.bytes();
  // Most bodies come with their head. Those are no connections, since nothing waits for them.
  await Promise.race([whole, nextTurn()]);
  if (Bun.peek.status(whole) !== "pending") return await whole;
  return await waitFor(whole, context, purpose, source ?? { heldBytes: declaredBytes }, deps);
}

/** A body of which every piece is seen; undefined where there is no body. */
const piecesOf = ({ body }: Request, bytesMax: number): BoundedBody | undefined =>
  body === null ? undefined : new BoundedBody(body as ReadableStream<Uint8Array>, bytesMax);

/** Where the bytes come from. */
interface BodySource {
  readonly heldBytes: number;
  cancel?(): Promise<void>;
}

/** Counts the request as a connection until its body is whole. Bun itself ends a body that is silent for 12 s. */
async function waitFor(
  whole: Promise<Body>,
  context: RequestContext,
  purpose: BodyPurpose,
  source: BodySource,
  { connections, log }: ArrivingBodyDeps,
): Promise<Body> {
  const refused = Promise.withResolvers<never>();
  const handler: HttpHandler = {
    kind: "publish",
    get heldBytes() {
      return source.heldBytes;
    },
    purpose: () => purpose,
    refuse: refused.reject,
  };
  let connection: HttpConnection | undefined;
  try {
    connection = connections.openHttp(context, { handler, expiresTime: purpose.permissions.expiresTime });
    return await Promise.race([whole, refused.promise]);
  } catch (error) {
    source.cancel?.().catch((err) => log.debug({ err }, "a body that was cancelled had an error"));
    throw error;
  } finally {
    connection?.end();
  }
}
