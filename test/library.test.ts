/** Longwire as a library: as a server of its own, or mounted into the server of a program. */
import { heapStats } from "bun:jsc";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { resolve } from "node:path";
import type { Server, ServerWebSocket, WebSocketHandler } from "bun";
import { Hono } from "hono";
import {
  ConditionFailed,
  ConfigError,
  createHandler,
  createServer,
  DraftError,
  GapError,
  KeyAbsent,
  MessageSizeError,
  type Options,
  StoppedError,
  TopicFull,
} from "../src/longwire.ts";
import { type Client, openBun } from "./support/bun-client.ts";
import { openWs, ws } from "./support/clients.ts";
import { frame, opcodes, RawSocket, request } from "./support/raw-socket.ts";
import { recordingLog } from "./support/recording-log.ts";
import { root, runCommand } from "./support/server.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;

/** Of this machine, as all of 127.0.0.0/8 is, and used by nothing else: a port that was freed stays free here. */
const quietAddress = "127.91.0.3";

const quiet = { logLevel: "silent" } as const;

function socketUrl(server: { readonly url: URL }, path = "/ping"): string {
  const url = new URL(path, server.url);
  url.protocol = "ws:";
  return url.href;
}

async function expectPong(client: Client): Promise<void> {
  client.send("ping");
  expect(await client.next()).toBe("pong");
}

test("a server without tokens loads no package, also for its page, and no code of what is not asked for yet", async () => {
  const program = `
    import { createServer } from ${JSON.stringify(resolve(root, "src/longwire.ts"))};
    const later = /(?:endpoint\\/(?:page|documents|status|operations\\/metrics)|access\\/jwt|engine\\/(?:disk|redis)\\/\\w+)\\.ts$/;
    const loaded = () => Object.keys(require.cache);
    const packages = () => loaded().filter((file) => !file.startsWith(${JSON.stringify(resolve(root, "src"))}));
    const asked = () => loaded().flatMap((file) => later.exec(file)?.[0] ?? []).sort();
    await using server = await createServer({ port: 0, logLevel: "silent" });
    const atStart = [...packages(), ...asked()];
    await (await fetch(new URL("/metrics", server.url))).text();
    const withMetrics = asked();
    await fetch(server.url);
    console.log(JSON.stringify({ atStart, withMetrics, withPage: packages() }));`;
  const { exitCode, output, errors } = await runCommand(["-e", program], { command: [process.execPath] });
  expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: "" });
  expect(JSON.parse(output)).toEqual({
    atStart: [],
    withMetrics: ["endpoint/operations/metrics.ts"],
    withPage: [resolve(root, "package.json")], // Its version.
  });
});

