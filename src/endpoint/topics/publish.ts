/** POST /topics/…: the body becomes a message of each topic in the URL. */
import { malformed, Refusal, retryAfter } from "../../http/refusal.ts";
import { brokerRetrySeconds, idempotencyKeyBytesMax } from "../../settings/limits.ts";
import { BrokerUnavailable, IdempotencyConflict } from "../../topic/broker.ts";
import { DraftError, draftOf } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { formatId, type Position } from "../../topic/message.ts";

interface Published {
  readonly topic: string;
  readonly id: string;
}

/** What publishing needs of the server. */
export interface PublishDeps {
  readonly hub: Hub;
  readonly messageBytesMax: number;
}

/** A topic to publish to, and the sender's name as a publisher of it (access/publishers.ts). */
export interface PublishTarget {
  readonly topic: string;
  readonly publisher: string;
}

/**
 * @throws {DraftError} for a body that its type does not allow
 * @throws {Refusal}
 */
export async function publishBody(
  request: Request,
  targets: readonly PublishTarget[],
  { hub, messageBytesMax }: PublishDeps,
): Promise<Response> {
  const key = readIdempotencyKey(request);
  const body = await readBody(request, messageBytesMax);
  if (!body) {
    throw new Refusal(
      "message_size",
      `A message has at most ${messageBytesMax} bytes (--max-message). Send less, or a reference to it.`,
    );
  }
  const draft = draftOf(body, request.headers.get("content-type") ?? undefined);
  const publishTo = async ({ topic, publisher }: PublishTarget): Promise<Position> => {
    const { message } = await hub.publish(topic, {
      draft,
      ...(key !== undefined && { once: { key, publisher } }),
    });
    return message as Position;
  };
  const [only] = targets;
  if (only && targets.length === 1) {
    try {
      return Response.json({ published: [{ topic: only.topic, id: formatId(await publishTo(only)) }] });
    } catch (error) {
      throw refusalOf([error], []);
    }
  }
  return publishToEach(targets, publishTo);
}

/** Each on its own: what was published stays published, and the answer lists it. */
async function publishToEach(
  targets: readonly PublishTarget[],
  publishTo: (target: PublishTarget) => Promise<Position>,
): Promise<Response> {
  const outcomes = await Promise.allSettled(targets.map(publishTo));
  const published: Published[] = [];
  const failed: unknown[] = [];
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === "rejected") failed.push(outcome.reason);
    else published.push({ topic: targets[index]?.topic ?? "", id: formatId(outcome.value) });
  }
  if (failed.length > 0) throw refusalOf(failed, published);
  return Response.json({ published });
}

/** @throws an error that no code foresaw */
function refusalOf(failed: readonly unknown[], published: readonly Published[]): Refusal {
  const unforeseen = failed.find(
    (error) => !(error instanceof BrokerUnavailable || error instanceof IdempotencyConflict),
  );
  if (unforeseen) throw unforeseen;
  if (failed.every((error) => error instanceof IdempotencyConflict)) {
    const detail =
      "This Idempotency-Key was used in the last 5 minutes with another body. Use a new key for a new message.";
    return new Refusal("conflict", detail, {}, { published });
  }
  const detail =
    "Not every topic could be published to, and whether the others were is unknown. Repeat with the same Idempotency-Key.";
  return new Refusal("unavailable", detail, retryAfter(brokerRetrySeconds), { published });
}

/** The header's value, with or without the quotes of a structured field (draft-ietf-httpapi-idempotency-key-header). */
function readIdempotencyKey(request: Request): string | undefined {
  const header = request.headers.get("idempotency-key");
  if (header === null) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length > 0 && Buffer.byteLength(key) <= idempotencyKeyBytesMax) return key;
  throw malformed(`An Idempotency-Key has 1 to ${idempotencyKeyBytesMax} bytes.`);
}

/**
 * @returns undefined if the body is larger, of which no more than that was read
 * @throws {DraftError} for a body that broke off
 */
async function readBody(request: Request, bytesMax: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const declared = request.headers.get("content-length");
  try {
    if (declared !== null) return Number(declared) > bytesMax ? undefined : await request.bytes();
    return request.body ? await collect(request.body, bytesMax) : new Uint8Array();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError")
      throw new DraftError("The body broke off.");
    throw error;
  }
}

/**
 * Reads once per turn of the event loop, so that Bun joins what arrives in between. Read at once, a body in chunks of one
 * byte costs a step of JavaScript for each byte, and everyone else waits meanwhile.
 */
async function collect(
  body: ReadableStream<Uint8Array>,
  bytesMax: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  let buffer = new Uint8Array(bodyBytesAtFirst);
  let length = 0;
  for await (const chunk of body) {
    if (length + chunk.length > bytesMax) return undefined;
    if (length + chunk.length > buffer.length) {
      const larger = new Uint8Array(Math.min(bytesMax, Math.max(2 * buffer.length, length + chunk.length)));
      larger.set(buffer.subarray(0, length));
      buffer = larger;
    }
    buffer.set(chunk, length);
    length += chunk.length;
    await nextTurn();
  }
  return buffer.slice(0, length);
}

/** Room for most bodies whose length is not declared. */
const bodyBytesAtFirst = 4096;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
