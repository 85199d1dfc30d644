/** Error answers in words (RFC 9457), which say nothing about the inside. */

/** Every status of an error answer. docs/protocol.md has the same list, compared by a test. */
export const problemTitles = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  412: "Precondition Failed",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
  507: "Insufficient Storage",
} as const;

export type ProblemStatus = keyof typeof problemTitles;

/**
 * An error answer as `application/problem+json`.
 * @param detail what was wrong and what to do, for a person
 * @param members further members of the answer (RFC 9457 section 3.2)
 */
export function problem(
  status: ProblemStatus,
  detail: string,
  headers: Record<string, string> = {},
  members: Record<string, unknown> = {},
): Response {
  return Response.json(
    { title: problemTitles[status], status, detail, ...members },
    { status, headers: { "Content-Type": "application/problem+json", ...headers } },
  );
}
