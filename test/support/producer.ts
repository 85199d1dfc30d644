/** A producer that writes a body piece by piece over a connection of its own. */
import { type RawResponse, RawSocket, request } from "./raw-socket.ts";
import { within } from "./wait.ts";

export interface Producer extends Disposable {
  /** Writes one chunk. */
  write(text: string | Uint8Array): void;
  /** Ends the body. @returns the answer, which comes within these seconds */
  finish(seconds?: number): Promise<RawResponse>;
  /** The answer, also to a body that has not ended. */
  answer(): Promise<RawResponse>;
  /** Breaks the connection in the middle of the body. */
  break(): void;
}

/** @param path after `/topics/`, with its query */
export async function openProducer(
  url: URL | string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Producer> {
  const raw = await RawSocket.connect(url);
  const all = { "Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", ...headers };
  raw.write(request("POST", `/topics/${path}`, all));
  const answer = (seconds?: number): Promise<RawResponse> =>
    within(raw.response(false, seconds), "the answer to a stream", seconds);
  return {
    write: (text) => {
      const bytes = Buffer.from(text);
      raw.write(Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]));
    },
    finish: (seconds) => {
      raw.write("0\r\n\r\n");
      return answer(seconds);
    },
    answer: () => answer(),
    break: () => raw[Symbol.dispose](),
    [Symbol.dispose]: () => raw[Symbol.dispose](),
  };
}
