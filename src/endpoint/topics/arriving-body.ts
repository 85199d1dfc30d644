/** The body of a POST while it arrives: a connection with bytes, like every other. */
import type { Permissions } from "../../access/permissions.ts";
import type { Connections } from "../../connection/connections.ts";
import type { HttpConnection, HttpHandler } from "../../connection/http-connection.ts";
import { BoundedBody } from "../../http/bounded-body.ts";
import { type Body, codingOf, decode } from "../../http/content-coding.ts";
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

/**
 * Reads the body of a request, and decodes it.
 * @returns undefined if the body is larger than a message, of which no more than that was read
 * @throws {Refusal} for a coding that is not known, and if its connection is one too many, or is ended
 * @throws {DraftError} for a body that broke off, or is not what its coding says
 */
export async function readBody(
  context: RequestContext,
  permissions: Pick<Permissions, "expiresTime">,
  targets: readonly PublishTarget[],
  deps: ArrivingBodyDeps,
): Promise<Body> {
  const { request } = context;
  const { messageBytesMax } = deps;
  const coding = codingOf(request);
  const declared = request.headers.get("content-length");
  const declaredBytes = declared === null ? Number.NaN : Number(declared);
  if (declaredBytes > messageBytesMax) return undefined;
  const source = declaredBytes <= wholeBodyBytesMax ? undefined : piecesOf(request, messageBytesMax);
  // Bun collects a whole body for half the cost of its pieces, but shows neither how much has arrived nor an end to it.
  const whole: Promise<Body> = source ? source.read() : request.bytes();
  try {
    // Most bodies come with their head. Those are no connections, since nothing waits for them. They must be answered within
    // the turn: when the next request of the packet finds one that is not answered, Bun ends the connection.
    const arrived = await Promise.race([whole, nextTurn()]);
    const body =
      arrived ??
      (await (Bun.peek.status(whole) === "pending"
        ? waitFor(whole, context, permissions, targets, source ?? { heldBytes: declaredBytes }, deps)
        : whole));
    return coding ? await decode(coding, body, messageBytesMax) : body;
  } catch (error) {
    throw errorOfBody(error);
  }
}

/** Bun's error of a body whose connection was lost before its end, in words. Another error as it is. */
export const errorOfBody = (error: unknown): unknown =>
  error instanceof DOMException && error.name === "AbortError"
    ? new DraftError("The body broke off.")
    : error;

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
  { expiresTime }: Pick<Permissions, "expiresTime">,
  targets: readonly PublishTarget[],
  source: BodySource,
  { connections, log }: ArrivingBodyDeps,
): Promise<Body> {
  const refused = Promise.withResolvers<never>();
  const handler: HttpHandler = {
    kind: "publish",
    get heldBytes() {
      return source.heldBytes;
    },
    purpose: () => ({ sub: targets[0]?.sender.subject, topics: targets.length }),
    refuse: refused.reject,
  };
  let connection: HttpConnection | undefined;
  try {
    connection = connections.openHttp(context, { handler, expiresTime });
    return await Promise.race([whole, refused.promise]);
  } catch (error) {
    source.cancel?.().catch((err) => log.debug({ err }, "a body that was cancelled had an error"));
    throw error;
  } finally {
    connection?.end();
  }
}
