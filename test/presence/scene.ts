/**
 * The sceptic of presence: people whose lines come, go and flap at several nodes, to which things happen. In the end what a plain
 * reader was told is who has a line; and nobody who had one was told to have left, but for those of a node that stood still.
 */
import { Random } from "../support/random.ts";
import { until } from "../support/wait.ts";
import { Cluster, graceSeconds, leaseSeconds } from "./cluster.ts";
import { type Door, Person } from "./people.ts";
import { Reader } from "./reader.ts";

const topic = "room/42";

/** From what a client knows of its line to what the node has said of it, on a busy machine. */
const slackMilliseconds = 3000;

export interface SceneOptions {
  readonly seed: number;
  readonly people: number;
  readonly nodes: number;
  readonly log: (line: string) => void;
}

export interface SceneTally {
  readonly lines: number;
  /** Of the reader. */
  readonly connections: number;
  readonly leaves: number;
}

interface TroublesOptions extends Omit<SceneOptions, "nodes"> {
  readonly stoppedSeconds: number;
  /** At most, from one line that flaps to the next. */
  readonly flapPauseMilliseconds: number;
}

/** One node stands still, one is killed and one is drained, while lines flap. */
export const runTroubles = ({
  stoppedSeconds,
  flapPauseMilliseconds,
  ...options
}: TroublesOptions): Promise<SceneTally> =>
  run({ ...options, nodes: 3 }, async ({ cluster, people, random, log }) => {
    const left = [...cluster.nodes];
    const [stopped, killed, drained] = [random.take(left), random.take(left), random.take(left)];
    const done = new AbortController();
    const flapping = flapUntil(
      done.signal,
      { people, cluster, random: random.branch() },
      flapPauseMilliseconds,
    );
    log("a node stands still");
    const standing = cluster.standStill(stopped, stoppedSeconds);
    for (const [what, node, signal] of [
      ["a node is killed", killed, "SIGKILL"],
      ["a node is drained", drained, "SIGTERM"],
    ] as const) {
      log(what);
      await cluster.replace(node, signal);
      for (const person of people)
        if (person.open.length === 0 && random.chance(0.7)) await person.come(random.pick(cluster.doors));
    }
    await standing;
    done.abort();
    await flapping;
  });

/** Each of at least two nodes is replaced in turn, and whoever is sent away comes back elsewhere: nobody leaves. */
export const runDeploy = (options: SceneOptions): Promise<SceneTally> =>
  run(options, async ({ cluster, people, random, log }) => {
    const done = new AbortController();
    const returning = comeBackUntil(done.signal, people, cluster, random);
    for (const node of cluster.nodes) {
      log(`${node.door.url.port} is drained and replaced`);
      await cluster.replace(node, "SIGTERM");
    }
    await until(() => people.every(({ open }) => open.length > 0), "everyone to be back");
    done.abort();
    await returning;
  });

interface World {
  readonly cluster: Cluster;
  readonly people: readonly Person[];
  readonly random: Random;
  readonly log: (line: string) => void;
}

/** @throws an error that says who was told to be here, or to have left, and was not */
async function run(
  { seed, people: count, nodes, log }: SceneOptions,
  happen: (world: World) => Promise<void>,
): Promise<SceneTally> {
  const random = new Random(seed);
  await using cluster = await Cluster.start(nodes);
  const reader = new Reader(topic, random.branch());
  const stop = new AbortController();
  const reading = reader.readUntil(stop.signal, () => cluster.doors);
  reading.catch(() => stop.abort());
  const people = Array.from({ length: count }, (_, number) => new Person(`person-${number}`, topic));
  for (const person of people)
    for (let line = random.between(1, 3); line > 0; line--) await person.come(random.pick(cluster.doors));
  log("all have come");
  await untilOneHasLeft(reader, cluster); // A node that has just started lets nobody leave.
  await happen({ cluster, people, random, log });
  const living = people.filter(({ open }) => open.length > 0);
  log(`${living.length} people have a line`);
  await untilTold(reader, new Set(living.map(({ key }) => key)));
  await untilOneHasLeft(reader, cluster);
  stop.abort();
  await reading;
  checkLeaves(people, reader);
  for (const { open } of people) for (const line of open) line.close();
  const lines = people.reduce((sum, person) => sum + person.lines.length, 0);
  return { lines, connections: reader.connections, leaves: reader.leaves.length };
}

/** Everyone whose grace began before has left by then, or stays. */
async function untilOneHasLeft({ here, leaves }: Reader, { doors }: Cluster): Promise<void> {
  const visitor = new Person("a visitor", topic);
  await until(() => visitor.come(doors[0] as Door), "a visitor to come");
  await until(() => here.has(visitor.key), "the visitor to be seen");
  for (const line of visitor.open) line.close();
  await until(() => leaves.at(-1)?.key === visitor.key, "the visitor to leave");
  leaves.pop();
}

async function untilTold({ here }: Reader, living: ReadonlySet<string>): Promise<void> {
  const seconds = 3 * (leaseSeconds + graceSeconds);
  const isTold = (): boolean => living.symmetricDifference(here).size === 0;
  await until(isTold, "the reader to know who is here", seconds).catch((error) => {
    throw new Error(`${error.message}; it is wrong about ${[...living.symmetricDifference(here)].sort()}`);
  });
}

/** @throws for a leave of somebody who had a line for half of the grace before it */
function checkLeaves(people: readonly Person[], { leaves }: Reader): void {
  const byKey = new Map(people.map((person) => [person.key, person]));
  for (const { key, time } of leaves) {
    const person = byKey.get(key);
    if (person?.wasHere(time - graceSeconds * 1000 + slackMilliseconds, time))
      throw new Error(`${key} left at ${time}, and was here: ${JSON.stringify(person.lines)}`);
  }
}

async function flapUntil(
  signal: AbortSignal,
  { people, cluster, random }: Omit<World, "log">,
  pauseMilliseconds: number,
): Promise<void> {
  while (!signal.aborted) {
    await random.pick(people).flap(random, cluster.doors);
    await Bun.sleep(random.between(0, pauseMilliseconds));
  }
}

async function comeBackUntil(
  signal: AbortSignal,
  people: readonly Person[],
  cluster: Cluster,
  random: Random,
): Promise<void> {
  const away = graceSeconds * 1000 - slackMilliseconds;
  await Promise.all(
    people.map(async (person) => {
      while (!signal.aborted) {
        if (person.open.length === 0) {
          await Bun.sleep(random.between(0, away)); // Within the grace.
          await person.come(random.pick(cluster.doors));
        } else await Bun.sleep(20);
      }
    }),
  );
}
