/**
 * Facts about Bun that the code relies on or works around, each shown with a bare `Bun.serve`. A newer Bun that fails a test
 * has changed the fact: read the files that the title names before you change the expectation.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { ServerWebSocket, WebSocketHandler } from "bun";
import { ws } from "./support/clients.ts";
import { NarrowSocket } from "./support/narrow-socket.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "./support/raw-socket.ts";
import { type Ended, runCommand } from "./support/server.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;

/** A bare server for one connection at a time. */
function serve(websocket: Partial<WebSocketHandler<undefined>>, headers?: Record<string, string>) {
  const sockets: ServerWebSocket<undefined>[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    development: false,
    fetch: (request, server) =>
      server.upgrade(request, headers ? { headers } : undefined) ? undefined : new Response("refused"),
    websocket: {
      idleTimeout: 0,
      message() {},
      ...websocket,
      open: (socket) => void sockets.push(socket),
    },
  });
  const accepted = async (): Promise<ServerWebSocket<undefined>> => {
    await until(() => sockets.length > 0, "a connection");
    return sockets[0] as ServerWebSocket<undefined>;
  };
  return { url: server.url, server, accepted, [Symbol.dispose]: () => void server.stop(true) };
}

const handshake = Buffer.from(request("GET", "/", handshakeHeaders));

/** Runs a program of its own, for what would end this process. */
function run(program: string): Promise<Ended> {
  return runCommand(["-e", program], { command: [process.execPath] });
}

describe("handshakes (handshake.ts)", () => {
  const offer = { ...handshakeHeaders, "Sec-WebSocket-Protocol": "first, second" };

  test("Bun chooses the first subprotocol offered where the server chose none", async () => {
    using bare = serve({});
    const { headers } = await exchange(bare.url, request("GET", "/", offer));
    expect(headers.get("Sec-WebSocket-Protocol")).toBe("first");
  });

  test("an empty choice is no choice, and is not sent", async () => {
    using bare = serve({}, { "Sec-WebSocket-Protocol": "" });
    const { status, headers } = await exchange(bare.url, request("GET", "/", offer));
    expect(status).toBe(101);
    expect(headers.get("Sec-WebSocket-Protocol")).toBeNull();
  });

  test("a request without Connection: Upgrade is upgraded unless the server refuses it", async () => {
    using bare = serve({});
    const headers = { ...handshakeHeaders, Connection: "keep-alive" };
    expect((await exchange(bare.url, request("GET", "/", headers))).status).toBe(101);
  });
});

describe("sending (echo.ts)", () => {
  test("send tells the bytes sent, -1 for what waits, and 0 for what is dropped over the limit", async () => {
    using bare = serve({ backpressureLimit: MiB });
    using peer = await RawSocket.open(bare.url);
    peer.pause();
    const socket = await bare.accepted();
    const message = Buffer.alloc(256 * 1024);
    const results: number[] = [];
    while (results.at(-1) !== 0 && results.length < 1000) results.push(socket.send(message));
    expect(new Set(results)).toEqual(new Set([message.length, -1, 0]));
    // In this order, and nothing dropped before the limit is passed: at most the limit and one message wait.
    expect(results).toEqual(results.toSorted((one, other) => rank(one) - rank(other)));
    expect(socket.getBufferedAmount()).toBeGreaterThan(MiB);
    expect(socket.getBufferedAmount()).toBeLessThan(MiB + 2 * message.length);
  });

  test("one message of any size is taken while no more than the limit waits", async () => {
    using bare = serve({ backpressureLimit: 1024 });
    using peer = new NarrowSocket(Number(bare.url.port));
    peer.write(handshake);
    const socket = await bare.accepted();
    expect(socket.send(Buffer.alloc(4 * MiB))).toBe(-1);
    expect(socket.send(Buffer.alloc(1))).toBe(0);
  });

  test("an empty message that is sent is told as 0, too", async () => {
    using bare = serve({});
    using peer = await RawSocket.open(bare.url);
    const socket = await bare.accepted();
    expect(socket.send("")).toBe(0);
    expect((await peer.frame()).payload).toBeEmpty();
  });

  test("drain is called while a part is still unsent, and at the end", async () => {
    const unsent: number[] = [];
    using bare = serve({ drain: (socket) => void unsent.push(socket.getBufferedAmount()) });
    using peer = new NarrowSocket(Number(bare.url.port));
    peer.write(handshake);
    const socket = await bare.accepted();
    while (socket.getBufferedAmount() < MiB) socket.send(Buffer.alloc(64 * 1024));
    await until(() => {
      while (peer.read(64 * 1024)?.length);
      return unsent.at(-1) === 0;
    }, "the socket to drain");
    expect(unsent[0]).toBeGreaterThan(0);
  });

  test("a paused socket still delivers what had been read, and hears nothing more until it is resumed", async () => {
    const received: string[] = [];
    using bare = serve({
      message: (socket, message) => {
        received.push(String(message));
        socket.pause();
      },
    });
    using peer = await RawSocket.open(bare.url);
    peer.write(Buffer.concat([frame(opcodes.text, "one"), frame(opcodes.text, "two")]));
    await until(() => received.length === 2, "both messages of one packet");
    peer.write(frame(opcodes.text, "three"));
    using other = await RawSocket.open(bare.url); // Answered after the packet before it had arrived.
    other.write(frame(opcodes.text, "of another"));
    await until(() => received.includes("of another"), "another's message");
    expect(received).not.toContain("three");
    (await bare.accepted()).resume();
    await until(() => received.includes("three"), "the message that had waited");
  });
});

