/** What is done to a server on the internet, and that others notice nothing of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { deflateRawSync } from "node:zlib";
import { descriptorsMax } from "./bench/process-usage.ts";
import { attack, held } from "./support/attack.ts";
import { beginCompanion } from "./support/companion.ts";
import type { Flood } from "./support/flooder.ts";
import {
  closePayload,
  exchange,
  frame,
  handshakeHeaders,
  opcodes,
  RawSocket,
  request,
} from "./support/raw-socket.ts";
import { spawnServer } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import { cloudEvents, inspect, openStream, openTopic, post, publish, topicsUrl } from "./support/topics.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(60_000);

const KiB = 1024;
const MiB = 1024 * KiB;
const stream = { Accept: "text/event-stream" };

/** After so long Bun ends a request that has not come whole. */
const requestSecondsMax = 25;

/** 10,000, or as many as this process may have. */
const halfOpenCount = Math.min(10_000, descriptorsMax() - 500);

const server = sharedServer(["--max-message", "64KiB", "--max-buffered", "128KiB"]);

const openedMany = (count: number, open: () => Promise<RawSocket>): Promise<RawSocket[]> =>
  Promise.all(Array.from({ length: count }, open));

function disposeAll(sockets: readonly RawSocket[]): void {
  for (const socket of sockets) socket[Symbol.dispose]();
}

// These wait for Bun's clock, so they wait together; each has a server of its own.
describe.concurrent("requests that never come whole are ended, and hold up nobody", () => {
  /** Sends a byte a second on each socket until all are ended. @returns the seconds it took */
  async function trickle(sockets: readonly RawSocket[], text: string): Promise<number> {
    const begun = performance.now();
    let next = 0;
    const timer = setInterval(() => {
      for (const socket of sockets) socket.write(text[next % text.length] as string);
      next++;
    }, 1000);
    try {
      await within(
        Promise.all(sockets.map(({ ended }) => ended)),
        "all of them to be ended",
        requestSecondsMax,
      );
    } finally {
      clearInterval(timer);
    }
    return (performance.now() - begun) / 1000;
  }

  test("handshakes of a byte a second", async () => {
    await using attacked = await spawnServer();
    const seconds = await attack(attacked, async () => {
      const sockets = await openedMany(200, () => RawSocket.connect(attacked.url));
      return trickle(sockets, request("GET", "/ping", handshakeHeaders));
    });
    expect(seconds).toBeGreaterThan(5);
  });

  test("bodies of a byte a second, with a length and in chunks", async () => {
    await using attacked = await spawnServer();
    await attack(attacked, async () => {
      const sockets = await openedMany(200, () => RawSocket.connect(attacked.url));
      for (const [index, socket] of sockets.entries()) {
        const length: Record<string, string> =
          index % 2 ? { "Content-Length": "50000" } : { "Transfer-Encoding": "chunked" };
        socket.write(request("POST", "/topics/slow-body", length));
        if (index % 2 === 0) socket.write("C350\r\n");
      }
      await trickle(sockets, "x");
    });
    expect(await inspect(attacked, "slow-body")).toMatchObject({ position: null });
  });

  test(`${halfOpenCount} connections that say nothing`, async () => {
    await using attacked = await spawnServer();
    await attack(attacked, async () => {
      const ended: Promise<void>[] = [];
      while (ended.length < halfOpenCount) {
        const count = Math.min(100, halfOpenCount - ended.length);
        const sockets = await openedMany(count, () => RawSocket.connect(attacked.url));
        ended.push(...sockets.map((socket) => socket.ended));
      }
      const areHeld = async (): Promise<boolean> => (await held(attacked)).descriptors > halfOpenCount;
      await until(areHeld, "all of them to be accepted");
      await within(Promise.all(ended), "all of them to be ended", requestSecondsMax);
    });
  });

  test("connections that say nothing are warned of at 80 % of the descriptors, and counted", async () => {
    const narrow = ["sh", "-c", 'ulimit -n 600; exec "$0" run src/index.ts "$@"', process.execPath];
    await using attacked = await spawnServer([], { command: narrow });
    const sockets = await openedMany(520, () => RawSocket.connect(attacked.url));
    await attacked.logged("few file descriptors are left; idle HTTP connections were closed");
    disposeAll(sockets);
    const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
    expect(metrics).toMatch(/^longwire_descriptor_shortages_total [1-9]/m);
  });

  test("more connections than there are descriptors, which ends no line that is open", async () => {
    const narrow = ["sh", "-c", 'ulimit -n 300; exec "$0" run src/index.ts "$@"', process.execPath];
    await using attacked = await spawnServer([], { command: narrow });
    using line = await RawSocket.open(attacked.socketUrl());
    const sockets = await openedMany(400, () => RawSocket.connect(attacked.url));
    line.write(frame(opcodes.text, "ping"));
    expect((await line.frame()).payload.toString()).toBe("pong");
    disposeAll(sockets);
    await until(async () => {
      const response = await fetch(new URL("/healthz", attacked.url), { headers: { Connection: "close" } });
      return response.status === 200;
    }, "the server to take connections again");
    expect(attacked.process.exitCode).toBeNull();
  });
});

