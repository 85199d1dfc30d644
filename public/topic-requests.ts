/** A topic over plain HTTP: publishing needs no line, and neither does asking where the topic stands. */

export class Refusal extends Error {
  /** @param detail the server's own words (RFC 9457), or what HTTP says where it has none */
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(`${status}: ${detail}`);
  }
}

/** A network that swallows packets can leave a browser waiting for minutes. */
const answerSecondsMax = 20;

/**
 * @returns the id of the message
 * @throws {Refusal} for an answer other than 200; else what `fetch` throws, and nobody knows what became of the message
 */
export async function publish(url: URL, text: string, contentType: string): Promise<string> {
  const headers = { "Content-Type": contentType };
  const { published } = await ask<{ published: readonly { id: string }[] }>(url, {
    method: "POST",
    headers,
    body: text,
  });
  const id = published[0]?.id;
  if (id === undefined) throw new Error("the answer names no message");
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
