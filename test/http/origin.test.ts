/** The checks of Origin and Host: pages of other origins, DNS rebinding, proxies, CORS. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { isLoopback, isPermitted } from "../../src/http/origin.ts";
import { createHandler } from "../../src/longwire.ts";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { exchange, handshakeHeaders, request } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { openTopic } from "../support/topics.ts";

setDefaultTimeout(120_000);

type Headers = Readonly<Record<string, string>>;

/** Every kind of request, and its status for a permitted client. */
const ways: Record<string, { method?: string; path: string; headers?: Headers; status: number }> = {
  "the page": { path: "/", status: 200 },
  "the page under its old name": { path: "/longconnecthtml", status: 200 },
  "a file of the page": { path: "/page.css", status: 200 },
  "the echo line": { path: "/ping", headers: handshakeHeaders, status: 101 },
  "what says how to connect to it": { path: "/ping", status: 426 },
  "a look at a topic": { path: "/topics/a", status: 200 },
  "a poll": { path: "/topics/a?since=all", status: 200 },
  "a stream": { path: "/topics/a", headers: { Accept: "text/event-stream" }, status: 200 },
  "a raw line": { path: "/topics/a", headers: handshakeHeaders, status: 101 },
  "a line of CloudEvents": {
    path: "/topics/a,b",
    headers: { ...handshakeHeaders, "Sec-WebSocket-Protocol": "cloudevents.json" },
    status: 101,
  },
  "a publication": { method: "POST", path: "/topics/a", headers: { "Content-Length": "0" }, status: 200 },
  "a publication as a form posts it": {
    method: "POST",
    path: "/topics/a",
    headers: { "Content-Length": "0", "Content-Type": "text/plain" },
    status: 200,
  },
  HEAD: { method: "HEAD", path: "/topics/a", status: 200 },
  OPTIONS: { method: "OPTIONS", path: "/topics/a", status: 204 },
  metrics: { path: "/metrics", status: 200 },
};
/** The requests that a page of another origin may not make. */
const guarded = Object.entries(ways).filter(([, { path }]) => /^\/(ping|topics)/.test(path));

const server = sharedServer();

async function statusOf(way: string, headers: Headers = {}, on = server): Promise<number> {
  const found = ways[way];
  if (!found) throw new Error(`there is no way "${way}"`);
  const { method = "GET", path, headers: own = {} } = found;
  const host = { Host: on.url.host };
  return (await exchange(on.url, request(method, path, { ...host, ...own, ...headers }))).status;
}

const refusals = async (reason: "host" | "origin"): Promise<number> =>
  sampleOf(await scrape(server), "longwire_refused_total", `reason="${reason}"`);

describe("a server without a key", () => {
  for (const [way, { status }] of Object.entries(ways)) {
    test(`serves ${way} only to a loopback Host, and not to a rebound name`, async () => {
      const { port } = server.url;
      for (const host of [
        "localhost",
        `localhost:${port}`,
        `127.0.0.1:${port}`,
        `[::1]:${port}`,
        "app.localhost:1",
      ])
        expect({ host, status: await statusOf(way, { Host: host }) }).toEqual({ host, status });
      const before = await refusals("host");
      const foreign = [
        "evil.example",
        `evil.example:${port}`,
        `127.0.0.1.evil.example:${port}`,
        "localhost.evil.example",
        "notlocalhost",
        "192.168.1.1",
        "[::2]",
      ];
      for (const host of foreign)
        expect({ host, status: await statusOf(way, { Host: host }) }).toEqual({ host, status: 403 });
      expect(await refusals("host")).toBe(before + foreign.length);
    });
  }

  test("refuses a rebound page although its Origin equals its Host", async () => {
    for (const [way] of guarded) {
      const headers = { Host: "evil.example:9090", Origin: "http://evil.example:9090" };
      expect({ way, status: await statusOf(way, headers) }).toEqual({ way, status: 403 });
    }
  });

  test("names the settings that would allow a refused Host, in the answer and in the log", async () => {
    await using own = await spawnServer();
    const { body } = await exchange(own.url, request("GET", "/", { Host: "chat.example" }));
    const { detail } = JSON.parse(body) as { detail: string };
    expect(detail).toContain("--origin http://chat.example");
    expect(detail).toContain("--insecure");
    expect(await own.logged("another host was refused")).toMatchObject({
      allow: "--origin http://chat.example",
    });
  });

  test("accepts the address of --host and the host of each --origin, with any port", async () => {
    await using own = await spawnServer([
      "--host",
      "127.91.0.5",
      "--origin",
      "https://chat.example,http://b.example:81",
    ]);
    for (const host of [own.url.host, "chat.example", "chat.example:444", "b.example"])
      expect({ host, status: await statusOf("a look at a topic", { Host: host }, own) }).toEqual({
        host,
        status: 200,
      });
    for (const host of ["example", "www.chat.example"])
      expect({ host, status: await statusOf("a look at a topic", { Host: host }, own) }).toEqual({
        host,
        status: 403,
      });
  });

  test("does not accept every Host with --origin *", async () => {
    await using any = await spawnServer(["--origin", "*"]);
    expect(await statusOf("a look at a topic", { Host: "evil.example" }, any)).toBe(403);
  });

  test("accepts every Host with --insecure or with a key", async () => {
    for (const flags of [["--insecure"], ["--api-key", "x".repeat(16), "--public", "*"]]) {
      await using any = await spawnServer(flags);
      expect(await statusOf("a look at a topic", { Host: "chat.example" }, any)).toBe(200);
      expect(await statusOf("the page", { Host: "chat.example" }, any)).toBe(200);
    }
  });

  test("answers 400 to two Host headers, since a proxy may have used the other one", async () => {
    const { host } = server.url;
    for (const hosts of [
      `${host}\r\nHost: evil.example`,
      `evil.example\r\nHost: ${host}`,
      `${host}\r\nHost: ${host}`,
    ])
      for (const way of Object.keys(ways))
        expect({ way, status: await statusOf(way, { Host: hosts }) }).toEqual({ way, status: 400 });
  });

  test("answers 400 to a malformed Host", async () => {
    for (const host of ["a b", "http://", "[", "x:port"])
      expect({ host, status: await statusOf("a look at a topic", { Host: host }) }).toEqual({
        host,
        status: 400,
      });
  });
});

