/** The load of the echo benchmark: connections that each keep a number of messages in flight. */
import { frame, opcodes } from "../support/raw-socket.ts";
import { FrameReader } from "./frame.ts";
import { Load, type LoadFigures, type LoadTimes, type Target } from "./load.ts";
import { openMany, Wire } from "./wire.ts";

export interface EchoLoad extends LoadTimes {
  readonly connections: number;
  readonly inFlight: number;
  readonly payloadBytes: number;
}

export async function runEchoLoad(server: Target, echoLoad: EchoLoad): Promise<LoadFigures> {
  const load = new Load();
  const message = frame(opcodes.text, "x".repeat(echoLoad.payloadBytes));
  const frames = Buffer.concat(Array.from({ length: echoLoad.inFlight }, () => message));
  const lines = await openMany(echoLoad.connections, () =>
    EchoLine.open(server.port, echoLoad, frames, load),
  );
  try {
    for (const line of lines) line.begin();
    return await load.measure(server.pid, echoLoad);
  } finally {
    for (const line of lines) line.end();
  }
}

class EchoLine {
  readonly #frames: Uint8Array;
  readonly #frameBytes: number;
  readonly #load: Load;
  readonly #reader: FrameReader;
  /** The send time of each message in flight, the oldest at `#oldest`: answers come in the order of the messages. */
  readonly #sentAt: Float64Array;
  #oldest = 0;
  /** In the chunk that is being read. */
  #answered = 0;
  #wire: Wire | undefined;

  private constructor({ payloadBytes, inFlight }: EchoLoad, frames: Uint8Array, load: Load) {
    this.#frames = frames;
    this.#frameBytes = frames.length / inFlight;
    this.#load = load;
    this.#sentAt = new Float64Array(inFlight);
    this.#reader = new FrameReader((bytes) => {
      if (bytes !== payloadBytes) throw new Error(`${payloadBytes} bytes came back as ${bytes}`);
      this.#answered++;
    });
  }

  static async open(port: number, echoLoad: EchoLoad, frames: Uint8Array, load: Load): Promise<EchoLine> {
    const line = new EchoLine(echoLoad, frames, load);
    line.#wire = await Wire.open({ port, path: "/ping" }, (chunk) => line.#receive(chunk), load.fail);
    return line;
  }

  begin(): void {
    this.#sentAt.fill(performance.now());
    this.#wire?.send(this.#frames);
  }

  end(): void {
    this.#wire?.end();
  }

  /** Sends as many as came back in one write, like a client that answers all that it read. */
  #receive(chunk: Uint8Array): void {
    this.#answered = 0;
    this.#reader.take(chunk);
    if (this.#answered === 0) return;
    if (this.#answered > this.#sentAt.length) throw new Error("more messages came back than were sent");
    const now = performance.now();
    const { latencies } = this.#load;
    for (let index = 0; index < this.#answered; index++) {
      latencies?.add(now - (this.#sentAt[this.#oldest] ?? now));
      this.#sentAt[this.#oldest] = now;
      this.#oldest = (this.#oldest + 1) % this.#sentAt.length;
    }
    this.#load.items += this.#answered;
    this.#wire?.send(this.#frames.subarray(0, this.#answered * this.#frameBytes));
  }
}
