/** A deploy: SIGTERM to a real server process that is in use. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { openWs, ws } from "../support/clients.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import {
  newTopic,
  openEvents,
  openStream,
  publish,
  type ReceivedEvent,
  topicsUrl,
} from "../support/topics.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const restarting = 1012;

describe("SIGTERM", () => {
  test("closes WebSockets with 1012 and ends streams with longwire.close, then the process exits with 0", async () => {
    await using server = await spawnServer(["--drain-window", "0s"]);
    using echo = await openWs(server.socketUrl());
    const events = await openEvents(server, newTopic());
    await using stream = await openStream(server, newTopic());
    await using cloudEvents = await openStream(server, `${newTopic()}?format=cloudevents`);
    expect((await stream.next()).event).toBe("longwire.open");
    await cloudEvents.next();

    server.process.kill("SIGTERM");
    expect((await within(echo.closed, "the echo line to close")).code).toBe(restarting);
    expect(await within(events.closed, "the topic to close")).toMatchObject({
      code: restarting,
      reason: expect.stringContaining("draining"),
    });
    const close = await stream.next();
    expect(close.event).toBe("longwire.close");
    expect(JSON.parse(close.data)).toMatchObject({
      code: restarting,
      reason: expect.stringContaining("draining"),
    });
    expect(JSON.parse((await cloudEvents.next()).data).data.code).toBe(restarting);
    await within(stream.ended, "the stream to end as HTTP ends it");
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
    expect(await server.logged("draining")).toMatchObject({ connections: 4, drainWindowSeconds: 0 });
  });

  test("without a connection ends the process at once, whatever the window is", async () => {
    await using server = await spawnServer(["--drain-window", "1h"]);
    await fetch(server.url); // Leaves an HTTP connection that is kept alive. It does not count.
    server.process.kill("SIGTERM");
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
  });

  test("makes /readyz answer 503 and serves everyone for --drain-delay, and only then stops listening", async () => {
    await using server = await spawnServer(["--drain-delay", "10s", "--drain-window", "0s"]);
    const topic = newTopic();
    const ready = (): Promise<Response> => fetch(new URL("/readyz", server.url));
    expect((await ready()).status).toBe(200);

    const begun = performance.now();
    server.process.kill("SIGTERM");
    await until(async () => (await ready()).status === 503, "/readyz to turn 503");
    expect(await (await ready()).json()).toEqual({ ready: false, draining: true, broker: "available" });
    expect((await fetch(new URL("/healthz", server.url))).status).toBe(200);
    const late = await openEvents(server, topic);
    const id = await publish(server, topic, "in the delay");
    expect(await late.event()).toMatchObject({ id, data: "in the delay" });
    using echo = await openWs(server.socketUrl());
    echo.send("ping");
    expect(await echo.next()).toBe("pong");

    expect((await within(late.closed, "the late subscriber to be closed")).code).toBe(restarting);
    expect(performance.now() - begun).toBeGreaterThan(9900);
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
    await expect(ready()).rejects.toThrow();
  });

  test("spreads the closing over --drain-window, while those not yet closed are served", async () => {
    await using server = await spawnServer(["--drain-window", "4s", "--log-level", "debug"]);
    const topic = newTopic();
    const subscribers = await Promise.all(Array.from({ length: 100 }, () => openEvents(server, topic)));
    const last = subscribers.at(-1);

    server.process.kill("SIGTERM");
    await Promise.race(subscribers.map(({ closed }) => within(closed, "the first close")));
    last?.send('{"specversion":"1.0","type":"test","data":"in the window"}');
    const received = await last?.event();
    expect(received?.data).toBe("in the window");

    expect(await within(server.process.exited, "the process to exit")).toBe(0);
    await Promise.all(subscribers.map(({ closed }) => within(closed, "a close")));
    await server.errors;
    // By the server's clock: how late a client hears of it says nothing.
    const times = (message: string): number[] =>
      server.log().flatMap(({ msg, time }) => (msg === message ? [Number(time)] : []));
    const [begun = 0] = times("draining");
    const closed = times("connection closed").map((time) => time - begun);
    expect(closed).toHaveLength(100);
    // The middle half of them, which a moment in which the machine stood still does not bring together.
    expect(Number(closed[75]) - Number(closed[25])).toBeGreaterThan(500);
    expect(closed.at(-1)).toBeLessThan(12_000);
  });

  test("finishes and answers the publication under way", async () => {
    await using server = await spawnServer(["--drain-window", "1h"]);
    // A body that arrives is a connection: its turn to be closed comes after these, 20 ms after each.
    await Promise.all(Array.from({ length: 200 }, () => openWs(server.socketUrl())));
    const topic = newTopic();
    const subscriber = await openEvents(server, topic);
    using publisher = await RawSocket.connect(server.url);
    const path = new URL(topicsUrl(server, topic)).pathname;
    publisher.write(
      `POST ${path} HTTP/1.1\r\nHost: ${server.url.host}\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nhalf`,
    );
    await publish(server, topic, "the other one"); // By now the first half of the body has arrived.
    server.process.kill("SIGTERM");
    await until(async () => !(await isListening(server)), "the listener to close");
    publisher.write("half");
    const { status, body } = await publisher.response();
    expect(status).toBe(200);
    const [published] = JSON.parse(body).published;
    expect(published).toEqual({ topic, id: expect.stringMatching(/-2$/) });
    expect(await within(subscriber.closed, "the subscriber to be closed")).toMatchObject({
      code: restarting,
    });
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
  });

  test("sends a reader its unsent messages before it is closed", async () => {
    await using server = await spawnServer(["--drain-window", "0s"]);
    using echo = await openWs(server.socketUrl());
    const message = "x".repeat(512 * 1024);
    for (let count = 0; count < 3; count++) echo.send(message);
    await until(async () => (await metric(server, "longwire_received_messages_total")) === 3, "3 messages");
    server.process.kill("SIGTERM");
    for (let count = 0; count < 3; count++) expect(await echo.next()).toBe(message);
    expect((await within(echo.closed, "the echo line to close")).code).toBe(restarting);
    expect(await within(server.process.exited, "the process to exit")).toBe(0);
  });

  test("a second time ends the process at once", async () => {
    for (const second of ["SIGTERM", "SIGINT"] as const) {
      await using server = await spawnServer(["--drain-delay", "1h"]);
      using echo = await openWs(server.socketUrl());
      server.process.kill("SIGTERM");
      await server.logged("draining");
      server.process.kill(second);
      expect(await within(server.process.exited, "the process to exit")).toBe(1);
      expect((await within(echo.closed, "the connection to be lost")).code).toBe(1006);
    }
  });
});

describe("a deploy under load", () => {
  test("loses nothing in silence for 150 subscribers and publishers that repeat", async () => {
    // On an address of its own, so that nothing else takes the port in between.
    const flags = ["--host", "127.91.0.7", "--history-messages", "100000", "--drain-window", "1s"];
    const topic = newTopic();
    await using first = await spawnServer(flags);
    const stop = new AbortController();
    const subscribers = Array.from({ length: 150 }, () => new Follower(first.socketUrl(`/topics/${topic}`)));
    try {
      await until(() => subscribers.every(({ isOpen }) => isOpen), "150 subscribers");
      const publishers = [1, 2, 3].map((name) => publishUntil(stop.signal, first, topic, `${name}`));
      await until(() => subscribers.every(({ received }) => received.size > 15), "messages to arrive");

      first.process.kill("SIGTERM");
      expect(await within(first.process.exited, "the old process to exit")).toBe(0);
      await using second = await spawnServer([...flags, "--port", first.url.port]);
      await until(() => subscribers.every(({ isOpen }) => isOpen), "all to come back");
      await Bun.sleep(300); // Load goes on for a while.
      stop.abort();
      const acknowledged = (await Promise.all(publishers)).flat();
      const byTheOld = acknowledged.filter(({ server }) => server === 0);
      const byTheNew = acknowledged.filter(({ server }) => server === 1);
      expect(byTheOld.length).toBeGreaterThan(10);
      expect(byTheNew.length).toBeGreaterThan(10);

      const last = await publish(second, topic, "the last");
      await until(() => subscribers.every(({ lastId }) => lastId === last), "all to have the last message");
      for (const subscriber of subscribers) {
        expect(subscriber.faults).toEqual([]);
        // A restart of the memory engine is a gap. It is reported to each subscriber exactly once.
        expect(subscriber.gaps).toBe(1);
        expect(subscriber.closeCodes).toContain(restarting);
        expect(subscriber.closeCodes).not.toContain(1006);
      }
      // Every subscriber has each message that the new server acknowledged, and a repeated one only once.
      for (const { received } of subscribers) {
        for (const { text } of byTheNew) expect(received.get(text)).toBe(1);
      }
      // Subscribers that were not closed before have each message that the old server acknowledged.
      const complete = subscribers.filter(({ received }) => byTheOld.every(({ text }) => received.has(text)));
      expect(complete.length).toBeGreaterThan(0);
    } finally {
      stop.abort();
      for (const subscriber of subscribers) subscriber[Symbol.dispose]();
    }
  });
});

async function isListening(server: RunningServer): Promise<boolean> {
  try {
    const socket = await Bun.connect({
      hostname: server.url.hostname,
      port: Number(server.url.port),
      socket: { data: () => undefined },
    });
    socket.end();
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ECONNREFUSED") return false;
    throw error;
  }
}

async function metric(server: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(new URL("/metrics", server.url))).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
}

interface Acknowledged {
  readonly text: string;
  /** 0 for the server that was drained, 1 for the one after it. */
  readonly server: 0 | 1;
}

