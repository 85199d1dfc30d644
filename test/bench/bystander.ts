/**
 * A companion that has no part in the load: `bun run test/bench/bystander.ts <port>`. It makes echoes on /ping until its
 * stdin ends, then prints the longest wait for one and the 99th percentile.
 */
import { frame, opcodes } from "../support/raw-socket.ts";
import { Stdin } from "../support/stdin.ts";
import { FrameReader } from "./frame.ts";
import { Latencies } from "./latencies.ts";
import { Wire } from "./wire.ts";

export interface Waits {
  readonly echoes: number;
  readonly longestWaitMilliseconds: number;
  readonly p99Milliseconds: number;
}

const everyMilliseconds = 5;

/** Also for a short load, so that there is a figure. */
const echoesMin = 20;

if (import.meta.main) await main(Number(process.argv[2]));

async function main(port: number): Promise<void> {
  const stdin = new Stdin();
  const message = frame(opcodes.text, "still there?");
  let answered = Promise.withResolvers<void>();
  const reader = new FrameReader(() => answered.resolve());
  const wire = await Wire.open(
    { port, path: "/ping" },
    (chunk) => reader.take(chunk),
    (error) => answered.reject(error),
  );
  console.log("begun");
  let echoes = 0;
  const latencies = new Latencies();
  let longestWaitMilliseconds = 0;
  while (!stdin.hasEnded || echoes < echoesMin) {
    answered = Promise.withResolvers();
    const sentAt = performance.now();
    wire.send(message);
    await answered.promise;
    const waitMilliseconds = performance.now() - sentAt;
    latencies.add(waitMilliseconds);
    longestWaitMilliseconds = Math.max(longestWaitMilliseconds, waitMilliseconds);
    echoes++;
    await Bun.sleep(everyMilliseconds);
  }
  const p99Milliseconds = latencies.percentile(0.99);
  const waits: Waits = { echoes, longestWaitMilliseconds, p99Milliseconds };
  console.log(JSON.stringify(waits));
  process.exit(0); // Does not wait for the socket.
}
