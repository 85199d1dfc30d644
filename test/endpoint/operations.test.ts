/** For operators: /healthz, /readyz, /metrics and the log are right, and contain no secret. */
import { describe, expect, jest, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { version } from "../../package.json";
import { ApiKeys } from "../../src/access/api-keys.ts";
import { makeToken } from "../../src/command/token.ts";
import { Operations } from "../../src/endpoint/operations/operations.ts";
import { Refusals } from "../../src/http/refusal.ts";
import { routesOf } from "../../src/http/routes.ts";
import { createLogger } from "../../src/log.ts";
import { Counters, EventLoopDelay } from "../../src/metrics.ts";
import { type Setting, settings } from "../../src/settings/config.ts";
import { settingsPage } from "../docs/settings-table.ts";
import { openWs, ws } from "../support/clients.ts";
import { spawnDiskServer } from "../support/disk-server.ts";
import { NarrowSocket } from "../support/narrow-socket.ts";
import { type Metrics, parseMetrics, sampleOf, samplesOf, scrape } from "../support/prometheus.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type RunningServer, root, spawnServer } from "../support/server.ts";
import {
  cloudEvents,
  newTopic,
  openEvents,
  openStream,
  openTopic,
  post,
  publish,
  publishEach,
  topicsUrl,
} from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const apiKey = "an-api-key-of-32-characters-0001";
const jwtSecret = "a-secret-for-tokens-of-40-characters-001";
const bearer = { Authorization: `Bearer ${apiKey}` };

/** Reads /metrics until they say so, for what is counted a moment after its client has noticed. */
async function scrapeUntil(
  server: RunningServer,
  holds: (metrics: Metrics) => boolean,
  what: string,
  headers = {},
) {
  let metrics: Metrics = new Map();
  await until(async () => {
    metrics = await scrape(server, headers);
    return holds(metrics);
  }, what);
  return metrics;
}

describe("/healthz and /readyz", () => {
  test("answer anyone, GET and HEAD, and are kept by no cache", async () => {
    await using server = await spawnServer(["--api-key", apiKey]);
    for (const path of ["/healthz", "/readyz"]) {
      for (const method of ["GET", "HEAD"]) {
        const response = await fetch(new URL(path, server.url), { method });
        expect(`${method} ${path} ${response.status}`).toBe(`${method} ${path} 200`);
        expect(response.headers.get("Cache-Control")).toBe("no-store");
      }
      expect((await fetch(new URL(path, server.url), { method: "POST" })).status).toBe(405);
    }
    expect(await (await fetch(new URL("/readyz", server.url))).json()).toEqual({
      ready: true,
      draining: false,
      broker: "available",
    });
  });
});

test("a health check of HTTP/1.0, which sends no Host, is answered, and HTTP/1.1 needs one", async () => {
  await using open = await spawnServer();
  await using guarded = await spawnServer(["--api-key", apiKey]);
  for (const { url } of [open, guarded]) {
    for (const path of ["/", "/healthz", "/readyz"]) {
      for (const method of ["GET", "HEAD", "OPTIONS"]) {
        const { status } = await exchange(url, `${method} ${path} HTTP/1.0\r\n\r\n`);
        expect(`${method} ${path} ${status}`).toBe(`${method} ${path} ${method === "OPTIONS" ? 204 : 200}`);
      }
      expect((await exchange(url, `GET ${path} HTTP/1.1\r\n\r\n`)).status).toBe(400);
    }
    expect((await exchange(url, "GET /topics/news HTTP/1.0\r\n\r\n")).status).toBe(400);
  }
});

test("an engine that was reached only between two probes makes the node ready", async () => {
  const broker = { state: { available: false, sinceTime: 0 } };
  const connections = { connectionsMax: 1, isDraining: false, heldBytes: () => 0 };
  using operations = new Operations({
    engine: { broker, size: { topicCount: 0, historyBytes: 0 }, metrics: () => [] },
    connections,
    encodings: { bytes: 0 },
    counters: new Counters(),
    access: { apiKeys: new ApiKeys([]) },
    hub: { members: undefined },
  });
  await using server = Bun.serve({
    port: 0,
    routes: routesOf(operations.handlers, new Refusals(new Counters(), createLogger("silent"))),
    websocket: { message: () => undefined },
  });
  const probe = async (): Promise<unknown> => {
    const answer = await fetch(new URL("/readyz", server.url));
    return { status: answer.status, ...(await answer.json()) };
  };
  const away = { draining: false, broker: "away" };
  expect(await probe()).toEqual({ status: 503, ready: false, ...away });
  let asked = false;
  Object.defineProperty(broker.state, "available", {
    get: () => {
      const isFirst = !asked;
      asked = true;
      return isFirst;
    },
  });
  await until(() => asked, "the server to ask by itself");
  expect(await probe()).toEqual({ status: 200, ready: true, ...away });
});

describe("/metrics", () => {
  test("is in the text format of Prometheus, version 0.0.4", async () => {
    await using server = await spawnServer();
    const response = await fetch(new URL("/metrics", server.url));
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const metrics = parseMetrics(await response.text());
    for (const { help } of metrics.values()) expect(help).toMatch(/^[A-Z1].*\.$/);
  });

  test("asks for the API key once one is set", async () => {
    await using server = await spawnServer(["--api-key", apiKey]);
    const url = new URL("/metrics", server.url);
    const without = await fetch(url);
    expect(without.status).toBe(401);
    expect(without.headers.get("WWW-Authenticate")).toBe("Bearer");
    expect((await fetch(url, { headers: { Authorization: `Bearer ${apiKey}x` } })).status).toBe(401);
    expect((await fetch(url, { headers: bearer })).status).toBe(200);
  });

  test("counts connections by form, and what they received and were given", async () => {
    await using server = await spawnServer();
    const topic = newTopic();
    using echo = await openWs(server.socketUrl());
    using gone = await openWs(server.socketUrl());
    for (const text of ["ping", "four", "né"]) {
      echo.send(text);
      await echo.next();
    }
    gone.close(1000);
    await gone.closed;
    using raw = await openTopic(server, topic);
    using events = await openEvents(server, topic);
    await using stream = await openStream(server, topic);
    await using eventStream = await openStream(server, `${topic}?format=cloudevents`);
    await stream.next();
    await eventStream.next();
    await publishEach(server, topic, ["one", "two"]);
    raw.send("three");
    for (let count = 0; count < 3; count++)
      await Promise.all([raw.next(), events.event(), stream.next(), eventStream.next()]);

    const isSettled = (metrics: Metrics): boolean => samplesOf(metrics, "longwire_connections").echo === 1;
    const metrics = await scrapeUntil(server, isSettled, "the closed line to be counted");
    const each = {
      raw: 1,
      cloudevents: 1,
      events: 1,
      events_cloudevents: 1,
      poll: 0,
      publish: 0,
      status: 0,
      refused: 0,
    };
    expect(samplesOf(metrics, "longwire_connections")).toEqual({ echo: 1, ...each });
    expect(samplesOf(metrics, "longwire_connections_opened_total")).toEqual({ echo: 2, ...each });
    expect(sampleOf(metrics, "longwire_received_messages_total")).toBe(4);
    expect(sampleOf(metrics, "longwire_received_characters_total")).toBe(4 + 4 + 2 + 5);
    expect(sampleOf(metrics, "longwire_published_messages_total")).toBe(3);
    expect(sampleOf(metrics, "longwire_published_characters_total")).toBe(3 + 3 + 5);
    expect(sampleOf(metrics, "longwire_publish_failures_total")).toBe(0);
    expect(sampleOf(metrics, "longwire_publish_seconds", "count")).toBe(3);
    expect(sampleOf(metrics, "longwire_publish_seconds", "sum")).toBeLessThan(9);
    // Three messages in four forms.
    expect(sampleOf(metrics, "longwire_delivery_delay_seconds", "count")).toBe(12);
    expect(sampleOf(metrics, "longwire_delivery_delay_seconds", "sum")).toBeLessThan(9);
    expect(samplesOf(metrics, "longwire_delivered_messages_total")).toEqual({
      raw: 3,
      cloudevents: 3,
      events: 3,
      events_cloudevents: 3,
    });
    const sent = samplesOf(metrics, "longwire_sent_bytes_total");
    expect(sent).toMatchObject({ raw: 3 + 3 + 5, poll: 0 });
    // Three events of about 200 bytes as CloudEvents, less as server-sent events.
    expect(sent.cloudevents).toBeWithin(3 * 150, 3 * 350);
    expect(sent.events).toBeWithin(3 * 20, Number(sent.cloudevents));
    expect(sent.events_cloudevents).toBeWithin(Number(sent.cloudevents), 3 * 600);
    expect(sampleOf(metrics, "longwire_replayed_messages_total")).toBe(0);
    expect(sampleOf(metrics, "longwire_topics")).toBe(1);
    expect(sampleOf(metrics, "longwire_history_bytes")).toBeGreaterThan(11);
    expect(Object.values(samplesOf(metrics, "longwire_refused_total")).every((count) => count === 0)).toBe(
      true,
    );
    expect(Object.values(samplesOf(metrics, "longwire_cut_total")).every((count) => count === 0)).toBe(true);
  });

  test("counts resumptions by how they begin, replayed messages, and gaps", async () => {
    await using server = await spawnServer(["--history-messages", "2"]);
    const topic = newTopic();
    const ids = await publishEach(server, topic, ["1", "2", "3", "4"]);
    for (const [since, replayed] of [
      [ids[3], 0],
      [ids[2], 1],
      [ids[0], 2],
      ["all", 2],
    ] as const) {
      using client = await openTopic(server, `${topic}?since=${since}`, cloudEvents);
      expect((await client.event()).type).toBe("longwire.open");
      if (since === ids[0]) expect((await client.event()).type).toBe("longwire.gap");
      for (let count = 0; count < replayed; count++) await client.event();
    }
    await using stream = await openStream(server, topic, { "Last-Event-ID": "strange" });
    expect((await stream.next()).event).toBe("longwire.open");
    expect((await stream.next()).event).toBe("longwire.gap");
    await stream.next();
    await stream.next();
    const metrics = await scrape(server);
    expect(samplesOf(metrics, "longwire_resumes_total")).toEqual({ complete: 3, gap: 2 });
    expect(sampleOf(metrics, "longwire_gaps_total")).toBe(2);
    expect(sampleOf(metrics, "longwire_replayed_messages_total")).toBe(0 + 1 + 2 + 2 + 2);
  });

  test("counts each kind of cut", async () => {
    const flags = [
      "--api-key",
      apiKey,
      "--jwt-secret",
      jwtSecret,
      "--max-rate",
      "20",
      "--max-message",
      "4KiB",
      "--max-buffered",
      "16KiB",
    ];
    await using server = await spawnServer(flags);
    // A server of its own, where the slow one would be silent on a busy machine.
    const heartbeat = ["--heartbeat-interval", "1s", "--heartbeat-timeout", "1s"];
    await using impatient = await spawnServer([...flags, ...heartbeat]);
    const topic = newTopic();

    using fast = await openWs(server.socketUrl());
    for (let count = 0; count < 50; count++) fast.send("x");
    expect(await within(fast.closed, "the fast one to be cut")).toMatchObject({ code: 1013 });

    const token = await makeToken({
      secret: jwtSecret,
      subscribe: [topic],
      publish: [],
      end: [],
      ttlSeconds: 1,
      subject: undefined,
    });
    using expiring = await openTopic(server, topic, [], { Authorization: `Bearer ${token}` });
    expect(await within(expiring.closed, "the token to expire")).toMatchObject({ code: 4401 });

    using silent = await RawSocket.open(impatient.socketUrl());
    await within(silent.ended, "the silent one to be cut");
    expect(sampleOf(await scrape(impatient, bearer), "longwire_cut_total", 'reason="silent"')).toBe(1);

    using slow = new NarrowSocket(Number(server.url.port));
    slow.write(Buffer.from(request("GET", `/topics/${topic}`, { ...handshakeHeaders, ...bearer })));
    const isCut = (metrics: Metrics): boolean =>
      sampleOf(metrics, "longwire_cut_total", 'reason="slow"') === 1;
    const body = "x".repeat(4096);
    await until(async () => {
      await Promise.all(Array.from({ length: 40 }, () => post(server, topic, body, bearer)));
      return isCut(await scrape(server, bearer));
    }, "the slow one to be cut");
    expect(samplesOf(await scrape(server, bearer), "longwire_cut_total")).toEqual({
      slow: 1,
      buffered_total: 0,
      silent: 0,
      rate: 1,
      expired: 1,
    });
  });
});

describe("/metrics counts refusals", () => {
  test("of each kind by a server with keys", async () => {
    const flags = ["--api-key", apiKey, "--jwt-secret", jwtSecret, "--max-connections-per-ip", "2"];
    await using server = await spawnServer([...flags, "--max-message", "1KiB", "--max-connections", "3"]);
    const topic = newTopic();
    const url = topicsUrl(server, topic);
    const token = await makeToken({
      secret: jwtSecret,
      subscribe: [],
      publish: [],
      end: [],
      ttlSeconds: 60,
      subject: undefined,
    });
    const statusOf = async (init: RequestInit, at = url): Promise<number> => (await fetch(at, init)).status;
    const body = "x".repeat(2000);
    expect(await statusOf({ headers: { ...bearer, Origin: "https://elsewhere.example" } })).toBe(403);
    expect(await statusOf({ headers: { ...bearer, "Sec-Fetch-Site": "cross-site" } })).toBe(403);
    expect(await statusOf({})).toBe(401);
    expect(await statusOf({ headers: { Authorization: "Bearer wrong" } })).toBe(401);
    expect(await statusOf({ headers: { Authorization: `Bearer ${token}` } })).toBe(403);
    expect(await statusOf({ method: "POST", body, headers: bearer })).toBe(413);
    expect(await statusOf({ headers: bearer }, `${url},${topic}`)).toBe(400);
    expect(await statusOf({ headers: bearer }, `${url}?since=never`)).toBe(400);
    const asStream = { headers: { ...bearer, Accept: "text/event-stream" } };
    expect(await statusOf(asStream, `${url}?format=xml`)).toBe(400);
    expect(await statusOf(asStream, `${url},${topic}-2`)).toBe(400);
    const keyed = { ...bearer, "Idempotency-Key": "one" };
    expect(await statusOf({ method: "POST", body: "a", headers: keyed })).toBe(200);
    expect(await statusOf({ method: "POST", body: "b", headers: keyed })).toBe(422);
    using tooBig = await openWs(server.socketUrl());
    tooBig.send(body);
    expect(await within(tooBig.closed, "an oversize frame to be refused")).toMatchObject({ code: 1009 });

    const from = (localAddress: string) => new ws.WebSocket(server.socketUrl(), { localAddress });
    const opened = async (socket: InstanceType<typeof ws.WebSocket>): Promise<boolean> => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      socket.on("open", () => resolve(true)).on("error", () => resolve(false));
      return await within(promise, "an answer to a handshake");
    };
    const sockets = [from("127.0.0.2"), from("127.0.0.2")];
    for (const socket of sockets) expect(await opened(socket)).toBe(true);
    expect(await opened(from("127.0.0.2"))).toBe(false);
    const third = from("127.0.0.3");
    expect(await opened(third)).toBe(true);
    expect(await opened(from("127.0.0.3"))).toBe(false);
    for (const socket of [...sockets, third]) socket.terminate();
    expect(samplesOf(await scrape(server, bearer), "longwire_refused_total")).toEqual({
      origin: 2,
      host: 0,
      token: 2,
      permission: 1,
      connections: 1,
      connections_per_ip: 1,
      message_size: 2,
      content_encoding: 0,
      malformed: 4,
      expectation: 0,
      conflict: 1,
      ...{ precondition: 0, topic_full: 0, unavailable: 0, draining: 0 },
      ...{ silence: 0, ended: 0, taken_over: 0, presence_full: 0 },
      not_found: 0,
      method: 0,
      not_resumable: 0,
      upgrade: 0,
      fault: 0,
    });
  });

  test("of every kind, once per request", async () => {
    const flags = ["--api-key", apiKey, "--max-message", "1KiB", "--keyed", "k", "--keys-max", "1"];
    await using server = await spawnServer(flags);
    const authorized = { method: "POST", body: "1", headers: bearer };
    expect((await fetch(new URL("/topics/k?key=first", server.url), authorized)).status).toBe(200);
    const upgrade = { ...handshakeHeaders, ...bearer };
    const refused: readonly [
      reason: string,
      status: number,
      method: string,
      path: string,
      headers: object,
    ][] = [
      ["malformed", 400, "GET", "/topics/a", { ...bearer, Host: "no host" }],
      ["malformed", 400, "GET", "/topics/a,a", bearer],
      ["malformed", 400, "GET", "/topics/a?since=never", bearer],
      ["malformed", 400, "GET", "/topics/a,b", upgrade],
      ["malformed", 400, "GET", "/topics/a", { ...upgrade, "Sec-WebSocket-Key": "" }],
      ["malformed", 400, "GET", "/topics/a?format=xml", { ...bearer, Accept: "text/event-stream" }],
      ["malformed", 400, "GET", "/topics/a,b", { ...bearer, Accept: "text/event-stream" }],
      ["malformed", 400, "POST", "/topics/a", { ...bearer, "Content-Length": "0", "Idempotency-Key": '""' }],
      ["malformed", 400, "POST", "/topics/a", { ...bearer, "Content-Length": "0", "Content-Type": "none" }],
      ["token", 401, "GET", "/topics/a", {}],
      ["token", 401, "GET", "/metrics", {}],
      ["not_found", 404, "GET", "/nothing", {}],
      ["method", 405, "PUT", "/topics/a", {}],
      ["method", 405, "POST", "/ping", { "Content-Length": "0" }],
      ["precondition", 412, "POST", "/topics/k?key=a", { ...bearer, "Content-Length": "0", "If-Match": "*" }],
      ["topic_full", 507, "POST", "/topics/k?key=b", { ...bearer, "Content-Length": "0" }],
      ["not_found", 404, "GET", "/topics/k?key=b", bearer],
      ["not_resumable", 410, "GET", "/topics/a?since=other-1", upgrade],
      ["upgrade", 426, "GET", "/ping", {}],
      ["upgrade", 426, "GET", "/topics/a", { ...upgrade, "Sec-WebSocket-Version": "12" }],
    ];
    const before = await scrape(server, bearer);
    const expected = samplesOf(before, "longwire_refused_total");
    for (const [reason, status, method, path, headers] of refused) {
      const answer = await exchange(server.url, request(method, path, { Host: server.url.host, ...headers }));
      expect({ method, path, status: answer.status }).toEqual({ method, path, status });
      expected[reason] = (expected[reason] ?? 0) + 1;
      const counts = samplesOf(await scrape(server, bearer), "longwire_refused_total");
      expect({ method, path, counts }).toEqual({ method, path, counts: expected });
    }
  });

  test("of requests for another host, and shows a drain while it still answers", async () => {
    await using server = await spawnServer(["--drain-delay", "1m"]);
    using rebound = await RawSocket.connect(server.url);
    rebound.write(request("GET", "/ping", { Host: "rebound.example" }));
    expect((await rebound.response()).status).toBe(403);
    server.process.kill("SIGTERM");
    await server.logged("draining");
    const metrics = await scrape(server);
    expect(samplesOf(metrics, "longwire_refused_total")).toMatchObject({ host: 1, draining: 0 });
    expect(sampleOf(metrics, "longwire_draining")).toBe(1);
  });

  test("of a request for a connection after the listener was closed", async () => {
    await using server = await spawnServer(["--drain-window", "2s"]);
    const lines = await Promise.all(Array.from({ length: 100 }, () => openWs(server.socketUrl())));
    using late = await RawSocket.connect(server.url);
    const handshake = request("GET", "/ping", handshakeHeaders);
    late.write(handshake.slice(0, -2));
    server.process.kill("SIGTERM");
    await within(lines[0]?.closed as Promise<unknown>, "the first to be closed");
    late.write(handshake.slice(-2));
    const refused = await late.response();
    expect(refused.status).toBe(503);
    expect(refused.headers.get("Retry-After")).toMatch(/^\d+$/);
    await within(server.process.exited, "the process to exit");
    expect(await server.logged("refused or cut")).toMatchObject({ draining: 1 });
    for (const line of lines) line[Symbol.dispose]();
  });
});