describe("frames that ask for too much", () => {
  test("one that is said to be of 1 GiB is refused at its header", async () => {
    await attack(server, async () => {
      const sockets = await openedMany(50, () => RawSocket.open(server.socketUrl()));
      for (const socket of sockets) {
        socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]));
        expect(await socket.closeFrame()).toMatchObject({ code: 1009 });
      }
      disposeAll(sockets);
    });
  });

  test("fragments without an end are refused when they pass the limit", async () => {
    await attack(server, async () => {
      const sockets = await openedMany(20, () => RawSocket.open(server.socketUrl("/topics/fragments")));
      for (const socket of sockets) {
        socket.write(frame(opcodes.binary, Buffer.alloc(KiB), { final: false }));
        for (let sent = 0; sent < 64; sent++) {
          socket.write(frame(opcodes.continuation, Buffer.alloc(KiB), { final: false }));
        }
        expect(await socket.closeFrame()).toMatchObject({ code: 1009 });
      }
      disposeAll(sockets);
    });
  });

  test("100,000 empty fragments are one small message", async () => {
    await attack(server, async () => {
      using socket = await RawSocket.open(server.socketUrl());
      socket.write(frame(opcodes.text, "small", { final: false }));
      const empty = Buffer.concat(
        Array<Buffer>(1000).fill(frame(opcodes.continuation, "", { final: false })),
      );
      for (let sent = 0; sent < 100; sent++) socket.write(empty);
      socket.write(frame(opcodes.continuation));
      expect((await socket.frame()).payload.toString()).toBe("small");
    });
  });

  test("compression is not agreed on, and a compressed frame is broken framing", async () => {
    await attack(server, async () => {
      using socket = await RawSocket.connect(server.url);
      const offer = { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" };
      socket.write(request("GET", "/ping", { ...handshakeHeaders, ...offer }));
      const { status, headers } = await socket.response();
      expect(status).toBe(101);
      expect(headers.get("sec-websocket-extensions")).toBeNull();
      const bomb = deflateRawSync(Buffer.alloc(32 * MiB));
      socket.write(frame(opcodes.binary, bomb, { reservedBits: 0x40 }));
      expect(await socket.closeFrame()).toMatchObject({ code: 1002 });
    });
  });
});

