/** The load of the stream benchmark: producers whose requests never end, each writing tokens at a fixed rate to its viewers. */
import type { Socket } from "bun";
import { Load, type LoadFigures, type LoadTimes, type Target } from "./load.ts";
import { openMany, Wire } from "./wire.ts";

export interface StreamLoad extends LoadTimes {
  readonly producers: number;
  readonly tokensPerSecond: number;
  /** Of each producer, by event streams. */
  readonly viewers: number;
}

/** Producers write in turns, so that the tokens of a second are spread over it. */
const turnMilliseconds = 5;

/** Microseconds of the clock in an event, always with this many digits, so that a viewer finds them without parsing. */
const timeDigits = 12;
const dataMark = Buffer.from("data: t");

export async function runStreamLoad(server: Target, streamLoad: StreamLoad): Promise<LoadFigures> {
  const { producers: count, tokensPerSecond, viewers: viewersOfEach } = streamLoad;
  const load = new Load();
  const path = (producer: number): string => `/topics/stream/${producer}`;
  let opened = 0;
  const viewers = await openMany(count * viewersOfEach, () => {
    const producer = opened++ % count;
    const take = tokenReader((microseconds) => {
      load.items++;
      load.latencies?.add(performance.now() - microseconds / 1000);
    });
    return Wire.open({ port: server.port, path: path(producer), as: "stream" }, take, load.fail);
  });
  let begun = 0;
  const producers = await openMany(count, () => Producer.open(server.port, path(begun++), load.fail));
  const turns = Math.round(1000 / tokensPerSecond / turnMilliseconds);
  let turn = 0;
  const timer = setInterval(() => {
    const chunk = tokenChunk(Math.round(performance.now() * 1000));
    for (let index = turn; index < count; index += turns) producers[index]?.send(chunk);
    turn = (turn + 1) % turns;
  }, turnMilliseconds);
  try {
    return await load.measure(server.pid, streamLoad);
  } finally {
    clearInterval(timer);
    for (const producer of producers) producer.end();
    for (const viewer of viewers) viewer.end();
  }
}

/** One event in a chunk of its own: 60 bytes, as a token of a language model is. */
function tokenChunk(microseconds: number): Buffer {
  const event = `event: token\ndata: t${String(microseconds).padStart(timeDigits, "0")} a token of text\n\n`;
  return Buffer.from(`${event.length.toString(16)}\r\n${event}\r\n`);
}

/** @param received is called with the time in each event */
function tokenReader(received: (microseconds: number) => void): (chunk: Uint8Array) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const found = bytes.indexOf(dataMark, at);
      const end = found + dataMark.length + timeDigits;
      if (found === -1 || end > bytes.length) break;
      received(Number(bytes.toString("latin1", found + dataMark.length, end)));
      at = end;
    }
    rest = Buffer.from(bytes.subarray(Math.max(at, bytes.length - dataMark.length - timeDigits)));
  };
}

class Producer {
  readonly #socket: Socket;
  #unsent = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async open(port: number, path: string, failed: (error: Error) => void): Promise<Producer> {
    let producer: Producer | undefined;
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => failed(new Error(`a producer was answered: ${bytes.toString()}`)),
        drain: () => producer?.send(Buffer.alloc(0)),
      },
    });
    producer = new Producer(socket);
    const head = [
      `POST ${path} HTTP/1.1`,
      `Host: 127.0.0.1:${port}`,
      "Content-Type: text/event-stream",
      "Transfer-Encoding: chunked",
    ];
    producer.send(Buffer.from(`${head.join("\r\n")}\r\n\r\n`));
    return producer;
  }

  send(bytes: Buffer): void {
    const all = this.#unsent.length === 0 ? bytes : Buffer.concat([this.#unsent, bytes]);
    this.#unsent = Buffer.from(all.subarray(Math.max(0, this.#socket.write(all))));
  }

  end(): void {
    this.#socket.terminate();
  }
}
