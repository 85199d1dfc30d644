/** The heartbeats of many connections are due at once, and other clients are served between them. */
import { beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ClientAddress, Connection, type Socket } from "../../src/connection/connection.ts";
import { Heartbeat } from "../../src/connection/heartbeat.ts";
import { HttpConnection } from "../../src/connection/http-connection.ts";
import { Counters } from "../../src/metrics.ts";
import { nextTurn } from "../../src/next-turn.ts";
import { heartbeatsPerTurnMax } from "../../src/settings/limits.ts";
import { recordingLog } from "../support/recording-log.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const connectionsCount = 5000;
const address = new ClientAddress("127.0.0.1");

/** Counts calls, and the most of them in one turn of the event loop. */
class TurnMeter implements Disposable {
  total = 0;
  mostInTurn = 0;
  #inTurn = 0;
  #isStopped = false;

  constructor() {
    const turn = (): void => {
      this.#inTurn = 0;
      if (!this.#isStopped) setImmediate(turn);
    };
    turn();
  }

  count(): void {
    this.total++;
    this.mostInTurn = Math.max(this.mostInTurn, ++this.#inTurn);
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
  }
}

/** A heartbeat whose clock the test moves. @returns what moves it by a second */
function heartbeatOf(sockets: readonly Socket[], httpConnections: readonly HttpConnection[]): () => void {
  let everySecond: (() => void) | undefined;
  new Heartbeat({
    config: { heartbeatIntervalSeconds: 1, heartbeatTimeoutSeconds: 1000 },
    connections: {
      everySecond: (tick) => {
        everySecond = tick;
      },
      sockets: () => Object.assign(sockets.values(), { size: sockets.length }),
      httpConnections: () => new Set(httpConnections),
    },
    counters: new Counters(),
    log: recordingLog(),
  });
  return () => everySecond?.();
}

/** A socket that only takes pings, and of which nothing was ever received. */
function silentSocket(ping: () => void): Socket {
  const use = { handler: { kind: "raw", message: () => undefined }, expiresTime: Infinity } as const;
  return { data: new Connection({}, address, use), ping } as Partial<Socket> as Socket;
}

/** The turn for which an earlier test waits would count with the first one of the next test. */
beforeEach(nextTurn);

describe("a heartbeat that is due for 5,000 connections at once", () => {
  test("pings a slice of the sockets in each turn of the event loop", async () => {
    using pings = new TurnMeter();
    const sockets = Array.from({ length: connectionsCount }, () => silentSocket(() => pings.count()));
    const nextSecond = heartbeatOf(sockets, []);
    // A second that begins while the connections are being looked at only moves the clock.
    await until(() => {
      nextSecond();
      return pings.total >= connectionsCount;
    }, "a ping for each socket");
    expect(pings.total).toBe(connectionsCount);
    expect(pings.mostInTurn).toBeLessThanOrEqual(heartbeatsPerTurnMax);
    sockets.length = 0; // Ends the look at them that is under way.
  });

  test("writes the comments of a slice of the event streams in each turn", async () => {
    using ticks = new TurnMeter();
    const use = { handler: { kind: "events", tick: () => ticks.count() }, expiresTime: Infinity } as const;
    const register = { deleteHttp: () => true };
    const streams = Array.from(
      { length: connectionsCount },
      () => new HttpConnection(register, address, use),
    );
    heartbeatOf([], streams)();
    await until(() => ticks.total >= connectionsCount, "a tick for each stream");
    expect(ticks.mostInTurn).toBeLessThanOrEqual(heartbeatsPerTurnMax);
  });
});
