/** One kept-alive HTTP/1.1 connection that posts the same request again and again, one at a time. */
import type { Socket } from "bun";

interface Posting {
  readonly port: number;
  readonly path: string;
  readonly body: string;
}

export class HttpLine {
  readonly #request: Uint8Array;
  readonly #answered: () => void;
  readonly #failed: (error: Error) => void;
  #socket: Socket | undefined;
  #unsent: Uint8Array = new Uint8Array();
  #head = "";
  #ended = false;

  private constructor(request: string, answered: () => void, failed: (error: Error) => void) {
    this.#request = Buffer.from(request);
    this.#answered = answered;
    this.#failed = failed;
  }

  /** @param answered is called after each answer, which must be a 2xx */
  static async open(
    { port, path, body }: Posting,
    answered: () => void,
    failed: (error: Error) => void,
  ): Promise<HttpLine> {
    const head = [
      `POST ${path} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Content-Type: text/plain",
      `Content-Length: ${Buffer.byteLength(body)}`,
      "\r\n",
    ].join("\r\n");
    const line = new HttpLine(head + body, answered, failed);
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

  post(): void {
    this.#unsent = this.#request;
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
    this.#head += chunk.toString("latin1");
    const end = this.#head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const bodyBytes = /\r\ncontent-length: *(\d+)/i.exec(this.#head)?.[1];
    if (!/^HTTP\/1\.1 2/.test(this.#head) || bodyBytes === undefined) {
      this.#failed(new Error(`an answer that cannot be read: ${this.#head}`));
      return;
    }
    if (this.#head.length < end + 4 + Number(bodyBytes)) return;
    this.#head = "";
    this.#answered();
  }
}
