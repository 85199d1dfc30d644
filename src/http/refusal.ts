/** A refusal that can be sent in both protocols: as an HTTP answer, and as the close code of a WebSocket. */
import type { Logger } from "../log.ts";
import { closeCode } from "../wire/close-code.ts";
import { type ProblemStatus, problem } from "./problem.ts";

export class Refusal extends Error {
  /**
   * @param status of the HTTP answer
   * @param code of the Close frame, sent where a page must be able to read it
   * @param message what was wrong and what to do, for a person; a Close frame takes its first 123 bytes
   */
  constructor(
    readonly status: ProblemStatus,
    readonly code: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }

  response(): Response {
    return problem(this.status, this.message, this.headers);
  }
}

/** Logs an error that no code foresaw, and refuses with an id by which the operator finds it in the log. */
export function refusalOfFault(error: unknown, log: Logger): Refusal {
  const requestId = crypto.randomUUID();
  log.error({ err: error, requestId }, "a request failed");
  const detail = `A fault of the server; its log has the cause, as ${requestId}.`;
  return new Refusal(500, closeCode.serverFault, detail);
}

/** When to try again after the broker was away. */
export const brokerRetrySeconds = 1;

/** The header of a refusal that ends by itself after some time. */
export const retryAfter = (seconds: number): { "Retry-After": string } => ({
  "Retry-After": String(seconds),
});
