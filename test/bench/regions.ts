/**
 * `bun run bench regions`: what clients see that are far from the primary, with a node near them and without. Two regions on
 * one machine: a primary and a node beside it, and behind lines that delay each direction a replica and another node.
 */
import { join } from "node:path";
import { ws } from "../support/clients.ts";
import { Ocean } from "../support/ocean.ts";
import { RedisServer } from "../support/redis.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
import { cloudEvents, inspect, post } from "../support/topics.ts";
import { until, within } from "../support/wait.ts";
import { machineWords, thisMachine } from "./machine.ts";
import { rewritePart } from "./page-part.ts";
import { table } from "./table.ts";

/** One way between the regions. */
const crossingsMilliseconds = [20, 80, 200] as const;

const manyClients = 100;
const replayedMessages = 100;

interface RegionFigures {
  readonly connect: number;
  readonly echo: number;
  readonly resume: number;
  readonly pushToOne: number;
  readonly pushToMany: number;
}

const measures: Readonly<Record<keyof RegionFigures, string>> = {
  connect: "connect, ms",
  echo: "echo, ms",
  resume: `resume ${replayedMessages} messages, ms`,
  pushToOne: "push to 1 client, ms",
  pushToMany: `push to the last of ${manyClients}, ms`,
};

type PlaceName = "beside the primary" | "far, without a near node" | "far, with a near node";

export async function runRegions({
  quick,
  updateDocs,
}: {
  quick: boolean;
  updateDocs: boolean;
}): Promise<void> {
  const rows: string[][] = [];
  const missed: string[] = [];
  for (const crossing of quick ? crossingsMilliseconds.slice(0, 1) : crossingsMilliseconds) {
    const found = await measureAt(crossing, quick ? 1 : 5);
    for (const [words, figures] of found)
      rows.push([
        `${crossing} ms`,
        words,
        ...Object.keys(measures).map((key) => shown(figures[key as keyof RegionFigures])),
      ]);
    missed.push(...missedAims(crossing, found));
  }
  const text = [
    `${new Date().toISOString().slice(0, 10)}, ${machineWords(thisMachine())}; the median of ${quick ? 1 : 5} runs. A crossing is one way. ` +
      "The publisher is beside the primary; a push is measured from its POST to the message at the client.",
    table(["crossing", "client", ...Object.values(measures)], rows, 2),
    missed.length === 0
      ? "Aims met: connect, echo and resume of a far client with a near node at most 1.2 times those beside the primary (or 5 ms more, which is noise here), and a push at most one crossing and 20 ms."
      : `Aims missed: ${missed.join("; ")}.`,
  ].join("\n\n");
  console.log(text);
  if (updateDocs) rewritePart(join(root, "docs/regions.md"), "regions", text);
}

const shown = (milliseconds: number): string => milliseconds.toFixed(milliseconds < 10 ? 1 : 0);

async function measureAt(crossing: number, rounds: number): Promise<ReadonlyMap<PlaceName, RegionFigures>> {
  await using stack = new AsyncDisposableStack();
  const primary = stack.use(await RedisServer.start());
  const replica = stack.use(await RedisServer.start());
  const replicaLine = stack.use(new Ocean(primary.port, crossing));
  const nodeLine = stack.use(new Ocean(primary.port, crossing));
  await replica.follow(primary, replicaLine.port);
  const home = stack.use(await spawnServer(["--redis", primary.url, "--history-messages", "1000"]));
  const near = stack.use(
    await spawnServer([
      ...["--redis", `redis://127.0.0.1:${nodeLine.port}`, "--redis-replica", replica.url],
      ...["--history-messages", "1000"],
    ]),
  );
  for (const server of [home, near])
    await until(async () => (await fetch(new URL("/readyz", server.url))).ok, "a node to reach Redis", 30);
  const clientLine = stack.use(new Ocean(Number(home.url.port), crossing));
  const ports: Readonly<Record<PlaceName, number>> = {
    "beside the primary": Number(home.url.port),
    "far, without a near node": clientLine.port,
    "far, with a near node": Number(near.url.port),
  };
  const found = new Map<PlaceName, RegionFigures>();
  for (const [name, port] of Object.entries(ports)) {
    const runs: RegionFigures[] = [];
    for (let round = 0; round < rounds; round++)
      runs.push(await measurePlace(home, port, `${name} ${round}`));
    found.set(name as PlaceName, medians(runs));
  }
  return found;
}

