/**
 * Clients that store the last id as docs/protocol.md describes, in every form that has ids. They read byte by byte, so that
 * a connection can break after any byte, and check with every event that nothing was skipped and nothing came twice.
 */
import { handshakeHeaders, opcodes, request } from "./raw-socket.ts";
import { offsetOf } from "./topics.ts";

export type Form = "cloudevents.json" | "event stream" | "event stream of CloudEvents";

/** What a client asked for when it first came. */
export interface Asked {
  readonly since?: string;
  readonly lastEventId?: string;
}

/** What a client knows between two connections. */
export interface Memory {
  /** The last id of each topic; undefined before the first `longwire.open`. */
  readonly ids: readonly string[] | undefined;
  /** Whether a gap was reported, by topic. */
  readonly gaps: readonly boolean[];
}

/** No epoch is named `0`, so a client that returns with this id gets a gap. */
const noId = "0-0";

/** The server broke its promise. */
class Violation extends Error {}

/** The head of the request by which a client returns. */
export function returnRequest(
  form: Form,
  topics: readonly string[],
  { since, lastEventId }: Asked,
  memory: Memory,
): string {
  const path = `/topics/${topics.join(",")}`;
  const cursor = memory.ids?.join(",");
  if (form === "cloudevents.json") {
    const query = cursor ?? since;
    return request("GET", `${path}${query === undefined ? "" : `?since=${query}`}`, {
      ...handshakeHeaders,
      "Sec-WebSocket-Protocol": form,
    });
  }
  const query = [
    ...(since === undefined ? [] : [`since=${since}`]),
    ...(form === "event stream" ? [] : ["format=cloudevents"]),
  ].join("&");
  // An EventSource asks for the same URL each time.
  const id = cursor ?? lastEventId;
  return request("GET", `${path}${query === "" ? "" : `?${query}`}`, {
    Accept: "text/event-stream",
    ...(id === undefined ? {} : { "Last-Event-ID": id }),
  });
}

/** An event as the client handles it. `cursor` is the `id:` of an event stream. */
interface ClientEvent {
  readonly type: string;
  readonly topic: string;
  readonly id: string;
  readonly data: unknown;
  readonly cursor: string | undefined;
}

/** One connection of a client. `memory` is replaced in the step in which an event is handled. */
export class Reading {
  memory: Memory;
  readonly #topics: readonly string[];
  readonly #framing: Framing;
  #isOpen = false;

  constructor(form: Form, topics: readonly string[], memory: Memory) {
    this.#topics = topics;
    this.memory = memory;
    this.#framing =
      form === "cloudevents.json" ? new FrameReading() : new StreamReading(form === "event stream", topics);
  }

  /** @throws {Violation} */
  take(byte: number): void {
    const event = this.#framing.take(byte);
    if (event) this.#handle(event);
  }

  /** Whether the client has everything up to these positions. */
  isAt(positions: readonly (string | null)[]): boolean {
    const { ids } = this.memory;
    return this.#isOpen && (ids?.every((id, index) => id === positions[index]) ?? false);
  }

  #handle(event: ClientEvent): void {
    if (event.type === "longwire.open") this.#open(event);
    else if (!this.#isOpen) throw new Violation(`${event.type} came before longwire.open`);
    else if (event.type === "longwire.gap") this.#gap(event);
    else if (event.type === "longwire.message") this.#message(event);
    else throw new Violation(`${event.type} came`);
    const cursor = this.memory.ids?.join(",");
    if (event.cursor !== undefined && event.cursor !== cursor)
      throw new Violation(`${event.type} has the cursor ${event.cursor} where the client is at ${cursor}`);
  }

  #open({ data }: ClientEvent): void {
    const { topics } = data as { topics: { topic: string; id: string }[] };
    const { ids, gaps } = this.memory;
    for (const [index, topic] of this.#topics.entries()) {
      const opened = topics[index];
      if (opened?.topic !== topic)
        throw new Violation(`longwire.open has ${opened?.topic} in place of ${topic}`);
      const stored = ids?.[index];
      // Only a gap moves the id. An id that leads to a gap skips nothing.
      if (stored !== undefined && opened.id !== stored && opened.id !== noId)
        throw new Violation(`longwire.open moved ${topic} from ${stored} to ${opened.id} without a gap`);
    }
    this.memory = { ids: topics.map(({ id }) => id), gaps };
    this.#isOpen = true;
  }

  #gap({ data }: ClientEvent): void {
    const { topic, from } = data as { topic: string; from: string };
    const last = this.#last(topic);
    if (epochOf(from) === epochOf(last) && offsetOf(from) <= offsetOf(last))
      throw new Violation(`a gap sent ${topic} back from ${last} to ${from}`);
    this.#move(topic, from, true);
  }

  #message({ topic, id }: ClientEvent): void {
    const last = this.#last(topic);
    // The engine of these tests counts without a hole.
    if (epochOf(id) !== epochOf(last) || offsetOf(id) !== offsetOf(last) + 1)
      throw new Violation(`after ${last} of ${topic} came ${id}`);
    this.#move(topic, id, false);
  }

  #last(topic: string): string {
    const last = this.memory.ids?.[this.#topics.indexOf(topic)];
    if (last === undefined) throw new Violation(`an event of ${topic} came, which was not asked for`);
    return last;
  }

  #move(topic: string, id: string, isGap: boolean): void {
    const at = this.#topics.indexOf(topic);
    const { ids = [], gaps } = this.memory;
    this.memory = {
      ids: ids.map((stored, index) => (index === at ? id : stored)),
      gaps: gaps.map((isReported, index) => isReported || (isGap && index === at)),
    };
  }
}

