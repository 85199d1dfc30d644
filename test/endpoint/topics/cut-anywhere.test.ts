/**
 * Nothing is lost in silence, wherever a connection breaks: for every prefix of the bytes that the server sends, a client
 * that returns with the last id it stored gets every gap at least once and every message exactly once.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import { Random, seed } from "../../support/random.ts";
import { RawSocket } from "../../support/raw-socket.ts";
import { type Asked, type Form, type Memory, Reading, returnRequest } from "../../support/resuming-client.ts";
import { root } from "../../support/server.ts";
import { sharedServer } from "../../support/shared-server.ts";
import { newTopic, publish, publishEach, type TopicState, topicsUrl } from "../../support/topics.ts";

setDefaultTimeout(120_000);

/** Keeps three messages of a topic, and loses everything at a message to `lose-everything`. */
const server = sharedServer(["--history-messages", "3"], {
  command: [
    process.execPath,
    "--preload",
    resolve(root, "test/support/lossy-engine.ts"),
    resolve(root, "src/index.ts"),
  ],
});

const loseEverything = (): Promise<string> => publish(server, "lose-everything", "now");

async function positionsOf(topics: readonly string[]): Promise<(string | null)[]> {
  const response = await fetch(topicsUrl(server, topics.join(",")));
  return ((await response.json()) as { topics: TopicState[] }).topics.map(({ position }) => position);
}

interface Client {
  readonly form: Form;
  readonly topics: readonly string[];
  readonly asked: Asked;
}

const newcomer = ({ topics }: Client): Memory => ({ ids: undefined, gaps: topics.map(() => false) });

/**
 * Connects as the client does, and stays until the client has every message.
 * @param meanwhile runs once the client has every message; the client then waits for those that it adds
 * @returns the bytes that the server sent
 */
async function listen(client: Client, memory: Memory, meanwhile?: () => Promise<unknown>): Promise<Buffer> {
  const { form, topics, asked } = client;
  using socket = await RawSocket.connect(server.url);
  socket.write(returnRequest(form, topics, asked, memory));
  const reading = new Reading(form, topics, memory);
  const received: Buffer[] = [];
  const catchUp = async (): Promise<void> => {
    let positions = await positionsOf(topics);
    while (!reading.isAt(positions)) {
      const bytes = await socket.some();
      received.push(bytes);
      for (const byte of bytes) reading.take(byte);
      // A subscription brings a topic into being.
      if (positions.includes(null)) positions = await positionsOf(topics);
    }
  };
  await catchUp();
  if (meanwhile) {
    await meanwhile();
    await catchUp();
  }
  return Buffer.concat(received);
}

/** How much was tried. */
interface Found {
  /** Prefixes of what the server sent. */
  prefixes: number;
  /** Different memories with which the client returned. */
  memories: number;
}

/**
 * Breaks the connection after every byte, returns with what was stored then, breaks that connection after every byte, and
 * so on, until no break leads to a new memory. Prefixes that leave the client with the same memory are one return.
 */
async function breakEverywhere(
  client: Client,
  mustGap: readonly boolean[],
  meanwhile?: () => Promise<unknown>,
): Promise<Found> {
  const found: Found = { prefixes: 0, memories: 0 };
  // A client that lost its connection before it stored anything comes for the first time once more.
  const first = newcomer(client);
  const seen = new Set([JSON.stringify(first)]);
  const waiting: Memory[] = [];
  const note = (memory: Memory): void => {
    const key = JSON.stringify(memory);
    if (!seen.has(key)) waiting.push(memory);
    seen.add(key);
  };
  const breakAll = (memory: Memory, bytes: Buffer): void => {
    const reading = new Reading(client.form, client.topics, memory);
    for (const byte of bytes) {
      reading.take(byte);
      note(reading.memory);
      found.prefixes++;
    }
    for (const [index, isReported] of reading.memory.gaps.entries())
      if (mustGap[index]) expect(`gap in ${index}: ${isReported}`).toBe(`gap in ${index}: true`);
  };
  // The topics move on while the first connection lasts, and then no more.
  breakAll(first, await listen(client, first, meanwhile));
  for (let memory = waiting.shift(); memory; memory = waiting.shift()) {
    found.memories++;
    breakAll(memory, await listen(client, memory));
  }
  return found;
}

/** A topic as a client finds it: of five messages the last three are kept. */
interface Beginning {
  readonly asks: string;
  readonly since: (ids: readonly string[]) => string;
  readonly isGap: boolean;
}

const nextOf = (id: string, count: number): string =>
  id.replace(/\d+$/, (offset) => String(Number(offset) + count));

