/** The limits of one client, of one address and of all together. Each refusal has words, and ends with its cause. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { WebSocket } from "ws";
import { type Client, openBun } from "../support/bun-client.ts";
import { openWs, ws } from "../support/clients.ts";
import { compiledServer } from "../support/compiled.ts";
import { sampleOf, samplesOf, scrape } from "../support/prometheus.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { openStream, openTopic, post, topicsUrl } from "../support/topics.ts";
import { Inbox, until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const MiB = 1024 * 1024;

const refusals = async (server: RunningServer, reason: string): Promise<number> =>
  sampleOf(await scrape(server), "longwire_refused_total", `reason="${reason}"`);

const handshake = (server: RunningServer, path: string, headers: Record<string, string> = {}) =>
  exchange(server.url, request("GET", path, { ...handshakeHeaders, ...headers }));

const detailOf = (body: string): string => (JSON.parse(body) as { detail: string }).detail;

/** Connects from another address of 127.0.0.0/8, which is all this machine. @returns the status if it is refused */
async function openFrom(
  server: RunningServer,
  localAddress: string,
  headers: Record<string, string> = {},
): Promise<WebSocket | number> {
  const url = `ws://127.0.0.1:${server.url.port}/ping`;
  const socket = new ws.WebSocket(url, { localAddress, headers });
  const answer = Promise.withResolvers<WebSocket | number>();
  socket.on("open", () => answer.resolve(socket));
  socket.on("unexpected-response", (_, { statusCode = 0 }) => answer.resolve(statusCode));
  socket.on("error", answer.reject);
  return await within(answer.promise, `an answer to ${localAddress}`);
}

async function expectPong(client: { send(text: string): void; next(): Promise<unknown> }): Promise<void> {
  client.send("ping");
  expect(await client.next()).toBe("pong");
}

describe("--max-connections", () => {
  test("counts sockets and streams together, refuses the next one in words, and serves the open ones", async () => {
    await using server = await spawnServer(["--max-connections", "3"]);
    using echo = await openWs(server.socketUrl());
    using raw = await openTopic(server, "a");
    await using stream = await openStream(server, "a");
    await stream.next();
    for (const path of ["/ping", "/topics/a"]) {
      for (const headers of [{}, { Origin: server.url.origin }]) {
        const refused = await handshake(server, path, headers);
        expect(refused.status).toBe(503);
        expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
        expect(detailOf(refused.body)).toContain("--max-connections");
      }
    }
    expect(await refusals(server, "connections")).toBe(4);
    await expectPong(echo);
    await expectPong(raw);
    expect((await post(server, "a", "still served")).status).toBe(200);
    expect((await stream.next()).data).toBe("still served");
  });

  test("tells an EventSource when to come back: after an error status it never would", async () => {
    await using server = await spawnServer(["--max-connections", "1"]);
    using _first = await openWs(server.socketUrl());
    const response = await fetch(topicsUrl(server, "a"), { headers: { Accept: "text/event-stream" } });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(await response.text()).toMatch(/^retry: [1-9]\d{3,}\n\n$/);
    // The blank line of an answer without an id makes an EventSource forget its own.
    const headers = { Accept: "text/event-stream", "Last-Event-ID": "k3-7" };
    const resuming = await fetch(topicsUrl(server, "a"), { headers });
    expect(await resuming.text()).toMatch(/^retry: [1-9]\d{3,}\nid: k3-7\n\n$/);
    expect(await refusals(server, "connections")).toBe(2);
    const { topics } = (await (await fetch(topicsUrl(server, "a"))).json()) as {
      topics: { subscribers: number }[];
    };
    expect(topics[0]?.subscribers).toBe(0);
  });

  test("lets the next one in when one leaves, however it leaves", async () => {
    await using server = await spawnServer(["--max-connections", "1"]);
    const leave: ((client: Client) => void)[] = [
      (client) => client.close(1000),
      (client) => client[Symbol.dispose](), // Cut off, without a Close frame.
      (client) => client.send("x".repeat(2 * MiB)), // Ended by the server.
    ];
    for (const leaves of leave) {
      using client = await whenThereIsRoom(() => openWs(server.socketUrl()));
      expect((await handshake(server, "/ping")).status).toBe(503);
      leaves(client);
    }
    {
      await using stream = await whenThereIsRoom(async () => {
        const opened = await openStream(server, "a");
        await opened.next();
        return opened;
      });
      expect(stream.response.status).toBe(200);
      expect((await handshake(server, "/ping")).status).toBe(503);
    }
    using last = await whenThereIsRoom(() => openWs(server.socketUrl()));
    await expectPong(last);
  });

  test("is by default what the descriptors allow, less a reserve, and is logged at the start", async () => {
    await using server = await spawnServer([], { command: await withDescriptors(300) });
    expect(await server.logged("listening")).toMatchObject({ connectionsMax: 44 });
    expect(sampleOf(await scrape(server), "longwire_connections_max")).toBe(44);
    const clients = await Promise.all(Array.from({ length: 44 }, () => openWs(server.socketUrl())));
    expect((await handshake(server, "/ping")).status).toBe(503);
    for (const client of clients) await expectPong(client);
    for (const client of clients) client[Symbol.dispose]();
  });

  test("does not count a page that was refused by a close code, once it is closed", async () => {
    await using server = await spawnServer(["--max-connections", "1"]);
    for (let round = 0; round < 5; round++) {
      using client = await openTopic(server, "a?since=nonsense", [], { Origin: server.url.origin });
      expect((await within(client.closed, "the close")).code).toBe(1008);
    }
    using client = await openWs(server.socketUrl());
    await expectPong(client);
  });
});

