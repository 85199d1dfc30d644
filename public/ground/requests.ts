/** HTTP requests to this page's server. */
import { tokenHeaders } from "./address.ts";
import { tokenWanted } from "./settings.ts";

/** A network that drops packets can leave a browser waiting for minutes. */
const answerSecondsMax = 20;

export class Refusal extends Error {
  /** @param detail the server's own words (RFC 9457), or the status text of HTTP if there are none */
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(`${status}: ${detail}`);
  }
}

/** @throws {Refusal} for an answer that is not 2xx; else what `fetch` throws, and then the outcome is unknown */
export async function ask<Answer>(url: URL, request: RequestInit = {}): Promise<Answer> {
  const answer = await fetch(url, {
    ...request,
    headers: { ...tokenHeaders(), ...request.headers },
    signal: AbortSignal.timeout(answerSecondsMax * 1000),
  });
  if (answer.ok) return (await answer.json()) as Answer;
  throw await refusalOf(answer);
}

/** @param asksForToken whether a 401 opens the field for a token: not for what the page does by itself */
export async function refusalOf(answer: Response, asksForToken = true): Promise<Refusal> {
  const isProblem = answer.headers.get("content-type")?.startsWith("application/problem+json") ?? false;
  const detail = isProblem ? ((await answer.json()) as { detail?: unknown }).detail : undefined;
  const words = typeof detail === "string" ? detail : answer.statusText;
  if (answer.status === 401 && asksForToken) tokenWanted.value = words;
  return new Refusal(answer.status, words);
}