describe("faults (websocket.ts, index.ts, longwire.ts)", () => {
  const program = (handler: string, error: string, around = "") => `
    ${around}
    const server = Bun.serve({
      port: 0, development: false,
      fetch: (request, server) => { server.upgrade(request); },
      websocket: { message(socket, message) { if (message === "next") survived(); ${handler} }, ${error} },
    });
    const survived = () => { console.log("alive"); process.exit(0); };
    // Bun still runs what is due at once after a fault, and ends then. The next client's message is never among it.
    for (const message of ["fault", "next"]) {
      const socket = new WebSocket("ws://localhost:" + server.port);
      await new Promise((resolve) => { socket.onopen = resolve; });
      socket.send(message);
    }
  `;
  const throwing = 'throw new Error("the cause")';
  const rejecting = 'Promise.reject(new Error("the cause"))';

  test("a throw in a WebSocket handler ends the process where there is no error handler", async () => {
    expect(await run(program(throwing, ""))).toMatchObject({ exitCode: 1, output: "" });
  });

  test("and does not where there is one", async () => {
    expect(await run(program(throwing, "error() {}"))).toMatchObject({ exitCode: 0, output: "alive\n" });
  });

  test("and does again where that one throws", async () => {
    expect(await run(program(throwing, `error() { ${throwing} }`))).toMatchObject({
      exitCode: 1,
      output: "",
    });
  });

  test("a rejection ends the process, error handler or not, unless the process listens for it", async () => {
    expect(await run(program(rejecting, "error() {}"))).toMatchObject({ exitCode: 1, output: "" });
    const listening = program(rejecting, "error() {}", 'process.on("unhandledRejection", () => {});');
    expect(await run(listening)).toMatchObject({ exitCode: 0, output: "alive\n" });
  });

  test("an error answer shows the message of what was thrown unless development is off", async () => {
    const answer = (option: string) =>
      run(`
        const server = Bun.serve({ port: 0, ${option} fetch() { throw new Error("the cause"); } });
        console.log(await (await fetch(server.url)).text());
        process.exit(0);
      `);
    expect((await answer("")).output).toContain("the cause");
    expect((await answer("development: false,")).output).not.toContain("the cause");
  });
});

describe("listening (longwire.ts)", () => {
  test("with development off a taken port is shared without a word, unless reusePort is off, too", () => {
    const listen = (port: number, reusePort?: boolean) =>
      Bun.serve({
        hostname: "127.0.0.1",
        port,
        development: false,
        ...(reusePort === undefined ? {} : { reusePort }),
        fetch: () => new Response(),
      });
    const shared = listen(0);
    const sharing = listen(Number(shared.port));
    expect(sharing.port).toBe(shared.port);
    const alone = listen(0, false);
    expect(() => listen(Number(alone.port), false)).toThrow("in use");
    for (const server of [shared, sharing, alone]) server.stop(true);
  });

  test("stop alone leaves the WebSockets open, and closing them one by one lets it end", async () => {
    using bare = serve({});
    using peer = await RawSocket.open(bare.url);
    const socket = await bare.accepted();
    let stopped = false;
    const stop = bare.server.stop().then(() => {
      stopped = true;
    });
    peer.write(frame(opcodes.ping, "still there?"));
    expect((await peer.frame()).opcode).toBe(opcodes.pong);
    expect(stopped).toBe(false);
    socket.close(1001, "the server stops");
    expect(await peer.closeFrame()).toEqual({ code: 1001, reason: "the server stops" });
    await within(stop, "the stop");
  });

  test("a connection closed while it does not read counts as gone, though what it is owed was not sent", async () => {
    using bare = serve({});
    using peer = new NarrowSocket(Number(bare.url.port));
    peer.write(handshake);
    const socket = await bare.accepted();
    expect(socket.send(Buffer.alloc(4 * MiB))).toBe(-1);
    socket.close(1001);
    await within(bare.server.stop(), "the stop");
    expect(bare.server.pendingWebSockets).toBe(0);
  });
});