describe("createServer", () => {
  test("serves the page and the line on a free port, which is in its url", async () => {
    await using server = await createServer({ port: 0, ...quiet });
    expect(Number(server.url.port)).toBeGreaterThan(0);
    const { headers } = await fetch(server.url, { headers: { Accept: "text/html" } });
    expect(headers.get("Content-Type")).toContain("text/html");
    using client = await openWs(socketUrl(server));
    await expectPong(client);
  });

  test("runs beside another of its kind in one process", async () => {
    await using one = await createServer({ port: 0, ...quiet });
    await using other = await createServer({ port: 0, messageBytesMax: 10, ...quiet });
    expect(one.url.port).not.toBe(other.url.port);
    using roomy = await openWs(socketUrl(one));
    using narrow = await openWs(socketUrl(other));
    for (const client of [roomy, narrow]) client.send("more than ten bytes");
    expect(await roomy.next()).toBe("more than ten bytes");
    expect((await within(narrow.closed, "a close")).code).toBe(1009);
  });

  test("stop closes every socket with 1001, resolves when they are gone, and may be called twice", async () => {
    const server = await createServer({ host: quietAddress, port: 0, ...quiet });
    const peers = [await openWs(socketUrl(server)), await openBun(socketUrl(server))];
    await within(Promise.all([server.stop(), server.stop()]), "the stop");
    for (const peer of peers) expect((await within(peer.closed, "a close")).code).toBe(1001);
    await expect(fetch(server.url)).rejects.toThrow();
    await within(server.stop(), "another stop");
  });

  test("its port is free again after stop", async () => {
    const first = await createServer({ host: quietAddress, port: 0, ...quiet });
    using _ = await openWs(socketUrl(first));
    await first.stop();
    await using second = await createServer({ host: quietAddress, port: Number(first.url.port), ...quiet });
    expect(second.url.port).toBe(first.url.port);
  });

  test("is stopped where an `await using` goes out of scope", async () => {
    let peer: Client;
    let url: URL;
    {
      await using server = await createServer({ host: quietAddress, port: 0, ...quiet });
      url = server.url;
      peer = await openWs(socketUrl(server));
    }
    expect((await within(peer.closed, "a close")).code).toBe(1001);
    await expect(fetch(url)).rejects.toThrow();
  });

  test("rejects with EADDRINUSE where the port is taken", async () => {
    await using server = await createServer({ port: 0, ...quiet });
    const taken = createServer({ port: Number(server.url.port), ...quiet });
    await expect(taken).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  test("releases everything where it cannot listen", async () => {
    await using server = await createServer({ port: 0, ...quiet });
    const failing: Parameters<typeof createServer>[0][] = [
      { port: Number(server.url.port) },
      { port: 0, host: "192.0.2.1", insecure: true },
      { port: 0, host: "0.0.0.0" },
      { port: 0, tlsCertificateFile: "missing.pem", tlsKeyFile: "missing.pem" },
    ];
    const timers = (): number => heapStats().objectTypeCounts.Timeout ?? 0;
    Bun.gc(true);
    const timersBefore = timers();
    for (const options of failing)
      for (let attempt = 0; attempt < 20; attempt++)
        await expect(createServer({ ...options, ...quiet })).rejects.toThrow();
    Bun.gc(true);
    expect(timers() - timersBefore).toBeLessThan(20);
  });

  test("takes a logger of one's own and writes nothing else", async () => {
    const log = recordingLog();
    {
      await using server = await createServer({ port: 0, log });
      using client = await openWs(socketUrl(server));
      await expectPong(client);
    }
    expect(log.lines).toContainEqual(
      expect.objectContaining({
        fields: expect.objectContaining({ address: "127.0.0.1" }),
        message: "connection opened",
      }),
    );
  });
});

describe("a setting that a program got wrong is a ConfigError that names it and says what is allowed", () => {
  const wrong: Record<string, unknown> = {
    messageBytesMax: 0,
    bufferedBytesMax: 1.5,
    heartbeatIntervalSeconds: "25s",
    heartbeatTimeoutSeconds: Number.NaN,
    logLevel: "loud",
  };
  for (const [name, value] of Object.entries(wrong)) {
    test(`${name}: ${value}`, async () => {
      // What a program without types may hand in.
      const options = { [name]: value } as Partial<Options>;
      expect(() => createHandler(options)).toThrow(ConfigError);
      expect(() => createHandler(options)).toThrow(new RegExp(`^${name} must be .+, not .+`));
      await expect(createServer({ ...options, port: 0 })).rejects.toThrow(ConfigError);
    });
  }

  test("an option that is not known, of a handler, a server and a reload", async () => {
    const unknown = (name: string) => ({ [name]: 1 }) as Partial<Options>;
    expect(() => createHandler(unknown("maxMessage"))).toThrow(
      new ConfigError("maxMessage is not an option: did you mean messageBytesMax?"),
    );
    expect(() => createHandler(unknown("port"))).toThrow(/^port is not an option here: .+createServer/);
    await expect(createServer(unknown("prefix"))).rejects.toThrow(new ConfigError("prefix is not an option"));
    await using server = await createServer({ port: 0, ...quiet });
    await expect(server.reload(unknown("apiKey"))).rejects.toThrow(
      new ConfigError("apiKey is not an option: did you mean apiKeys?"),
    );
  });

  test("port: 65536", async () => {
    await expect(createServer({ port: 65_536 })).rejects.toThrow(/^port must be .+65535, not 65536/);
  });
});

describe("publish of a program", () => {
  test("takes bytes from any view and any buffer, by the bytes that it shows", async () => {
    await using longwire = createHandler(quiet);
    const buffer = Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7).buffer;
    const shared = new SharedArrayBuffer(2);
    new Uint8Array(shared).set([8, 9]);
    const given = [
      buffer,
      new Uint8Array(buffer, 1, 2),
      new Uint16Array(buffer, 2, 1),
      new DataView(buffer, 4, 3),
      new Float64Array(buffer),
      Buffer.from(buffer, 6, 2),
      shared,
    ];
    for (const data of given) await longwire.publish("bytes", data);
    new Uint8Array(buffer).fill(255); // What was published does not change with it.
    const received: unknown[] = [];
    for await (const { data } of longwire.subscribe("bytes", { since: "all" })) {
      received.push(data);
      if (received.length === given.length) break;
    }
    const all = [0, 1, 2, 3, 4, 5, 6, 7];
    const expected = [all, [1, 2], [2, 3], [4, 5, 6], all, [6, 7], [8, 9]];
    expect(received).toEqual(expected.map((bytes) => Uint8Array.from(bytes)));
  });

  test("refuses what is neither text, bytes nor JSON, by name, and publishes nothing", async () => {
    await using longwire = createHandler(quiet);
    class Empty {}
    const wrong: Record<string, unknown> = {
      Blob: new Blob(["text"]),
      ReadableStream: new Blob(["text"]).stream(),
      Promise: Promise.resolve("text"),
      Response: new Response("text"),
      Map: new Map([["a", 1]]),
      Set: new Set([1]),
      RegExp: /a/,
      Empty: new Empty(),
      function: () => "text",
      symbol: Symbol("text"),
      undefined: undefined,
    };
    for (const [name, value] of Object.entries(wrong)) {
      const published = longwire.publish("news", value as object);
      await expect(published).rejects.toThrow(TypeError);
      await expect(published).rejects.toThrow(
        new RegExp(`^The data is a ${name}, which is neither text, bytes nor`),
      );
    }
    await expect(longwire.publish("news", { a: [{ file: new Blob(["text"]) }] })).rejects.toThrow(
      /^The data has, as "file", a Blob, which/,
    );
    const { id } = await longwire.publish("news", "first");
    expect(id).toEndWith("-1");
  });

  test("takes every object that JSON can hold", async () => {
    await using longwire = createHandler(quiet);
    class Point {
      readonly x = 1;
    }
    const date = new Date(0);
    const bare = Object.create(null);
    const given = [{}, [], { a: {} }, [{}], new Point(), date, bare, { date, none: null, text: "{}" }];
    for (const data of given) await longwire.publish("json", data);
    const received: unknown[] = [];
    for await (const { data } of longwire.subscribe("json", { since: "all" })) {
      received.push(JSON.parse(String(data)));
      if (received.length === given.length) break;
    }
    expect(received).toEqual(given.map((data) => JSON.parse(JSON.stringify(data))));
  });

  test("refuses a message over messageBytesMax, as the network does, and in bytes of UTF-8", async () => {
    await using longwire = createHandler({ messageBytesMax: 10, bufferedBytesMax: 4096, ...quiet });
    for (const data of ["x".repeat(11), "é".repeat(6), new Uint8Array(11), { a: "12345" }]) {
      const refused = longwire.publish("news", data);
      await expect(refused).rejects.toThrow(MessageSizeError);
      await expect(refused).rejects.toMatchObject({
        name: "MessageSizeError",
        message: expect.stringMatching(
          /^A message has at most 10 bytes \(messageBytesMax\), and this one has 1[123]\.$/,
        ),
      });
    }
    for (const data of ["x".repeat(10), "é".repeat(5), new Uint8Array(10), { a: 1234 }])
      expect((await longwire.publish("news", data)).topic).toBe("news");
  });

  test("rejects after the server was stopped or the handler disposed of, and so does subscribe", async () => {
    const server = await createServer({ port: 0, ...quiet });
    const handler = createHandler(quiet);
    await server.stop();
    await handler[Symbol.asyncDispose]();
    for (const stopped of [server, handler]) {
      const refused = stopped.publish("news", "too late");
      await expect(refused).rejects.toThrow(StoppedError);
      await expect(refused).rejects.toMatchObject({ name: "StoppedError" });
      expect(() => stopped.subscribe("news")).toThrow(StoppedError);
    }
  });
});

test("every public error has a name and says what to do", async () => {
  await using longwire = createHandler({ messageBytesMax: 10, bufferedBytesMax: 4096, ...quiet });
  await longwire.publish("news", "one", { idempotencyKey: "key" });
  const errors = await Promise.all(
    [
      longwire.publish("news", "two", { idempotencyKey: "key" }),
      longwire.publish("news", "not json", { contentType: "application/json" }),
      longwire.publish("news", "more than 10"),
      longwire.publish("a b", "one"),
    ].map((refused) =>
      refused.then(
        () => undefined,
        (error: Error) => error,
      ),
    ),
  );
  expect(errors.map((error) => error?.name)).toEqual([
    "IdempotencyConflict",
    "DraftError",
    "MessageSizeError",
    "TypeError",
  ]);
  for (const error of errors) expect(error?.message).toMatch(/\w+ \w+ \w+/);
});

describe("a keyed topic of a program", () => {
  const keyed = { keyed: ["prices"], keysMax: 2, ...quiet };

  test("has the value of each key, conditions on them, and removals", async () => {
    await using longwire = createHandler(keyed);
    expect(await longwire.value("prices", "AAPL")).toBeUndefined();
    const first = await longwire.publish("prices", { usd: 1 }, { key: "AAPL", ifAbsent: true });
    const { id } = await longwire.publish("prices", { usd: 2 }, { key: "AAPL", ifMatch: first.id });
    expect(await longwire.value("prices", "AAPL")).toEqual({
      topic: "prices",
      id,
      time: expect.any(Date),
      contentType: "application/json",
      attributes: { partitionkey: "AAPL", authtype: "system" },
      data: '{"usd":2}',
      key: "AAPL",
    });
    await longwire.publish("prices", { usd: 3 }, { key: "AAPL", ifMatch: "*" });
    await longwire.publish("prices", "4", { attributes: { partitionkey: "MSFT" } });
    const idempotencyKey = "once";
    const removed = await longwire.remove("prices", "AAPL", { idempotencyKey });
    expect(await longwire.remove("prices", "AAPL", { idempotencyKey })).toEqual(removed);
    expect(await longwire.value("prices", "AAPL")).toBeUndefined();
    expect((await longwire.value("prices", "MSFT"))?.data).toBe("4");
  });

  test("is iterated as its values, and then each change and removal", async () => {
    await using longwire = createHandler(keyed);
    for (const data of ["1", "2", "3"])
      await longwire.publish("prices", data, { key: data === "2" ? "b" : "a" });
    const received: unknown[] = [];
    for await (const { key, data, removed } of longwire.subscribe("prices", { since: "all" })) {
      received.push(removed ? `-${key}${data}` : `${key}=${data}`);
      if (received.length === 2) {
        await longwire.remove("prices", "b");
        await longwire.publish("prices", "4", { key: "c" });
      }
      if (received.length === 4) break;
    }
    expect(received).toEqual(["b=2", "a=3", "-b", "c=4"]);
  });

  test("continues after a gap with every value, also where removals were forgotten", async () => {
    await using longwire = createHandler(keyed);
    const { id } = await longwire.publish("prices", "1", { key: "a" });
    for (const key of ["b", "c", "d"]) {
      await longwire.publish("prices", "2", { key });
      await longwire.remove("prices", key);
    }
    const next = (since: string) => longwire.subscribe("prices", { since })[Symbol.asyncIterator]().next();
    const error = await next(id).catch((error) => error);
    expect(error).toBeInstanceOf(GapError);
    expect((await next(error.from)).value).toMatchObject({ key: "a", data: "1" });
  });

  test("refuses in errors what it cannot take", async () => {
    await using longwire = createHandler(keyed);
    const { id } = await longwire.publish("prices", "1", { key: "a" });
    await longwire.publish("prices", "1", { key: "b" });
    const refusals: [() => Promise<unknown>, { readonly prototype: Error }, RegExp][] = [
      [() => longwire.publish("prices", "2", { key: "a", ifAbsent: true }), ConditionFailed, new RegExp(id)],
      [() => longwire.publish("prices", "2", { key: "c", ifMatch: id }), ConditionFailed, /no value/],
      [() => longwire.remove("prices", "a", { ifMatch: "k3-7" }), ConditionFailed, new RegExp(id)],
      [() => longwire.remove("prices", "c"), KeyAbsent, /no value of this key/],
      [() => longwire.publish("prices", "2", { key: "c" }), TopicFull, /--keys-max is 2/],
      [() => longwire.publish("prices", "2"), DraftError, /is keyed/],
      [() => longwire.publish("prices", "2", { key: "" }), DraftError, /1 to 255 bytes/],
      [() => longwire.publish("prices", "2", { key: "a", ifMatch: "2" }), TypeError, /"\*" or the id/],
      [
        () => longwire.publish("prices", "2", { key: "a", ifMatch: "*", ifAbsent: true }),
        TypeError,
        /exclude/,
      ],
      [() => longwire.publish("news", "2", { key: "a" }), TypeError, /news is not keyed/],
      [() => longwire.publish("news", "2", { ifAbsent: true }), TypeError, /news is not keyed/],
      [() => longwire.remove("news", "a"), TypeError, /news is not keyed/],
      [() => longwire.value("news", "a"), TypeError, /news is not keyed/],
    ];
    for (const [refused, error, words] of refusals) {
      const thrown = await refused().catch((error: Error) => error);
      expect(thrown).toBeInstanceOf(error);
      expect((thrown as Error).message).toMatch(words);
    }
    await expect(longwire.publish("prices", "2", { key: "a", ifAbsent: true })).rejects.toMatchObject({
      name: "ConditionFailed",
      topic: "prices",
    });
    expect((await longwire.value("prices", "a"))?.data).toBe("1");
  });
});

describe("createHandler", () => {
  test("mounts beside a Hono app, whose routes stay its own", async () => {
    const app = new Hono();
    app.get("/", (context) => context.text("of the app"));
    app.get("/users/:name", (context) => context.json({ name: context.req.param("name") }));
    app.post("/ping-me", async (context) => context.text(`posted ${await context.req.text()}`));
    app.notFound((context) => context.text("not in the app", 404));
    await using longwire = createHandler(quiet);
    await using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      routes: longwire.routes,
      fetch: app.fetch,
      websocket: longwire.websocket(),
    });

    const text = async (path: string, init?: RequestInit) =>
      (await fetch(new URL(path, server.url), init)).text();
    expect(await text("/")).toBe("of the app");
    expect(await text("/users/ada")).toBe('{"name":"ada"}');
    expect(await text("/ping-me", { method: "POST", body: "this" })).toBe("posted this");
    expect(await text("/longconnecthtml")).toBe("not in the app");
    expect((await fetch(new URL("/ping", server.url))).status).toBe(426);
    using client = await openWs(socketUrl(server));
    await expectPong(client);
  });

  test("a prefix moves the line, and nothing is left at its old place", async () => {
    await using longwire = createHandler({ prefix: "/realtime", ...quiet });
    await using server = serveRoutes(longwire);
    using client = await openWs(socketUrl(server, "/realtime/ping"));
    await expectPong(client);
    const advice = await fetch(new URL("/realtime/ping", server.url));
    expect(await advice.text()).toContain(`ws://127.0.0.1:${server.port}/realtime/ping`);
    expect(await (await fetch(new URL("/ping", server.url))).text()).toBe("of the app");
  });

  test("a prefix is part of the source of every message, in each form of CloudEvents", async () => {
    await using longwire = createHandler({ prefix: "/realtime", ...quiet });
    await using server = serveRoutes(longwire);
    await longwire.publish("news", "1");
    const url = new URL("/realtime/topics/news?since=all", server.url);
    const [polled] = (await (await fetch(url)).json()) as { source: string }[];
    using client = await openWs(socketUrl(server, `${url.pathname}${url.search}`), ["cloudevents.json"]);
    await client.next();
    const received = JSON.parse(String(await client.next()));
    for (const event of [polled, received]) expect(event.source).toBe("/realtime/topics/news");
    using stream = await RawSocket.connect(server.url);
    stream.write(
      request("GET", `${url.pathname}${url.search}&format=cloudevents`, { Accept: "text/event-stream" }),
    );
    let streamed = "";
    while (!streamed.includes('"type":"longwire.message"')) streamed += await stream.some();
    expect(streamed).toContain('"source":"/realtime/topics/news"');
  });

  for (const prefix of ["/", "rt", "rt/", "/rt/", "/a//b", "/a b", "/:id", "/*", "/a?b"]) {
    test(`refuses the prefix "${prefix}"`, () => {
      expect(() => createHandler({ prefix, ...quiet })).toThrow(ConfigError);
      expect(() => createHandler({ prefix, ...quiet })).toThrow(`not "${prefix}"`);
    });
  }

  test("takes a prefix of several parts", () => {
    expect(Object.keys(createHandler({ prefix: "/app/v1.0", ...quiet }).routes)).toContain("/app/v1.0/ping");
  });

  test("adds nothing but its own paths, and no listener for a signal", () => {
    const before = process.listenerCount("SIGTERM") + process.listenerCount("SIGINT");
    const { routes } = createHandler({ prefix: "/a", ...quiet });
    for (const path of Object.keys(routes)) expect(path).toMatch(/^\/a\/(?:ping|topics\/\*|presence\/\*)$/);
    expect(process.listenerCount("SIGTERM") + process.listenerCount("SIGINT")).toBe(before);
  });

  test("disposing it closes its own sockets with 1001 and no one else's", async () => {
    const longwire = createHandler(quiet);
    await using application = serveApplication(longwire);
    using ours = await openWs(socketUrl(application.server));
    using theirs = await openWs(socketUrl(application.server, "/chat"));
    await longwire[Symbol.asyncDispose]();
    expect((await within(ours.closed, "a close")).code).toBe(1001);
    theirs.send("still here");
    expect(await theirs.next()).toBe("chat: still here");
  });
});

