/** How many connections are admitted, which requests wait to become one, and how a node that drains closes them. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Connection, type Socket } from "../../src/connection/connection.ts";
import { Connections } from "../../src/connection/connections.ts";
import { drainAll } from "../../src/connection/drain.ts";
import type { HttpHandler } from "../../src/connection/http-connection.ts";
import { Openings } from "../../src/connection/openings.ts";
import { Proxies } from "../../src/http/proxies.ts";
import { Refusal } from "../../src/http/refusal.ts";
import type { RequestContext } from "../../src/http/request-context.ts";
import { Counters } from "../../src/metrics.ts";
import { openingsPerTurnMax } from "../../src/settings/limits.ts";
import { recordingLog } from "../support/recording-log.ts";

setDefaultTimeout(120_000);

/** A request of a client at 192.0.2.1. */
function requestOf(signal = new AbortController().signal): RequestContext {
  const url = new URL("http://localhost/ping");
  const server = { requestIP: () => ({ address: "192.0.2.1" }) };
  return { request: new Request(url, { signal }), url, server } as unknown as RequestContext;
}

/**
 * A WebSocket that ends when its endpoint hears of the closing.
 * @param unsentBytes each time that they are asked for; then there are none
 */
function openSocket(connections: Connections, unsentBytes: number[]) {
  const calls: string[] = [];
  const use = {
    handler: {
      kind: "echo",
      message: () => undefined,
      close: () => {
        calls.push("endpoint is told");
        socket.data.handler.close?.(socket); // As at the end of a socket.
        connections.delete(socket);
      },
    },
    expiresTime: Number.POSITIVE_INFINITY,
  } as const;
  const socket = {
    data: new Connection(connections, connections.admit(requestOf()), use),
    getBufferedAmount: () => unsentBytes.shift() ?? 0,
    ping: () => calls.push("ping"),
    close: (code: number) => calls.push(`close ${code}`),
  } as unknown as Socket;
  connections.add(socket);
  return { calls };
}

function stage(connectionsMax: number) {
  const limits = { connectionsMax, connectionsPerAddressMax: 0 };
  const connections = new Connections(limits, new Proxies([]), new Counters(), recordingLog());
  const openings = new Openings(connections);
  /** A request that asks for its turn. Those of one turn of the event loop that need not wait have `waits` undefined. */
  const ask = () => {
    const abort = new AbortController();
    const waits = openings.turn(requestOf(abort.signal));
    const outcome = waits?.then(
      () => "opened",
      (error: unknown) => (error instanceof Refusal ? error.reason : error),
    );
    return { abort, outcome };
  };
  for (let count = 0; count < openingsPerTurnMax; count++) expect(ask().outcome).toBeUndefined();
  return { ask, connections };
}

describe("requests that wait for their turn", () => {
  test("are bounded by the limit on connections, since each counts as one", async () => {
    const { ask } = stage(2);
    const outcomes = [ask(), ask(), ask()].map(({ outcome }) => outcome);
    expect(await Promise.all(outcomes)).toEqual(["opened", "opened", "connections"]);
  });

  test("give their place back at once where their client leaves", async () => {
    const { ask } = stage(1);
    const left = ask();
    left.abort.abort();
    const next = ask();
    expect(await left.outcome).toBe("malformed");
    expect(await next.outcome).toBe("opened");
  });
});

test("an address that all its connections have left is forgotten", () => {
  const { connections } = stage(10);
  const reservation = connections.reserve(requestOf());
  const known = connections.admit(requestOf());
  expect(known.connections).toBe(1);
  reservation[Symbol.dispose]();
  expect(connections.admit(requestOf())).not.toBe(known);
});

test("an address gives back a reservation and a connection once, whatever else it has open", () => {
  const { connections } = stage(10);
  const handler: HttpHandler = { kind: "events", close: (connection) => connection.end() };
  const open = () => connections.openHttp(requestOf(), { handler, expiresTime: Number.POSITIVE_INFINITY });
  open();
  const address = connections.admit(requestOf());
  connections.reserve(requestOf())[Symbol.dispose]();
  expect([address.connections, connections.count]).toEqual([1, 1]);
  const other = open();
  expect([connections.deleteHttp(other), connections.deleteHttp(other)]).toEqual([true, false]);
  expect([address.connections, connections.count]).toEqual([1, 1]);
});

describe("a node that drains", () => {
  test("admits nobody from the first step on, though others wait to be closed", async () => {
    const { connections } = stage(10);
    const closed: number[] = [];
    for (let number = 0; number < 3; number++) {
      const handler: HttpHandler = {
        kind: "events",
        close: (connection, code) => {
          closed.push(code);
          connection.end();
        },
      };
      connections.openHttp(requestOf(), { handler, expiresTime: Number.POSITIVE_INFINITY }).stream();
    }
    const drained = drainAll(connections, 0.1);
    expect(closed.length).toBeLessThan(3);
    expect(() => connections.admit(requestOf())).toThrow("draining");
    await drained;
    expect(closed).toEqual([1012, 1012, 1012]);
  });

  test("lets a WebSocket with unsent bytes take them, and closes it without a ping at the deadline", async () => {
    const { connections } = stage(10);
    const { calls } = openSocket(connections, Array(1000).fill(100));
    await drainAll(connections, 0);
    expect(calls).toEqual(["close 1012"]);
  });

  test("closes a WebSocket in good order as soon as it has taken its unsent bytes", async () => {
    const { connections } = stage(10);
    const { calls } = openSocket(connections, [100]);
    await drainAll(connections, 0);
    expect(calls).toEqual(["ping", "endpoint is told"]);
  });
});
