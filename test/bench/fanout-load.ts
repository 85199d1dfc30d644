/**
 * The load of the fan-out benchmark: subscribers of one topic, and publishers of which each publishes its next message
 * when every subscriber has its last one.
 */
import { frame, opcodes } from "../support/raw-socket.ts";
import { FrameReader } from "./frame.ts";
import { HttpLine } from "./http-line.ts";
import { Latencies } from "./latencies.ts";
import { startStopwatch } from "./stopwatch.ts";
import { openMany, Wire } from "./wire.ts";

export const topicPath = "/topics/bench";

export interface FanoutLoad {
  readonly subscribers: number;
  /** Publishers, each with one message at a time. */
  readonly inFlight: number;
  readonly payloadBytes: number;
  /** A socket that publishes is one of the subscribers. */
  readonly by: "http" | "socket";
  /** Before anything is counted. */
  readonly leadSeconds: number;
  readonly seconds: number;
}

export interface FanoutFigures {
  readonly cpuMicrosecondsPerDelivery: number;
  readonly deliveriesPerSecond: number;
  /** From a publish until all subscribers have it. */
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
  readonly generatorShare: number;
}

/** A message's first byte names its publisher, so that whoever receives it need not look further. */
const firstPublisher = "A".charCodeAt(0);

/** Without a delivery for so long, one was lost. */
const stallSecondsMax = 15;

export async function runFanoutLoad(
  server: { pid: number; port: number },
  load: FanoutLoad,
): Promise<FanoutFigures> {
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {}); // Looked at by the races below, of which none may have begun.
  const publishers: Publisher[] = [];
  let deliveries = 0;
  let latencies: Latencies | undefined;
  const delivered = (payloadBytes: number, firstByte: number): void => {
    if (payloadBytes !== load.payloadBytes) throw new Error(`a message arrived with ${payloadBytes} bytes`);
    deliveries++;
    publishers[firstByte - firstPublisher]?.delivered();
  };
  const subscribers = await openMany(load.subscribers, () => {
    const reader = new FrameReader(delivered);
    return Wire.open({ port: server.port, path: topicPath }, (chunk) => reader.take(chunk), failure.reject);
  });
  const lines: HttpLine[] = [];
  const watch = setInterval(
    watchForStall(() => deliveries, failure.reject),
    stallSecondsMax * 1000,
  );
  try {
    for (let index = 0; index < load.inFlight; index++) {
      const text = String.fromCharCode(firstPublisher + index).padEnd(load.payloadBytes, "x");
      const publisher = new Publisher(load.subscribers, (milliseconds) => latencies?.add(milliseconds));
      publishers.push(publisher);
      if (load.by === "http") {
        const line = await HttpLine.open(
          { port: server.port, path: topicPath, body: text },
          () => publisher.answered(),
          failure.reject,
        );
        lines.push(line);
        publisher.publishBy(() => line.post(), true);
      } else {
        const message = frame(opcodes.text, text);
        publisher.publishBy(() => subscribers[index]?.send(message), false);
      }
    }
    for (const publisher of publishers) publisher.publish();
    await Promise.race([Bun.sleep(load.leadSeconds * 1000), failure.promise]);
    latencies = new Latencies();
    deliveries = 0;
    const stop = startStopwatch(server.pid);
    await Promise.race([Bun.sleep(load.seconds * 1000), failure.promise]);
    const { seconds, serverCpuMicroseconds, generatorShare } = stop();
    return {
      cpuMicrosecondsPerDelivery: serverCpuMicroseconds / deliveries,
      deliveriesPerSecond: deliveries / seconds,
      medianMilliseconds: latencies.percentile(0.5),
      p99Milliseconds: latencies.percentile(0.99),
      generatorShare,
    };
  } finally {
    clearInterval(watch);
    for (const line of lines) line.end();
    for (const subscriber of subscribers) subscriber.end();
  }
}

function watchForStall(deliveries: () => number, failed: (error: Error) => void): () => void {
  let before = -1;
  return () => {
    const now = deliveries();
    if (now === before) failed(new Error(`nothing arrived for ${stallSecondsMax} s: a message was lost`));
    before = now;
  };
}

class Publisher {
  readonly #subscribers: number;
  readonly #completed: (milliseconds: number) => void;
  #send: () => void = () => {};
  #awaitsAnswer = false;
  #sentAt = 0;
  #missing = 0;
  #unanswered = false;

  /** @param completed gets the time from publishing until every subscriber had it */
  constructor(subscribers: number, completed: (milliseconds: number) => void) {
    this.#subscribers = subscribers;
    this.#completed = completed;
  }

  publishBy(send: () => void, awaitsAnswer: boolean): void {
    this.#send = send;
    this.#awaitsAnswer = awaitsAnswer;
  }

  publish(): void {
    this.#sentAt = performance.now();
    this.#missing = this.#subscribers;
    this.#unanswered = this.#awaitsAnswer;
    this.#send();
  }

  delivered(): void {
    if (--this.#missing > 0) return;
    this.#completed(performance.now() - this.#sentAt);
    if (!this.#unanswered) this.publish();
  }

  answered(): void {
    this.#unanswered = false;
    if (this.#missing === 0) this.publish();
  }
}