/** Publishes one message after the other. Each is repeated with the same key until the answer is 200. */
async function publishUntil(
  signal: AbortSignal,
  server: RunningServer,
  topic: string,
  name: string,
): Promise<Acknowledged[]> {
  const acknowledged: Acknowledged[] = [];
  let epoch: string | undefined;
  for (let count = 1; !signal.aborted; count++) {
    const text = `${name}/${count}`;
    const id = await publishOnce(topicsUrl(server, topic), text);
    epoch ??= id.split("-")[0];
    acknowledged.push({ text, server: id.split("-")[0] === epoch ? 0 : 1 });
    await Bun.sleep(20);
  }
  return acknowledged;
}

async function publishOnce(url: string, text: string): Promise<string> {
  const deadline = performance.now() + 20_000;
  const headers = { "Content-Type": "text/plain", "Idempotency-Key": text };
  while (performance.now() < deadline) {
    const response = await fetch(url, { method: "POST", body: text, headers }).catch((error: Error) => error);
    if (response instanceof Response && response.status === 200)
      return (await response.json()).published[0].id;
    await Bun.sleep(50);
  }
  throw new Error(`${text} could not be published in 20 s`);
}

/** A subscriber like the one in docs/protocol.md, which also checks the order of its messages. */
class Follower implements Disposable {
  readonly faults: string[] = [];
  readonly closeCodes: number[] = [];
  /** How often each text arrived. */
  readonly received = new Map<string, number>();
  gaps = 0;
  isOpen = false;
  lastId: string | undefined;
  readonly #url: string;
  #socket: InstanceType<typeof ws.WebSocket> | undefined;
  #isOver = false;

