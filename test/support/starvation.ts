/** A topic that never pauses, with readers that are too slow and readers that keep up. */
import type { Random } from "./random.ts";
import type { RunningServer } from "./server.ts";
import { type Form, noSightings, numbered, type Sightings, SlowReader } from "./slow-reader.ts";
import { openEvents, openStream, openTopic } from "./topics.ts";
import { within } from "./wait.ts";

export interface Starvation {
  readonly server: RunningServer;
  readonly topic: string;
  /** One reader for each form in the list. */
  readonly readers: readonly Form[];
  readonly random: Random;
  /** The size of the next message. */
  readonly bytes: (random: Random) => number;
  /** The act of each reader between two messages; if left out, that of a slow reader. */
  readonly act?: (reader: SlowReader, random: Random) => void;
  readonly enough: (seen: Sightings, published: Published) => boolean;
}

export interface Published {
  messages: number;
  bytes: number;
}

/** Messages on their way to the healthy subscribers: with fewer the publisher would wait, with more they would lag. */
const underWayMax = 192;

/** Messages between two acts of a reader. So many small ones fill its kernel's buffer within a few acts. */
const burstMessages = 64;

/**
 * Publishes until it is enough.
 * @returns the observations of the slow readers
 * @throws if a healthy subscriber misses a message or is cut
 */
export async function starve(starvation: Starvation): Promise<Sightings & { published: Published }> {
  const { server, topic, random } = starvation;
  const seen = noSightings();
  const published: Published = { messages: 0, bytes: 0 };
  await using healthy = await openHealthy(server, topic);
  using publisher = await openEvents(server, "publisher");
  const readers = starvation.readers.map(
    (form) => new SlowReader(server, topic, form, seen, { width: "narrow" }),
  );
  try {
    while (readers.some(({ connected }) => !connected)) {
      for (const reader of readers) if (!reader.connected) reader.take(4096);
      await new Promise(setImmediate);
    }
    while (!starvation.enough(seen, published)) {
      await healthy.haveReceived(published.messages + burstMessages - underWayMax);
      for (let count = 0; count < burstMessages; count++) {
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
    await healthy.haveReceived(published.messages);
    for (const reader of readers) reader.takeAll();
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
  return { ...seen, published };
}

interface Healthy extends AsyncDisposable {
  /** Waits until all of them have this number of messages. @throws if one of them fails */
  haveReceived(messages: number): Promise<void>;
}

/** A subscriber in each form that keeps up and must receive every message in order. */
async function openHealthy(server: RunningServer, topic: string): Promise<Healthy> {
  const raw = await openTopic(server, topic);
  const events = await openEvents(server, topic);
  const stream = await openStream(server, topic);
  const sources: readonly (() => Promise<string>)[] = [
    async () => String(await raw.next()),
    async () => String((await events.event()).data),
    async () => (await stream.next()).data,
  ];
  await stream.next(); // longwire.open
  const counts = sources.map(() => 0);
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined); // Whoever waits next gets it.
  let arrived = Promise.withResolvers<void>();
  let closing = false;
  for (const [index, next] of sources.entries()) {
    const receive = async (): Promise<never> => {
      for (let number = 0; ; number++) {
        const message = await next();
        if (!message.startsWith(`${number} `))
          throw new Error(`a healthy subscriber got ${message.slice(0, 20)} in place of ${number}`);
        counts[index] = number + 1;
        arrived.resolve();
      }
    };
    receive().catch((error) => {
      if (!closing) failed.reject(error);
    });
  }
  const haveReceived = async (messages: number): Promise<void> => {
    while (Math.min(...counts) < messages) {
      arrived = Promise.withResolvers();
      await Promise.race([arrived.promise, failed.promise]);
    }
  };
  return {
    haveReceived: (messages) => within(haveReceived(messages), "the messages at the healthy subscribers"),
    [Symbol.asyncDispose]: async () => {
      closing = true;
      raw.terminate();
      events.terminate();
      await stream[Symbol.asyncDispose]();
    },
  };
}
