/** How long a request may be silent before Bun ends its connection. */
import { requestSilenceSeconds } from "../settings/limits.ts";
import type { RequestContext } from "./request-context.ts";

/**
 * Lets one request be silent for another time, until it is disposed. Bun keeps such a time for the connection: without the
 * end of it, a client that has its answer keeps the connection open as long, and nothing counts it.
 * @param seconds at most 255; 0 for no end
 * @example using _ = silentFor(context, 0);
 */
export function silentFor({ request, server }: RequestContext, seconds: number): Disposable {
  server.timeout(request, seconds);
  return { [Symbol.dispose]: () => server.timeout(request, requestSilenceSeconds) };
}