describe("--max-connections-per-ip", () => {
  test("refuses an address one too many with 429, and no other address", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "2"]);
    const first = await openFrom(server, "127.0.0.1");
    const second = await openFrom(server, "127.0.0.1");
    expect(await openFrom(server, "127.0.0.1")).toBe(429);
    const refused = await exchange(
      `http://127.0.0.1:${server.url.port}`,
      request("GET", "/topics/a", handshakeHeaders),
    );
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(detailOf(refused.body)).toContain("--max-connections-per-ip");
    expect(await refusals(server, "connections_per_ip")).toBe(2);
    const other = await openFrom(server, "127.0.0.2");
    const lines = [first, second, other].filter((line) => typeof line !== "number");
    expect(lines).toHaveLength(3);
    lines[0]?.terminate();
    await until(async () => {
      const again = await openFrom(server, "127.0.0.1");
      if (typeof again === "number") return false;
      lines.push(again);
      return true;
    }, "a place for the address whose line ended");
    for (const line of lines) line.terminate();
  });

  test("counts streams, and tells an EventSource when to come back", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "1"]);
    await using stream = await openStream(server, "a");
    await stream.next();
    const response = await fetch(topicsUrl(server, "a"), { headers: { Accept: "text/event-stream" } });
    expect(response.status).toBe(200);
    expect(await response.text()).toMatch(/^retry: \d+\n\n$/);
    expect((await handshake(server, "/ping")).status).toBe(429);
    expect(await refusals(server, "connections_per_ip")).toBe(2);
    expect((await post(server, "a", "still served")).status).toBe(200);
    expect((await stream.next()).data).toBe("still served");
  });

  test("counts by X-Forwarded-For behind a proxy that is trusted", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "1", "--trust-proxy", "127.0.0.1"]);
    const lines = [
      await openFrom(server, "127.0.0.1", { "X-Forwarded-For": "203.0.113.1" }),
      await openFrom(server, "127.0.0.1", { "X-Forwarded-For": "203.0.113.2" }),
      await openFrom(server, "127.0.0.1", { "X-Forwarded-For": "203.0.113.9, 203.0.113.3" }),
    ].filter((line) => typeof line !== "number");
    expect(lines).toHaveLength(3);
    for (const forwarded of ["203.0.113.1", "203.0.113.3", "203.0.113.99, 203.0.113.2"])
      expect(await openFrom(server, "127.0.0.1", { "X-Forwarded-For": forwarded })).toBe(429);
    for (const line of lines) line.terminate();
  });

  test("counts an IPv6 address with its whole /64, which one client has for itself", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "1", "--trust-proxy", "127.0.0.1"]);
    const from = (address: string) => openFrom(server, "127.0.0.1", { "X-Forwarded-For": address });
    const lines = [
      await from("2001:db8:1:2::1"),
      await from("2001:db8:1:3::1"),
      await from("::ffff:203.0.113.1"),
      await from("203.0.113.2"),
    ].filter((line) => typeof line !== "number");
    expect(lines).toHaveLength(4);
    for (const address of ["2001:db8:1:2::2", "2001:DB8:1:2:ffff::1", "203.0.113.1", "::ffff:203.0.113.2"])
      expect({ address, status: await from(address) }).toEqual({ address, status: 429 });
    for (const line of lines) line.terminate();
  });

  test("ignores X-Forwarded-For from any other address", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "1", "--trust-proxy", "127.0.0.1"]);
    const line = await openFrom(server, "127.0.0.2", { "X-Forwarded-For": "203.0.113.1" });
    expect(await openFrom(server, "127.0.0.2", { "X-Forwarded-For": "203.0.113.2" })).toBe(429);
    if (typeof line !== "number") line.terminate();
  });
});

