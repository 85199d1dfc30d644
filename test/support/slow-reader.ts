/** Subscribers that read too slowly, by a seed: they stall, read a little, or catch up, and look for holes. */
import { NarrowSocket, type Width } from "./narrow-socket.ts";
import type { Random } from "./random.ts";
import { handshakeHeaders, request } from "./raw-socket.ts";
import type { RunningServer } from "./server.ts";

export type Form = "raw" | "cloudevents" | "stream" | "cloudevents stream";

export const forms: readonly Form[] = ["raw", "cloudevents", "stream", "cloudevents stream"];

/** The text of a message: its number, a space, and filling up to a size. */
export const numbered = (number: number, bytes: number): string => `${number} `.padEnd(bytes, "x");

/** The observations of all readers together. */
export interface Sightings {
  cuts: number;
  messages: number;
  /** A sentence for each message that came after one that was left out. */
  readonly holes: string[];
}

export const noSightings = (): Sightings => ({ cuts: 0, messages: 0, holes: [] });

interface SlowReaderOptions {
  /** If left out, each connection begins with new messages. */
  readonly since?: string;
  /** Wide, if left out, for a reader that takes much; narrow for one that is soon to hold more than its limit. */
  readonly width?: Width;
}

/** One subscriber, which reconnects whenever it is cut. */
export class SlowReader implements Disposable {
  readonly #server: RunningServer;
  readonly #topic: string;
  readonly #form: Form;
  readonly #sightings: Sightings;
  #socket!: NarrowSocket;
  /** The bytes that arrived and were not parsed yet. */
  #text = "";
  /** Read and not looked at yet: the frame or chunk that they belong to ends at `#neededLength`. */
  #pieces: string[] = [];
  #piecesLength = 0;
  #neededLength = 0;
  /** The begin of an event that is not complete yet. */
  #body = "";
  #headIsRead = false;
  #last: number | undefined;

  readonly #since: string | undefined;
  readonly #width: Width;

  constructor(
    server: RunningServer,
    topic: string,
    form: Form,
    sightings: Sightings,
    { since, width = "wide" }: SlowReaderOptions = {},
  ) {
    this.#server = server;
    this.#topic = topic;
    this.#form = form;
    this.#sightings = sightings;
    this.#since = since;
    this.#width = width;
    this.#connect();
  }

  /** The number of the last message seen on this connection. */
  get last(): number | undefined {
    return this.#last;
  }

  /** True after the head of the answer has arrived. */
  get connected(): boolean {
    return this.#headIsRead;
  }

  /** Stalls, reads a little, or catches up. */
  act(random: Random): void {
    const choice = random.fraction();
    if (!this.#headIsRead) this.take(4096);
    else if (choice < 0.15) this.takeAll();
    else if (choice < 0.3) this.take(random.between(1, 32 * 1024));
  }

  /** Reads the bytes that have arrived, at most about `bytesMax`. */
  take(bytesMax: number): void {
    let taken = 0;
    while (taken < bytesMax) {
      const bytes = this.#socket.read(bytesMax - taken);
      if (bytes === undefined) this.#cut();
      if (!bytes?.length) return;
      taken += bytes.length;
      // One character per byte: the patterns are ASCII, and lengths count bytes.
      this.#pieces.push(bytes.toString("latin1"));
      this.#piecesLength += bytes.length;
      if (this.#text.length + this.#piecesLength < this.#neededLength) continue;
      this.#text += this.#pieces.join("");
      this.#forgetPieces();
      this.#parse();
    }
  }

  #forgetPieces(): void {
    this.#pieces = [];
    this.#piecesLength = 0;
    this.#neededLength = 0;
  }

  takeAll(): void {
    this.take(Number.MAX_SAFE_INTEGER);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #connect(): void {
    this.#socket = new NarrowSocket(Number(this.#server.url.port), this.#width);
    const isStream = this.#form.endsWith("stream");
    const headers: Record<string, string> = isStream
      ? { Accept: "text/event-stream" }
      : { ...handshakeHeaders };
    if (this.#form === "cloudevents") headers["Sec-WebSocket-Protocol"] = "cloudevents.json";
    const query = new URLSearchParams();
    if (this.#form === "cloudevents stream") query.set("format", "cloudevents");
    if (this.#since !== undefined) query.set("since", this.#since);
    this.#socket.write(Buffer.from(request("GET", `/topics/${this.#topic}?${query}`, headers)));
    this.#text = "";
    this.#forgetPieces();
    this.#body = "";
    this.#headIsRead = false;
    this.#last = undefined;
  }

  #cut(): void {
    if (this.#headIsRead) this.#sightings.cuts++;
    this.#socket[Symbol.dispose]();
    this.#connect();
  }

  #parse(): void {
    if (!this.#headIsRead) {
      const end = this.#text.indexOf("\r\n\r\n");
      if (end === -1) return;
      if (!/^HTTP\/1\.1 (101|200) /.test(this.#text))
        throw new Error(`answered with ${this.#text.slice(0, end)}`);
      this.#headIsRead = true;
      this.#text = this.#text.slice(end + 4);
    }
    if (this.#form.endsWith("stream")) this.#parseChunks();
    else this.#parseFrames();
  }

  /** A body in chunks (RFC 9112 section 7.1) that contains events. */
  #parseChunks(): void {
    for (;;) {
      const sizeEnd = this.#text.indexOf("\r\n");
      if (sizeEnd === -1) break;
      const dataStart = sizeEnd + 2;
      const dataEnd = dataStart + Number.parseInt(this.#text.slice(0, sizeEnd), 16);
      if (this.#text.length < dataEnd + 2) {
        this.#neededLength = dataEnd + 2;
        break;
      }
      this.#body += this.#text.slice(dataStart, dataEnd);
      this.#text = this.#text.slice(dataEnd + 2);
    }
    const events = this.#body.split("\n\n");
    this.#body = events.pop() ?? "";
    for (const event of events) this.#see(/"data":"(\d+) |^data: (\d+) /m.exec(event));
  }

  #parseFrames(): void {
    let start = 0;
    const { length } = this.#text;
    const byte = (at: number): number => this.#text.charCodeAt(at);
    while (length - start >= 2) {
      const short = byte(start + 1) & 0x7f;
      const headBytes = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (length - start < headBytes) break;
      let payloadBytes = short;
      if (short === 126) payloadBytes = byte(start + 2) * 256 + byte(start + 3);
      if (short === 127) {
        payloadBytes = 0;
        for (let at = start + 2; at < start + 10; at++) payloadBytes = payloadBytes * 256 + byte(at);
      }
      const payloadStart = start + headBytes;
      if (length < payloadStart + payloadBytes) {
        this.#neededLength = payloadStart + payloadBytes - start;
        break;
      }
      const payload = this.#text.slice(payloadStart, payloadStart + payloadBytes);
      this.#see(/"data":"(\d+) |^(\d+) /.exec(payload));
      start = payloadStart + payloadBytes;
    }
    this.#text = this.#text.slice(start);
  }

  #see(found: RegExpExecArray | null): void {
    if (!found) return;
    const number = Number(found[1] ?? found[2]);
    this.#sightings.messages++;
    if (this.#last !== undefined && number !== this.#last + 1)
      this.#sightings.holes.push(`${this.#form}: after ${this.#last} came ${number}`);
    this.#last = number;
  }
}