const beginnings = {
  trimmed: { asks: "a trimmed id", since: ([first]) => String(first), isGap: true },
  otherEpoch: { asks: "an id of another epoch", since: () => "k3-7", isGap: true },
  noId: { asks: "0-0", since: () => "0-0", isGap: true },
  // Reached while the client is connected: by then it would resume without a gap.
  ahead: { asks: "an id ahead of the topic", since: (ids) => nextOf(String(ids.at(-1)), 1), isGap: true },
  span: { asks: "a span past what was trimmed", since: () => "1h", isGap: true },
  shortSpan: { asks: "a span without messages", since: () => "0s", isGap: false },
  all: { asks: "all", since: () => "all", isGap: false },
  resumes: { asks: "an id that resumes", since: (ids) => String(ids.at(-2)), isGap: false },
} as const satisfies Record<string, Beginning>;

async function prepare(beginning: Beginning): Promise<{ topic: string; since: string }> {
  const topic = newTopic();
  const ids = await publishEach(server, topic, ["1", "2", "3", "4", "5"]);
  return { topic, since: beginning.since(ids) };
}

const forms = ["cloudevents.json", "event stream", "event stream of CloudEvents"] as const;

for (const form of forms) {
  describe(`one topic as ${form}, broken after every byte`, () => {
    for (const beginning of Object.values(beginnings)) {
      test(`beginning with ${beginning.asks}`, async () => {
        const { topic, since } = await prepare(beginning);
        const grow = (): Promise<unknown> => publishEach(server, topic, ["6", "7"]);
        const client = { form, topics: [topic], asked: { since } };
        const found = await breakEverywhere(client, [beginning.isGap], grow);
        expect(found.memories).toBeGreaterThan(2);
        expect(found.prefixes).toBeGreaterThan(1000);
      });
    }

    test("beginning from now on, with a gap in mid-life", async () => {
      const topic = newTopic();
      const client = { form, topics: [topic], asked: {} };
      await breakEverywhere(client, [false], async () => {
        await publishEach(server, topic, ["1", "2"]);
        await loseEverything();
        await publishEach(server, topic, ["3", "4"]);
      });
    });

    if (form !== "cloudevents.json") {
      test("beginning with a strange Last-Event-ID", async () => {
        const { topic } = await prepare(beginnings.trimmed);
        const client = { form, topics: [topic], asked: { lastEventId: "strange" } };
        await breakEverywhere(client, [true], () => publish(server, topic, "6"));
      });
    }
  });
}

for (const form of ["cloudevents.json", "event stream of CloudEvents"] as const) {
  describe(`three topics as ${form}, broken after every byte`, () => {
    const { trimmed, otherEpoch, noId, ahead, span, shortSpan, all, resumes } = beginnings;
    for (const [one, two, three] of [
      [trimmed, resumes, otherEpoch],
      [span, span, noId],
      [all, ahead, shortSpan],
    ] as const) {
      test(`beginning with ${one.asks}, ${two.asks} and ${three.asks}`, async () => {
        const prepared = [await prepare(one), await prepare(two), await prepare(three)];
        const topics = prepared.map(({ topic }) => topic);
        const asked = { since: prepared.map(({ since }) => since).join(",") };
        const mustGap = [one.isGap, two.isGap, three.isGap];
        const found = await breakEverywhere({ form, topics, asked }, mustGap, async () => {
          for (const topic of topics) await publish(server, topic, "6");
        });
        expect(found.memories).toBeGreaterThan(5);
      });
    }

    test("beginning from now on, with gaps in mid-life", async () => {
      const topics = [newTopic(), newTopic(), newTopic()];
      await breakEverywhere({ form, topics, asked: {} }, [], async () => {
        for (const topic of topics) await publish(server, topic, "1");
        await loseEverything();
        for (const topic of topics) await publish(server, topic, "2");
      });
    });
  });
}

/** One client comes and goes while topics grow, are trimmed and are lost. */
async function wander(random: Random, tally: { connections: number; gaps: number }): Promise<void> {
  const form = random.pick(forms);
  const topics = Array.from({ length: form === "event stream" ? 1 : random.between(1, 3) }, newTopic);
  const client: Client = { form, topics, asked: {} };
  const happen = async (): Promise<void> => {
    if (random.chance(0.15)) await loseEverything();
    for (let count = random.below(5); count > 0; count--) await publish(server, random.pick(topics), "x");
  };
  let memory = newcomer(client);
  for (let connection = random.between(3, 8); connection >= 0; connection--) {
    await happen();
    const bytes = await listen(client, memory, random.chance(0.5) ? happen : undefined);
    const reading = new Reading(form, topics, memory);
    const cutAfter = connection === 0 ? bytes.length : random.below(bytes.length + 1);
    for (const byte of bytes.subarray(0, cutAfter)) reading.take(byte);
    memory = { ...reading.memory, gaps: topics.map(() => false) };
    tally.connections++;
    tally.gaps += reading.memory.gaps.filter(Boolean).length;
  }
}

test("a client that comes and goes at random, while topics grow, are trimmed and are lost, misses nothing", async () => {
  const wanderings = 60;
  const tally = { connections: 0, gaps: 0 };
  const random = new Random(seed);
  for (let count = 0; count < wanderings; count++) await wander(random, tally);
  expect(tally.gaps).toBeGreaterThan(wanderings / 2);
});