describe("--max-rate", () => {
  for (const open of [openWs, openBun]) {
    test(`closes only the client that sends more in a second, with 1013 and words: ${open.name}`, async () => {
      await using server = await spawnServer(["--max-rate", "20"]);
      using other = await open(server.socketUrl());
      using eager = await open(server.socketUrl());
      for (let count = 0; count < 100; count++) eager.send("x");
      const { code, reason } = await within(eager.closed, "the close");
      expect({ code, reason }).toEqual({ code: 1013, reason: "more than 20 messages a second (--max-rate)" });
      await expectPong(other);
      expect(sampleOf(await scrape(server), "longwire_cut_total", 'reason="rate"')).toBe(1);
    });
  }

  test("counts pings and unsolicited pongs, too", async () => {
    await using server = await spawnServer(["--max-rate", "20"]);
    for (const opcode of [opcodes.ping, opcodes.pong]) {
      using socket = await RawSocket.open(server.socketUrl());
      socket.write(Buffer.concat(Array<Buffer>(100).fill(frame(opcode))));
      let last = await socket.frame();
      while (last.opcode !== opcodes.close) last = await socket.frame();
      expect(last.payload.readUInt16BE()).toBe(1013);
    }
    expect(sampleOf(await scrape(server), "longwire_cut_total", 'reason="rate"')).toBe(2);
  });

  test("publishes the frames before it, and none after it", async () => {
    await using server = await spawnServer(["--max-rate", "5", "--history-messages", "100"]);
    using sender = await openTopic(server, "a");
    for (let count = 0; count < 50; count++) sender.send(`${count}`);
    expect((await within(sender.closed, "the close")).code).toBe(1013);
    const events = (await (await fetch(`${topicsUrl(server, "a")}?since=all`)).json()) as { data: string }[];
    const published = events.map(({ data }) => data);
    expect(published).toEqual(Array.from(published, (_, index) => `${index}`));
    expect(published.length).toBeWithin(5, 11); // Twice as many, where a second ended between two of them.
  });

  test("is counted anew in each second, also while the server has unsent bytes", async () => {
    await using server = await spawnServer(["--max-rate", "10", "--max-buffered", "64MiB"]);
    using socket = await RawSocket.open(server.socketUrl());
    socket.pause();
    // More than the kernel takes, so that the server has unsent bytes when the second is over.
    socket.write(Buffer.concat(Array<Buffer>(10).fill(frame(opcodes.binary, Buffer.alloc(MiB)))));
    await until(
      async () => sampleOf(await scrape(server), "longwire_received_messages_total") === 10,
      "all of them",
    );
    await Bun.sleep(1100); // The test is about this second.
    socket.resume();
    for (let count = 0; count < 10; count++) expect((await socket.frame()).payload.length).toBe(MiB);
    socket.write(frame(opcodes.text, "ping"));
    expect(await socket.frame()).toMatchObject({ opcode: opcodes.text, payload: Buffer.from("pong") });
  });

  test("does not count the answers to the server's own pings", async () => {
    await using server = await spawnServer(["--max-rate", "1", "--heartbeat-interval", "1s"]);
    const socket = new ws.WebSocket(server.socketUrl());
    const answers = new Inbox<string>();
    socket.on("ping", () => socket.send("ping")); // Its pong went just before.
    socket.on("message", (data) => answers.put(data.toString()));
    socket.on("close", (code) => answers.end(new Error(`closed with ${code}`)));
    // Only the first: the next may come in the same second of a busy machine.
    expect(await answers.take("an answer")).toBe("pong");
    socket.terminate();
  });

  test("gives a new client its whole first second", async () => {
    await using server = await spawnServer(["--max-rate", "1"]);
    using client = await openWs(server.socketUrl());
    await expectPong(client);
  });

  test("is off by default", async () => {
    await using server = await spawnServer();
    using client = await openWs(server.socketUrl());
    for (let count = 0; count < 5000; count++) client.send("ping");
    for (let count = 0; count < 5000; count++) expect(await client.next()).toBe("pong");
  });
});