describe("a page of a foreign origin", () => {
  for (const [way] of guarded) {
    test(`is refused: ${way}`, async () => {
      const before = await refusals("origin");
      const foreign = [
        "https://evil.example",
        "http://localhost.evil.example",
        "null",
        "file://",
        "nonsense",
      ];
      for (const origin of foreign)
        expect({ origin, status: await statusOf(way, { Origin: origin }) }).toEqual({ origin, status: 403 });
      expect(await statusOf(way, { "Sec-Fetch-Site": "cross-site" })).toBe(403);
      expect(await refusals("origin")).toBe(before + foreign.length + 1);
    });

    test(`is permitted if page and server are both on loopback: ${way}`, async () => {
      const status = ways[way]?.status ?? 0;
      for (const origin of [
        server.url.origin,
        "http://localhost:3000",
        "http://127.0.0.1:3000",
        "http://[::1]:80",
      ])
        expect({ origin, status: await statusOf(way, { Origin: origin }) }).toEqual({ origin, status });
    });
  }

  test("cannot publish by posting a form", async () => {
    using client = await openTopic(server, "watched");
    const forged = request("POST", "/topics/watched", {
      Host: server.url.host,
      Origin: "https://evil.example",
      "Content-Type": "text/plain",
      "Content-Length": "6",
    });
    expect((await exchange(server.url, `${forged}forged`)).status).toBe(403);
    client.send("the next message");
    expect(await client.next()).toBe("the next message");
  });

  test("opens no WebSocket, not even for a close code: its handshake is answered with 403", async () => {
    for (const way of ["the echo line", "a raw line", "a line of CloudEvents"])
      expect(await statusOf(way, { Origin: "https://evil.example" })).toBe(403);
  });
});

describe("behind a proxy", () => {
  const key = "x".repeat(16);
  const open = ["--api-key", key, "--public", "*"];
  const status = (headers: Headers, on: RunningServer) => statusOf("a raw line", headers, on);
  const behind = sharedServer([...open, "--trust-proxy", "127.0.0.0/8,::1"]);
  const forwarded = { Host: "inner:8080", "X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https" };

  test("that is trusted, a page of X-Forwarded-Host is permitted, although the Host differs", async () => {
    expect(await status({ ...forwarded, Origin: "https://chat.example" }, behind)).toBe(101);
    expect(await status({ ...forwarded, Origin: "https://evil.example" }, behind)).toBe(403);
    expect(await status({ ...forwarded, Origin: "http://inner:8080" }, behind)).toBe(403);
  });

  test("that is trusted and ends TLS, a page loaded without TLS is not the server's own", async () => {
    expect(await status({ ...forwarded, Origin: "http://chat.example" }, behind)).toBe(403);
    const plain = { ...forwarded, "X-Forwarded-Proto": "http" };
    expect(await status({ ...plain, Origin: "http://chat.example" }, behind)).toBe(101);
  });

  test("that is not trusted, X-Forwarded-Host is ignored and the Host counts", async () => {
    for (const flags of [open, [...open, "--trust-proxy", "192.0.2.0/24"]]) {
      await using other = await spawnServer(flags);
      expect(await status({ ...forwarded, Origin: "https://chat.example" }, other)).toBe(403);
      expect(await status({ Host: "chat.example", Origin: "https://chat.example" }, other)).toBe(101);
    }
  });
});

