/** A crowd that returns: clients that all connect at once and each resume the same messages. */
import { beginCompanion } from "../support/companion.ts";
import type { Waits } from "./bystander.ts";
import { EventStreamReader } from "./event-stream.ts";
import { topicPath } from "./fanout-load.ts";
import { FrameReader } from "./frame.ts";
import type { Target } from "./load.ts";
import { peakResidentBytes } from "./process-usage.ts";
import { startStopwatch } from "./stopwatch.ts";
import { type Opening, openMany, Wire } from "./wire.ts";

export type StormForm = "raw" | "cloudevents" | "stream";

export interface StormLoad {
  readonly form: StormForm;
  readonly clients: number;
  readonly messages: number;
  readonly payloadBytes: number;
}

export interface StormFigures {
  /** Of the echoes of another client meanwhile. */
  readonly longestWaitMilliseconds: number;
  /** From the first handshake until the last client has received its last message. */
  readonly milliseconds: number;
  /** Of the server, per message that it delivered. */
  readonly cpuMicroseconds: number;
  /** Resident memory of the server at most, its code included. */
  readonly peakMebibytes: number;
  readonly generatorShare: number;
}

/** The length of a server's queue of connections that are not yet accepted is 512 in Bun. */
const atOnceMax = 400;
const secondsMax = 60;

/** Lets the server compile its hot functions before the storm. */
const warmUpClients = 100;

export async function runStorm(server: Target, load: StormLoad): Promise<StormFigures> {
  const text = "x".repeat(load.payloadBytes);
  const since = await publishOne(server.port, text);
  for (let index = 0; index < load.messages; index++) await publishOne(server.port, text);
  const opening: Opening = {
    port: server.port,
    path: `${topicPath}?since=${since}`,
    as: load.form === "stream" ? "stream" : "socket",
    ...(load.form === "cloudevents" ? { subprotocol: "cloudevents.json" } : {}),
  };
  await comeBack(opening, { ...load, clients: Math.min(warmUpClients, load.clients) });
  const bystander = await beginCompanion<Waits>("test/bench/bystander.ts", [String(server.port)]);
  const stop = startStopwatch(server.pid);
  let longestWaitMilliseconds: number;
  try {
    await comeBack(opening, load);
  } finally {
    ({ longestWaitMilliseconds } = await bystander.end());
  }
  const { seconds, serverCpuMicroseconds, generatorShare } = stop();
  return {
    longestWaitMilliseconds,
    milliseconds: seconds * 1000,
    cpuMicroseconds: serverCpuMicroseconds / (load.clients * load.messages),
    peakMebibytes: peakResidentBytes(server.pid) / 1024 ** 2,
    generatorShare,
  };
}

/** Connects all clients, and resolves when each has received all messages. */
async function comeBack(opening: Opening, { form, clients, messages }: StormLoad): Promise<void> {
  const done = Promise.withResolvers<void>();
  // In this form each client first receives longwire.open as a frame. In a stream that event has a name and is not counted.
  const expected = clients * (form === "cloudevents" ? messages + 1 : messages);
  let arrived = 0;
  const received = (): void => {
    if (++arrived === expected) done.resolve();
  };
  const deadline = setTimeout(
    () => done.reject(new Error(`${arrived} of ${expected} messages arrived within ${secondsMax} s`)),
    secondsMax * 1000,
  );
  const open = (): Promise<Wire> => {
    const reader = form === "stream" ? new EventStreamReader(received) : new FrameReader(received);
    return Wire.open(opening, (chunk) => reader.take(chunk), done.reject);
  };
  let wires: readonly Wire[] = [];
  try {
    [wires] = await Promise.all([openMany(clients, open, atOnceMax), done.promise]);
  } finally {
    clearTimeout(deadline);
    for (const wire of wires) wire.end();
  }
}

/** @returns the id of the message */
async function publishOne(port: number, body: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}${topicPath}`, { method: "POST", body });
  const text = await answer.text();
  const id = /"id":"([^"]+)"/.exec(text)?.[1];
  if (!answer.ok || id === undefined)
    throw new Error(`publishing was answered with ${answer.status}: ${text}`);
  return id;
}