describe("beside an application's own sockets", () => {
  test("each socket's messages go to the side that upgraded it", async () => {
    await using application = serveApplication(createHandler(quiet));
    using ours = await openWs(socketUrl(application.server));
    using theirs = await openWs(socketUrl(application.server, "/chat?name=ada"));
    for (let round = 0; round < 10; round++) {
      ours.send(`${round}`);
      theirs.send(`${round}`);
      expect(await ours.next()).toBe(`${round}`);
      expect(await theirs.next()).toBe(`chat: ${round}`);
    }
    expect(application.events).toEqual(["open ada", ...Array(10).fill("message ada")]);
  });

  test("the application gets its open, message, ping, pong, drain and close events, with its own data", async () => {
    await using application = serveApplication(createHandler(quiet));
    const { events, server } = application;
    const socket = new ws.WebSocket(socketUrl(server, "/chat?name=ada"));
    const answers: string[] = [];
    socket.on("message", (message) => answers.push(message.toString().slice(0, 20)));
    socket.on("ping", () => answers.push("pinged"));
    socket.on("pong", () => answers.push("ponged"));
    await until(() => socket.readyState === socket.OPEN, "the ws package to open");

    socket.ping("payload");
    await until(() => answers.includes("ponged"), "a pong");
    expect(events).toEqual(["open ada", "ping ada payload"]);

    socket.send("ping me");
    await until(() => events.includes("pong ada from the application"), "the pong to arrive");
    expect(answers).toContain("pinged");

    socket.pause();
    socket.send("send 32 MiB");
    await until(() => events.includes("message ada"), "the message to arrive");
    socket.resume();
    await until(() => events.includes("drain ada"), "the application's socket to drain");

    socket.close(4000, "done");
    await until(() => events.includes("close ada 4000 done"), "the application's socket to close");
  });

  test("the application's limit on messages is its own, and Longwire's is Longwire's", async () => {
    const most = 64 * 1024;
    await using application = serveApplication(createHandler({ messageBytesMax: most, ...quiet }));
    using theirs = await openWs(socketUrl(application.server, "/chat"));
    theirs.send(Buffer.alloc(4 * most));
    expect(((await theirs.next()) as Buffer).length).toBe(4 * most);

    for (const message of [Buffer.alloc(most + 1), "a".repeat(most + 1), "长".repeat(most / 3 + 1)]) {
      using ours = await openWs(socketUrl(application.server));
      ours.send(message);
      expect((await within(ours.closed, "a close")).code).toBe(1009);
    }
    for (const message of [Buffer.alloc(most, 1), "a".repeat(most), "长".repeat(most / 3)]) {
      using ours = await openWs(socketUrl(application.server));
      ours.send(message);
      expect((await ours.next()).toString() === message.toString()).toBe(true);
    }
  });

  test("a limit that the application sets below Longwire's does not narrow Longwire's", async () => {
    const longwire = createHandler({ messageBytesMax: 2 * MiB, bufferedBytesMax: 4 * MiB, ...quiet });
    await using application = serveApplication(longwire, { maxPayloadLength: 1024, backpressureLimit: 1024 });
    using ours = await openWs(socketUrl(application.server));
    ours.send(Buffer.alloc(2 * MiB));
    expect(((await ours.next()) as Buffer).length).toBe(2 * MiB);
  });

  test("Longwire's subprotocol is negotiated exactly, and the application's by the application", async () => {
    await using application = serveApplication(createHandler(quiet));
    using ours = await openWs(socketUrl(application.server), ["chat.v1", "longwire.raw"]);
    expect(ours.protocol).toBe("longwire.raw");
    using theirs = await openWs(socketUrl(application.server, "/chat"), ["chat.v1"]);
    expect(theirs.protocol).toBe("chat.v1");
  });

  test("Longwire's heartbeat leaves the application's sockets alone", async () => {
    const longwire = createHandler({ heartbeatIntervalSeconds: 1, heartbeatTimeoutSeconds: 1, ...quiet });
    await using application = serveApplication(longwire);
    using ours = await RawSocket.open(socketUrl(application.server));
    using theirs = await RawSocket.open(socketUrl(application.server, "/chat"));
    await within(ours.ended, "the end of Longwire's own silent peer");
    theirs.write(frame(opcodes.text, "quiet until now"));
    expect((await theirs.frame()).payload.toString()).toBe("chat: quiet until now");
  });
});