describe("a socket that sends small frames as fast as TCP takes them does not slow others down", () => {
  for (const [what, path, opcode] of [
    ["echoes", "/ping", opcodes.text],
    ["publications", "/topics/flooded", opcodes.text],
    ["pings", "/ping", opcodes.ping],
    ["pongs", "/topics/flooded", opcodes.pong],
  ] as const) {
    test(what, async () => {
      await using attacked = await spawnServer(["--log-level", "warn"]);
      const flood = async (): Promise<Flood> => {
        const args = [new URL(path, attacked.url).href, String(opcode), "1"];
        const flooder = await beginCompanion<Flood>("test/support/flooder.ts", args);
        await Bun.sleep(2000); // How long it floods.
        return flooder.end();
      };
      const { sentBytes } = await attack(attacked, flood, { medianMillisecondsMax: 40 });
      expect(sentBytes).toBeGreaterThan(MiB);
      const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
      expect(metrics).toMatch(/^longwire_paused_total\{reason="flood"\} [1-9]/m);
    });
  }

  test("frames that came before the client left are handled", async () => {
    using socket = await RawSocket.open(server.socketUrl("/topics/sent-and-left"));
    const frames = Buffer.concat(Array<Buffer>(2000).fill(frame(opcodes.text, "x")));
    socket.write(Buffer.concat([frames, frame(opcodes.close, closePayload(1000))]));
    await until(
      async () => (await inspect(server, "sent-and-left")).position?.endsWith("-2000") ?? false,
      "all of them to be published",
    );
  });
});

describe("a flood of pings", () => {
  const pings = Buffer.concat(Array<Buffer>(1000).fill(frame(opcodes.ping, Buffer.alloc(125))));

  test("is answered pong for ping where no rate is set", async () => {
    await attack(server, async () => {
      using socket = await RawSocket.open(server.socketUrl());
      for (let batch = 0; batch < 20; batch++) {
        socket.write(pings);
        for (let pong = 0; pong < 1000; pong++) expect((await socket.frame()).opcode).toBe(opcodes.pong);
      }
    });
  });

  test("whose pongs nobody reads pauses its socket, and the counter tells", async () => {
    await using attacked = await spawnServer(["--max-message", "64KiB", "--max-buffered", "256KiB"]);
    using socket = await RawSocket.open(attacked.socketUrl());
    socket.pause();
    socket.write(Buffer.concat(Array<Buffer>(200).fill(pings))); // 26 MB
    await until(async () => {
      const metrics = await (await fetch(new URL("/metrics", attacked.url))).text();
      return /^longwire_paused_total\{reason="unread"\} [1-9]/m.test(metrics);
    }, "reading from it to pause");
  });

  test("whose pongs nobody reads holds no more memory than the limit", async () => {
    await attack(server, async () => {
      using socket = await RawSocket.open(server.socketUrl());
      socket.pause();
      socket.write(Buffer.concat(Array<Buffer>(1200).fill(pings))); // 157 MB
      await Bun.sleep(1000); // What the server does with them; nothing announces that it has.
    });
  });

  test("ends the line with 1013 where a rate is set, and the counter tells", async () => {
    await using strict = await spawnServer(["--max-rate", "500"]);
    await attack(strict, async () => {
      using socket = await RawSocket.open(strict.socketUrl());
      socket.write(pings);
      let last = await socket.frame();
      while (last.opcode === opcodes.pong) last = await socket.frame();
      expect(last.opcode).toBe(opcodes.close);
      expect(last.payload.readUInt16BE()).toBe(1013);
      expect(last.payload.toString()).toContain("--max-rate");
    });
    const metrics = await (await fetch(new URL("/metrics", strict.url))).text();
    expect(metrics).toContain('longwire_cut_total{reason="rate"} 1\n');
  });
});

