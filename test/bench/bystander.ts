/**
 * A companion that has no part in the load: `bun run test/bench/bystander.ts <port>`. It makes echoes on /ping until its
 * stdin ends, then prints the longest wait for one.
 */
import { frame, opcodes } from "../support/raw-socket.ts";
import { Stdin } from "../support/stdin.ts";
import { FrameReader } from "./frame.ts";
import { Wire } from "./wire.ts";

export interface Waits {
  readonly echoes: number;
  readonly longestWaitMilliseconds: number;
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
  let longestWaitMilliseconds = 0;
  while (!stdin.hasEnded || echoes < echoesMin) {
    answered = Promise.withResolvers();
    const sentAt = performance.now();
    wire.send(message);
    await answered.promise;
    longestWaitMilliseconds = Math.max(longestWaitMilliseconds, performance.now() - sentAt);
    echoes++;
    await Bun.sleep(everyMilliseconds);
  }
  const waits: Waits = { echoes, longestWaitMilliseconds };
  console.log(JSON.stringify(waits));
  process.exit(0); // Does not wait for the socket.
}
