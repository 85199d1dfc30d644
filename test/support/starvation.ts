/** A topic that never pauses, with readers that cannot keep up beside some that can. */
import type { Random } from "./random.ts";
import type { RunningServer } from "./server.ts";
import { type Form, noSightings, numbered, type Sightings, SlowReader } from "./slow-reader.ts";
import { openEvents, openStream, openTopic } from "./topics.ts";
import { until } from "./wait.ts";

export interface Starvation {
  readonly server: RunningServer;
  readonly topic: string;
  /** One reader for each, in its form. */
  readonly readers: readonly Form[];
  readonly random: Random;
  /** How large a message is. */
  readonly bytes: (random: Random) => number;
  /** What each reader does between two looks at the publisher; left out, what slow readers do. */
  readonly act?: (reader: SlowReader, random: Random) => void;
  readonly enough: (seen: Sightings, published: Published) => boolean;
}

export interface Published {
  messages: number;
  bytes: number;
}

/** Messages that may be under way to the healthy subscribers: with fewer the publisher would wait, with more they would lag. */
const underWayMax = 192;

/**
 * Publishes until it is enough.
 * @returns what the slow readers saw
 * @throws where a healthy subscriber misses anything or is cut
 */
export async function starve(starvation: Starvation): Promise<Sightings & { published: Published }> {
  const { server, topic, random } = starvation;
  const seen = noSightings();
  const published: Published = { messages: 0, bytes: 0 };
  await using healthy = await openHealthy(server, topic);
  using publisher = await openEvents(server, "publisher");
  const readers = starvation.readers.map((form) => new SlowReader(server, topic, form, seen));
  try {
    while (readers.some(({ connected }) => !connected)) {
      for (const reader of readers) if (!reader.connected) reader.take(4096);
      await new Promise(setImmediate);
    }
    while (!starvation.enough(seen, published)) {
      while (published.messages - healthy.received() < underWayMax) {
        const data = numbered(published.messages, starvation.bytes(random));
        publisher.send(
          `{"specversion":"1.0","topic":"${topic}","datacontenttype":"text/plain","data":"${data}"}`,
        );
        published.messages++;
        published.bytes += data.length;
      }
      for (const reader of readers) {
        if (starvation.act) starvation.act(reader, random);
        else reader.act(random);
      }
      await new Promise(setImmediate);
    }
    await healthy.finish(published.messages);
    for (const reader of readers) reader.takeAll();
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
  return { ...seen, published };
}

interface Healthy extends AsyncDisposable {
  /** What the slowest of them has. @throws where one of them failed */
  received(): number;
  /** Waits until all of them have so many. */
  finish(messages: number): Promise<void>;
}

/** A subscriber in each form that keeps up, and must get every message in order. */
async function openHealthy(server: RunningServer, topic: string): Promise<Healthy> {
  const raw = await openTopic(server, topic);
  const events = await openEvents(server, topic);
  const stream = await openStream(server, topic);
  const sources: readonly (() => Promise<string>)[] = [
    async () => String(await raw.next()),
    async () => String((await events.event()).data),
    async () => (await stream.next()).data,
  ];
  await stream.next(); // Its start.
  const counts = sources.map(() => 0);
  let failure: unknown;
  let closing = false;
  for (const [index, next] of sources.entries()) {
    const receive = async (): Promise<never> => {
      for (let number = 0; ; number++) {
        const message = await next();
        if (!message.startsWith(`${number} `))
          throw new Error(`a healthy subscriber got ${message.slice(0, 20)} in place of ${number}`);
        counts[index] = number + 1;
      }
    };
    receive().catch((error) => {
      if (!closing) failure ??= error;
    });
  }
  const received = (): number => {
    if (failure) throw failure;
    return Math.min(...counts);
  };
  return {
    received,
    finish: (messages) => until(() => received() === messages, "the last message at the healthy subscribers"),
    [Symbol.asyncDispose]: async () => {
      closing = true;
      raw.terminate();
      events.terminate();
      await stream[Symbol.asyncDispose]();
    },
  };
}
