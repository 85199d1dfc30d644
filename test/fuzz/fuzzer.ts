/** The part that all fuzzers of a running server share: batches by seed, and the checks after each batch. */
import { readdir } from "node:fs/promises";
import { openWs } from "../support/clients.ts";
import { Random } from "../support/random.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { type RunningServer, residentBytes, spawnServer } from "../support/server.ts";
import { publish } from "../support/topics.ts";
import { until } from "../support/wait.ts";

/** The inputs of one seed. @returns the number of answers: a fuzzer without answers would find nothing */
export type Batch = (server: RunningServer, random: Random) => Promise<number>;

export interface Course {
  readonly seeds: number;
  /** The number of answers, frames, cuts or schedules that were checked. */
  readonly checked: number;
}

export interface Fuzzer {
  readonly name: string;
  /** Runs from this seed on until it is enough, and at least this one. @throws {FuzzFailure} */
  run(seed: number, isEnough: IsEnough): Promise<Course>;
}

/** @param seeds how many have been run */
export type IsEnough = (seeds: number) => boolean;

/** Names the seed that failed, and the command that repeats it. */
class FuzzFailure extends Error {
  constructor(name: string, seed: number, cause: unknown) {
    super(`${cause}\nreplay it with: bun run fuzz ${name} --seed ${seed} --minutes 0`, { cause });
  }
}

const MiB = 1024 * 1024;

/** For the memory that Bun's allocator keeps and the history of topics. */
const memoryGrowthMax = 96 * MiB;

/** Connections of a batch that Bun is still closing. */
const descriptorGrowthMax = 20;

/** Batches between two checks of memory and descriptors, which are released with a delay. */
const batchesPerLook = 100;

/** Small limits, so that a fuzzer reaches and exceeds them. */
const flags = ["--max-message", "4KiB", "--max-buffered", "64KiB", "--history-bytes", "4MiB"];

export function serverFuzzer(name: string, batch: Batch): Fuzzer {
  return {
    name,
    run: async (firstSeed, isEnough) => {
      await using server = await spawnServer(flags);
      await servesOthers(server); // The first requests take longer.
      let before: Held | undefined;
      return await forEachSeed(name, firstSeed, isEnough, async (seed) => {
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

/** Counts up from the first seed, which is always run. @throws {FuzzFailure} */
export async function forEachSeed(
  name: string,
  firstSeed: number,
  isEnough: IsEnough,
  act: (seed: number) => Promise<number>,
): Promise<Course> {
  let seed = firstSeed;
  let checked = 0;
  do {
    try {
      checked += await act(seed);
    } catch (error) {
      throw new FuzzFailure(name, seed, error);
    }
    seed++;
  } while (!isEnough(seed - firstSeed));
  return { seeds: seed - firstSeed, checked };
}

/** Checks that the server still serves an echo and a topic, and that its log has no error. */
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

/** Sends bytes on a new connection. @returns the answer, up to the end of the connection or a pause */
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
 * @returns the number of answers
 * @throws if one is not HTTP
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

/** Loopback and the server's handlers take less. A longer wait would only mean fewer batches. */
const quietMilliseconds = 15;

/** 503 for a limit, 505 for an unknown version of HTTP. */
const soundFaults: ReadonlySet<number> = new Set([503, 505]);

/** Checks the answers on one connection: each is a status line, fields and a body, or the begin of these. @throws if not */
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
    // Frames follow a 101, and a chunked body is a stream: both are the last answer of a connection.
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
      case 0: // Cut off.
        mutated = Buffer.from(head);
        break;
      case 1: // Removed.
        mutated = Buffer.concat([head, mutated.subarray(end)]);
        break;
      case 2: // Doubled.
        mutated = Buffer.concat([mutated.subarray(0, end), mutated.subarray(at)]);
        break;
      case 3: // Inserted.
        mutated = Buffer.concat([head, randomBytes(random, random.between(1, 8)), mutated.subarray(at)]);
        break;
      case 4: // Inserted from a list that parsers often get wrong.
        mutated = Buffer.concat([head, Buffer.from(random.pick(trickyTexts)), mutated.subarray(at)]);
        break;
      default: // One bit.
        if (at < mutated.length) mutated[at] = (mutated[at] as number) ^ (1 << random.below(8));
    }
  }
  return mutated;
}

const trickyTexts = [
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

/** In one or two pieces, as TCP may deliver them. */
export function pieces(random: Random, bytes: Buffer): Buffer[] {
  if (random.chance(0.7)) return [bytes];
  const cut = random.below(bytes.length + 1);
  return [bytes.subarray(0, cut), bytes.subarray(cut)];
}
