/** A refusal that can be told in both languages: as an HTTP answer, and by the close code of a WebSocket. */
import { type ProblemStatus, problem } from "./problem.ts";

export class Refusal extends Error {
  /**
   * @param status of the HTTP answer
   * @param code of the Close frame, where a page has to be able to read it
   * @param message what was wrong and what to do, for a person; the first 123 bytes are a Close frame's reason
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

/** How soon to try again what failed because the broker is away. */
export const brokerRetrySeconds = 1;

/** The header of a refusal that time mends. */
export const retryAfter = (seconds: number): { "Retry-After": string } => ({
  "Retry-After": String(seconds),
});
