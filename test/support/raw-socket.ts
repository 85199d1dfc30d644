/** Bytes over TCP, for requests and frames that no proper client would send. */
import type { Socket } from "bun";
import type { Close } from "./bun-client.ts";
import { within } from "./wait.ts";

export interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

export interface Frame {
  readonly final: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
}

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export interface FrameShape {
  readonly final?: boolean;
  readonly masked?: boolean;
  /** The three bits of extensions, none of which is negotiated: 0x40, 0x20, 0x10. */
  readonly reservedBits?: number;
}

/** A frame as a client must send it (RFC 6455 section 5.2), or with another shape. */
export function frame(opcode: number, payload: string | Uint8Array = "", shape: FrameShape = {}): Buffer {
  const { final = true, masked = true, reservedBits = 0 } = shape;
  const bytes = Buffer.from(payload); // A copy.
  const length = bytes.length;
  const lengthBytes =
    length < 126 ? Buffer.of(length) : length < 65_536 ? Buffer.alloc(3, 126) : Buffer.alloc(9, 127);
  if (lengthBytes.length === 3) lengthBytes.writeUInt16BE(length, 1);
  if (lengthBytes.length === 9) lengthBytes.writeBigUInt64BE(BigInt(length), 1);
  const first = Buffer.of((final ? 0x80 : 0) | reservedBits | opcode);
  if (!masked) return Buffer.concat([first, lengthBytes, bytes]);
  const mask = Buffer.of(0x12, 0x34, 0x56, 0x78);
  lengthBytes[0] = (lengthBytes[0] as number) | 0x80;
  for (let index = 0; index < length; index++)
    bytes[index] = (bytes[index] as number) ^ (mask[index & 3] as number);
  return Buffer.concat([first, lengthBytes, mask, bytes]);
}

/** A Close frame's payload. */
export function closePayload(code: number, reason: string | Uint8Array = ""): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(code);
  return Buffer.concat([bytes, Buffer.from(reason)]);
}

export class RawSocket implements Disposable {
  /** Resolves when the server has ended its side, or the connection is reset. */
  readonly ended: Promise<void>;
  readonly #ended = Promise.withResolvers<void>();
  #socket!: Socket;
  /** What arrived and was not read yet. It is joined when it is read, because a large message comes in many pieces. */
  #pieces: Buffer[] = [];
  #receivedBytes = 0;
  readonly #unsent: Uint8Array[] = [];
  #over = false;
  #arrived = Promise.withResolvers<void>();

  private constructor() {
    this.ended = this.#ended.promise;
  }

