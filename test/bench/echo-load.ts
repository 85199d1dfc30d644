/** The load of the echo benchmark: connections that each keep so many messages in flight. */
import { frame, opcodes } from "../support/raw-socket.ts";
import { FrameReader } from "./frame.ts";
import { Latencies } from "./latencies.ts";
import { startStopwatch } from "./stopwatch.ts";
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
  const message = frame(opcodes.text, "x".repeat(load.payloadBytes));
  const frames = Buffer.concat(Array.from({ length: load.inFlight }, () => message));
  const lines = await openMany(load.connections, () =>
    EchoLine.open(server.port, load, frames, tally, failure.reject),
  );
  try {
    for (const line of lines) line.begin();
    await Promise.race([Bun.sleep(load.leadSeconds * 1000), failure.promise]);
    const latencies = new Latencies();
    tally.latencies = latencies;
    tally.messages = 0;
    const stop = startStopwatch(server.pid);
    await Promise.race([Bun.sleep(load.seconds * 1000), failure.promise]);
    const { seconds, serverCpuMicroseconds, generatorShare } = stop();
    return {
      cpuMicrosecondsPerMessage: serverCpuMicroseconds / tally.messages,
      messagesPerSecond: tally.messages / seconds,
      medianMilliseconds: latencies.percentile(0.5),
      p99Milliseconds: latencies.percentile(0.99),
      generatorShare,
    };
  } finally {
    for (const line of lines) line.end();
  }
}

class EchoLine {
  readonly #frames: Uint8Array;
  readonly #frameBytes: number;
  readonly #tally: Tally;
  readonly #reader: FrameReader;
  /** When each message in flight was sent, the oldest at `#oldest`: answers come in the order of the questions. */
  readonly #sentAt: Float64Array;
  #oldest = 0;
  /** In the chunk that is being read. */
  #answered = 0;
  #wire: Wire | undefined;

  private constructor({ payloadBytes, inFlight }: EchoLoad, frames: Uint8Array, tally: Tally) {
    this.#frames = frames;
    this.#frameBytes = frames.length / inFlight;
    this.#tally = tally;
    this.#sentAt = new Float64Array(inFlight);
    this.#reader = new FrameReader((bytes) => {
      if (bytes !== payloadBytes) throw new Error(`${payloadBytes} bytes came back as ${bytes}`);
      this.#answered++;
    });
  }

  static async open(
    port: number,
    load: EchoLoad,
    frames: Uint8Array,
    tally: Tally,
    failed: (error: unknown) => void,
  ): Promise<EchoLine> {
    const line = new EchoLine(load, frames, tally);
    line.#wire = await Wire.open({ port, path: "/ping" }, (chunk) => line.#receive(chunk), failed);
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
    this.#answered = 0;
    this.#reader.take(chunk);
    if (this.#answered === 0) return;
    if (this.#answered > this.#sentAt.length) throw new Error("more messages came back than were sent");
    const now = performance.now();
    const { latencies } = this.#tally;
    for (let index = 0; index < this.#answered; index++) {
      latencies?.add(now - (this.#sentAt[this.#oldest] ?? now));
      this.#sentAt[this.#oldest] = now;
      this.#oldest = (this.#oldest + 1) % this.#sentAt.length;
    }
    this.#tally.messages += this.#answered;
    this.#wire?.send(this.#frames.subarray(0, this.#answered * this.#frameBytes));
  }
}