describe("the hint of GET /ping without an upgrade", () => {
  const [own, behind] = [[], ["--trust-proxy", "127.0.0.0/8,::1"]].map((flags) =>
    sharedServer(["--insecure", ...flags]),
  ) as [RunningServer, RunningServer];
  const hint = async (headers: Headers, on = own): Promise<string> =>
    (await exchange(on.url, request("GET", "/ping", { Host: "own.example:1", ...headers }))).body;
  const forwarded = { "X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https" };

  test("is the URL that the client can use, also if a trusted proxy ends TLS", async () => {
    expect(await hint({})).toContain('new WebSocket("ws://own.example:1/ping")');
    expect(await hint(forwarded)).toContain('new WebSocket("ws://own.example:1/ping")');
    expect(await hint(forwarded, behind)).toContain('new WebSocket("wss://chat.example/ping")');
  });

  test("has the prefix of a mounted library, and names no page", async () => {
    await using longwire = createHandler({ prefix: "/realtime", logLevel: "silent" });
    await using own = Bun.serve({ port: 0, routes: longwire.routes, websocket: longwire.websocket() });
    const text = await (await fetch(new URL("/realtime/ping", own.url))).text();
    expect(text).toBe(
      `This is a WebSocket line: connect with new WebSocket("ws://${own.url.host}/realtime/ping").\n`,
    );
  });
});

describe("the headers of CORS", () => {
  const page = "https://app.example";
  const preflight = async (on: RunningServer, headers: string) =>
    (
      await exchange(
        on.url,
        request("OPTIONS", "/topics/a", {
          Host: on.url.host,
          Origin: page,
          "Access-Control-Request-Method": "POST",
          "Access-Control-Request-Headers": headers,
        }),
      )
    ).headers;

  const flags = ["--origin", page];
  const own = sharedServer(flags);

  test("allow the requested headers of CloudEvents and traces, and no others", async () => {
    const asked = "ce-type,CE-Subject, traceparent ,tracestate,x-other,ce-,ce-a-b,cookie";
    const allowed = (await preflight(own, asked)).get("access-control-allow-headers");
    expect(allowed).toBe(
      "Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, ce-type, ce-subject, traceparent, tracestate",
    );
  });

  test("allow credentials with --token-cookie, and not without", async () => {
    const cookie = ["--token-cookie", "session", "--jwt-secret", "a-secret-for-tokens-of-40-characters-001"];
    await using withCookie = await spawnServer([...flags, ...cookie]);
    for (const [on, credentials] of [
      [own, null],
      [withCookie, "true"],
    ] as const) {
      expect((await preflight(on, "")).get("access-control-allow-credentials")).toBe(credentials);
      const { headers } = await exchange(
        on.url,
        request("GET", "/topics/a", { Host: on.url.host, Origin: page }),
      );
      expect(headers.get("access-control-allow-credentials")).toBe(credentials);
      expect(headers.get("access-control-allow-origin")).toBe(page);
      const foreign = { Host: on.url.host, Origin: "https://evil.example" };
      const refused = await exchange(on.url, request("GET", "/topics/a", foreign));
      expect(refused.headers.get("access-control-allow-credentials")).toBeNull();
    }
  });
});

test("an origin is permitted if it is named, is the server's own, or is on loopback as the server is", () => {
  const plain = { host: "chat.example", isSecure: false };
  const secure = { host: "chat.example", isSecure: true };
  expect(isPermitted("https://chat.example", plain, [])).toBe(true); // A proxy may have ended TLS.
  expect(isPermitted("http://chat.example", plain, [])).toBe(true);
  expect(isPermitted("http://chat.example", secure, [])).toBe(false);
  expect(isPermitted("http://chat.example", secure, ["http://chat.example"])).toBe(true);
  expect(isPermitted("http://chat.example:81", plain, [])).toBe(false);
  expect(isPermitted("http://localhost", plain, [])).toBe(false);
  expect(isPermitted("http://localhost:1", { host: "127.0.0.1:2", isSecure: false }, [])).toBe(true);
  expect(isPermitted("http://chat.example", { host: "127.0.0.1:2", isSecure: false }, [])).toBe(false);
  expect(isPermitted("null", plain, ["*"])).toBe(false);
  expect(isPermitted("null", plain, ["null"])).toBe(true);
  expect(isPermitted("no origin", plain, ["*"])).toBe(false);
});

test("loopback is localhost with its subdomains, 127.0.0.0/8 and ::1, and nothing that looks like them", () => {
  for (const name of [
    "localhost",
    "a.localhost",
    "127.0.0.1",
    "127.255.255.255",
    "[::1]",
    "::1",
    "[::ffff:7f00:1]",
  ])
    expect({ name, is: isLoopback(name) }).toEqual({ name, is: true });
  for (const name of [
    "localhost.example",
    "127.0.0.1.example",
    "xlocalhost",
    "128.0.0.1",
    "0.0.0.0",
    "[::]",
    "127.1",
    "[::1",
    "1::1",
    "",
  ])
    expect({ name, is: isLoopback(name) }).toEqual({ name, is: false });
});
