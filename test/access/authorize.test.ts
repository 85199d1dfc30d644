/** `authorize`, an application's own rule: when it is asked, with what, and what its answers mean. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Authorize, createServer, type LongwireServer, type Options } from "../../src/longwire.ts";
import { openWs } from "../support/clients.ts";
import { exchange, handshakeHeaders, request } from "../support/raw-socket.ts";
import { recordingLog } from "../support/recording-log.ts";
import { bearer, everywhere, publishedId, sign } from "../support/tokens.ts";
import { until, within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const secret = "the secret of tokens that is in use";

describe("authorize", () => {
  const serve = (options: Partial<Options>): Promise<LongwireServer> =>
    createServer({ port: 0, logLevel: "silent", ...options });
  const status = async (on: LongwireServer, topic: string, init: RequestInit = {}): Promise<number> =>
    (await fetch(new URL(`/topics/${topic}`, on.url), init)).status;

  test("decides alone without keys, and receives the request, the topic and the action", async () => {
    const asked: string[] = [];
    const authorize: Authorize = (request, { topic, action }) => {
      asked.push(`${request.headers.get("x-user")} ${action} ${topic}`);
      return request.headers.get("x-user") === "ann" && topic === "a";
    };
    await using own = await serve({ authorize });
    const headers = { "X-User": "ann" };
    expect(await status(own, "a", { headers })).toBe(200);
    expect(await status(own, "a", { headers, method: "POST", body: "x" })).toBe(200);
    expect(await status(own, "a,b", { headers })).toBe(403);
    expect(await status(own, "a", {})).toBe(403);
    expect(asked).toEqual([
      "ann subscribe a",
      "ann publish a",
      "ann subscribe a",
      "ann subscribe b",
      "null subscribe a",
    ]);
  });

  test("may be asynchronous", async () => {
    const authorize: Authorize = async (_, { topic }) => {
      await Bun.sleep(20);
      return topic === "a";
    };
    await using own = await serve({ authorize });
    expect(await status(own, "a")).toBe(200);
    expect(await status(own, "b")).toBe(403);
    using client = await openWs(`${own.url.href.replace("http", "ws")}topics/a`);
    client.send("published");
    expect(await client.next()).toBe("published");
  });

  test("is asked, if keys are set, only for what no token allows", async () => {
    const asked: string[] = [];
    const authorize: Authorize = (_, { topic, action }) => {
      asked.push(`${action} ${topic}`);
      return topic === "by-rule";
    };
    await using own = await serve({ authorize, jwtSecrets: [secret], publicTopics: ["open/*"] });
    const headers = bearer(await sign({ subscribe: ["by-token"] }, secret));
    expect(await status(own, "by-token", { headers })).toBe(200);
    expect(await status(own, "open/1")).toBe(200);
    expect(asked).toEqual([]);
    expect(await status(own, "by-rule", { headers })).toBe(200);
    expect(await status(own, "by-rule")).toBe(200);
    expect(await status(own, "by-neither", { headers })).toBe(403);
    expect(await status(own, "by-neither")).toBe(401);
    expect(asked).toEqual([
      "subscribe by-rule",
      "subscribe by-rule",
      "subscribe by-neither",
      "subscribe by-neither",
    ]);
    expect(await status(own, "by-rule", { headers: bearer("no-token-of-ours") })).toBe(401);
  });

  test("is asked for each frame that publishes, and a refusal closes with 4403", async () => {
    const authorize: Authorize = (_, { action }) => action === "subscribe";
    await using own = await serve({ authorize });
    using client = await openWs(`${own.url.href.replace("http", "ws")}topics/a`);
    client.send("x");
    expect(await within(client.closed, "the close")).toEqual({
      code: 4403,
      reason: "Not allowed to publish to a.",
    });
  });

  for (const [name, fail] of [
    [
      "throws",
      () => {
        throw new Error("the rule is broken");
      },
    ],
    ["rejects", () => Promise.reject(new Error("the rule is broken"))],
  ] as readonly (readonly [string, () => Promise<boolean>])[]) {
    test(`that ${name} is answered with 500, or 1011 on a WebSocket, and the cause is logged`, async () => {
      const log = recordingLog();
      const authorize: Authorize = (_, { topic, action }) =>
        topic === "a" && action === "subscribe" ? true : fail();
      await using own = await serve({ authorize, log });
      expect(await status(own, "b")).toBe(500);
      expect(await status(own, "b", { method: "POST", body: "x" })).toBe(500);
      using client = await openWs(`${own.url.href.replace("http", "ws")}topics/a`);
      client.send("x");
      const { code, reason } = await within(client.closed, "the close");
      expect(code).toBe(1011);
      expect(reason).not.toContain("the rule is broken");
      await until(() => log.errors().length === 3, "three lines in the log");
      for (const error of log.errors()) expect(error).toMatchObject({ message: "the rule is broken" });
      expect(await status(own, "a")).toBe(200);
    });
  }
});

describe("--private-ping with authorize and no keys", () => {
  const ping = (on: LongwireServer, headers: Record<string, string>) =>
    exchange(on.url, request("GET", "/ping", { ...handshakeHeaders, ...headers }));

  test("asks whether the sender may subscribe to ping, and ignores tokens", async () => {
    const asked: string[] = [];
    const authorize: Authorize = ({ headers }, { topic, action }) => {
      asked.push(`${action} ${topic}`);
      return headers.get("x-user") === "ann";
    };
    const options = { port: 0, logLevel: "silent", privatePing: true, publicTopics: ["*"] } as const;
    await using own = await createServer({ ...options, authorize });
    expect((await ping(own, { "X-User": "ann" })).status).toBe(101);
    expect((await ping(own, {})).status).toBe(403);
    expect((await ping(own, bearer("any-string-at-all"))).status).toBe(403);
    expect(asked).toEqual(["subscribe ping", "subscribe ping", "subscribe ping"]);
  });

  test("answers 500 and logs the error if authorize fails", async () => {
    const log = recordingLog();
    await using own = await createServer({
      port: 0,
      privatePing: true,
      authorize: () => Promise.reject(new Error("the rule is broken")),
      log,
    });
    expect((await ping(own, {})).status).toBe(500);
    expect(log.errors()).toMatchObject([{ message: "the rule is broken" }]);
  });
});

describe("an Idempotency-Key", () => {
  test("belongs to the subject that authorize returns, or to all senders without one", async () => {
    const authorize: Authorize = ({ headers }, { topic }) => {
      const user = headers.get("x-user");
      return user ? { subject: topic === "elsewhere" ? "someone else" : user } : true;
    };
    await using own = await createServer({ port: 0, logLevel: "silent", authorize, jwtSecrets: [secret] });
    const ann = await publishedId(own, { "X-User": "ann" });
    expect(await publishedId(own, { "X-User": "ann" })).toBe(ann);
    const bob = await publishedId(own, { "X-User": "bob" });
    const nobody = await publishedId(own, {});
    expect(await publishedId(own, {})).toBe(nobody);
    const token = await publishedId(own, bearer(await sign({ ...everywhere, sub: "ann" }, secret)));
    expect(new Set([ann, bob, nobody, token]).size).toBe(4);
    // The token's subject takes precedence, even if only authorize allows the topic.
    const unrelated = bearer(await sign({ sub: "ann" }, secret));
    expect(await publishedId(own, { ...unrelated, "X-User": "bob" })).toBe(token);
    expect(await publishedId(own, { "X-User": "ann" }, "once,elsewhere")).toBe(
      `${ann},${await publishedId(own, { "X-User": "cid" }, "elsewhere")}`,
    );
  });
});
