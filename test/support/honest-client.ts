/**
 * A companion that keeps all rules while others attack: `bun run test/support/honest-client.ts`. It takes a command a line:
 * - `begin <url> <process number>` makes round trips on /ping and through a topic of this server, and is answered `begun`;
 * - `anew` begins the median anew, and is answered `enough` once there is one;
 * - `end` is answered with how long the server worked before it answered.
 */
import { readFileSync } from "node:fs";
import { openBun } from "./bun-client.ts";

/** How long the server's main thread had the processor from a message to its answer: no matter how busy the machine is. */
export interface Experience {
  readonly medianMilliseconds: number;
  readonly worstMilliseconds: number;
}

const everyMilliseconds = 10;

/** Also for a short attack, so that there is a figure. */
const roundTripsMin = 20;

if (import.meta.main) await main();

async function main(): Promise<void> {
  let visit: Visit | undefined;
  console.log("ready");
  for await (const line of console) {
    const [command, url = "", pid] = line.split(" ");
    if (command === "begin") {
      visit = new Visit(url, Number(pid));
      await visit.begun;
      console.log("begun");
    } else if (command === "anew") {
      await visit?.anew();
      console.log("enough");
    } else console.log(JSON.stringify(await visit?.end()));
  }
}

/** The processor time of a process's main thread. */
function workedMilliseconds(pid: number): number {
  const [nanoseconds] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ");
  return Number(nanoseconds) / 1e6;
}

/** An attack's worth of round trips. The process fails with the first that fails. */
class Visit {
  readonly #begun = Promise.withResolvers<void>();
  #enough = Promise.withResolvers<void>();
  /** Since the median was begun. */
  #waits: number[] = [];
  #worst = 0;
  readonly #trips: Promise<void>;
  #isOver = false;

  constructor(url: string, serverPid: number) {
    this.#trips = this.#makeTrips(url, serverPid);
  }

  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  anew(): Promise<void> {
    this.#waits = [];
    this.#enough = Promise.withResolvers();
    return this.#enough.promise;
  }

  async end(): Promise<Experience> {
    this.#isOver = true;
    await this.#trips;
    const waits = this.#waits.toSorted((one, other) => one - other);
    return { medianMilliseconds: waits[waits.length >> 1] as number, worstMilliseconds: this.#worst };
  }

  async #makeTrips(url: string, serverPid: number): Promise<void> {
    using echo = await openBun(`${url}ping`);
    using subscriber = await openBun(`${url}topics/honest`);
    this.#begun.resolve();
    while (!this.#isOver || this.#waits.length < roundTripsMin) {
      for (const line of [echo, subscriber]) {
        const text = `round trip ${this.#waits.length}`;
        const begun = workedMilliseconds(serverPid);
        line.send(text);
        const answer = await line.next();
        if (answer !== text) throw new Error(`"${answer}" came in place of "${text}"`);
        const wait = workedMilliseconds(serverPid) - begun;
        this.#waits.push(wait);
        this.#worst = Math.max(this.#worst, wait);
      }
      if (this.#waits.length >= roundTripsMin) this.#enough.resolve();
      await Bun.sleep(everyMilliseconds);
    }
  }
}