describe("/metrics of the process", () => {
  test("has the figures of the operating system", async () => {
    const spawnedSeconds = Date.now() / 1000;
    await using server = await spawnServer();
    const { pid } = server.process;
    const before = await scrape(server);
    expect(sampleOf(before, "longwire_build_info", `version="${version}"`)).toBe(1);
    expect(sampleOf(before, "longwire_broker_up")).toBe(1);
    expect(sampleOf(before, "longwire_draining")).toBe(0);
    // The kernel counts from its start, which it knows by the second.
    const startSeconds = sampleOf(before, "process_start_time_seconds");
    expect(startSeconds).toBeWithin(spawnedSeconds - 2, Date.now() / 1000 + 2);
    expect(sampleOf(before, "process_resident_memory_bytes")).toBeGreaterThan(20 * 1024 ** 2);
    expect(sampleOf(before, "process_resident_memory_bytes")).toBeLessThan(400 * 1024 ** 2);
    const [, limit] =
      /^Max open files\s+\S+\s+(\d+)/m.exec(await Bun.file(`/proc/${pid}/limits`).text()) ?? [];
    expect(sampleOf(before, "process_max_fds")).toBe(Number(limit));
    expect(sampleOf(before, "longwire_connections_max")).toBe(Number(limit) - 256);

    const lines = await Promise.all(Array.from({ length: 50 }, () => openWs(server.socketUrl())));
    const after = await scrape(server);
    const opened = sampleOf(after, "process_open_fds") - sampleOf(before, "process_open_fds");
    expect(opened).toBeGreaterThanOrEqual(50);
    expect(opened).toBeLessThan(60);
    const cpu = "process_cpu_seconds_total";
    expect(sampleOf(after, cpu)).toBeGreaterThan(sampleOf(before, cpu));
    expect(sampleOf(after, cpu)).toBeLessThan(10);
    const user = sampleOf(after, "process_cpu_user_seconds_total");
    const system = sampleOf(after, "process_cpu_system_seconds_total");
    expect(Math.abs(user + system - sampleOf(after, cpu))).toBeLessThan(0.1);
    for (const line of lines) line[Symbol.dispose]();
  });

  test("shows for how long the event loop was held up, to each of several scrapers", async () => {
    const preload = resolve(root, "test/support/busy.ts");
    const command = [process.execPath, "--preload", preload, resolve(root, "src/index.ts")];
    await using server = await spawnServer([], { command });
    const name = "longwire_event_loop_delay_seconds";
    /** How many 20 ms a request would have waited for longer than that. */
    const over = (metrics: Metrics, seconds: number): number =>
      sampleOf(metrics, name, "count") - sampleOf(metrics, name, `le="${seconds}"`);
    const before = await scrape(server);
    server.process.kill("SIGUSR2"); // Holds up the event loop for half a second.
    await server.logged("was busy");
    for (let scraper = 0; scraper < 2; scraper++) {
      const after = await scrape(server);
      const held = over(after, 0.2) - over(before, 0.2);
      expect(held).toBeGreaterThanOrEqual(13); // 500 ms less 200, and less the 20 since the last look before.
      expect(held).toBeLessThan(100); // A busy machine holds it up for longer.
      expect(sampleOf(after, name, "sum")).toBeGreaterThan(13 * 0.2);
    }
  });
});

