/**
 * A companion that keeps all rules while others attack: `bun run test/support/honest-client.ts <url> <process number>`. It makes
 * round trips on /ping and through a topic until its stdin ends, then prints how long the server worked before it answered.
 */
import { readFileSync } from "node:fs";
import { openBun } from "./bun-client.ts";
import { Stdin } from "./stdin.ts";

/** How long the server's main thread had the processor from a message to its answer: no matter how busy the machine is. */
export interface Experience {
  readonly roundTrips: number;
  readonly medianMilliseconds: number;
  readonly worstMilliseconds: number;
}

const everyMilliseconds = 10;

/** Also for a short attack, so that there is a figure. */
const roundTripsMin = 20;

if (import.meta.main) await main(process.argv[2] ?? "", Number(process.argv[3]));

/** The processor time of a process's main thread. */
function workedMilliseconds(pid: number): number {
  const [nanoseconds] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ");
  return Number(nanoseconds) / 1e6;
}

async function main(url: string, serverPid: number): Promise<void> {
  const stdin = new Stdin();
  using echo = await openBun(`${url}ping`);
  using subscriber = await openBun(`${url}topics/honest`);
  console.log("begun");
  let roundTrips = 0;
  const waits: number[] = [];
  while (!stdin.hasEnded || roundTrips < roundTripsMin) {
    for (const line of [echo, subscriber]) {
      const text = `round trip ${roundTrips}`;
      const begun = workedMilliseconds(serverPid);
      line.send(text);
      const answer = await line.next();
      if (answer !== text) throw new Error(`"${answer}" came in place of "${text}"`);
      waits.push(workedMilliseconds(serverPid) - begun);
      roundTrips++;
    }
    await Bun.sleep(everyMilliseconds);
  }
  waits.sort((one, other) => one - other);
  const medianMilliseconds = waits[waits.length >> 1] as number;
  const worstMilliseconds = waits.at(-1) as number;
  const experience: Experience = { roundTrips, medianMilliseconds, worstMilliseconds };
  console.log(JSON.stringify(experience));
  process.exit(0); // Does not wait for the sockets.
}
