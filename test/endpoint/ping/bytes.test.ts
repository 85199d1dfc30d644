/** /ping byte by byte: frames and handshakes that no proper client sends, and the HTTP answers. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  closePayload,
  exchange,
  frame,
  handshakeHeaders,
  opcodes,
  type RawResponse,
  RawSocket,
  request,
} from "../../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../../support/server.ts";
import { within } from "../../support/wait.ts";

setDefaultTimeout(120_000);

let server: RunningServer;
/** Stays open through all tests: an error of one client must not affect another. */
let bystander: RawSocket;
beforeAll(async () => {
  server = await spawnServer();
  bystander = await RawSocket.open(server.socketUrl());
});
afterAll(async () => {
  bystander[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const { continuation, text, binary, close, ping, pong } = opcodes;

/** "é" and "🔌" are two and four bytes; the cuts below fall inside them. */
const accented = Buffer.from("é 🔌");

describe("a frame that breaks RFC 6455 ends the connection with 1002", () => {
  const broken: Record<string, Uint8Array> = {
    "an unmasked frame": frame(text, "hello", { masked: false }),
    "the first reserved bit": frame(text, "hello", { reservedBits: 0x40 }),
    "the second reserved bit": frame(text, "hello", { reservedBits: 0x20 }),
    "the third reserved bit": frame(text, "hello", { reservedBits: 0x10 }),
    ...Object.fromEntries(
      [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`the reserved opcode ${opcode}`, frame(opcode)]),
    ),
    "a fragmented ping": frame(ping, "", { final: false }),
    "a fragmented close": frame(close, closePayload(1000), { final: false }),
    "a ping of 126 bytes": frame(ping, Buffer.alloc(126)),
    "a close of 126 bytes": frame(close, closePayload(1000, Buffer.alloc(124, "a"))),
    "a continuation of nothing": frame(continuation, "hello"),
    "a message within another": Buffer.concat([frame(text, "a", { final: false }), frame(text, "b")]),
    "a close payload of one byte": frame(close, Buffer.of(3)),
    ...Object.fromEntries(
      [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535].map((code) => [
        `the close code ${code}`,
        frame(close, closePayload(code)),
      ]),
    ),
  };
  for (const [name, bytes] of Object.entries(broken)) {
    test(name, async () => {
      using raw = await RawSocket.open(server.socketUrl());
      raw.write(bytes);
      expect((await raw.closeFrame()).code).toBe(1002);
      await within(raw.ended, "the end of the connection");
      await expectBystander();
    });
  }
});

describe("text that is not UTF-8 ends the connection with 1007", () => {
  const invalid: Record<string, Uint8Array> = {
    "a byte that no character has": Buffer.of(0x61, 0xff),
    "a surrogate": Buffer.of(0xed, 0xa0, 0x80),
    "a pair of surrogates": Buffer.of(0xed, 0xa0, 0xbd, 0xed, 0xb4, 0x8c),
    "an overlong character": Buffer.of(0xc0, 0xaf),
    "a character past the last one": Buffer.of(0xf4, 0x90, 0x80, 0x80),
    "a character cut off": accented.subarray(0, -1),
  };
  for (const [name, bytes] of Object.entries(invalid)) {
    test(name, async () => {
      using raw = await RawSocket.open(server.socketUrl());
      raw.write(frame(text, bytes));
      expect((await raw.closeFrame()).code).toBe(1007);
      await within(raw.ended, "the end of the connection");
      await expectBystander();
    });
  }

  test("the same bytes in a binary message are echoed", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    for (const bytes of Object.values(invalid)) {
      raw.write(frame(binary, bytes));
      expect(await raw.frame()).toEqual({ final: true, opcode: binary, payload: Buffer.from(bytes) });
    }
  });
});

describe("frames in pieces", () => {
  test("a character may be split across fragments at any of its bytes", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    for (let cut = 0; cut <= accented.length; cut++) {
      raw.write(frame(text, accented.subarray(0, cut), { final: false }));
      raw.write(frame(continuation, accented.subarray(cut)));
      expect(await raw.frame()).toEqual({ final: true, opcode: text, payload: accented });
    }
  });

  test("a frame may come a byte at a time", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    await raw.writeByteByByte(frame(text, "ping"));
    await raw.writeByteByByte(frame(binary, Buffer.alloc(200, 7)));
    expect(await raw.frame()).toEqual({ final: true, opcode: text, payload: Buffer.from("pong") });
    expect(await raw.frame()).toEqual({ final: true, opcode: binary, payload: Buffer.alloc(200, 7) });
  });

  test("a handshake may come a byte at a time", async () => {
    using raw = await RawSocket.connect(server.url);
    await raw.writeByteByByte(Buffer.from(request("GET", "/ping", handshakeHeaders)));
    expect((await raw.response()).status).toBe(101);
  });

  test("a frame may come in the same packet as the handshake", async () => {
    using raw = await RawSocket.connect(server.url);
    raw.write(Buffer.concat([Buffer.from(request("GET", "/ping", handshakeHeaders)), frame(text, "early")]));
    expect((await raw.response()).status).toBe(101);
    expect((await raw.frame()).payload.toString()).toBe("early");
  });

  test("pings between fragments are answered at once, each with its payload", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    raw.write(frame(binary, "a", { final: false }));
    raw.write(frame(ping, "one"));
    expect(await raw.frame()).toEqual({ final: true, opcode: pong, payload: Buffer.from("one") });
    raw.write(frame(continuation, "b", { final: false }));
    raw.write(frame(ping, Buffer.alloc(125, "x")));
    expect(await raw.frame()).toEqual({ final: true, opcode: pong, payload: Buffer.alloc(125, "x") });
    raw.write(frame(continuation, "c"));
    expect(await raw.frame()).toEqual({ final: true, opcode: binary, payload: Buffer.from("abc") });
  });

  test("fragments of ping are a ping, and empty fragments do not count", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    raw.write(frame(text, "", { final: false }));
    for (const letter of "ping") raw.write(frame(continuation, letter, { final: false }));
    raw.write(frame(continuation));
    expect(await raw.frame()).toEqual({ final: true, opcode: text, payload: Buffer.from("pong") });
  });

  test("an unsolicited pong is ignored", async () => {
    using raw = await RawSocket.open(server.socketUrl());
    raw.write(frame(pong, "unasked"));
    raw.write(frame(text, "next"));
    expect((await raw.frame()).payload.toString()).toBe("next");
  });
});