async function measurePlace(home: RunningServer, port: number, name: string): Promise<RegionFigures> {
  const topic = `regions/${name.replaceAll(/[^a-z0-9]/g, "-")}`;
  const { published } = await (await post(home, topic, "first")).json();
  for (let count = 0; count < replayedMessages; count++) await post(home, topic, `message ${count}`);
  const { position } = await inspect(home, topic);
  await arrived(port, topic, position ?? ""); // The replica has it: a line is not measured by its backlog.
  const echo = await FarClient.open(port, "/ping");
  const began = performance.now();
  echo.socket.send("ping");
  await echo.next();
  const echoMilliseconds = performance.now() - began;
  echo.socket.terminate();
  const path = `/topics/${topic}?since=${published[0].id}`;
  const resumed = await FarClient.open(port, path, cloudEvents);
  while (resumed.ids.at(-1) !== position) await resumed.next();
  const resume = performance.now() - resumed.beganMilliseconds;
  resumed.socket.terminate();
  const pushToOne = await push(home, port, topic, 1);
  const pushToMany = await push(home, port, topic, manyClients);
  return { connect: echo.openMilliseconds, echo: echoMilliseconds, resume, pushToOne, pushToMany };
}

async function arrived(port: number, topic: string, position: string): Promise<void> {
  const client = await FarClient.open(port, `/topics/${topic}?since=all`, cloudEvents);
  while (client.ids.at(-1) !== position) await client.next();
  client.socket.terminate();
}

/** @returns the time from a publication to its arrival at the last of these clients */
async function push(home: RunningServer, port: number, topic: string, count: number): Promise<number> {
  const clients = await Promise.all(
    Array.from({ length: count }, () => FarClient.open(port, `/topics/${topic}`, cloudEvents)),
  );
  await Promise.all(clients.map((client) => client.next())); // longwire.open
  const began = performance.now();
  const all = Promise.all(clients.map((client) => client.next()));
  await post(home, topic, "pushed");
  await all;
  const milliseconds = performance.now() - began;
  for (const { socket } of clients) socket.terminate();
  return milliseconds;
}

/** A WebSocket client that counts what arrives. */
class FarClient {
  readonly beganMilliseconds = performance.now();
  openMilliseconds = 0;
  readonly ids: string[] = [];
  #arrivals = 0;
  #taken = 0;
  #wake: (() => void) | undefined;

  private constructor(readonly socket: InstanceType<typeof ws.WebSocket>) {
    socket.on("message", (data) => {
      const text = data.toString();
      if (text.startsWith("{")) this.ids.push(JSON.parse(text).id);
      this.#arrivals++;
      this.#wake?.();
    });
  }

  static async open(port: number, path: string, subprotocols: readonly string[] = []): Promise<FarClient> {
    const client = new FarClient(new ws.WebSocket(`ws://127.0.0.1:${port}${path}`, [...subprotocols]));
    const opened = Promise.withResolvers<void>();
    client.socket.on("open", opened.resolve);
    client.socket.on("error", opened.reject);
    await within(opened.promise, "a connection");
    client.openMilliseconds = performance.now() - client.beganMilliseconds;
    return client;
  }

  /** Resolves with the next message. */
  async next(): Promise<void> {
    while (this.#arrivals === this.#taken) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await within(promise, "a message");
    }
    this.#taken++;
  }
}

function medians(runs: readonly RegionFigures[]): RegionFigures {
  const median = (key: keyof RegionFigures): number => {
    const sorted = runs.map((run) => run[key]).toSorted((one, other) => one - other);
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  };
  return {
    connect: median("connect"),
    echo: median("echo"),
    resume: median("resume"),
    pushToOne: median("pushToOne"),
    pushToMany: median("pushToMany"),
  };
}

/** A difference of a few milliseconds on one busy machine says nothing. */
const noiseMilliseconds = 5;

function missedAims(crossing: number, found: ReadonlyMap<PlaceName, RegionFigures>): string[] {
  const missed: string[] = [];
  const home = found.get("beside the primary");
  const near = found.get("far, with a near node");
  if (!home || !near) throw new Error("a place was not measured");
  for (const key of ["connect", "echo", "resume"] as const)
    if (near[key] > home[key] * 1.2 + noiseMilliseconds)
      missed.push(`${measures[key]} at ${crossing} ms: ${shown(near[key])} beside ${shown(home[key])}`);
  for (const key of ["pushToOne", "pushToMany"] as const)
    if (near[key] > crossing + 20) missed.push(`${measures[key]} at ${crossing} ms: ${shown(near[key])}`);
  return missed;
}
