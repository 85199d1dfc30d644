/** What all fuzzers of a running server share: batches by seed, and what must hold after each. */
import { readdir } from "node:fs/promises";
import { openWs } from "../support/clients.ts";
import { Random } from "../support/random.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../support/server.ts";
import { publish } from "../support/topics.ts";
import { until } from "../support/wait.ts";

/** One seed's worth of trouble. @returns how much the server answered to it, since one that hears nothing finds nothing */
export type Batch = (server: RunningServer, random: Random) => Promise<number>;

export interface Course {
  readonly seeds: number;
  /** Answers, frames, cuts or schedules: what there was to find fault with. */
  readonly checked: number;
}

export interface Fuzzer {
  readonly name: string;
  /** Goes on for so long from a seed on. @throws {FuzzFailure} */
  run(seed: number, seconds: number): Promise<Course>;
}

/** The seed that failed; `bun run fuzz <name> --seed <seed>` shows it again. */
class FuzzFailure extends Error {
  constructor(name: string, seed: number, cause: unknown) {
    super(`${cause}\nreplay it with: bun run fuzz ${name} --seed ${seed} --minutes 0`, { cause });
  }
}

const MiB = 1024 * 1024;

/** What Bun's allocator may keep, and what the history of topics may hold. */
const memoryGrowthMax = 96 * MiB;

/** Connections of a batch that Bun is still closing. */
const descriptorGrowthMax = 20;

/** Batches between two looks at memory and descriptors, which take a while to come back. */
const batchesPerLook = 100;

/** Small limits, so that a fuzzer finds both of their sides. */
const flags = ["--max-message", "4KiB", "--max-buffered", "64KiB", "--history-bytes", "4MiB"];

export function serverFuzzer(name: string, batch: Batch): Fuzzer {
  return {
    name,
    run: async (firstSeed, seconds) => {
      await using server = await spawnServer(flags);
      await servesOthers(server); // The first requests take longer.
      let before: Held | undefined;
      return await forEachSeed(name, firstSeed, seconds, async (seed) => {
        const checked = await batch(server, new Random(seed));
        await servesOthers(server);
        if ((seed - firstSeed + 1) % batchesPerLook > 0) return checked;
        if (before) await hasNotGrown(server, before);
        else before = await held(server);
        return checked;
      });
    },
  };
}

/** Counts up from the first seed, which is always tried. @throws {FuzzFailure} */
export async function forEachSeed(
  name: string,
  firstSeed: number,
  seconds: number,
  act: (seed: number) => Promise<number>,
): Promise<Course> {
  const end = performance.now() + seconds * 1000;
  let seed = firstSeed;
  let checked = 0;
  do {
    try {
      checked += await act(seed);
    } catch (error) {
      throw new FuzzFailure(name, seed, error);
    }
    seed++;
  } while (performance.now() < end);
  return { seeds: seed - firstSeed, checked };
}

/** An honest client's echo and topic, and a log without an error. */
async function servesOthers(server: RunningServer): Promise<void> {
  if (server.process.exitCode !== null) throw new Error(`the server ended: ${await server.errors}`);
  using echo = await openWs(server.socketUrl());
  echo.send("ping");
  const answer = await echo.next();
  if (answer !== "pong") throw new Error(`an honest ping was answered ${answer}`);
  await publish(server, "honest", "served");
  const errors = server.log().filter(({ level }) => Number(level) >= 50);
  if (errors.length > 0) throw new Error(`the log has an error: ${JSON.stringify(errors[0])}`);
}

interface Held {
  readonly descriptors: number;
  readonly bytes: number;
}

async function held({ process: { pid } }: RunningServer): Promise<Held> {
  return { descriptors: (await readdir(`/proc/${pid}/fd`)).length, bytes: await residentBytes(pid) };
}

async function hasNotGrown(server: RunningServer, before: Held): Promise<void> {
  await until(
    async () => {
      const { descriptors, bytes } = await held(server);
      return (
        descriptors <= before.descriptors + descriptorGrowthMax && bytes <= before.bytes + memoryGrowthMax
      );
    },
    `memory and descriptors to come back to ${JSON.stringify(before)}`,
    30,
  );
}

/** Sends bytes on a connection of its own and hears what comes, until the server ends it or has nothing more to say. */
async function hear(server: RunningServer, chunks: readonly Uint8Array[]): Promise<Buffer> {
  using socket = await RawSocket.connect(server.url);
  for (const chunk of chunks) {
    socket.write(chunk);
    if (chunks.length > 1) await new Promise(setImmediate); // Lets the server read it by itself.
  }
  return await socket.hear(quietMilliseconds);
}

