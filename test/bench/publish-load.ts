/** The load of the publish benchmark: connections that each send one POST at a time. */
import { HttpLine, postRequest } from "./http-line.ts";
import { Load, type LoadFigures, type LoadTimes, type Target } from "./load.ts";

export interface PublishLoad extends LoadTimes {
  readonly connections: number;
  readonly topics: number;
  readonly payloadBytes: number;
  /** Text unless it is set. */
  readonly isJson?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** The `topics` are keys of one keyed topic, `keyed/publish`. */
  readonly areKeys?: boolean;
  /** Sends another `Idempotency-Key` with each request. */
  readonly withKeys?: boolean;
}

/** Requests that a connection repeats in turn; each has another topic as long as there are enough. */
const requestsMax = 1000;

/** Replaced in each request by a number that no other request has. */
const keyDigits = "0".repeat(12);

export async function runPublishLoad(server: Target, publishLoad: PublishLoad): Promise<LoadFigures> {
  const load = new Load();
  const lines = await Promise.all(
    Array.from({ length: publishLoad.connections }, (_, index) =>
      PublishLine.open(server.port, publishLoad, index, load),
    ),
  );
  try {
    for (const line of lines) line.send();
    return await load.measure(server.pid, publishLoad);
  } finally {
    for (const line of lines) line.end();
  }
}

/** Of all connections of this process, so that every load has keys of its own. */
let keysUsed = 0;

class PublishLine {
  readonly #load: Load;
  readonly #requests: readonly Buffer[];
  /** The position of the digits of the key in each request; -1 without one. */
  readonly #keyAt: readonly number[];
  #turn = 0;
  #sentAt = 0;
  #line: HttpLine | undefined;

  private constructor(port: number, publishLoad: PublishLoad, index: number, load: Load) {
    const { connections, topics, payloadBytes, isJson = false, withKeys = false, areKeys } = publishLoad;
    this.#load = load;
    const headers = {
      ...publishLoad.headers,
      ...(isJson ? { "Content-Type": "application/json" } : {}),
      ...(withKeys ? { "Idempotency-Key": keyDigits } : {}),
    };
    const body = isJson ? jsonOf(payloadBytes) : "x".repeat(payloadBytes);
    this.#requests = Array.from({ length: Math.min(topics, requestsMax) }, (_, turn) => {
      const topic = (turn * connections + index) % topics;
      const path = areKeys ? `/topics/keyed/publish?key=key-${topic}` : `/topics/publish/${topic}`;
      return postRequest({ port, path, body, headers });
    });
    this.#keyAt = this.#requests.map((request) => (withKeys ? request.indexOf(keyDigits) : -1));
  }

  static async open(port: number, publishLoad: PublishLoad, index: number, load: Load): Promise<PublishLine> {
    const line = new PublishLine(port, publishLoad, index, load);
    line.#line = await HttpLine.open(port, () => line.#answered(), load.fail);
    return line;
  }

  send(): void {
    const request = this.#requests[this.#turn];
    const keyAt = this.#keyAt[this.#turn] ?? -1;
    this.#turn = (this.#turn + 1) % this.#requests.length;
    if (!request) return;
    if (keyAt >= 0) writeDigits(request, keyAt, keysUsed++);
    this.#sentAt = performance.now();
    this.#line?.send(request);
  }

  end(): void {
    this.#line?.end();
  }

  #answered(): void {
    this.#load.items++;
    this.#load.latencies?.add(performance.now() - this.#sentAt);
    this.send();
  }
}

/** An object of several members, as applications send them. */
function jsonOf(bytes: number): string {
  const order = { kind: "order", id: 4711, paid: true, note: "" };
  return JSON.stringify({ ...order, note: "x".repeat(bytes - JSON.stringify(order).length) });
}

function writeDigits(request: Buffer, at: number, number: number): void {
  let left = number;
  for (let index = at + keyDigits.length - 1; index >= at; index--) {
    request[index] = 0x30 + (left % 10);
    left = Math.floor(left / 10);
  }
}