describe("--max-message", () => {
  test("refuses a larger body with 413 and a larger frame with 1009, and counts both", async () => {
    await using server = await spawnServer(["--max-message", "1KiB"]);
    expect((await post(server, "a", "x".repeat(1024))).status).toBe(200);
    const refused = await post(server, "a", "x".repeat(1025));
    expect(refused.status).toBe(413);
    expect(detailOf(await refused.text())).toContain("--max-message");
    expect(await refusals(server, "message_size")).toBe(1);
    using client = await openWs(server.socketUrl());
    client.send("x".repeat(1025));
    expect((await within(client.closed, "the close")).code).toBe(1009);
    await until(async () => (await refusals(server, "message_size")) === 2, "the frame to be counted");
  });
});

describe("running out of file descriptors", () => {
  test("ends neither the process nor an open connection, and is over when descriptors are free again", async () => {
    // The limit on connections is too high for the descriptors, as if something else had taken them.
    await using server = await spawnServer(["--max-connections", "1000"], {
      command: await withDescriptors(64),
    });
    using before = await openWs(server.socketUrl());
    const sockets = await Promise.all(Array.from({ length: 120 }, () => RawSocket.connect(server.url)));
    for (const socket of sockets) socket.write("GET /ping HTTP/1.1\r\n");
    await until(async () => (await descriptorsOf(server)) >= 64, "the last descriptor to be taken");
    for (let count = 0; count < 10; count++) await expectPong(before);
    for (const socket of sockets) socket[Symbol.dispose]();
    using after = await openWs(server.socketUrl());
    await expectPong(after);
    await expectPong(before);
    expect((await fetch(server.url)).status).toBe(200);
    expect(server.process.exitCode).toBeNull();
    expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });
});

/** The real server in a process with a limit on open files. */
const withDescriptors = async (count: number): Promise<readonly string[]> => [
  ...["bash", "-c", `ulimit -n ${count}; exec "$0" "$@"`],
  await compiledServer(),
];

async function descriptorsOf({ process: { pid } }: RunningServer): Promise<number> {
  return (
    await Array.fromAsync(new Bun.Glob("*").scan({ cwd: `/proc/${pid}/fd`, onlyFiles: false, dot: true }))
  ).length;
}

/** Connects again until it is admitted. */
async function whenThereIsRoom<Opened>(open: () => Promise<Opened>): Promise<Opened> {
  let opened: Opened | undefined;
  await until(async () => {
    opened = await open().catch(() => undefined); // Refused.
    return opened !== undefined;
  }, "a place");
  return opened as Opened;
}

