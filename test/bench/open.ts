/** What it costs to open a connection of each kind, what an idle one holds, and lines of many topics, beside a bare Bun server. */
import { SignJWT } from "jose";
import { atMostTimesControl, atMostTimesRow } from "./aims.ts";
import type { Aim, Benchmark } from "./benchmark.ts";
import { idleMemory } from "./idle-memory.ts";
import { type LinesFigures, type OpeningFigures, runLines, runOpenings } from "./opening-load.ts";
import { bareBun, control, longwire, longwireWith, type RunningPeer } from "./peer.ts";
import type { Measure, Row, Samples } from "./samples.ts";
import type { Opening } from "./wire.ts";

/** The secret of a server that lives for seconds and listens on loopback. */
const jwtSecret = "benchmark-secret-of-at-least-32-bytes";
const guarded = longwireWith("longwire-guarded", "longwire with tokens", ["--jwt-secret", jwtSecret]);

const token = await new SignJWT({ subscribe: ["*"] })
  .setProtectedHeader({ alg: "HS256" })
  .setSubject("benchmark")
  .setExpirationTime("2h")
  .sign(new TextEncoder().encode(jwtSecret));

interface OpenRow extends Row {
  readonly opening: Omit<Opening, "port">;
  readonly peers: readonly string[];
  readonly count: number;
}

const open = [longwire.key, control];
const topic = "/topics/bench";
const hundred = Array.from({ length: 100 }, (_, index) => `bench/${index}`).join(",");

const ping: OpenRow = {
  key: "ping",
  heading: "/ping",
  opening: { path: "/ping" },
  peers: open,
  count: 3000,
};
const guardedPing: OpenRow = {
  ...ping,
  key: "ping-guarded",
  heading: "/ping of a server with keys",
  peers: [guarded.key],
};
const raw: OpenRow = {
  key: "raw",
  heading: "a raw line",
  opening: { path: topic },
  peers: open,
  count: 3000,
};
const cloudEvents: OpenRow = {
  key: "cloudevents",
  heading: "a line of cloudevents.json",
  opening: { path: topic, subprotocol: "cloudevents.json" },
  peers: open,
  count: 3000,
};
const withToken: OpenRow = {
  key: "token",
  heading: "a raw line with a token",
  opening: { path: topic, headers: { Authorization: `Bearer ${token}` } },
  peers: [guarded.key],
  count: 3000,
};
const ofTopics: OpenRow = {
  key: "topics",
  heading: "a line of 100 topics",
  opening: { path: `/topics/${hundred}`, subprotocol: "cloudevents.json" },
  peers: open,
  count: 300,
};
const openRows = [ping, raw, cloudEvents, ofTopics];
const guardedRows = [guardedPing, withToken];
const opening: Measure<keyof OpeningFigures> = {
  key: "openingMicroseconds",
  heading: "server CPU, µs an opening",
  better: "less",
};

const lines: Row = { key: "lines", heading: "1,000 lines of 100 topics of their own" };
const bytes: Measure<keyof LinesFigures> = {
  key: "bytesPerLine",
  heading: "memory, bytes a line",
  better: "less",
};
const publication: Measure<keyof LinesFigures> = {
  key: "publicationMicroseconds",
  heading: "server CPU, µs a POST to one of the topics",
  better: "less",
};

export const openBenchmark: Benchmark = {
  name: "open",
  description: "a connection of each kind: CPU to open it and memory while it is idle; lines of 100 topics",
  secondsDefault: 2,
  peers: [longwire, guarded, bareBun("open-bun.ts")],
  plan: ({ quick, seconds }) => {
    const idleLine = idleMemory("lines of cloudevents.json", cloudEvents.opening, quick, open);
    const idleStream = idleMemory("event streams", { path: topic, as: "stream" }, quick, open);
    return {
      title: "Opening a connection",
      load: "Connections are opened and ended without a message, 16 at once, while one stays; idle ones are opened in a process of their own",
      // Until JavaScriptCore has compiled an opening, its compiler takes half as much CPU as the opening.
      warmUp: async (server, peer) => {
        for (const { opening, count, peers } of [...openRows, ...guardedRows])
          if (peers.includes(peer)) await runOpenings(server, opening, quick ? 4 : 4 * count);
      },
      measurements: [
        ...[...openRows, ...guardedRows].map((row) => ({
          row,
          peers: row.peers,
          fresh: false,
          measure: async (server: RunningPeer) => {
            const openAll = () => runOpenings(server, row.opening, quick ? 4 : row.count);
            await openAll(); // What the row before left is collected meanwhile.
            return await openAll();
          },
        })),
        idleLine.measurement,
        idleStream.measurement,
        {
          row: lines,
          peers: open,
          fresh: !quick,
          measure: (server) =>
            runLines(server, {
              lines: quick ? 2 : 1000,
              topics: quick ? 5 : 100,
              settleSeconds: quick ? 0.1 : 2,
              seconds,
            }),
        },
      ],
      sections: [
        { rows: openRows, measures: [opening] },
        { rows: guardedRows, measures: [opening] },
        { rows: [idleLine.row], measures: [idleLine.measure] },
        { rows: [idleStream.row], measures: [idleStream.measure] },
        { rows: [lines], measures: [bytes, publication] },
      ],
      aims: (samples) => [
        ...openingAims(samples),
        atMostTimesControl(samples, idleLine.row, idleLine.measure, 1.6),
        atMostTimesControl(samples, idleStream.row, idleStream.measure, 1.35),
        atMostTimesControl(samples, lines, bytes, 3.5),
        atMostTimesControl(samples, lines, publication, 2.7),
      ],
    };
  },
};

/** The work of a subscription is compared with that of /ping, which has none, and the work of 100 topics with Bun's. */
function openingAims(samples: Samples): Aim[] {
  return [
    atMostTimesRow(samples, raw, ping, opening, 1.25),
    atMostTimesRow(samples, cloudEvents, ping, opening, 1.25),
    atMostTimesRow(samples, withToken, guardedPing, opening, 1.35, guarded.key),
    atMostTimesControl(samples, ofTopics, opening, 4.5),
  ];
}