  constructor(url: string) {
    this.#url = url;
    this.#connect();
  }

  #connect(): void {
    if (this.#isOver) return;
    const url = this.lastId === undefined ? this.#url : `${this.#url}?since=${this.lastId}`;
    const socket = new ws.WebSocket(url, ["cloudevents.json"]);
    this.#socket = socket;
    let wasOpen = false;
    socket.on("open", () => {
      wasOpen = true;
    });
    socket.on("message", (data) => this.#take(JSON.parse(data.toString())));
    socket.on("error", () => (wasOpen ? this.faults.push("an error on an open line") : undefined));
    socket.on("close", (code) => {
      this.isOpen = false;
      if (wasOpen) this.closeCodes.push(code);
      setTimeout(() => this.#connect(), 200);
    });
  }

  #take(event: ReceivedEvent): void {
    if (event.type === "longwire.open") {
      const [opened] = (event.data as { topics: { id: string }[] }).topics;
      this.isOpen = true;
      this.lastId ??= opened?.id;
    } else if (event.type === "longwire.gap") {
      const { requested, from } = event.data as { requested: string; from: string };
      if (requested !== this.lastId) this.faults.push(`a gap after ${requested} in place of ${this.lastId}`);
      this.gaps++;
      this.lastId = from;
    } else {
      const [epoch, offset] = (this.lastId ?? "").split("-");
      const next = `${epoch}-${Number(offset) + 1}`;
      if (event.id !== next) this.faults.push(`${event.id} came in place of ${next}`);
      this.lastId = event.id;
      const text = String(event.data);
      this.received.set(text, (this.received.get(text) ?? 0) + 1);
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#socket?.terminate();
  }
}