describe("closing a WebSocket (closing.ts)", () => {
  test("ends the TCP connection without waiting for the Close frame of the client", async () => {
    using bare = serve({});
    using client = await RawSocket.open(bare.url);
    (await bare.accepted()).close(4000, "the end");
    expect(await client.closeFrame()).toEqual({ code: 4000, reason: "the end" });
    // RFC 6455 section 7.1.1 has the server wait. Its Close frame is never answered here.
    await within(client.ended, "the end of the connection");
  });
});

describe("requests that cannot be read (routes.ts, docs/upstream.md)", () => {
  /** A server whose handler answers after a turn of the event loop, as one that waits for a disk does. */
  function serveBodies() {
    const bodies: string[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      development: false,
      fetch: async (request) => {
        bodies.push(await request.text());
        await new Promise(setImmediate);
        return new Response("done");
      },
    });
    return { url: server.url, bodies, [Symbol.dispose]: () => void server.stop(true) };
  }

  test("Expect in capitals is not answered, and in small letters it is", async () => {
    using bare = serveBodies();
    for (const [expectation, status] of [
      ["100-continue", 100],
      ["100-Continue", 200],
    ] as const) {
      using client = await RawSocket.connect(bare.url);
      client.write(request("POST", "/", { "Content-Length": "1", Expect: expectation }));
      // The same connection is asked for nothing else, so a fence on another one shows that the head was read.
      expect((await fetch(bare.url)).status).toBe(200);
      if (status === 200) client.write("x");
      expect((await client.response()).status).toBe(status);
    }
  });

  test("a body that ends with trailers is given to the handler, and its client gets 400 without a body", async () => {
    using bare = serveBodies();
    const head = request("POST", "/", { "Transfer-Encoding": "chunked" });
    const { status, body } = await exchange(bare.url, `${head}1\r\nx\r\n0\r\nDigest: y\r\n\r\n`);
    expect([status, body]).toEqual([400, ""]);
    expect(bare.bodies).toEqual(["x"]);
  });

  test("a second request before the answer to the first ends the connection without any answer", async () => {
    using bare = serveBodies();
    using client = await RawSocket.connect(bare.url);
    const head = request("POST", "/", { "Content-Length": "1" });
    client.write(`${head}1${head}2`);
    await within(client.ended, "the end of the connection");
    expect(await client.hear(0)).toHaveLength(0);
    expect(bare.bodies).toContain("1");
  });
});

describe("the bare name ws (support/clients.ts)", () => {
  test("is Bun's own imitation, so tests import the package by its path", async () => {
    const { WebSocket: byName } = await import("ws");
    expect(byName).not.toBe(ws.WebSocket);
  });
});