describe("a client that never reads", () => {
  test("its own echoes is slowed down, and costs a bounded memory", async () => {
    await attack(server, async () => {
      const sockets = await openedMany(10, () => RawSocket.open(server.socketUrl()));
      const message = frame(opcodes.binary, Buffer.alloc(60 * KiB));
      for (const socket of sockets) {
        socket.pause();
        socket.write(Buffer.concat(Array<Buffer>(300).fill(message))); // 18 MB each, most of it waits here.
      }
      await Bun.sleep(1000); // The server reads until it stops; nothing announces that it has.
      disposeAll(sockets);
    });
  });

  for (const [form, headers] of [
    ["raw", handshakeHeaders],
    ["CloudEvents", { ...handshakeHeaders, "Sec-WebSocket-Protocol": cloudEvents[0] }],
    ["server-sent events", stream],
  ] as const) {
    test(`a topic as ${form} is cut`, async () => {
      const topic = `unread-${form.replaceAll(" ", "-")}`;
      await attack(server, async () => {
        const sockets = await openedMany(10, () => RawSocket.connect(server.url));
        for (const socket of sockets) {
          socket.write(request("GET", `/topics/${topic}`, headers));
          await socket.read("HTTP/1.1 101".length);
          socket.pause();
        }
        const text = "x".repeat(60 * KiB);
        await until(async () => {
          await publish(server, topic, text);
          return (await inspect(server, topic)).subscribers === 0;
        }, "all of them to be cut");
        disposeAll(sockets);
      });
    });
  }

  test("the answers to its requests costs a bounded memory", async () => {
    for (let index = 0; index < 100; index++) await publish(server, "unread-history", "x".repeat(60 * KiB));
    await attack(server, async () => {
      const sockets = await openedMany(20, () => RawSocket.connect(server.url));
      for (const socket of sockets) {
        socket.pause();
        socket.write(request("GET", "/topics/unread-history?since=all").repeat(10));
      }
      await Bun.sleep(1000); // For the server to answer what it will.
      disposeAll(sockets);
    });
  });
});