const epochOf = (id: string): string => id.slice(0, id.lastIndexOf("-"));

/** From bytes to events. */
interface Framing {
  take(byte: number): ClientEvent | undefined;
}

const headEnd = Buffer.from("\r\n\r\n");

/** Reads the head of the answer. */
class HeadReading {
  readonly #expected: string;
  #head = Buffer.alloc(0);
  isOver = false;

  /** @param expected a part of it, such as the status */
  constructor(expected: string) {
    this.#expected = expected;
  }

  take(byte: number): void {
    this.#head = Buffer.concat([this.#head, Buffer.of(byte)]);
    this.isOver = this.#head.subarray(-4).equals(headEnd);
    if (!this.isOver) return;
    const head = this.#head.toString();
    if (!head.includes(this.#expected)) throw new Violation(`the answer was ${head}`);
  }
}

class FrameReading implements Framing {
  readonly #head = new HeadReading("HTTP/1.1 101 ");
  #frame: number[] = [];

  take(byte: number): ClientEvent | undefined {
    if (!this.#head.isOver) {
      this.#head.take(byte);
      return undefined;
    }
    this.#frame.push(byte);
    const payload = payloadOf(this.#frame);
    if (!payload) return undefined;
    const opcode = Number(this.#frame[0]) & 0xf;
    this.#frame = [];
    if (opcode !== opcodes.text) throw new Violation(`a frame with the opcode ${opcode} came`);
    return eventOf(payload.toString(), undefined);
  }
}

/** @returns undefined while the frame is not whole */
function payloadOf(frame: readonly number[]): Buffer | undefined {
  const short = Number(frame[1]) & 0x7f;
  const lengthBytes = short < 126 ? 0 : short === 126 ? 2 : 8;
  const start = 2 + lengthBytes;
  if (frame.length < start) return undefined;
  const length =
    lengthBytes === 0 ? short : frame.slice(2, start).reduce((length, byte) => length * 256 + byte, 0);
  return frame.length < start + length ? undefined : Buffer.from(frame.slice(start));
}

/** WHATWG HTML section 9.2.6, in the chunks of RFC 9112 section 7.1. An event that broke off is dropped. */
class StreamReading implements Framing {
  readonly #head = new HeadReading("Transfer-Encoding: chunked");
  readonly #isPlain: boolean;
  readonly #topics: readonly string[];
  #sizeLine = "";
  /** Bytes of the chunk that are still to come, with the line end after them; undefined in the line before it. */
  #chunkLeft: number | undefined;
  #line: number[] = [];
  #event = "";
  #data: string[] = [];
  #id: string | undefined;

  constructor(isPlain: boolean, topics: readonly string[]) {
    this.#isPlain = isPlain;
    this.#topics = topics;
  }

  take(byte: number): ClientEvent | undefined {
    if (!this.#head.isOver) {
      this.#head.take(byte);
      return undefined;
    }
    if (this.#chunkLeft === undefined) {
      this.#sizeLine += String.fromCharCode(byte);
      if (this.#sizeLine.endsWith("\r\n")) {
        this.#chunkLeft = Number.parseInt(this.#sizeLine, 16) + 2;
        this.#sizeLine = "";
      }
      return undefined;
    }
    const isContent = this.#chunkLeft > 2;
    this.#chunkLeft = this.#chunkLeft === 1 ? undefined : this.#chunkLeft - 1;
    return isContent ? this.#takeContent(byte) : undefined;
  }

  #takeContent(byte: number): ClientEvent | undefined {
    if (byte !== 0x0a) {
      this.#line.push(byte);
      return undefined;
    }
    const line = Buffer.from(this.#line).toString();
    this.#line = [];
    if (line === "") return this.#dispatch();
    const [name] = line.split(":", 1);
    const value = line.slice(String(name).length + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    if (name === "data") this.#data.push(value);
    if (name === "id") this.#id = value;
    return undefined;
  }

  #dispatch(): ClientEvent | undefined {
    const [event, data, id] = [this.#event, this.#data, this.#id];
    this.#event = "";
    this.#data = [];
    if (data.length === 0) return undefined;
    if (id === undefined) throw new Violation(`the event ${data} came without any id`);
    if (!this.#isPlain) return eventOf(data.join("\n"), id);
    const topic = String(this.#topics[0]);
    if (event === "") return { type: "longwire.message", topic, id, data: data.join("\n"), cursor: id };
    return { type: event, topic, id, data: JSON.parse(data.join("\n")), cursor: id };
  }
}

function eventOf(event: string, cursor: string | undefined): ClientEvent {
  const { type, topic = "", id, data } = JSON.parse(event);
  return { type, topic, id, data, cursor };
}