interface Application extends AsyncDisposable {
  readonly server: Server<{ name: string }>;
  /** What its own handlers were called with. */
  readonly events: string[];
}

/** An application that has Longwire's routes and nothing else of its own. */
function serveRoutes(longwire: ReturnType<typeof createHandler>) {
  return Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    routes: longwire.routes,
    fetch: () => new Response("of the app"),
    websocket: longwire.websocket(),
  });
}

function serveApplication(
  longwire: ReturnType<typeof createHandler>,
  limits: Partial<WebSocketHandler<{ name: string }>> = {},
): Application {
  type ChatSocket = ServerWebSocket<{ name: string }>;
  const events: string[] = [];
  const server = Bun.serve<{ name: string }>({
    hostname: "127.0.0.1",
    port: 0,
    routes: longwire.routes,
    fetch(request, server) {
      const name = new URL(request.url).searchParams.get("name") ?? "someone";
      return server.upgrade(request, { data: { name } }) ? undefined : new Response("of the application");
    },
    websocket: longwire.websocket<{ name: string }>({
      ...limits,
      open: (socket: ChatSocket) => void events.push(`open ${socket.data.name}`),
      message(socket: ChatSocket, message) {
        events.push(`message ${socket.data.name}`);
        if (message === "ping me") socket.ping("from the application");
        else if (message === "send 32 MiB") {
          // The most that Bun's own limit lets wait, in two messages.
          for (let i = 0; i < 2; i++) socket.send(Buffer.alloc(16 * MiB));
        } else socket.send(typeof message === "string" ? `chat: ${message}` : message);
      },
      drain: (socket: ChatSocket) => void events.push(`drain ${socket.data.name}`),
      ping: (socket: ChatSocket, data) => void events.push(`ping ${socket.data.name} ${data}`),
      pong: (socket: ChatSocket, data) => void events.push(`pong ${socket.data.name} ${data}`),
      close: (socket: ChatSocket, code, reason) =>
        void events.push(`close ${socket.data.name} ${code} ${reason}`),
    }),
  });
  return { server, events, [Symbol.asyncDispose]: () => server.stop(true) };
}