describe("the delay of the event loop", () => {
  const name = "longwire_event_loop_delay_seconds";

  test("is not measured before somebody asks, and then it is", async () => {
    await using server = await spawnServer();
    await server.logged("listening");
    expect(sampleOf(await scrape(server), name, "count")).toBe(0);
    await until(async () => sampleOf(await scrape(server), name, "count") > 0, "a sample");
  });

  test("is measured for a minute after the last time that somebody asked", () => {
    jest.useFakeTimers();
    try {
      using delay = new EventLoopDelay();
      const samples = (): number => delay.seconds.counts.reduce((sum, count) => sum + count, 0);
      jest.advanceTimersByTime(1000);
      expect({ samples: samples(), timers: jest.getTimerCount() }).toEqual({ samples: 0, timers: 0 });
      delay.measure();
      jest.advanceTimersByTime(30_000);
      delay.measure();
      jest.advanceTimersByTime(59_000);
      expect({ samples: samples(), timers: jest.getTimerCount() }).toEqual({ samples: 4450, timers: 1 });
      jest.advanceTimersByTime(60_000);
      expect({ samples: samples(), timers: jest.getTimerCount() }).toEqual({ samples: 4500, timers: 0 });
    } finally {
      jest.useRealTimers();
    }
  });
});

describe("the log", () => {
  test("begins with one line that has every setting in force and no secret", async () => {
    const flags = ["--api-key", apiKey, "--jwt-secret", jwtSecret, "--max-rate", "7", "--public", "news/*"];
    await using server = await spawnServer(flags);
    const line = await server.logged("listening");
    for (const name of Object.keys(settings)) expect(Object.keys(line)).toContain(name);
    expect(line).toMatchObject({
      messagesPerSecondMax: 7,
      publicTopics: ["news/*"],
      apiKeys: "1 set",
      jwtSecrets: "1 set",
      isOpen: false,
    });
    expect(Number(line.connectionsMax)).toBeGreaterThan(0);
    expect(server.log().filter(({ msg }) => msg === "listening")).toHaveLength(1);
  });

  test("has no key and no token, at any level, whichever way it was presented", async () => {
    const cookie = "session";
    const flags = [
      "--api-key",
      apiKey,
      "--jwt-secret",
      jwtSecret,
      "--token-cookie",
      cookie,
      "--private-ping",
    ];
    await using server = await spawnServer([...flags, "--log-level", "trace"]);
    const topic = newTopic();
    const right = await makeToken({
      secret: jwtSecret,
      subscribe: ["*"],
      publish: ["*"],
      end: [],
      ttlSeconds: 60,
      subject: "someone",
    });
    const parts = right.split(".");
    const wrong = `${parts[0]}.${parts[1]}.${"A".repeat(43)}`;
    const answers: number[] = [];
    for (const token of [right, wrong, apiKey, "wrong-key-of-32-characters-000002"]) {
      const url = topicsUrl(server, topic);
      const own = { Origin: server.url.origin, Cookie: `${cookie}=${token}` };
      for (const [at, headers] of [
        [url, { Authorization: `Bearer ${token}` }],
        [`${url}?access_token=${token}`, {}],
        [`${url}/../%00?access_token=${token}`, {}],
        [url, own],
        [`${new URL("/metrics", server.url)}?access_token=${token}`, {}],
        [`${new URL("/nothing", server.url)}?access_token=${token}`, {}],
      ] as [string, Record<string, string>][]) {
        answers.push((await fetch(at, { headers })).status);
      }
      for (const subprotocols of [[`bearer.${token}`, "longwire.raw"]]) {
        const socket = new ws.WebSocket(
          server.socketUrl(`/topics/${topic}?access_token=${token}`),
          subprotocols,
        );
        const { promise, resolve } = Promise.withResolvers<void>();
        socket.on("open", () => socket.close());
        socket.on("error", () => resolve());
        socket.on("close", () => resolve());
        await within(promise, "the end of a WebSocket");
      }
    }
    expect(answers).toContain(200);
    expect(answers).toContain(401);
    server.process.kill("SIGTERM");
    await within(server.process.exited, "the process to exit");
    const written = (await server.errors) + server.startLines;
    expect(written).toContain("refused or cut");
    for (const secret of [apiKey, jwtSecret, right, ...parts, wrong, "wrong-key"]) {
      expect(written).not.toContain(secret);
    }
  });

  test("reports a flood of refusals in a few lines: the first, and how many there were", async () => {
    await using server = await spawnServer();
    const headers = { Origin: "https://elsewhere.example" };
    for (let count = 0; count < 5; count++) {
      await Promise.all(Array.from({ length: 100 }, () => fetch(topicsUrl(server, "news"), { headers })));
    }
    expect(await server.logged("another origin")).toMatchObject({
      allow: "--origin https://elsewhere.example",
    });
    server.process.kill("SIGTERM");
    await within(server.process.exited, "the process to exit");
    await server.errors;
    const lines = server.log();
    // One each 10 s, should the machine be that slow.
    expect(lines.filter(({ msg }) => String(msg).includes("another origin")).length).toBeLessThan(4);
    const told = lines.filter(({ msg }) => String(msg).includes("refused or cut"));
    expect(told.length).toBeLessThan(4);
    expect(told.reduce((sum, { origin }) => sum + Number(origin), 0)).toBe(500);
  });

  test("has the id that an answer of 500 names, with the cause", async () => {
    const preload = resolve(root, "test/support/faults.ts");
    const command = [process.execPath, "--preload", preload, resolve(root, "src/index.ts")];
    await using server = await spawnServer([], { command });
    for (const path of ["/ping", "/topics/news"]) {
      const response = await fetch(new URL(path, server.url), { headers: { "X-Fault": "throw" } });
      expect(response.status).toBe(500);
      const { detail } = await response.json();
      const [id] = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(detail) ?? [];
      await until(() => server.log().some(({ requestId }) => requestId === id), "the line with the id");
      const line = server.log().find(({ requestId }) => requestId === id);
      expect(line).toMatchObject({ level: 50, err: { message: "thrown in a request" } });
      expect(detail).not.toContain("thrown");
    }
  });

  test("says at the debug level who is connected, to how many topics, and how long it lasted", async () => {
    const flags = ["--log-level", "debug", "--jwt-secret", jwtSecret];
    await using server = await spawnServer(flags);
    const claims = {
      secret: jwtSecret,
      subscribe: ["*"],
      publish: [],
      end: [],
      ttlSeconds: 60,
      subject: "mary",
    };
    const token = await makeToken(claims);
    const topics = `${newTopic()},${newTopic()}`;
    const path = `/topics/${topics}?access_token=${token}`;
    using socket = await openWs(server.socketUrl(path), cloudEvents);
    const stream = await fetch(new URL(`${path}&format=cloudevents`, server.url), {
      headers: { Accept: "text/event-stream" },
    });
    await stream.body?.cancel();
    await fetch(new URL(`${path}&since=all,all`, server.url));
    socket.close(1000);
    const each = (message: string, form: string): Record<string, unknown>[] =>
      server.log().filter((line) => line.msg === `connection ${message}` && line.form === form);
    const numbers = new Set<unknown>();
    for (const form of ["cloudevents", "events_cloudevents", "poll"]) {
      await until(() => each("closed", form).length === 1, `the end of ${form}`);
      const [opened] = each("opened", form);
      const [closed] = each("closed", form);
      expect(opened).toMatchObject({ sub: "mary", topics: 2, address: "127.0.0.1" });
      expect(closed).toMatchObject({ sub: "mary", topics: 2, connection: opened?.connection });
      expect(Number(closed?.seconds)).toBeWithin(0, 20);
      numbers.add(opened?.connection);
    }
    expect(numbers.size).toBe(3);
  });

  test("has a line for each connection at the debug level, and none above it", async () => {
    for (const level of ["debug", "info"]) {
      await using server = await spawnServer(["--log-level", level]);
      using echo = await openWs(server.socketUrl());
      echo.close(1000);
      await echo.closed;
      if (level === "debug") {
        expect(await server.logged("connection opened")).toMatchObject({ form: "echo" });
        expect(await server.logged("connection closed")).toMatchObject({ code: 1000 });
      } else {
        await publish(server, newTopic(), "something later");
        expect(server.log().filter(({ msg }) => String(msg).includes("connection"))).toEqual([]);
      }
    }
  });

  test("says what a signal set off", async () => {
    await using server = await spawnServer();
    using raw = await RawSocket.open(server.socketUrl());
    raw.write(frame(opcodes.text, "ping"));
    await raw.frame();
    server.process.kill("SIGTERM");
    expect(await server.logged("a second signal ends at once")).toMatchObject({ signal: "SIGTERM" });
    expect(await server.logged("draining")).toMatchObject({
      connections: 1,
      drainDelaySeconds: 0,
      drainWindowSeconds: 0,
    });
  });
});