describe("an answer that is a direct stream (http-connection.ts)", () => {
  interface Answer {
    readonly client: NarrowSocket;
    readonly controller: ReadableStreamDirectController;
  }

  /** Answers each request with a stream, and hands out the controller of each. */
  function serveStreams() {
    let given: (controller: ReadableStreamDirectController) => void = () => undefined;
    let cancelled = 0;
    const server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      development: false,
      idleTimeout: 0,
      error: () => new Response(null, { status: 500 }),
      async fetch({ url }) {
        if (url.endsWith("/late")) await left.promise;
        const source = {
          type: "direct" as const,
          pull: (controller: ReadableStreamDirectController): void => given(controller),
          cancel: () => void cancelled++,
        };
        return new Response(new ReadableStream(source as unknown as UnderlyingDefaultSource));
      },
    });
    const left = Promise.withResolvers<void>();
    const port = Number(server.port);
    return {
      server,
      left,
      cancelled: () => cancelled,
      request(path: string): NarrowSocket {
        const client = new NarrowSocket(port);
        client.write(Buffer.from(request("GET", path)));
        return client;
      },
      async open(): Promise<Answer> {
        const { promise, resolve } = Promise.withResolvers<ReadableStreamDirectController>();
        given = resolve;
        const client = this.request("/");
        const controller = await promise;
        void controller.write("begun");
        void controller.flush();
        let head = "";
        await until(() => {
          head += client.read(1000)?.toString("latin1") ?? "";
          return head.includes("begun");
        }, "the head of the answer");
        return { client, controller };
      },
      [Symbol.asyncDispose]: () => server.stop(true),
    };
  }

  test("write tells the bytes that the kernel took, and is pending until it took the rest", async () => {
    await using bare = serveStreams();
    const { client, controller } = await bare.open();
    using _ = client;
    expect(controller.write(new Uint8Array(1000))).toBe(1000);
    void controller.flush();
    let isTaken = false;
    const written = controller.write(new Uint8Array(2 * 1024 * 1024));
    expect(written).toBeInstanceOf(Promise);
    void Promise.resolve(written).then(() => {
      isTaken = true;
    });
    let read = 0;
    let readBefore = 0;
    await until(() => {
      for (let looks = 0; looks < 200; looks++) read += client.read(64 * 1024)?.length ?? 0;
      if (!isTaken) readBefore = read;
      return read > 2 * 1024 * 1024;
    }, "everything to arrive");
    expect(isTaken).toBe(true);
    expect(readBefore).toBeGreaterThan(0); // The kernel holds the rest.
  });

  test("closing it with an error ends a connection that does not read at once", async () => {
    await using bare = serveStreams();
    const { client, controller } = await bare.open();
    using _ = client;
    void controller.write(new Uint8Array(2 * 1024 * 1024));
    expect(bare.server.pendingRequests).toBe(1);
    controller.close(new Error("too slow"));
    await until(() => bare.server.pendingRequests === 0, "Bun to let go of the request");
    await until(() => client.read(64 * 1024) === undefined, "the end of the connection");
  });

  test("end sends what is pending before the end of the answer", async () => {
    await using bare = serveStreams();
    const { client, controller } = await bare.open();
    using _ = client;
    void controller.write(new Uint8Array(1024 * 1024));
    void controller.write("the last words");
    void controller.end();
    let tail = "";
    await until(() => {
      for (let looks = 0; looks < 200; looks++)
        tail = (tail + (client.read(64 * 1024)?.toString("latin1") ?? "")).slice(-40);
      return tail.endsWith("the last words\r\n0\r\n\r\n");
    }, "the last words");
  });

  test("a client that left before the answer is reported to it, though nothing was asked of it", async () => {
    await using bare = serveStreams();
    const client = bare.request("/late");
    await until(() => bare.server.pendingRequests === 1, "the request");
    client[Symbol.dispose]();
    bare.left.resolve();
    await until(() => bare.cancelled() === 1, "the stream to be cancelled");
  });
});

function rank(sent: number): number {
  return sent > 0 ? 0 : sent === -1 ? 1 : 2;
}

describe("publishing to a slow reader (delivery/topic-readers.ts)", () => {
  test("small frames are gathered in a tick and passed over at its end, when publish has said that all is well", async () => {
    // On a busy machine Bun may write what it has gathered in pieces, and each fits.
    let lostBytes = 0;
    for (let attempt = 0; attempt < 10 && lostBytes < 10 * frameBytes; attempt++)
      lostBytes = await lostInBurst();
    expect(lostBytes).toBeGreaterThan(10 * frameBytes);
  });

  const frameBytes = 8000;

  /** Publishes to a reader that takes nothing, and then lets it take everything. @returns bytes that never came */
  async function lostInBurst(): Promise<number> {
    const bufferedBytesMax = 256 * 1024;
    using bare = serve({ backpressureLimit: bufferedBytesMax });
    // A kernel that buffers megabytes would take what Bun is to hold.
    using client = new NarrowSocket(Number(bare.url.port));
    let receivedBytes = 0;
    let last = "";
    const read = (): void => {
      for (let bytes = client.read(64 * 1024); bytes?.length; bytes = client.read(64 * 1024)) {
        receivedBytes += bytes.length;
        last = bytes.toString("latin1").slice(-3);
      }
    };
    client.write(handshake);
    const socket = await bare.accepted();
    socket.subscribe("topic");
    const text = "x".repeat(frameBytes);
    let published = 0;
    const publish = (): number => {
      published++;
      return bare.server.publish("topic", text, false);
    };
    // One a tick until Bun holds nearly all that it may, and then many in one.
    while (socket.getBufferedAmount() < bufferedBytesMax - 2 * frameBytes) {
      publish();
      await Bun.sleep(0);
    }
    const results = Array.from({ length: 30 }, publish);
    expect(results).not.toContain(0);
    await until(() => {
      read();
      return socket.getBufferedAmount() === 0;
    }, "the reader to take what is held");
    socket.send("end");
    await until(() => {
      read();
      return last === "end";
    }, "all that was sent to arrive");
    return published * frameBytes - receivedBytes;
  }
});

