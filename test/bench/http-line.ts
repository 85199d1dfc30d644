/** One kept-alive HTTP/1.1 connection that sends one request at a time. */
import type { Socket } from "bun";

export interface Post {
  readonly port: number;
  readonly path: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The bytes of a POST request. */
export function postRequest({ port, path, body, headers = {} }: Post): Buffer {
  const lines = Object.entries({
    Host: `127.0.0.1:${port}`,
    "Content-Type": "text/plain",
    ...headers,
    "Content-Length": `${Buffer.byteLength(body)}`,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join("")}\r\n${body}`);
}

export class HttpLine {
  readonly #answered: () => void;
  readonly #failed: (error: Error) => void;
  #socket: Socket | undefined;
  #unsent: Uint8Array = new Uint8Array();
  #answer = "";
  #ended = false;

  private constructor(answered: () => void, failed: (error: Error) => void) {
    this.#answered = answered;
    this.#failed = failed;
  }

  /** @param answered is called after each answer, which must be a 2xx */
  static async open(port: number, answered: () => void, failed: (error: Error) => void): Promise<HttpLine> {
    const line = new HttpLine(answered, failed);
    line.#socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, chunk) => line.#receive(chunk),
        drain: () => line.#write(),
        error: (_, error) => failed(error),
        close: () => {
          if (!line.#ended) failed(new Error(`the server at port ${port} ended a connection`));
        },
      },
    });
    return line;
  }

  /** @param request must not change before its answer */
  send(request: Uint8Array): void {
    this.#unsent = request;
    this.#write();
  }

  end(): void {
    this.#ended = true;
    this.#socket?.terminate();
  }

  #write(): void {
    if (this.#unsent.length === 0) return;
    const written = this.#socket?.write(this.#unsent) ?? 0;
    this.#unsent = this.#unsent.subarray(Math.max(0, written));
  }

  #receive(chunk: Buffer): void {
    this.#answer += chunk.toString("latin1");
    const end = this.#answer.indexOf("\r\n\r\n");
    if (end < 0) return;
    const bodyBytes = /\r\ncontent-length: *(\d+)/i.exec(this.#answer)?.[1];
    if (!this.#answer.startsWith("HTTP/1.1 2") || bodyBytes === undefined) {
      this.#failed(new Error(`an answer that cannot be read: ${this.#answer}`));
      return;
    }
    if (this.#answer.length < end + 4 + Number(bodyBytes)) return;
    this.#answer = "";
    this.#answered();
  }
}
