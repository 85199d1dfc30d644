/**
 * Streams whose producers break and repeat, followed by readers that are cut: each reader must get each token once, in order,
 * and the end.
 */
import { createParser } from "eventsource-parser";
import { openProducer, type Producer } from "./producer.ts";
import type { Random } from "./random.ts";
import { topicsUrl } from "./topics.ts";

/** A server that may be another process at each use. */
export interface Target {
  readonly url: URL;
}

export interface Tally {
  tokens: number;
  /** Requests that broke, were refused, or were taken over by the next. */
  repeated: number;
  /** Connections of readers that were cut. */
  cut: number;
}

const tokensOf = (random: Random): string[] =>
  Array.from(
    { length: random.between(50, 400) },
    (_, index) => `${index} ${random.pick(["", "长连接", "x".repeat(300)])}`,
  );

/**
 * Publishes a stream until it was answered with 200, and reads it with some readers meanwhile.
 * @throws an error that says what a reader got wrong
 */
export async function fireAt(server: Target, topic: string, random: Random, tally: Tally): Promise<void> {
  const tokens = tokensOf(random);
  const readers = Array.from({ length: 2 }, () => followToEnd(server, topic, tokens, random, tally));
  await Promise.all([produce(server, topic, tokens, random, tally), ...readers]);
  tally.tokens += tokens.length;
}

async function produce(
  server: Target,
  topic: string,
  tokens: readonly string[],
  random: Random,
  tally: Tally,
): Promise<void> {
  const body = Buffer.from(tokens.map((token) => `event: token\ndata: ${token}\n\n`).join(""));
  const left: Producer[] = [];
  try {
    for (let tries = 0; ; ) {
      if (tries > 200) throw new Error(`${topic} was not published in ${tries} tries`);
      const answer = await tryOnce(server, topic, body, random, left);
      if (answer === "away") {
        await Bun.sleep(random.below(30));
        continue; // It is no try: a busy machine takes long to start the server again.
      }
      tries++;
      if (answer?.status === 200) {
        const [published] = JSON.parse(answer.body).published;
        if (published.count !== tokens.length || !published.end)
          throw new Error(`${topic} was answered ${answer.body} for ${tokens.length} tokens`);
        return;
      }
      tally.repeated++;
      // 503: the engine is away; 409: an older request of this test, which this one has taken the stream from.
      if (answer && answer.status !== 503 && answer.status !== 409)
        throw new Error(`${topic} was answered ${answer.status}: ${answer.body}`);
      await Bun.sleep(random.below(30));
    }
  } finally {
    for (const producer of left) producer.break();
  }
}

/** @returns undefined for a request that broke, "away" if there was no server to connect to */
async function tryOnce(server: Target, topic: string, body: Buffer, random: Random, left: Producer[]) {
  const headers = { "Idempotency-Key": "stream" };
  const whole = random.chance(0.15);
  const end = whole ? body.length : random.below(body.length);
  // Refused while the server is killed.
  const producer = await openProducer(server.url, `${topic}?end`, headers).catch(() => undefined);
  if (producer === undefined) return "away";
  try {
    for (let at = 0; at < end; ) {
      const next = Math.min(end, at + random.between(1, 900));
      producer.write(body.subarray(at, next));
      at = next;
      if (random.chance(0.2)) await Bun.sleep(random.below(4));
    }
    if (whole) return await producer.finish();
    // It is broken now, or left open while the next request takes the stream over.
    if (random.chance(0.7)) producer.break();
    else left.push(producer);
  } catch (error) {
    if (!(error instanceof Error)) throw error; // The server was killed: refused, reset, or not answered.
  }
  return undefined;
}

async function followToEnd(
  server: Target,
  topic: string,
  tokens: readonly string[],
  random: Random,
  tally: Tally,
): Promise<void> {
  const received: string[] = [];
  let lastId: string | undefined;
  let isEnded = false;
  const parser = () =>
    createParser({
      onEvent: ({ event, data, id }) => {
        if (isEnded) throw new Error(`${topic}: ${event} after the end`);
        if (event === "longwire.gap") throw new Error(`${topic}: a gap, ${data}`);
        lastId = id ?? lastId;
        if (event === "longwire.end") isEnded = true;
        if (event !== "token") return;
        if (data !== tokens[received.length])
          throw new Error(`${topic}: token ${received.length} is ${data.slice(0, 20)}`);
        received.push(data);
      },
    });
  for (let tries = 0; !isEnded; tries++) {
    if (tries > 500)
      throw new Error(`${topic}: no end after ${tries} connections and ${received.length} tokens`);
    const cutAfter = random.chance(0.2) ? Number.POSITIVE_INFINITY : random.below(6000);
    if (await read(server, topic, lastId, parser(), cutAfter)) tally.cut++;
    if (!isEnded) await Bun.sleep(random.below(20));
  }
  if (received.length !== tokens.length)
    throw new Error(`${topic}: the end after ${received.length} of ${tokens.length} tokens`);
}

/** @returns whether the connection was cut after so many bytes, and not by its end */
async function read(
  server: Target,
  topic: string,
  lastId: string | undefined,
  parser: ReturnType<typeof createParser>,
  cutAfter: number,
): Promise<boolean> {
  const abort = new AbortController();
  const headers = { Accept: "text/event-stream", ...(lastId !== undefined && { "Last-Event-ID": lastId }) };
  let left = cutAfter;
  let body: ReadableStream<Uint8Array> | null;
  try {
    ({ body } = await fetch(`${topicsUrl(server, topic)}?since=all`, { headers, signal: abort.signal }));
  } catch {
    return true; // The server was killed and is not back yet.
  }
  const decoder = new TextDecoder();
  const reader = body?.getReader();
  for (;;) {
    const piece = await reader?.read().catch(() => undefined);
    if (!piece || piece.done) return piece === undefined;
    const bytes = piece.value.subarray(0, left);
    left -= bytes.length;
    parser.feed(decoder.decode(bytes, { stream: true }));
    if (left > 0) continue;
    abort.abort();
    return true;
  }
}