/**
 * Sends each request on a connection of its own, all at once.
 * @returns how many answers came
 * @throws where one is none
 */
export async function askAll(
  server: RunningServer,
  random: Random,
  requests: readonly Buffer[],
): Promise<number> {
  const statuses = await Promise.all(
    requests.map(async (bytes) => checkResponses(await hear(server, pieces(random, bytes)))),
  );
  return statuses.flat().length;
}

/** Loopback and the server's handlers take less; a longer wait would only make fewer batches. */
const quietMilliseconds = 15;

/** 503 is of a limit, 505 of a version of HTTP that is none of ours. */
const soundFaults: ReadonlySet<number> = new Set([503, 505]);

/** Answers on one connection: each a status line, fields and a body, or the beginning of one. @throws where it is none */
export function checkResponses(heard: Buffer): number[] {
  const statuses: number[] = [];
  let rest = heard;
  while (rest.length > 0) {
    const headEnd = rest.indexOf("\r\n\r\n");
    const head = rest.subarray(0, headEnd < 0 ? rest.length : headEnd).toString("latin1");
    const [statusLine = "", ...lines] = head.split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) ?[\x20-\x7e]*$/.exec(statusLine)?.[1]);
    if (!(status >= 100 && status < 600)) throw new Error(`"${statusLine.slice(0, 200)}" is no status line`);
    if (status >= 500 && !soundFaults.has(status))
      throw new Error(`a request was answered ${status}: ${rest}`);
    statuses.push(status);
    for (const line of lines) {
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/.test(line)) {
        throw new Error(`"${line.slice(0, 200)}" is no header field`);
      }
    }
    if (headEnd < 0) throw new Error(`the head of an answer has no end: ${head.slice(0, 200)}`);
    if (lines.some((line) => /^x-injected:/i.test(line))) throw new Error(`a header was injected: ${head}`);
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}: *(.*)$`, "im").exec(lines.join("\n"))?.[1];
    // What follows 101 are frames, and a chunked body is a stream, the last on its line.
    if (status === 101 || /chunked/i.test(field("transfer-encoding") ?? "")) return statuses;
    const length = Number(field("content-length") ?? 0);
    const body = rest.subarray(headEnd + 4);
    // The answer to HEAD has a length and no body.
    const bodyLength = body.subarray(0, 9).toString() === "HTTP/1.1 " ? 0 : Math.min(length, body.length);
    rest = body.subarray(bodyLength);
  }
  return statuses;
}

/** Changes bytes as a broken or hostile sender would. */
export function mutate(random: Random, bytes: Buffer, mutations: number): Buffer {
  let mutated = Buffer.from(bytes);
  for (let count = 0; count < mutations; count++) {
    const at = random.below(mutated.length + 1);
    const end = Math.min(mutated.length, at + random.between(1, 8));
    const head = mutated.subarray(0, at);
    switch (random.below(6)) {
      case 0: // Cut short.
        mutated = Buffer.from(head);
        break;
      case 1: // Taken out.
        mutated = Buffer.concat([head, mutated.subarray(end)]);
        break;
      case 2: // Doubled.
        mutated = Buffer.concat([mutated.subarray(0, end), mutated.subarray(at)]);
        break;
      case 3: // Put in.
        mutated = Buffer.concat([head, randomBytes(random, random.between(1, 8)), mutated.subarray(at)]);
        break;
      case 4: // Put in, of what parsers trip over.
        mutated = Buffer.concat([head, Buffer.from(random.pick(stumblingBlocks)), mutated.subarray(at)]);
        break;
      default: // One bit.
        if (at < mutated.length) mutated[at] = (mutated[at] as number) ^ (1 << random.below(8));
    }
  }
  return mutated;
}

const stumblingBlocks = [
  ...[
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\r\n\r\n",
    ":",
    ",",
    ";",
    "=",
    '"',
    "\\",
    "%",
    "%00",
    "%0d%0aX-Injected: yes",
  ],
  ...[
    "/../",
    "//",
    "?",
    "#",
    "\u00e9",
    "\ud83d\ude00",
    "\u2028",
    "\t",
    " ",
    "-1",
    "99999999999999999999",
    "0x10",
  ],
  ...[
    "\r\nX-Filler: 1",
    "\r\nTransfer-Encoding: chunked",
    "\r\nContent-Length: 3",
    "\r\n Folded: yes",
    "{",
    "[",
    "null",
  ],
];

export function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

/** In a few pieces, as TCP may hand them over. */
export function pieces(random: Random, bytes: Buffer): Buffer[] {
  if (random.chance(0.7)) return [bytes];
  const cut = random.below(bytes.length + 1);
  return [bytes.subarray(0, cut), bytes.subarray(cut)];
}
