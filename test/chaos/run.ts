/**
 * A cluster under load, to which things happen in a random order. Every acknowledged message must reach every follower once
 * and in order, or the follower is told a gap; a gap is told only after something that may have lost messages; and every
 * answer is 200, or 503 while something is wrong and for 3 s after the primary answers again.
 */
import { lastMessage } from "../support/followers.ts";
import { Random } from "../support/random.ts";
import { everyEvent, type ReceivedEvent } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";
import { Checker, type Tally, Violation } from "./checker.ts";
import { type ClientOptions, Follower, type NodeAddress, publishAtLast, streamAtLast } from "./client.ts";
import { type ChaosEvent, Cluster, forms } from "./cluster.ts";
import { checkKeyed, KeyedReader, KeyedWriter, keyedTopic } from "./keyed.ts";
import { PresenceWorld } from "./presence.ts";
import { Troubles } from "./troubles.ts";

const topics = ["one", "two", "three"];

/** Has a publisher of streams beside those of messages. */
const streamed = "three";

/** How long followers have to reach the last message when everything is healed. */
const finishSeconds = 60;

export interface ChaosOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Ends the run after so many events: on a busy machine fewer would happen in the same seconds. */
  readonly eventsMax?: number;
  /** Of each topic in each form. */
  readonly followers: number;
  /** Publishers of each topic. */
  readonly publishers: number;
  /** How many times as long publishers and writers pause: less load, under which the same happens. 1 if left out. */
  readonly pauseTimes?: number;
  /** Members of the topic with presence; 12 if left out. */
  readonly people?: number;
  readonly isLossless: boolean;
  readonly log: (line: string) => void;
}

/** @throws {Violation} naming what was promised and not kept */
export async function runChaos(options: ChaosOptions): Promise<Tally> {
  const random = new Random(options.seed);
  const troubles = new Troubles();
  const checker = new Checker(troubles);
  const { isLossless, log } = options;
  const ofCluster = random.branch();
  await using cluster = await Cluster.start({ topics, random: ofCluster, checker, troubles, isLossless });
  const endStart = troubles.begin("the start", "everything");
  await cluster.ready();
  endStart();
  using _ = troubles.watch(() => cluster.ask());
  try {
    await run(cluster, random, checker, options);
  } catch (error) {
    for (const line of cluster.logs) log(line);
    throw error;
  }
  for (const words of cluster.forgotten) log(`the primary did not know ${words}`);
  log(`${troubles.excused} answers with 503 are explained by nothing but a busy machine`);
  log(`a topic had up to ${checker.epochs} epochs, and ${checker.losses} events may have lost messages`);
  return checker.tally;
}

async function run(cluster: Cluster, random: Random, checker: Checker, options: ChaosOptions): Promise<void> {
  const { nodes } = cluster;
  const client = (topic: string) => ({ topic, nodes, checker, random: random.branch() });
  const followers = topics.flatMap((topic) =>
    forms.flatMap((open) =>
      Array.from({ length: options.followers }, () => new Follower({ ...client(topic), open })),
    ),
  );
  const { pauseTimes = 1 } = options;
  const stop = new AbortController();
  const following = Promise.all(followers.map((follower) => follower.follow()));
  const publishing = topics.flatMap((topic) =>
    Array.from({ length: options.publishers }, (_, number) =>
      publishUntil(stop.signal, client(topic), `${topic}/${number}`, 80 * pauseTimes),
    ),
  );
  publishing.push(streamUntil(stop.signal, client(streamed), `${streamed}/streams`, 300 * pauseTimes));
  const writers = ["w1", "w2"].map((name) => new KeyedWriter(client(keyedTopic), name));
  const readers = [0, 1, 2].map(() => new KeyedReader(client(keyedTopic)));
  publishing.push(...writers.map((writer) => writer.writeUntil(stop.signal, 60 * pauseTimes)));
  publishing.push(...readers.map((reader) => reader.followUntil(stop.signal)));
  const presence = new PresenceWorld({ ...client(""), people: options.people ?? 12 });
  publishing.push(presence.runUntil(stop.signal));
  const load = Promise.all([following, ...publishing]);
  load.catch(() => stop.abort());
  await until(() => checker.tally.returns >= followers.length, "every follower to have come", 30);
  await happen(cluster, random, { ...options, signal: stop.signal });
  if (stop.signal.aborted) await load;
  stop.abort();
  await cluster.ready();
  await Promise.all(publishing);
  for (const topic of topics) await publishAtLast(client(topic), lastMessage);
  const left = (): string[] => followers.filter(({ isDone }) => !isDone).map(({ words }) => words);
  await within(following, "followers to have the last message", finishSeconds).catch((error) => {
    throw error instanceof Violation ? error : new Violation(`${error}: ${left()}`);
  });
  checker.finish();
  for (const topic of topics)
    for (const node of nodes) checker.checkLog(topic, await everyEventAtLast(node, topic));
  await checkKeyed(nodes, writers, readers);
  await presence.check();
}

/** Polls again where the node answers 503, as a client does: Redis was healed a moment ago. */
async function everyEventAtLast(node: NodeAddress, topic: string): Promise<ReceivedEvent[]> {
  let events: ReceivedEvent[] | undefined;
  await until(async () => {
    events = await everyEvent(node, topic).catch((error: Error) => {
      if (!error.message.includes("answered with 503")) throw error;
      return undefined;
    });
    return events !== undefined;
  }, `${topic} to be read at ${node.url}`);
  return events ?? [];
}

async function publishUntil(
  signal: AbortSignal,
  client: ClientOptions,
  name: string,
  pauseMilliseconds: number,
): Promise<void> {
  for (let count = 0; !signal.aborted; count++) {
    await publishAtLast(client, `${name}/${count}`);
    await Bun.sleep(client.random.between(0, pauseMilliseconds));
  }
}

async function streamUntil(
  signal: AbortSignal,
  client: ClientOptions,
  name: string,
  pauseMilliseconds: number,
): Promise<void> {
  for (let count = 0; !signal.aborted; ) {
    const items = client.random.between(1, 30);
    await streamAtLast(
      client,
      Array.from({ length: items }, () => `${name}/${count++}`),
    );
    await Bun.sleep(client.random.between(0, pauseMilliseconds));
  }
}

/** Everything happens once in a random order, then again in another, so that a short run has seen each. */
async function happen(
  cluster: Cluster,
  random: Random,
  { seconds, eventsMax = Number.POSITIVE_INFINITY, log, signal }: ChaosOptions & { signal: AbortSignal },
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  let left: [string, ChaosEvent][] = [];
  for (let count = 0; count < eventsMax && performance.now() < end && !signal.aborted; count++) {
    if (left.length === 0) left = Object.entries(cluster.events);
    const [name, event] = random.take(left);
    log(name);
    await cluster.happen(name, event);
    await Bun.sleep(random.between(100, 1500));
  }
}
