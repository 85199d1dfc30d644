/** Crowds that come at once, and that others notice nothing of it. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { attack, disposeAll, openedMany } from "../support/attack.ts";
import { samplesOf, scrape } from "../support/prometheus.ts";
import { handshakeHeaders, RawSocket, request } from "../support/raw-socket.ts";
import { spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { inspect, post, publish, topicsUrl } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const KiB = 1024;
const MiB = 1024 * 1024;
const stream = { Accept: "text/event-stream" };

const server = sharedServer(["--max-message", "64KiB", "--max-buffered", "128KiB"]);

const refusedOf = async (reason: string): Promise<number> =>
  samplesOf(await scrape(server), "longwire_refused_total")[reason] ?? 0;

describe("a storm", () => {
  const crowd = 1000;

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
          for (const socket of sockets) await socket.read(100 * 128, 50);
          disposeAll(sockets);
        },
        { worstMillisecondsMax: 500 },
      );
    });
  }

  test("of lines that are opened and dropped leaves none behind", async () => {
    await attack(server, async () => {
      for (let wave = 0; wave < 10; wave++) {
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
      const sockets = await openedMany(10, () => RawSocket.connect(server.url));
      const chunk = Buffer.concat([
        Buffer.from("10000\r\n"),
        Buffer.alloc(64 * KiB, "x"),
        Buffer.from("\r\n"),
      ]);
      const body = Buffer.concat(Array<Buffer>(64).fill(chunk)); // 4 MiB, and no end.
      for (const [index, socket] of sockets.entries()) {
        const length: Record<string, string> =
          index % 2 ? { "Content-Length": String(1024 * MiB) } : { "Transfer-Encoding": "chunked" };
        socket.write(request("POST", "/topics/endless", length));
        socket.write(body);
      }
      for (const socket of sockets) {
        const status = await socket.response().then(
          (answer) => answer.status,
          (error) => error.message,
        );
        // The server reads no more, so a reset by the kernel may overtake its answer.
        expect(status === 413 || status === "the connection ended with 0 bytes unread", status).toBe(true);
      }
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
      await attack(attacked, async () => {
        const sockets = await openedMany(5, () => RawSocket.connect(attacked.url));
        for (const [index, socket] of sockets.entries()) {
          const type = { "Content-Type": "text/plain", "Transfer-Encoding": "chunked" };
          socket.write(request("POST", `/topics/crumbs/${index}`, type));
          for (let round = 0; round < 3; round++) socket.write(pieces);
          socket.write("0\r\n\r\n");
        }
        for (const socket of sockets) expect((await socket.response()).status).toBe(200);
        disposeAll(sockets);
      });
      expect((await inspect(attacked, "crumbs/0")).retained).toBe(1);
    });
  }

  test("of bodies that break off is refused without a line in the log", async () => {
    const before = await refusedOf("malformed");
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
      await until(async () => (await refusedOf("malformed")) >= before + 100, "all of them to be refused");
    });
    // What an earlier test did may be summed up in a line now. A fault would be a line of its own, at the level error.
    expect(
      server
        .log()
        .slice(linesBefore)
        .filter(({ level }) => Number(level) >= 50),
    ).toEqual([]);
    expect(await inspect(server, "broken-off")).toMatchObject({ position: null });
  });

  test("of 3,000 idempotency keys is remembered, each of them", async () => {
    const first = await (await post(server, "keys", "0", { "Idempotency-Key": "key-0" })).json();
    await attack(server, async () => {
      using socket = await RawSocket.connect(server.url);
      const keys = Array.from({ length: 3000 }, (_, index) => index + 1);
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
    expect((await inspect(server, "keys")).position).toEndWith("-3001");
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
      Array.from({ length: 480 }, async (_, index) => {
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
    const isOver = storm.then(() => true);
    while (!(await Promise.race([isOver, Bun.sleep(10).then(() => false)]))) {
      const response = await fetch(topicsUrl(closed, "closed"), {
        headers: { Authorization: `Bearer ${key}` },
      });
      expect(response.status).toBe(200);
      await response.bytes();
      served++;
    }
    expect(served).toBeGreaterThan(0);
    const metrics = await fetch(new URL("/metrics", closed.url), {
      headers: { Authorization: `Bearer ${key}` },
    });
    expect(await metrics.text()).toContain('longwire_refused_total{reason="token"} 480\n');
    expect(closed.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
    expect(JSON.stringify(closed.log())).not.toContain("AAAA");
  });
});

test("after all of it the log has no error", () => {
  expect(server.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
});