describe("a storm", () => {
  const crowd = 3000;

  for (const [form, headers] of [
    ["WebSockets", handshakeHeaders],
    ["event streams", stream],
    ["polls", {}],
  ] as const) {
    test(`of ${crowd} ${form} that return at once is served, and others meanwhile`, async () => {
      await using attacked = await spawnServer(["--log-level", "warn"]);
      const since = await publish(attacked, "returning", "first");
      for (let index = 0; index < 100; index++) await publish(attacked, "returning", "x".repeat(128));
      await attack(
        attacked,
        async () => {
          const head = request("GET", `/topics/returning?since=${since}`, headers);
          const sockets = await openedMany(crowd, async () => {
            const socket = await RawSocket.connect(attacked.url);
            socket.write(head);
            return socket;
          });
          for (const socket of sockets) await socket.read(100 * 128);
          disposeAll(sockets);
        },
        { loopSecondsMax: 0.5 },
      );
    });
  }

  test("of lines that are opened and dropped leaves none behind", async () => {
    await attack(server, async () => {
      for (let wave = 0; wave < 20; wave++) {
        const sockets = await openedMany(100, () => RawSocket.connect(server.url));
        for (const [index, socket] of sockets.entries()) {
          const path = index % 3 ? `/topics/storm/${index}` : "/ping";
          const head = request("GET", path, index % 3 === 1 ? stream : handshakeHeaders);
          socket.write(index % 7 ? head : head.slice(0, index));
        }
        if (wave % 2) await Bun.sleep(20); // Every other wave is dropped before it is answered.
        disposeAll(sockets);
      }
    });
    await until(async () => {
      const metrics = await (await fetch(new URL("/metrics", server.url))).text();
      const open = [...metrics.matchAll(/^longwire_connections\{form="\w+"\} (\d+)$/gm)];
      expect(open.length).toBeGreaterThan(3);
      return open.every(([, count]) => count === "0");
    }, "no connection to be counted");
  });

  test("of bodies without an end is refused, and not kept", async () => {
    await attack(server, async () => {
      const sockets = await openedMany(20, () => RawSocket.connect(server.url));
      const chunk = Buffer.concat([
        Buffer.from("10000\r\n"),
        Buffer.alloc(64 * KiB, "x"),
        Buffer.from("\r\n"),
      ]);
      const body = Buffer.concat(Array<Buffer>(320).fill(chunk)); // 20 MiB, and no end.
      for (const [index, socket] of sockets.entries()) {
        const length: Record<string, string> =
          index % 2 ? { "Content-Length": String(1024 * MiB) } : { "Transfer-Encoding": "chunked" };
        socket.write(request("POST", "/topics/endless", length));
        socket.write(body);
      }
      for (const socket of sockets) expect((await socket.response()).status).toBe(413);
      disposeAll(sockets);
    });
    expect(await inspect(server, "endless")).toMatchObject({ position: null });
  });

  for (const chunkBytes of [1, 7]) {
    test(`of bodies in chunks of ${chunkBytes} bytes costs no more memory than other bodies`, async () => {
      await using attacked = await spawnServer([
        ...["--max-message", "8MiB", "--max-buffered", "16MiB", "--log-level", "warn"],
      ]);
      const pieces = Buffer.from(`${chunkBytes}\r\n${"x".repeat(chunkBytes)}\r\n`.repeat(100_000));
      const rounds = Math.ceil((2 * MiB) / (100_000 * chunkBytes));
      await attack(attacked, async () => {
        const sockets = await openedMany(5, () => RawSocket.connect(attacked.url));
        for (const [index, socket] of sockets.entries()) {
          const type = { "Content-Type": "text/plain", "Transfer-Encoding": "chunked" };
          socket.write(request("POST", `/topics/crumbs/${index}`, type));
          for (let round = 0; round < rounds; round++) socket.write(pieces);
          socket.write("0\r\n\r\n");
        }
        for (const socket of sockets) expect((await socket.response()).status).toBe(200);
        disposeAll(sockets);
      });
      expect((await inspect(attacked, "crumbs/0")).retained).toBe(1);
    });
  }

  test("of bodies that break off is refused without a line in the log", async () => {
    const brokenOff = async (): Promise<number> => {
      const metrics = await (await fetch(new URL("/metrics", server.url))).text();
      return Number(/^longwire_refused_total\{reason="malformed"\} (\d+)$/m.exec(metrics)?.[1]);
    };
    const before = await brokenOff();
    const linesBefore = server.log().length;
    await attack(server, async () => {
      const sockets = await openedMany(100, () => RawSocket.connect(server.url));
      for (const [index, socket] of sockets.entries()) {
        const length: Record<string, string> =
          index % 2 ? { "Content-Length": "100" } : { "Transfer-Encoding": "chunked" };
        socket.write(`${request("POST", "/topics/broken-off", length)}5\r\nhello`);
      }
      await Bun.sleep(200); // Nothing announces that the server has begun to read them.
      disposeAll(sockets);
      await until(async () => (await brokenOff()) >= before + 100, "all of them to be refused");
    });
    expect(server.log()).toHaveLength(linesBefore);
    expect(await inspect(server, "broken-off")).toMatchObject({ position: null });
  });

  test("of 10,000 idempotency keys is remembered, each of them", async () => {
    const first = await (await post(server, "keys", "0", { "Idempotency-Key": "key-0" })).json();
    await attack(server, async () => {
      using socket = await RawSocket.connect(server.url);
      const keys = Array.from({ length: 10_000 }, (_, index) => index + 1);
      for (const key of keys) {
        const text = String(key);
        const headers = { "Idempotency-Key": `key-${key}`, "Content-Length": String(text.length) };
        socket.write(request("POST", "/topics/keys", headers) + text);
        if (key % 100 > 0) continue;
        for (let answers = 0; answers < 100; answers++) expect((await socket.response()).status).toBe(200);
      }
    });
    const again = await post(server, "keys", "0", { "Idempotency-Key": "key-0" });
    expect(await again.json()).toEqual(first);
    expect((await inspect(server, "keys")).position).toEndWith("-10001");
  });

  test("of malformed tokens is refused, and a good one is served meanwhile", async () => {
    const key = "an-api-key-of-this-test";
    const secret = "a-secret-of-this-test-with-thirty-two-bytes";
    await using closed = await spawnServer(["--api-key", key, "--jwt-secret", secret, "--public", "honest"]);
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = encode({ subscribe: ["*"], publish: ["*"], exp: 4_000_000_000 });
    const malformed = [
      `${encode({ alg: "none" })}.${claims}.`,
      `${encode({ alg: "HS256" })}.${claims}.`,
      `${encode({ alg: "HS256" })}.${claims}.AAAA`,
      `${encode({ alg: "RS256" })}.${claims}.AAAA`,
      `${encode({ alg: "HS256", crit: ["x"], x: 1 })}.${claims}.AAAA`,
      `${encode({ alg: "HS256", jwk: {}, jku: "http://127.0.0.1:1/" })}.${claims}.AAAA`,
      `${encode("alg")}.${encode(null)}.AAAA`,
      "a.b.c",
      "....",
      "null",
      "e".repeat(8000),
      `${"W".repeat(4000)}.${"W".repeat(4000)}.W`,
    ];
    const storm = Promise.all(
      Array.from({ length: 1500 }, async (_, index) => {
        const token = malformed[index % malformed.length];
        const response = await fetch(topicsUrl(closed, "closed"), {
          headers: { Authorization: `Bearer ${token}` },
        });
        const body = await response.text();
        expect(response.status).toBe(401);
        expect(response.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
        expect(body).not.toContain("AAAA");
      }),
    );
    let served = 0;
    let worstMilliseconds = 0;
    const isOver = storm.then(() => true);
    while (!(await Promise.race([isOver, Bun.sleep(10).then(() => false)]))) {
      const asked = performance.now();
      const response = await fetch(topicsUrl(closed, "closed"), {
        headers: { Authorization: `Bearer ${key}` },
      });
      expect(response.status).toBe(200);
      await response.bytes();
      worstMilliseconds = Math.max(worstMilliseconds, performance.now() - asked);
      served++;
    }
    expect(served).toBeGreaterThan(0);
    expect(worstMilliseconds).toBeLessThan(5000);
    const metrics = await fetch(new URL("/metrics", closed.url), {
      headers: { Authorization: `Bearer ${key}` },
    });
    expect(await metrics.text()).toContain('longwire_refused_total{reason="token"} 1500\n');
    expect(closed.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
    expect(JSON.stringify(closed.log())).not.toContain("AAAA");
  });
});

describe("a topic's name", () => {
  const evil = [
    ["climbs", "/topics/../metrics"],
    ["climbs behind a part", "/topics/a/../../healthz"],
    ["climbs, encoded", "/topics/%2e%2e"],
    ["climbs, encoded with its slashes", "/topics/a%2f..%2f..%2fetc%2fpasswd"],
    ["climbs, encoded twice", "/topics/%252e%252e%252fx"],
    ["climbs by overlong UTF-8", "/topics/%c0%ae%c0%ae"],
    ["has an empty part", "/topics/a//b"],
    ["has a NUL", "/topics/a%00b"],
    ["has a line break", "/topics/a%0d%0aX-Evil:%20yes"],
    ["has an escape sequence of terminals", "/topics/a%1b[31m"],
    ["has a space", "/topics/a%20b"],
    ["has a full-width sign", "/topics/%ef%bc%8f"],
    ["has a full-width sign, not encoded", "/topics/\uff0f"],
    ["has a mark that turns the direction of writing", "/topics/a%e2%80%aeb"],
    ["has a joiner of no width", "/topics/a%e2%80%8bb"],
    ["has a combining accent", "/topics/e%cc%81"],
    ["has half a surrogate pair", "/topics/%ed%a0%80"],
    ["has a dot that is none", "/topics/%e2%80%a4%e2%80%a4"],
    ["is not UTF-8", "/topics/%ff"],
    ["ends within an encoding", "/topics/a%4"],
    ["has quotes and angle brackets", "/topics/%22%3e%3cscript%3e"],
    ["has a native topic's separator and star", "/topics/longwire.raw/*"],
    ["is too long", `/topics/${"a".repeat(201)}`],
    ["is empty", "/topics/"],
  ] as const;

  test("that is none is refused in every way to use it, and nothing is created", async () => {
    const before = await topicCount();
    await attack(server, async () => {
      for (const [what, path] of evil) {
        const ways = {
          look: request("GET", path),
          poll: request("GET", `${path}?since=all`),
          publish: `${request("POST", path, { "Content-Length": "1" })}x`,
          socket: request("GET", path, handshakeHeaders),
          stream: request("GET", path, stream),
        };
        for (const [way, bytes] of Object.entries(ways)) {
          const { status, headers, body } = await exchange(server.url, bytes);
          // Where a path that climbs is resolved before it is looked up, it leads to no topic.
          const allowed = what.startsWith("climbs") ? [400, 404, 405, 200] : [400];
          expect({ what, way, isRefused: allowed.includes(status) }).toEqual({ what, way, isRefused: true });
          expect(headers.get("x-evil")).toBeNull();
          expect(body).not.toContain("root:");
          if (status === 200) expect(body).not.toContain('"topics"');
        }
      }
    });
    // Only the honest client's own may have come.
    expect(await topicCount()).toBeLessThanOrEqual(before + 1);
  });

  test("that a URL resolves is the one that it leads to, by backslashes too", async () => {
    for (const path of ["/topics/a/../resolved", "/topics/a\\..\\resolved", "/topics/a/%2e%2E/resolved"]) {
      const { status, body } = await exchange(server.url, request("GET", path));
      expect({ path, status }).toEqual({ path, status: 200 });
      expect(JSON.parse(body).topics).toMatchObject([{ topic: "resolved" }]);
    }
  });

  test("that is none is refused in an event's topic too", async () => {
    for (const topic of [
      "..",
      "a/../b",
      "a\r\nb",
      "\u0000",
      "\uff0f",
      "a\u202eb",
      "\ud800",
      "",
      "*",
      "a b",
    ]) {
      using socket = await openTopic(server, "events", cloudEvents);
      await socket.event();
      socket.send(JSON.stringify({ specversion: "1.0", type: "x", topic, data: 1 }));
      expect(await within(socket.closed, "the line to be closed")).toMatchObject({ code: 1008 });
    }
  });

  test("like that of a member every object has is a topic like any other", async () => {
    for (const topic of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
      const id = await publish(server, topic, "fine");
      expect(id).toEndWith("-1");
      expect(await inspect(server, topic)).toMatchObject({ topic, position: id, retained: 1 });
    }
  });

  async function topicCount(): Promise<number> {
    const metrics = await (await fetch(new URL("/metrics", server.url))).text();
    return Number(/^longwire_topics (\d+)$/m.exec(metrics)?.[1]);
  }
});

describe("what a client says of itself cannot become", () => {
  /** All bytes that a line of a header may hold by mistake of a parser. */
  const smuggled = ["\r", "\n", "\r\n", "\0", "\u000b", "\u0085", "\u2028", "%0d%0a", "\\r\\n"].map(
    (separator) => `x${separator}X-Evil: yes`,
  );

  test("a header of the answer", async () => {
    await attack(server, async () => {
      for (const value of smuggled) {
        const requests = [
          request("GET", `/topics/injected?since=${encodeURIComponent(value)}`),
          request("GET", "/topics/injected", { ...handshakeHeaders, "Last-Event-ID": value }),
          request("GET", "/topics/injected?since=all", { "Last-Event-ID": value }),
          `${request("POST", "/topics/injected", { "Idempotency-Key": value, "Content-Length": "1" })}x`,
          `${request("POST", "/topics/injected", { "Content-Type": value, "Content-Length": "1" })}x`,
          request("GET", "/ping", { Host: value }),
          request("GET", "/topics/injected", { Origin: `http://localhost${value}` }),
          request("GET", "/ping", { ...handshakeHeaders, "Sec-WebSocket-Protocol": value }),
        ];
        for (const bytes of requests) {
          const { status, headers } = await exchange(server.url, bytes);
          expect({ bytes, status: status >= 100 && status < 500 }).toEqual({ bytes, status: true });
          expect({ bytes, evil: headers.get("x-evil") }).toEqual({ bytes, evil: null });
        }
      }
    });
  });

  test("a line of the stream", async () => {
    await publish(server, "lines", "before");
    for (const value of ["a\u0085id: evil", "\u00e2\u0080\u00a8id: evil", '","x":"', "a\tb"]) {
      using socket = await RawSocket.connect(server.url);
      socket.write(request("GET", "/topics/lines", { ...stream, "Last-Event-ID": value }));
      expect((await socket.response()).status).toBe(200);
      let text = "";
      while (!text.includes("before")) text += (await socket.read(1)).toString("latin1");
      expect(text).not.toMatch(/^id: evil/m);
      const gap = /^event: longwire.gap\ndata: (.*)$/m.exec(text)?.[1] ?? "";
      expect(JSON.parse(gap)).toMatchObject({ topic: "lines" });
    }
  });

  test("an event of its own, by what it publishes", async () => {
    await using reader = await openStream(server, "own");
    await reader.next();
    for (const separator of ["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"]) {
      const id = await publish(
        server,
        "own",
        `a${separator}event: longwire.close${separator}id: evil-1${separator}data: x`,
      );
      const { event, id: seen, data } = await reader.next();
      expect({ event, seen }).toEqual({ event: undefined, seen: id });
      expect(data.replaceAll("\n", "")).toBe("aevent: longwire.closeid: evil-1data: x");
    }
  });

  test("an attribute of an event, by the type of what it publishes", async () => {
    using reader = await openTopic(server, "attributes", cloudEvents);
    await reader.event();
    for (const type of [
      'text/plain;a="\\","id":"evil"',
      'text/plain","id":"evil',
      "text/plain\u00ff",
      "text/\tplain",
    ]) {
      const bytes = `${request("POST", "/topics/attributes", { "Content-Type": type, "Content-Length": "1" })}x`;
      const { status, body } = await exchange(server.url, bytes);
      expect([200, 400]).toContain(status);
      if (status === 400) continue;
      const event = await reader.event();
      expect(event).toMatchObject({ id: JSON.parse(body).published[0].id, topic: "attributes" });
    }
  });
});

describe("a page of another site", () => {
  const foreign = { Origin: "https://evil.example" };
  const blind = { "Sec-Fetch-Site": "cross-site" };
  const rebound = { Host: "evil.example", Origin: "http://evil.example" };

  const ways: Readonly<Record<string, (headers: Record<string, string>) => string>> = {
    "post text": (headers) =>
      `${request("POST", "/topics/visited", { "Content-Type": "text/plain", "Content-Length": "1", ...headers })}x`,
    "look at a topic": (headers) => request("GET", "/topics/visited", headers),
    "read the past": (headers) => request("GET", "/topics/visited?since=all", headers),
    "open a stream": (headers) => request("GET", "/topics/visited", { ...stream, ...headers }),
    "open a socket": (headers) => request("GET", "/topics/visited", { ...handshakeHeaders, ...headers }),
    "open an echo line": (headers) => request("GET", "/ping", { ...handshakeHeaders, ...headers }),
    "ask beforehand": (headers) =>
      request("OPTIONS", "/topics/visited", { "Access-Control-Request-Method": "POST", ...headers }),
  };

  for (const [who, headers] of [
    ["that says where it is from", foreign],
    ["that does not say where it is from", blind],
    ["whose name was made to mean 127.0.0.1", rebound],
    ["without an origin", { Origin: "null" }],
    ["whose origin only begins like ours", { Origin: "http://localhost.evil.example" }],
  ] as const) {
    test(`${who} can do nothing`, async () => {
      for (const [way, bytesOf] of Object.entries(ways)) {
        const { status, headers: answered } = await exchange(server.url, bytesOf(headers));
        expect({ way, status }).toEqual({ way, status: 403 });
        expect(answered.get("access-control-allow-origin")).toBeNull();
      }
      expect(await inspect(server, "visited")).toMatchObject({ position: null });
    });
  }

  test("whose name was made to mean 127.0.0.1 sees neither the page nor the metrics", async () => {
    for (const path of ["/", "/longconnecthtml", "/metrics", "/readyz", "/healthz"]) {
      const { status } = await exchange(server.url, request("GET", path, { Host: "evil.example" }));
      expect({ path, status }).toEqual({ path, status: 403 });
    }
  });
});

test("after all of it the log has no error", () => {
  expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