  /** Connects, and sends nothing yet. */
  static async connect(url: URL | string): Promise<RawSocket> {
    const { hostname, port } = new URL(url);
    const raw = new RawSocket();
    const end = (): void => {
      raw.#over = true;
      raw.#ended.resolve();
      raw.#arrive();
    };
    raw.#socket = await Bun.connect({
      hostname,
      port: Number(port),
      socket: {
        data: (_, data) => {
          raw.#pieces.push(data);
          raw.#receivedBytes += data.length;
          raw.#arrive();
        },
        drain: () => raw.#flush(),
        end,
        close: end,
        error: end,
      },
    });
    return raw;
  }

  /** Connects and becomes a WebSocket. */
  static async open(url: URL | string): Promise<RawSocket> {
    const raw = await RawSocket.connect(url);
    raw.write(request("GET", new URL(url).pathname, handshakeHeaders));
    const { status } = await raw.response();
    if (status !== 101) throw new Error(`the handshake was answered with ${status}`);
    return raw;
  }

  /** Sends bytes as they are. They must not change before they are sent. */
  write(bytes: string | Uint8Array): void {
    this.#unsent.push(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
    this.#flush();
  }

  /** Sends each byte in a packet of its own. */
  async writeByteByByte(bytes: Uint8Array): Promise<void> {
    this.#socket.setNoDelay(true);
    for (const byte of bytes) {
      this.write(Buffer.of(byte));
      await new Promise(setImmediate); // Lets the server read before the next one is sent.
    }
  }

  /** Stops reading, so that TCP slows down the server. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  async read(byteCount: number, seconds?: number): Promise<Buffer> {
    await this.#until(() => this.#receivedBytes >= byteCount, `${byteCount} bytes`, seconds);
    return this.#take(byteCount);
  }

  /** The bytes that arrived and were not read yet; waits for the first. */
  async some(): Promise<Buffer> {
    await this.#until(() => this.#receivedBytes > 0, "any bytes");
    return this.#take(this.#receivedBytes);
  }

  /** @param bodyless for the answer to HEAD, which has no body in spite of its Content-Length */
  async response(bodyless = false, seconds?: number): Promise<RawResponse> {
    const headBytes = (): number => this.#received.indexOf("\r\n\r\n") + 4;
    await this.#until(() => headBytes() >= 4, "the head of a response", seconds);
    const head = this.#take(headBytes()).toString();
    const [statusLine = "", ...lines] = head.trimEnd().split("\r\n");
    const headers = new Headers(
      lines.map((line) => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trim()];
      }),
    );
    const length = bodyless ? 0 : Number(headers.get("content-length") ?? 0);
    const body = (await this.read(length)).toString();
    return { status: Number(statusLine.split(" ")[1]), headers, body };
  }

  async frame(): Promise<Frame> {
    const [first = 0, second = 0] = await this.read(2);
    const short = second & 0x7f;
    const length =
      short < 126
        ? short
        : short === 126
          ? (await this.read(2)).readUInt16BE()
          : Number((await this.read(8)).readBigUInt64BE());
    return { final: (first & 0x80) !== 0, opcode: first & 0x0f, payload: await this.read(length) };
  }

  /** The next frame, which must be a Close frame. A ping before it is answered, since the server waits for that. */
  async closeFrame(): Promise<Close> {
    let { opcode, payload } = await this.frame();
    if (opcode === opcodes.ping) {
      this.write(frame(opcodes.pong, payload));
      ({ opcode, payload } = await this.frame());
    }
    if (opcode !== opcodes.close) throw new Error(`opcode ${opcode} came in place of a Close frame`);
    return { code: payload.readUInt16BE(), reason: payload.subarray(2).toString() };
  }

  /** Everything that arrives until the server ends the connection or is quiet for this long. */
  async hear(quietMilliseconds: number): Promise<Buffer> {
    for (let heard = -1; heard < this.#receivedBytes && !this.#over; ) {
      heard = this.#receivedBytes;
      await Promise.race([this.ended, Bun.sleep(quietMilliseconds)]);
    }
    return this.#take(this.#receivedBytes);
  }

  [Symbol.dispose](): void {
    this.#socket.terminate();
  }

  get #received(): Buffer {
    const [first = Buffer.alloc(0)] = this.#pieces;
    if (this.#pieces.length < 2) return first;
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return all;
  }

  #take(byteCount: number): Buffer {
    const received = this.#received;
    this.#pieces = [received.subarray(byteCount)];
    this.#receivedBytes -= byteCount;
    return received.subarray(0, byteCount);
  }

  async #until(holds: () => boolean, what: string, seconds?: number): Promise<void> {
    if (holds()) return; // Without a timer, for the many frames of a flood.
    const arriving = async (): Promise<void> => {
      while (!holds()) {
        if (this.#over) throw new Error(`the connection ended with ${this.#receivedBytes} bytes unread`);
        await this.#arrived.promise;
      }
    };
    await within(arriving(), what, seconds);
  }

  #arrive(): void {
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next; next = this.#unsent[0]) {
      const written = Math.max(0, this.#socket.write(next));
      if (written < next.length) {
        this.#unsent[0] = next.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }
}

export const handshakeHeaders: Readonly<Record<string, string>> = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** The head of an HTTP/1.1 request. */
export function request(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): string {
  const lines = Object.entries({ Host: "localhost", ...headers }).map(([name, value]) => `${name}: ${value}`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** One request on a connection of its own. */
export async function exchange(url: URL | string, bytes: string): Promise<RawResponse> {
  using raw = await RawSocket.connect(url);
  raw.write(bytes);
  return await raw.response(bytes.startsWith("HEAD "));
}
