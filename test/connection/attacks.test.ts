/** What is done to a server on the internet, and that others notice nothing of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { deflateRawSync } from "node:zlib";
import { attack, disposeAll, openedMany } from "../support/attack.ts";
import { exchange, frame, handshakeHeaders, opcodes, RawSocket, request } from "../support/raw-socket.ts";
import { sharedServer } from "../support/shared-server.ts";
import { cloudEvents, inspect, openStream, openTopic, publish } from "../support/topics.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * 1024;
const stream = { Accept: "text/event-stream" };

const server = sharedServer(["--max-message", "64KiB", "--max-buffered", "128KiB"]);

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
