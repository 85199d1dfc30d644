/** POST to a topic without subscribers, beside a bare Bun server and nginx with nchan. */
import { SignJWT } from "jose";
import { atMostTimesControl, atMostTimesRow } from "./aims.ts";
import { type Aim, type Benchmark, loadTimes, warmUpTimes } from "./benchmark.ts";
import { onDisk, onRedis, untilReady } from "./engines.ts";
import { loadMeasures } from "./load.ts";
import { nchan } from "./nchan.ts";
import { bareBun, control, longwire, longwireWith, type Peer, type RunningPeer } from "./peer.ts";
import { type PublishLoad, runPublishLoad } from "./publish-load.ts";
import type { Row, Samples } from "./samples.ts";

const connections = 16;
const payloadBytes = 128;

/** Secrets of servers that live for seconds and listen on loopback. */
const apiKey = "benchmark-api-key";
const jwtSecret = "benchmark-secret-of-at-least-32-bytes";

const guarded = "longwire-guarded";
/** With keyed topics, by engine, and how many times a plain publication one with a key may take. */
const keyedTimesMax = { "longwire-keyed": 1.5, "longwire-keyed-disk": 2.5, "longwire-keyed-redis": 1.5 };
const keyed = Object.keys(keyedTimesMax) as (keyof typeof keyedTimesMax)[];
const keyedFlags = ["--keyed", "keyed/*"];
const peers: readonly Peer[] = [
  longwire,
  longwireWith(guarded, "longwire with keys", ["--api-key", apiKey, "--jwt-secret", jwtSecret]),
  longwireWith("longwire-keyed", "longwire --keyed", keyedFlags),
  onDisk("longwire-keyed-disk", keyedFlags),
  onRedis("longwire-keyed-redis", keyedFlags),
  bareBun("publish-bun.ts"),
  { key: "nchan", heading: "nchan", prepare: nchan },
];

const { cpu, rate, median, p99 } = loadMeasures("request", "requests");

interface PublishRow extends Row, Pick<PublishLoad, "topics" | "isJson" | "withKeys" | "areKeys"> {
  readonly peers: readonly string[];
  readonly credential?: () => string | Promise<string>;
  /** Most server CPU, as a multiple of the control's. */
  readonly timesMax: number;
}

const open = [longwire.key, control];
const withNchan = [...open, "nchan"];
const withKeys = [guarded, control];

const text: PublishRow = {
  key: "text",
  heading: "text",
  topics: 1,
  peers: withNchan,
  timesMax: 1.4,
};
const ofEngines = { peers: keyed, timesMax: Number.POSITIVE_INFINITY };
const plain: PublishRow = { key: "engines", heading: "text, to a plain topic", topics: 1, ...ofEngines };
const withKey: PublishRow = {
  key: "keyed",
  heading: "text, for 10,000 keys of a keyed topic",
  topics: 10_000,
  areKeys: true,
  ...ofEngines,
};
const manyTopics: PublishRow = {
  key: "10000",
  heading: "text, to 10,000 topics",
  topics: 10_000,
  peers: withNchan,
  timesMax: 1.5,
};
const json: PublishRow = {
  key: "json",
  heading: "JSON",
  topics: 1,
  isJson: true,
  peers: open,
  timesMax: 1.5,
};
const idempotent: PublishRow = {
  key: "idempotency",
  heading: "text, an Idempotency-Key each",
  topics: 1,
  withKeys: true,
  peers: open,
  timesMax: 2.5,
};
const withApiKey: PublishRow = {
  key: "api-key",
  heading: "text, with an API key",
  topics: 1,
  credential: () => apiKey,
  peers: withKeys,
  timesMax: 1.7,
};
const withToken: PublishRow = {
  key: "token",
  heading: "text, with a token",
  topics: 1,
  credential: () =>
    new SignJWT({ publish: ["*"] })
      .setProtectedHeader({ alg: "HS256" })
      .setSubject("benchmark")
      .setExpirationTime("2h")
      .sign(new TextEncoder().encode(jwtSecret)),
  peers: withKeys,
  timesMax: 1.8,
};
/**
 * Rows of one server, in this order: the last two leave tens of thousands of messages and keys in it, which each collection
 * of garbage looks at. Rows after them would measure those, too.
 */
const openRows = [text, json, manyTopics, idempotent];
const guardedRows = [withApiKey, withToken];
const engineRows = [plain, withKey];
const measures = [cpu, rate, median, p99];

export const publish: Benchmark = {
  name: "publish",
  description: "POST /topics: CPU, rate and latency of text and JSON, with and without keys and tokens",
  secondsDefault: 1.5,
  peers,
  plan: (options) => ({
    title: `Publishing over ${connections} connections`,
    load: `POST of ${payloadBytes} bytes over ${connections} kept-alive connections on loopback, without subscribers`,
    warmUp: async (server, peer) => {
      if (isKeyed(peer)) await untilReady(server);
      return await runPublishLoad(server, {
        connections,
        topics: options.quick ? 10 : 100,
        payloadBytes,
        ...(peer === guarded ? { headers: await headersOf(withApiKey) } : {}),
        ...warmUpTimes(options),
      });
    },
    measurements: [...openRows, ...guardedRows, ...engineRows].map((row) => ({
      row,
      peers: row.peers,
      fresh: false,
      measure: async (server: RunningPeer) =>
        runPublishLoad(server, {
          ...row,
          topics: options.quick ? Math.min(row.topics, 10) : row.topics,
          connections,
          payloadBytes,
          headers: await headersOf(row),
          ...loadTimes(options),
          // What a row alone uses, such as the check of JSON or of a token, is compiled before anything is counted.
          leadSeconds: warmUpTimes(options).seconds,
        }),
    })),
    sections: [
      { rows: openRows, measures },
      { rows: guardedRows, measures },
      { rows: engineRows, measures },
    ],
    aims,
  }),
};

const isKeyed = (peer: string): boolean => peer in keyedTimesMax;

async function headersOf({ credential }: PublishRow): Promise<Record<string, string>> {
  return credential ? { Authorization: `Bearer ${await credential()}` } : {};
}

function aims(samples: Samples): Aim[] {
  return [
    ...openRows.map((row) => atMostTimesControl(samples, row, cpu, row.timesMax)),
    ...guardedRows.map((row) => atMostTimesControl(samples, row, cpu, row.timesMax, guarded)),
    ...keyed.map((peer) => {
      const aim = atMostTimesRow(samples, withKey, plain, cpu, keyedTimesMax[peer], peer);
      return { ...aim, aim: `${peer}: ${aim.aim}` };
    }),
  ];
}
