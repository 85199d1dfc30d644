/**
 * The load of the fan-out benchmark: subscribers of one topic, and publishers that each publish the next message when every
 * subscriber has received the last one.
 */
import { frame, opcodes } from "../support/raw-socket.ts";
import { EventStreamReader } from "./event-stream.ts";
import { FrameReader } from "./frame.ts";
import { HttpLine, postRequest } from "./http-line.ts";
import { Load, type LoadFigures, type LoadTimes, type Target } from "./load.ts";
import { openMany, Wire } from "./wire.ts";

export const topicPath = "/topics/bench";

export interface FanoutLoad extends LoadTimes {
  readonly subscribers: number;
  /** Publishers, each with one message at a time. */
  readonly inFlight: number;
  readonly payloadBytes: number;
  /** What the subscribers have open. */
  readonly to: "socket" | "stream";
  /** How it is published. A socket that publishes is one of the subscribers. */
  readonly by: "http" | "socket";
}

/** The first byte of a message names its publisher, so that a subscriber reads no further. */
const firstPublisher = "A".charCodeAt(0);

/** Without a delivery for this long, one was lost. */
const stallSecondsMax = 15;

export async function runFanoutLoad(server: Target, fanoutLoad: FanoutLoad): Promise<LoadFigures> {
  const load = new Load();
  const publishers: Publisher[] = [];
  const delivered = (payloadBytes: number, firstByte: number): void => {
    if (payloadBytes !== fanoutLoad.payloadBytes)
      throw new Error(`a message arrived with ${payloadBytes} bytes`);
    load.items++;
    publishers[firstByte - firstPublisher]?.delivered();
  };
  const opening = { port: server.port, path: topicPath, as: fanoutLoad.to };
  const subscribers = await openMany(fanoutLoad.subscribers, () => {
    const reader = fanoutLoad.to === "stream" ? new EventStreamReader(delivered) : new FrameReader(delivered);
    return Wire.open(opening, (chunk) => reader.take(chunk), load.fail);
  });
  const lines: HttpLine[] = [];
  const watch = setInterval(watchForStall(load), stallSecondsMax * 1000);
  try {
    for (let index = 0; index < fanoutLoad.inFlight; index++) {
      const publisher = new Publisher(fanoutLoad, load);
      publishers.push(publisher);
      const text = String.fromCharCode(firstPublisher + index).padEnd(fanoutLoad.payloadBytes, "x");
      if (fanoutLoad.by === "http") lines.push(await publisher.publishByHttp(server.port, text));
      else publisher.publishBySocket(subscribers[index], text);
    }
    for (const publisher of publishers) publisher.publish();
    return await load.measure(server.pid, fanoutLoad);
  } finally {
    clearInterval(watch);
    for (const line of lines) line.end();
    for (const subscriber of subscribers) subscriber.end();
  }
}

function watchForStall(load: Load): () => void {
  let before = -1;
  return () => {
    if (load.items === before)
      load.fail(new Error(`nothing arrived for ${stallSecondsMax} s: a message was lost`));
    before = load.items;
  };
}

class Publisher {
  readonly #subscribers: number;
  readonly #load: Load;
  #send: (() => void) | undefined;
  #awaitsAnswer = false;
  #sentAt = 0;
  #missing = 0;
  #unanswered = false;

  constructor({ subscribers }: FanoutLoad, load: Load) {
    this.#subscribers = subscribers;
    this.#load = load;
  }

  async publishByHttp(port: number, text: string): Promise<HttpLine> {
    const line = await HttpLine.open(port, () => this.#answered(), this.#load.fail);
    const request = postRequest({ port, path: topicPath, body: text });
    this.#send = () => line.send(request);
    this.#awaitsAnswer = true;
    return line;
  }

  publishBySocket(socket: Wire | undefined, text: string): void {
    const message = frame(opcodes.text, text);
    this.#send = () => socket?.send(message);
  }

  publish(): void {
    this.#sentAt = performance.now();
    this.#missing = this.#subscribers;
    this.#unanswered = this.#awaitsAnswer;
    this.#send?.();
  }

  delivered(): void {
    if (--this.#missing > 0) return;
    this.#load.latencies?.add(performance.now() - this.#sentAt);
    if (!this.#unanswered) this.publish();
  }

  #answered(): void {
    this.#unanswered = false;
    if (this.#missing === 0) this.publish();
  }
}
