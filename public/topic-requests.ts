/** A topic over plain HTTP: publishing and reading the position need no line. */
import { nextToPage } from "./address.ts";
import type { Words } from "./words.ts";

export const textType = "text/plain";

export class Refusal extends Error {
  /** @param detail the server's own words (RFC 9457), or the status text of HTTP if there are none */
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(`${status}: ${detail}`);
  }
}

/** A network that drops packets can leave a browser waiting for minutes. */
const answerSecondsMax = 20;

/** @param since continues after this id */
export function topicUrl(topic: string, since?: string): URL {
  const url = nextToPage(`topics/${topic}`);
  if (since !== undefined) url.searchParams.set("since", since);
  return url;
}

/** Such as `413: The body is too large`, or that the server did not answer. */
export function describeFailure(error: unknown, words: Words): string {
  return error instanceof Refusal ? `${error.status}: ${error.detail}` : words.noAnswer;
}

/**
 * @returns the id of the message
 * @throws {Refusal} for an answer other than 200; else what `fetch` throws, and then the outcome is unknown
 */
export async function publish(url: URL, text: string, contentType: string): Promise<string> {
  const headers = { "Content-Type": contentType };
  const { published } = await ask<{ published: readonly { id: string }[] }>(url, {
    method: "POST",
    headers,
    body: text,
  });
  const id = published[0]?.id;
  if (id === undefined) throw new Error("the answer has no id");
  return id;
}

/** @returns the id of the topic's last message @throws like `publish` */
export async function askPosition(url: URL): Promise<string | null> {
  const { topics } = await ask<{ topics: readonly { position: string | null }[] }>(url);
  return topics[0]?.position ?? null;
}

async function ask<Answer>(url: URL, request: RequestInit = {}): Promise<Answer> {
  const answer = await fetch(url, { ...request, signal: AbortSignal.timeout(answerSecondsMax * 1000) });
  if (answer.ok) return (await answer.json()) as Answer;
  const isProblem = answer.headers.get("content-type")?.startsWith("application/problem+json") ?? false;
  const detail = isProblem ? ((await answer.json()) as { detail?: unknown }).detail : undefined;
  throw new Refusal(answer.status, typeof detail === "string" ? detail : answer.statusText);
}
