/** Answers a request with an event stream. */
import { eventStreamHeaders } from "../http/event-stream.ts";
import type { RequestContext } from "../http/request-context.ts";
import type { Use } from "./connection.ts";
import type { Connections } from "./connections.ts";
import type { HttpHandler } from "./http-connection.ts";

/**
 * @param silenceSeconds after which Bun ends an answer that does not move; at most 255
 * @throws {Refusal} if it is one connection too many
 */
export function answerEventStream(
  connections: Connections,
  context: RequestContext,
  use: Use<HttpHandler>,
  silenceSeconds: number,
  headers: Readonly<Record<string, string>> = eventStreamHeaders,
): Response {
  const { request, server } = context;
  if (request.method === "HEAD") return new Response(null, { headers });
  const connection = connections.openHttp(context, use);
  server.timeout(request, silenceSeconds);
  return new Response(connection.stream(), { headers });
}