describe("the body of a POST that has not arrived whole", () => {
  const length = MiB;
  /** Sends all but the last byte. */
  async function openBody(server: RunningServer, declared: boolean): Promise<RawSocket> {
    const raw = await RawSocket.connect(server.url);
    const coding = declared ? { "Content-Length": String(length) } : { "Transfer-Encoding": "chunked" };
    raw.write(request("POST", "/topics/a", coding));
    if (!declared) raw.write(`${length.toString(16)}\r\n`);
    raw.write("x".repeat(length - 1));
    return raw;
  }
  const publishing = async (server: RunningServer): Promise<number> =>
    sampleOf(await scrape(server), "longwire_connections", 'form="publish"');
  const buffered = async (server: RunningServer): Promise<number> =>
    sampleOf(await scrape(server), "longwire_buffered_bytes");

  for (const declared of [true, false]) {
    test(`is a connection of its address, with its bytes, ${declared ? "with" : "without"} a length`, async () => {
      await using server = await spawnServer(["--max-connections-per-ip", "3"]);
      using bodies = new DisposableStack();
      const open: RawSocket[] = [];
      for (let count = 0; count < 3; count++) {
        open.push(bodies.use(await openBody(server, declared)));
        await until(async () => (await publishing(server)) === count + 1, `body ${count + 1}`);
      }
      await until(async () => (await buffered(server)) >= 3 * (length - 1), "all bytes to be counted");
      expect(await buffered(server)).toBeLessThanOrEqual(6 * length);
      using refused = await openBody(server, declared);
      const answer = await refused.response();
      expect(answer.status).toBe(429);
      expect(detailOf(answer.body)).toContain("--max-connections-per-ip");
      for (const raw of open) {
        raw.write(declared ? "x" : "x\r\n0\r\n\r\n");
        expect((await raw.response()).status).toBe(200);
      }
      await until(async () => (await publishing(server)) === 0, "no connection");
      await until(async () => (await buffered(server)) === 0, "no bytes");
    });
  }

  test("is ended at a drain and past --max-buffered-total, with 503", async () => {
    await using server = await spawnServer(["--max-buffered-total", "8MiB", "--drain-delay", "1s"]);
    using bodies = new DisposableStack();
    const answers: Promise<{ readonly status: number }>[] = [];
    for (let count = 0; count < 10; count++)
      answers.push(bodies.use(await openBody(server, count % 2 === 0)).response());
    expect((await within(Promise.any(answers), "an answer")).status).toBe(503);
    server.process.kill("SIGTERM");
    const all = await within(Promise.all(answers), "all answers");
    expect(all.map(({ status }) => status)).toEqual(all.map(() => 503));
  });

  test("that came with its head is no connection", async () => {
    await using server = await spawnServer(["--max-connections-per-ip", "1"]);
    using echo = await openWs(server.socketUrl());
    await expectPong(echo);
    expect((await post(server, "a", "x")).status).toBe(200);
    expect(samplesOf(await scrape(server), "longwire_connections_opened_total").publish).toBe(0);
  });
});

test("a connection that has its answer is ended by the silence of its next request, whatever it asked for", async () => {
  await using server = await spawnServer();
  const chunk = "9\r\ndata: x\n\n\r\n0\r\n\r\n";
  const stream = { "Content-Type": "text/event-stream", "Transfer-Encoding": "chunked" };
  const asked = [
    request("GET", "/topics/a"),
    request("POST", "/topics/a", stream) + chunk,
    request("GET", "/topics/a?since=all"),
  ];
  await Promise.all(
    asked.map(async (bytes) => {
      using raw = await RawSocket.connect(server.url);
      raw.write(bytes);
      expect((await raw.response()).status).toBe(200);
      await within(raw.ended, "the end of a silent connection", 60); // Bun's 10 s, which it rounds up to 12.
    }),
  );
}, 70_000);