describe("docs/operations.md", async () => {
  const page = await Bun.file(resolve(root, "docs/operations.md")).text();
  const section = (heading: string): string =>
    page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const cells = (heading: string): string[][] =>
    section(heading)
      .split("\n")
      .filter((line) => line.startsWith("| "))
      .map((line) =>
        line
          .slice(1, -1)
          .split("|")
          .map((cell) => cell.trim()),
      );

  test("has the tables of settings that `bun run settings` writes now, with each flag once", async () => {
    const { written, made } = await settingsPage();
    expect(written === made, "run: bun run settings").toBe(true);
    const rows = cells("Settings").filter(([flag]) => flag?.startsWith("`--"));
    const flags = rows.map(([flag = ""]) => /^`--([a-z-]+)/.exec(flag)?.[1]);
    expect(flags.toSorted()).toEqual(
      Object.values(settings)
        .map(({ flag }) => flag)
        .toSorted(),
    );
    for (const [flag, text] of rows) expect(`${flag} ${text}`).toMatch(/ [A-Z].{20,}\.$|^`--operations-unix/);
    for (const { flag, fromFile } of Object.values<Setting<unknown>>(settings)) {
      if (fromFile) expect(section("Settings")).toContain(`\`--${flag}-file\``);
    }
  });

  test("has every metric with its type and labels, and no other", async () => {
    await using disk = await spawnDiskServer(); // With --data there are all those without it, and more.
    await using redis = await spawnServer(["--redis", "redis://127.0.0.1:1"]); // The same with --redis.
    const metrics = new Map([...(await scrape(disk.running)), ...(await scrape(redis))]);
    const shown = Array.from(metrics, ([name, { type, samples }]) => {
      const [label = ""] = samples.keys();
      return [`\`${name}\``, type, label === "" ? "" : `\`${label.split("=")[0]}\``];
    });
    const rows = cells("Metrics").filter(([name]) => name?.startsWith("`"));
    expect(rows.map((row) => row.slice(0, 3)).toSorted()).toEqual(shown.toSorted());
    const values = [
      "longwire_connections",
      "longwire_cut_total",
      "longwire_refused_total",
      "longwire_resumes_total",
    ];
    for (const name of values) {
      const told = rows.find(([told]) => told === `\`${name}\``)?.[3] ?? "";
      for (const value of Object.keys(samplesOf(metrics, name)))
        expect(`${name}: ${told}`).toContain(`\`${value}\``);
    }
  });

  test("points only to what is there", () => {
    const links = [...page.matchAll(/\]\((?!https?:)([^)#]*)(#[^)]+)?\)/g)];
    expect(links.length).toBeGreaterThan(10);
    const anchors = [...page.matchAll(/^#{2,3} (.+)$/gm)].map(
      ([, heading]) =>
        `#${heading
          ?.toLowerCase()
          .replaceAll(/[^a-z -]/g, "")
          .replaceAll(" ", "-")}`,
    );
    for (const [, file = "", anchor] of links) {
      if (file !== "") expect(`${file} ${existsSync(resolve(root, "docs", file))}`).toBe(`${file} true`);
      else expect(anchors).toContain(String(anchor));
    }
  });
});
