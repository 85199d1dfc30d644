/** A crowd that comes back: clients that each resume the same messages at once. Only Longwire can. */

import { topicPath } from "./fanout-load.ts";
import { FrameReader } from "./frame.ts";
import { startStopwatch } from "./stopwatch.ts";
import { openMany, Wire } from "./wire.ts";

export interface ResumeLoad {
  readonly clients: number;
  readonly messages: number;
  readonly payloadBytes: number;
}

export interface ResumeFigures {
  /** From the first handshake until the last client has its last message. */
  readonly milliseconds: number;
  readonly cpuMilliseconds: number;
  readonly cpuMicrosecondsPerDelivery: number;
  readonly generatorShare: number;
}

/** As many as a server's queue of connections not yet accepted takes (512 in Bun). */
const atOnceMax = 400;
const secondsMax = 30;

export async function runResumeLoad(
  server: { pid: number; port: number },
  { clients, messages, payloadBytes }: ResumeLoad,
): Promise<ResumeFigures> {
  const since = await publish(server.port, "x".repeat(payloadBytes));
  for (let index = 0; index < messages; index++) await publish(server.port, "x".repeat(payloadBytes));

  const done = Promise.withResolvers<void>();
  const expected = clients * (messages + 1); // Each gets longwire.open first.
  let arrived = 0;
  const opening = { port: server.port, path: `${topicPath}?since=${since}`, subprotocol: "cloudevents.json" };
  const stop = startStopwatch(server.pid);
  const deadline = setTimeout(
    () => done.reject(new Error(`${arrived} of ${expected} messages arrived within ${secondsMax} s`)),
    secondsMax * 1000,
  );
  const wires = await openMany(
    clients,
    () => {
      const reader = new FrameReader(() => {
        if (++arrived === expected) done.resolve();
      });
      return Wire.open(opening, (chunk) => reader.take(chunk), done.reject);
    },
    atOnceMax,
  );
  try {
    await done.promise;
    const { seconds, serverCpuMicroseconds, generatorShare } = stop();
    return {
      milliseconds: seconds * 1000,
      cpuMilliseconds: serverCpuMicroseconds / 1000,
      cpuMicrosecondsPerDelivery: serverCpuMicroseconds / (clients * messages),
      generatorShare,
    };
  } finally {
    clearTimeout(deadline);
    for (const wire of wires) wire.end();
  }
}

/** @returns the message's id */
async function publish(port: number, body: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}${topicPath}`, { method: "POST", body });
  const text = await answer.text();
  const id = /"id":"([^"]+)"/.exec(text)?.[1];
  if (!answer.ok || id === undefined) throw new Error(`publishing was answered ${answer.status}: ${text}`);
  return id;
}
