/** An answer of server-sent events over HTTP: who asks for one, its headers, and its refusal. */
import { brokerRetrySeconds } from "../settings/limits.ts";
import { isNamedInAccept } from "./accept.ts";
import type { Refusal } from "./refusal.ts";

export const eventStreamHeaders = {
  "Content-Type": "text/event-stream; charset=utf-8",
  "Cache-Control": "no-store, no-transform",
  "X-Accel-Buffering": "no",
  Vary: "Accept, Accept-Encoding",
} as const;

/** Of a stream that is a gzip member (wire/gzip.ts). */
export const gzipEventStreamHeaders = { ...eventStreamHeaders, "Content-Encoding": "gzip" } as const;

export const wantsEventStream = (request: Request): boolean => isNamedInAccept(request, "text/event-stream");

/**
 * Refuses a stream. What time mends is answered with 200, because an `EventSource` never reconnects after an error status.
 * The client's own id is repeated, because an `EventSource` forgets its id at the blank line of an answer without one.
 * @param refusal its `Retry-After` says when to come back
 */
export function refuseStream(request: Request, refusal: Refusal): Response {
  if (refusal.status !== 503 && refusal.status !== 429) return refusal.response();
  const id = request.headers.get("last-event-id");
  const seconds = Number(refusal.headers["Retry-After"] ?? brokerRetrySeconds);
  const body = `retry: ${seconds * 1000}\n${id === null ? "" : `id: ${id}\n`}\n`;
  return new Response(body, { headers: eventStreamHeaders });
}