test("a length over --max-message is refused with 1009 before its bytes arrive", async () => {
  using raw = await RawSocket.open(server.socketUrl());
  const claim = Buffer.alloc(14);
  claim.set([0x82, 0xff]);
  claim.writeBigUInt64BE(1n << 30n, 2);
  raw.write(claim);
  expect((await raw.closeFrame()).code).toBe(1009);
  await within(raw.ended, "the end of the connection");
  await expectBystander();
});

test("a Close frame is answered with its code, and frames after it are ignored", async () => {
  using raw = await RawSocket.open(server.socketUrl());
  raw.write(Buffer.concat([frame(close, closePayload(3000, "done")), frame(text, "late")]));
  expect((await raw.closeFrame()).code).toBe(3000);
  await within(raw.ended, "the end of the connection");
  await expect(raw.read(1)).rejects.toThrow("0 bytes unread");
});

test("a connection that breaks without a Close frame does not affect others", async () => {
  for (const bytes of [frame(text, "whole"), frame(text, "half", { final: false }), Buffer.of(0x81)]) {
    const raw = await RawSocket.open(server.socketUrl());
    raw.write(bytes);
    raw[Symbol.dispose]();
    await expectBystander();
  }
});

describe("handshakes", () => {
  test("a correct one is answered with 101 and the key's hash, without a subprotocol or extension", async () => {
    const response = await get("/ping", handshakeHeaders);
    expect(response.status).toBe(101);
    // From RFC 6455 section 1.3.
    expect(response.headers.get("Sec-WebSocket-Accept")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    expect(response.headers.get("Sec-WebSocket-Protocol")).toBeNull();
    expect(response.headers.get("Sec-WebSocket-Extensions")).toBeNull();
  });

  test("Upgrade and Connection are lists, and case does not matter", async () => {
    const headers = { ...handshakeHeaders, Connection: "keep-alive, upgrade", Upgrade: "WebSocket" };
    expect((await get("/ping", headers)).status).toBe(101);
  });

  test("another version is answered with 426 and the supported version", async () => {
    for (const version of ["8", "14", ""]) {
      const response = await get("/ping", { ...handshakeHeaders, "Sec-WebSocket-Version": version });
      expect(response.status).toBe(426);
      expect(response.headers.get("Sec-WebSocket-Version")).toBe("13");
    }
  });

  test("a missing or short key is answered with 400 and what a key must be", async () => {
    const { "Sec-WebSocket-Key": _, ...keyless } = handshakeHeaders;
    for (const headers of [keyless, { ...keyless, "Sec-WebSocket-Key": "c2hvcnQ=" }]) {
      expectProblem(await get("/ping", headers), 400, "Sec-WebSocket-Key");
    }
  });

  test("an upgrade by POST is answered with 405 and the methods allowed", async () => {
    const response = await exchange(server.url, request("POST", "/ping", handshakeHeaders));
    expectProblem(response, 405, "POST");
    expect(response.headers.get("Allow")).toBe("GET, HEAD, OPTIONS");
  });

  const withoutUpgrade: Record<string, Record<string, string>> = {
    "no upgrade": {},
    "an upgrade to h2c": { ...handshakeHeaders, Upgrade: "h2c" },
    "no Connection header": Object.fromEntries(
      Object.entries(handshakeHeaders).filter(([name]) => name !== "Connection"),
    ),
    "Connection: keep-alive": { ...handshakeHeaders, Connection: "keep-alive" },
  };
  for (const [name, headers] of Object.entries(withoutUpgrade)) {
    test(`${name} is answered with 426 and one line that says how to connect`, async () => {
      const response = await get("/ping", headers);
      expect(response.status).toBe(426);
      expect(response.headers.get("Upgrade")).toBe("websocket");
      expect(response.headers.get("Connection")).toBe("Upgrade");
      expect(response.headers.get("Content-Type")).toBe("text/plain; charset=utf-8");
      expect(response.body).toMatch(/^[^\n]+ws:\/\/localhost\/ping[^\n]+\n$/);
    });
  }
});

describe("HTTP", () => {
  test("HEAD answers as GET does, without a body", async () => {
    const head = await exchange(server.url, request("HEAD", "/ping"));
    expect(head.status).toBe(426);
    expect(head.headers.get("Upgrade")).toBe("websocket");
    const page = await fetch(server.url, { method: "HEAD", headers: { Accept: "text/html" } });
    expect(page.status).toBe(200);
    expect(page.headers.get("Content-Type")).toContain("text/html");
    expect(await page.text()).toBe("");
  });

  test("an upgrade by HEAD opens nothing", async () => {
    const response = await exchange(server.url, request("HEAD", "/ping", handshakeHeaders));
    expect(response.status).toBeGreaterThanOrEqual(400);
  });

  for (const path of ["/", "/longconnecthtml", "/ping"]) {
    test(`OPTIONS ${path} is answered with 204 and the methods allowed`, async () => {
      const response = await fetch(new URL(path, server.url), { method: "OPTIONS" });
      expect(response.status).toBe(204);
      expect(response.headers.get("Allow")).toBe("GET, HEAD, OPTIONS");
    });

    test(`DELETE, PUT, PATCH and POST ${path} are answered with 405 and the methods allowed`, async () => {
      for (const method of ["DELETE", "PUT", "PATCH", "POST"]) {
        const response = await exchange(server.url, request(method, path));
        expectProblem(response, 405, method);
        expect(response.headers.get("Allow")).toBe("GET, HEAD, OPTIONS");
      }
    });
  }

  test("an unknown path is answered with 404, which names it and the known paths", async () => {
    for (const path of ["/nothing", "/ping/", "/pingpong", "/.env", "/..%2f..%2fetc/passwd"]) {
      expectProblem(await get(path), 404, "/ping");
    }
    expectProblem(await get("/nothing"), 404, "/nothing");
  });
});

function get(path: string, headers: Record<string, string> = {}): Promise<RawResponse> {
  return exchange(server.url, request("GET", path, headers));
}

/** @param word is part of `detail` */
function expectProblem(response: RawResponse, status: number, word: string): void {
  expect(response.status).toBe(status);
  expect(response.headers.get("Content-Type")).toBe("application/problem+json");
  const problem = JSON.parse(response.body);
  expect(problem.status).toBe(status);
  expect(problem.title).not.toBeEmpty();
  expect(problem.detail).toContain(word);
}

async function expectBystander(): Promise<void> {
  bystander.write(frame(text, "still here"));
  expect((await bystander.frame()).payload.toString()).toBe("still here");
}