describe("a streamed answer (http-connection.ts, poll-answer.ts)", () => {
  const pieceBytes = 64 * 1024;

  /** A bare server whose answers are so many pieces, each given when Bun asks for it. */
  function serveStream(pieces: number) {
    const seen = { given: 0, isTaken: false, isCancelled: false };
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      development: false,
      fetch: () => {
        const source: UnderlyingDefaultSource<Uint8Array> = {
          pull(controller) {
            seen.isTaken = seen.given === pieces;
            if (seen.isTaken) controller.close();
            else controller.enqueue(new Uint8Array(pieceBytes).fill(97));
            if (!seen.isTaken) seen.given++;
          },
          cancel() {
            seen.isCancelled = true;
          },
        };
        return new Response(new ReadableStream(source, new ByteLengthQueuingStrategy({ highWaterMark: 1 })));
      },
    });
    return { url: server.url, seen, [Symbol.dispose]: () => void server.stop(true) };
  }

  const get = Buffer.from(request("GET", "/", {}));

  test("pull is called when the kernel took the piece before, so that an answer that is not read is seen", async () => {
    const pieces = 8;
    using bare = serveStream(pieces);
    using client = new NarrowSocket(Number(bare.url.port));
    client.write(get);
    await until(() => bare.seen.given > 0, "the first piece");
    for (let turn = 0; turn < 1000; turn++) await new Promise(setImmediate);
    expect(bare.seen.given).toBeLessThan(pieces);
    let text = "";
    await until(() => {
      for (let bytes = client.read(pieceBytes); bytes?.length; bytes = client.read(pieceBytes))
        text += bytes.toString("latin1");
      return text.endsWith("\r\n0\r\n\r\n");
    }, "the last chunk");
    expect(bare.seen).toEqual({ given: pieces, isTaken: true, isCancelled: false });
  });

  test("is cancelled where its client leaves, and where HEAD has no body", async () => {
    using left = serveStream(32);
    using client = new NarrowSocket(Number(left.url.port));
    client.write(get);
    await until(() => left.seen.given > 0, "the first piece");
    client[Symbol.dispose]();
    await until(() => left.seen.isCancelled, "its end");
    using asked = serveStream(32);
    expect((await fetch(asked.url, { method: "HEAD" })).status).toBe(200);
    await until(() => asked.seen.isCancelled, "the end of the answer to HEAD");
  });

  test("that errors breaks off without its last chunk, and fetch rejects", async () => {
    const begun = Promise.withResolvers<ReadableStreamDefaultController>();
    using bare = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      development: false,
      fetch: () => new Response(new ReadableStream({ start: begun.resolve })),
    });
    const answer = fetch(bare.url);
    const controller = await begun.promise;
    controller.enqueue(new Uint8Array(pieceBytes));
    const body = (await answer).bytes();
    controller.error(new Error("its reader is too slow"));
    await expect(body).rejects.toThrow();
  });

  test("a signal that is asked for after its client has left is aborted", async () => {
    const arrived = Promise.withResolvers<Request>();
    using bare = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        arrived.resolve(request);
        await new Promise(() => undefined); // It is never answered.
        return new Response();
      },
    });
    const client = await RawSocket.connect(bare.url);
    client.write(request("GET", "/", {}));
    const received = await within(arrived.promise, "the request");
    client[Symbol.dispose]();
    await until(() => received.signal.aborted, "the signal");
  });
});
