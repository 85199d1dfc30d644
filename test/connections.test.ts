/** How many connections are admitted, which requests wait to become one, and how a node that drains closes them. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { HttpConnection } from "../src/connection/connection.ts";
import { Connections } from "../src/connection/connections.ts";
import { drainAll } from "../src/connection/drain.ts";
import { Openings } from "../src/connection/openings.ts";
import { Proxies } from "../src/http/proxies.ts";
import { Refusal } from "../src/http/refusal.ts";
import type { RequestContext } from "../src/http/request-context.ts";
import { Counters } from "../src/metrics.ts";
import { openingsPerTurnMax } from "../src/settings/limits.ts";
import { recordingLog } from "./support/recording-log.ts";

setDefaultTimeout(120_000);

function stage(connectionsMax: number) {
  const limits = { connectionsMax, connectionsPerAddressMax: 0 };
  const connections = new Connections(limits, new Counters(), recordingLog());
  const openings = new Openings(connections, new Proxies([]));
  /** A request that asks for its turn. Those of one turn of the event loop that need not wait have `waits` undefined. */
  const ask = () => {
    const abort = new AbortController();
    const url = new URL("http://localhost/ping");
    const request = new Request(url, { signal: abort.signal });
    const server = { requestIP: () => ({ address: "192.0.2.1" }) };
    const waits = openings.turn({ request, url, server } as unknown as RequestContext);
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
  const reservation = connections.reserve("192.0.2.7");
  const known = connections.admit("192.0.2.7");
  expect(known.connections).toBe(1);
  reservation[Symbol.dispose]();
  expect(connections.admit("192.0.2.7")).not.toBe(known);
});

describe("a node that drains", () => {
  test("admits nobody from the first step on, though others wait to be closed", async () => {
    const { connections } = stage(10);
    const closed: number[] = [];
    for (let number = 0; number < 3; number++) {
      const connection = {
        kind: "events",
        clientAddress: connections.admit("192.0.2.7"),
        close: (code: number) => {
          closed.push(code);
          connections.deleteHttp(connection);
        },
        purpose: () => ({ sub: undefined, topics: 1 }),
      } as unknown as HttpConnection;
      connections.addHttp(connection);
    }
    const drained = drainAll(connections, 0.1);
    expect(closed.length).toBeLessThan(3);
    expect(() => connections.admit("192.0.2.7")).toThrow("draining");
    await drained;
    expect(closed).toEqual([1012, 1012, 1012]);
  });
});
