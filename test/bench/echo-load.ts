/** The load of the echo benchmark: connections that each keep so many messages in flight. */
import { clientFrame, FrameCounter } from "./frame.ts";
import { Latencies } from "./latencies.ts";
import { cpuMicroseconds } from "./process-usage.ts";
import { openMany, Wire } from "./wire.ts";

export interface EchoLoad {
  readonly connections: number;
  readonly inFlight: number;
  readonly payloadBytes: number;
  /** Before anything is counted. */
  readonly leadSeconds: number;
  readonly seconds: number;
}

export interface EchoFigures {
  readonly cpuMicrosecondsPerMessage: number;
  readonly messagesPerSecond: number;
  readonly medianMilliseconds: number;
  readonly p99Milliseconds: number;
  /** Of one core: near 1 the load generator, and not the server, sets the rate. */
  readonly generatorShare: number;
}

interface Tally {
  messages: number;
  /** Set while it is counted. */
  latencies: Latencies | undefined;
}

export async function runEchoLoad(
  server: { pid: number; port: number },
  load: EchoLoad,
): Promise<EchoFigures> {
  const tally: Tally = { messages: 0, latencies: undefined };
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {}); // Looked at by the races below, of which none may have begun.
  const frame = clientFrame("x".repeat(load.payloadBytes));
  const frames = Buffer.concat(Array.from({ length: load.inFlight }, () => frame));
  const lines = await openMany(load.connections, () =>
    EchoLine.open(server.port, load, frames, tally, failure.reject),
  );
  try {
    for (const line of lines) line.begin();
    await Promise.race([Bun.sleep(load.leadSeconds * 1000), failure.promise]);
    const begin = reading(server.pid, tally);
    const latencies = new Latencies();
    tally.latencies = latencies;
    await Promise.race([Bun.sleep(load.seconds * 1000), failure.promise]);
    const end = reading(server.pid, tally);
    const messages = end.messages - begin.messages;
    const elapsedMicroseconds = end.atMicroseconds - begin.atMicroseconds;
    return {
      cpuMicrosecondsPerMessage: (end.serverCpuMicroseconds - begin.serverCpuMicroseconds) / messages,
      messagesPerSecond: (messages / elapsedMicroseconds) * 1e6,
      medianMilliseconds: latencies.percentile(0.5),
      p99Milliseconds: latencies.percentile(0.99),
      generatorShare: (end.ownCpuMicroseconds - begin.ownCpuMicroseconds) / elapsedMicroseconds,
    };
  } finally {
    for (const line of lines) line.end();
  }
}

function reading(serverPid: number, { messages }: Tally) {
  return {
    messages,
    atMicroseconds: performance.now() * 1000,
    serverCpuMicroseconds: cpuMicroseconds(serverPid),
    ownCpuMicroseconds: cpuMicroseconds(process.pid),
  };
}

class EchoLine {
  readonly #frames: Uint8Array;
  readonly #frameBytes: number;
  readonly #tally: Tally;
  readonly #counter: FrameCounter;
  /** When each message in flight was sent, the oldest at `#oldest`: answers come in the order of the questions. */
  readonly #sentAt: Float64Array;
  #oldest = 0;
  #wire: Wire | undefined;

  private constructor({ payloadBytes, inFlight }: EchoLoad, frames: Uint8Array, tally: Tally) {
    this.#frames = frames;
    this.#frameBytes = frames.length / inFlight;
    this.#tally = tally;
    this.#counter = new FrameCounter(payloadBytes);
    this.#sentAt = new Float64Array(inFlight);
  }

  static async open(
    port: number,
    load: EchoLoad,
    frames: Uint8Array,
    tally: Tally,
    failed: (error: unknown) => void,
  ): Promise<EchoLine> {
    const line = new EchoLine(load, frames, tally);
    const receive = (chunk: Uint8Array): void => {
      try {
        line.#receive(chunk);
      } catch (error) {
        failed(error);
      }
    };
    line.#wire = await Wire.open({ port, path: "/ping" }, receive, failed);
    return line;
  }

  begin(): void {
    this.#sentAt.fill(performance.now());
    this.#wire?.send(this.#frames);
  }

  end(): void {
    this.#wire?.end();
  }

  /** Sends as many as came back, in one write, as a client does that answers what it read. */
  #receive(chunk: Uint8Array): void {
    const answered = this.#counter.take(chunk);
    if (answered === 0) return;
    if (answered > this.#sentAt.length)
      throw new Error(`${answered} answers to ${this.#sentAt.length} messages`);
    const now = performance.now();
    const { latencies } = this.#tally;
    for (let index = 0; index < answered; index++) {
      latencies?.add(now - (this.#sentAt[this.#oldest] ?? now));
      this.#sentAt[this.#oldest] = now;
      this.#oldest = (this.#oldest + 1) % this.#sentAt.length;
    }
    this.#tally.messages += answered;
    this.#wire?.send(this.#frames.subarray(0, answered * this.#frameBytes));
  }
}
