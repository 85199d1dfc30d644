/** POST /topics/…: a body becomes a message of each topic named, and the answer says which. */

import { problem } from "../../http/problem.ts";
import { brokerRetrySeconds, retryAfter } from "../../http/refusal.ts";
import type { Counters } from "../../metrics.ts";
import { BrokerUnavailable, IdempotencyConflict, type Once } from "../../topic/broker.ts";
import { DraftError, draftOf } from "../../topic/draft.ts";
import type { Hub } from "../../topic/hub.ts";
import { formatId } from "../../topic/message.ts";

const idempotencyKeyBytesMax = 255;

/** What publishing needs of the server. */
export interface PublishDeps {
  readonly hub: Hub;
  readonly counters: Counters;
  readonly messageBytesMax: number;
}

/** A topic to publish to, and the sender's name there as a publisher (access/publishers.ts). */
export interface PublishTarget {
  readonly topic: string;
  readonly publisher: string;
}

/** @throws {DraftError} for a body that its type does not allow */
export async function publishBody(
  request: Request,
  targets: readonly PublishTarget[],
  { hub, counters, messageBytesMax }: PublishDeps,
): Promise<Response> {
  const key = readIdempotencyKey(request);
  if (key instanceof Response) return key;
  const body = await readBody(request, messageBytesMax).catch((error) => {
    if (error instanceof DOMException && error.name === "AbortError")
      throw new DraftError("The body broke off.");
    throw error;
  });
  if (!body) {
    counters.refused.message_size++;
    return problem(
      413,
      `A message has at most ${messageBytesMax} bytes (--max-message). Send less, or a reference to it.`,
    );
  }
  const draft = draftOf(body, request.headers.get("content-type") ?? undefined);
  const results = await Promise.allSettled(
    targets.map(async ({ topic, publisher }) => {
      const once: Once | undefined = key === undefined ? undefined : { key, publisher };
      return { topic, id: formatId(await hub.publish(topic, draft, once)) };
    }),
  );
  const published = results.filter((result) => result.status === "fulfilled").map(({ value }) => value);
  const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
  if (failed.length === 0) return Response.json({ published });
  return refusal(failed, published, counters);
}

function refusal(failed: readonly unknown[], published: readonly object[], counters: Counters): Response {
  const unforeseen = failed.find(
    (error) => !(error instanceof BrokerUnavailable || error instanceof IdempotencyConflict),
  );
  if (unforeseen) throw unforeseen;
  if (failed.every((error) => error instanceof IdempotencyConflict)) {
    counters.refused.conflict++;
    const detail =
      "This Idempotency-Key was used in the last 5 minutes with another body. Use a new key for a new message.";
    return problem(422, detail, {}, { published });
  }
  counters.refused.unavailable++;
  const detail =
    "Not every topic could be published to, and whether the others were is unknown. Repeat with the same Idempotency-Key.";
  return problem(503, detail, retryAfter(brokerRetrySeconds), { published });
}

/** The header's value, with or without the quotes of a structured field (draft-ietf-httpapi-idempotency-key-header). */
function readIdempotencyKey(request: Request): string | undefined | Response {
  const header = request.headers.get("idempotency-key");
  if (header === null) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length > 0 && Buffer.byteLength(key) <= idempotencyKeyBytesMax) return key;
  return problem(400, `An Idempotency-Key has 1 to ${idempotencyKeyBytesMax} bytes.`);
}

/** @returns nothing where the body is larger, of which no more than that was read */
async function readBody(request: Request, bytesMax: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const declared = request.headers.get("content-length");
  if (declared !== null) return Number(declared) > bytesMax ? undefined : request.bytes();
  if (!request.body) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
