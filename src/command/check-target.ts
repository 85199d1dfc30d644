/** The server that `longwire check` looks at: its addresses, and the requests that all checks make. */

/** Ends without a Close frame. */
type CuttableSocket = WebSocket & Pick<Bun.WebSocket, "terminate">;

export class CheckTarget {
  readonly #headers: Readonly<Record<string, string>>;

  /** @param base of the server, with the prefix below which it is mounted and without a slash at its end */
  constructor(
    readonly base: string,
    readonly topic: string,
    readonly token: string,
  ) {
    this.#headers = token === "" ? {} : { Authorization: `Bearer ${token}` };
  }

  get isSecure(): boolean {
    return this.base.startsWith("https:");
  }

  topicUrl(search = ""): string {
    return `${this.base}/topics/${this.topic.split("/").map(encodeURIComponent).join("/")}${search}`;
  }

  get pingUrl(): string {
    return `${this.base}/ping`;
  }

  /** Without the limit of Bun's client, which ends an answer after five minutes. */
  fetch(url: string, { headers, ...init }: RequestInit = {}): Promise<Response> {
    return fetch(url, { ...init, headers: { ...this.#headers, ...headers }, timeout: false } as RequestInit);
  }

  openEvents(url: string, signal: AbortSignal): Promise<Response> {
    return this.fetch(url, { signal, headers: { Accept: "text/event-stream" } });
  }

  /** Bun's own WebSocket takes headers and can be cut; the types of browsers, which are loaded, know neither. */
  socket(url: string, protocols: readonly string[] = []): CuttableSocket {
    const options = { protocols: [...protocols], headers: this.#headers };
    return Reflect.construct(WebSocket, [url.replace(/^http/, "ws"), options]) as CuttableSocket;
  }

  /** @throws {Error} with the problem's detail for every other status than 200 */
  async publish(body: string, key: string): Promise<string> {
    const answer = await this.fetch(this.topicUrl(), {
      method: "POST",
      body,
      headers: { "Content-Type": "text/plain", "Idempotency-Key": key },
    });
    const content = await answer.text();
    if (answer.status !== 200) throw new PublishError(answer.status, content);
    return JSON.parse(content).published[0].id;
  }
}

export class PublishError extends Error {
  override readonly name = "PublishError";

  constructor(
    readonly status: number,
    body: string,
  ) {
    super(`POST was answered with ${status}: ${detailOf(body)}`);
  }

  /** Repeating it can help. */
  get isForNow(): boolean {
    return this.status === 503 || this.status === 502 || this.status === 504 || this.status === 429;
  }
}

/** What an answer says, for a person. */
export function detailOf(body: string): string {
  try {
    return String(JSON.parse(body).detail ?? body);
  } catch {
    return body.trim().slice(0, 200) || "without a body";
  }
}
