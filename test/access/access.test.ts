/** API keys and tokens: what each allows, the ways to present them, and how a client without permission is refused. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CryptoKey, exportSPKI, generateKeyPair } from "jose";
import { type Close, openBun } from "../support/bun-client.ts";
import { openWs } from "../support/clients.ts";
import { mistakeIn, serveHere } from "../support/command-line.ts";
import { sampleOf, scrape } from "../support/prometheus.ts";
import { exchange, handshakeHeaders, request } from "../support/raw-socket.ts";
import { type RunningServer, spawnServer } from "../support/server.ts";
import { sharedServer } from "../support/shared-server.ts";
import { bearer, everywhere, forge, publishedId, sign } from "../support/tokens.ts";
import { cloudEvents, openEvents, openStream, openTopic, post, topicsUrl } from "../support/topics.ts";
import { within } from "../support/wait.ts";

setDefaultTimeout(120_000);

const apiKey = "api-key-that-is-in-use";
const nextApiKey = "api-key-that-comes-next";
const secret = "the secret of tokens that is in use";
const nextSecret = "the secret of tokens that comes next";
const page = "https://app.example";

const folder = await mkdtemp(join(tmpdir(), "longwire-access-"));
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

const server = sharedServer([
  ...["--api-key", `${apiKey},${nextApiKey}`, "--jwt-secret", secret, "--jwt-secret", nextSecret],
  ...["--public", "open/*", "--token-cookie", "session", "--origin", page, "--log-level", "debug"],
]);

const keyPairs = new Map<string, ReturnType<typeof generateKeyPair>>();

/** The same for each caller, because a pair of RSA takes long to find. */
function keyPair(algorithm: string, whose = "the server's"): ReturnType<typeof generateKeyPair> {
  const name = `${algorithm} ${whose}`;
  const pair = keyPairs.get(name) ?? generateKeyPair(algorithm, { extractable: true });
  keyPairs.set(name, pair);
  return pair;
}

type Here = Pick<RunningServer, "url" | "socketUrl">;

const look = (topic: string, headers: Record<string, string> = {}, on: Here = server): Promise<Response> =>
  fetch(topicsUrl(on, topic), { headers });

/** The status of `GET /topics/a`. */
const statusFor = async (token: string, on: Here = server): Promise<number> =>
  (await look("a", bearer(token), on)).status;

/** The server's own count, from /metrics. */
const counted = async (name: string, reason: string): Promise<number> =>
  sampleOf(await scrape(server, bearer(apiKey)), name, `reason="${reason}"`);

/** Checks the status, the challenge and the detail of a refusal. */
async function expectRefusal(response: Response, status: 401 | 403, error?: string): Promise<void> {
  const challenge = error === undefined ? "Bearer" : `Bearer error="${error}"`;
  expect({ status: response.status, challenge: response.headers.get("www-authenticate") }).toEqual({
    status,
    challenge,
  });
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const { detail } = (await response.json()) as { detail: string };
  expect(detail.length).toBeGreaterThan(10);
}

/** The answer to a handshake of a client that is not a page. */
const handshake = async (path: string, headers: Record<string, string> = {}, on: Here = server) =>
  await exchange(on.url, request("GET", path, { ...handshakeHeaders, ...headers }));

/** The close of a WebSocket that a page opened. */
async function ending(
  path: string,
  { subprotocols = [], headers = {}, on = server }: Partial<LineOfPage> = {},
): Promise<Close> {
  using client = await openTopic(on, path, subprotocols, { Origin: page, ...headers });
  return await within(client.closed, "the close");
}

interface LineOfPage {
  readonly subprotocols: readonly string[];
  readonly headers: Record<string, string>;
  readonly on: Here;
}

describe("a server without a key", () => {
  for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.org"]) {
    test(`does not start on ${host}: the exit code is 2, and the error names the three ways out`, async () => {
      const errors = await mistakeIn(["--host", host, "--port", "0"]);
      expect(errors.trimEnd().split("\n")).toHaveLength(1);
      for (const word of [host, "--host 127.0.0.1", "--api-key", "--insecure"])
        expect(errors).toContain(word);
    });
  }

  for (const host of ["127.0.0.1", "127.91.0.4", "localhost", "::1"]) {
    test(`starts on ${host}, and everyone may do everything`, async () => {
      await using open = await serveHere(["--host", host]);
      expect((await post(open, "a", "x")).status).toBe(200);
      expect((await look("a", {}, open)).status).toBe(200);
      expect((await look("a", bearer("whatever this is"), open)).status).toBe(200);
      expect(open.log.lines).toContainEqual(
        expect.objectContaining({ message: "listening", fields: expect.objectContaining({ isOpen: true }) }),
      );
    });
  }

  test("starts on any address with --insecure, and with a key of any kind", async () => {
    const { publicKey } = await keyPair("ES256");
    for (const flags of [
      ["--insecure"],
      ["--api-key", apiKey],
      ["--jwt-secret", secret],
      ["--jwt-public-key", await exportSPKI(publicKey)],
      ["--jwks-url", "http://127.0.0.1:9/"],
    ]) {
      await using reachable = await serveHere(["--host", "0.0.0.0", ...flags]);
      expect((await fetch(new URL("/healthz", reachable.url))).status).toBe(200);
    }
  });
});

describe("an API key", () => {
  test("may do everything, and so may the second of two keys", async () => {
    for (const key of [apiKey, nextApiKey]) {
      expect((await post(server, "keys/a", "x", bearer(key))).status).toBe(200);
      expect((await look("keys/a", bearer(key))).status).toBe(200);
      using client = await openTopic(server, "keys/a", [], bearer(key));
      client.send("published");
      expect(await client.next()).toBe("published");
    }
  });

  for (const [name, key] of [
    ["another one", "api-key-that-is-not-ours"],
    ["the beginning of it", apiKey.slice(0, -1)],
    ["it with something behind", `${apiKey}x`],
    ["it in capitals", apiKey.toUpperCase()],
  ] as const) {
    test(`is not matched by ${name}`, async () => {
      await expectRefusal(await look("a", bearer(key)), 401, "invalid_token");
      await expectRefusal(await post(server, "a", "x", bearer(key)), 401, "invalid_token");
    });
  }

  test("is read from a file, a variable or a flag", async () => {
    const path = await file("keys", `${apiKey}\n${nextApiKey}\n`);
    for (const [flags, environment] of [
      [["--api-key-file", path], {}],
      [[], { LONGWIRE_API_KEY_FILE: path }],
      [[], { LONGWIRE_API_KEY: `${apiKey},${nextApiKey}` }],
    ] as const) {
      await using guarded = await serveHere(flags, environment);
      for (const key of [apiKey, nextApiKey]) expect(await statusFor(key, guarded)).toBe(200);
      expect(await statusFor("api-key-that-is-not-ours", guarded)).toBe(401);
    }
  });

  test("is needed for /metrics, and for no other endpoint of operators", async () => {
    const status = async (path: string, headers = {}) =>
      (await fetch(new URL(path, server.url), { headers })).status;
    expect(await status("/metrics")).toBe(401);
    expect(await status("/metrics", bearer("api-key-that-is-not-ours"))).toBe(401);
    expect(await status("/metrics", bearer(await sign(everywhere, secret)))).toBe(401);
    expect(await status("/metrics", bearer(apiKey))).toBe(200);
    for (const path of ["/healthz", "/readyz", "/"]) expect(await status(path)).toBe(200);
  });
});

describe("a token signed with a secret", () => {
  test("is accepted for each of the secrets", async () => {
    for (const key of [secret, nextSecret]) expect(await statusFor(await sign(everywhere, key))).toBe(200);
  });

  test("is accepted without an expiry, and within the 5 s by which clocks may differ", async () => {
    expect(await statusFor(await sign(everywhere, secret, { expires: null }))).toBe(200);
    expect(await statusFor(await sign(everywhere, secret, { notBefore: 3 }))).toBe(200);
  });

  test("is accepted as far before and after its time as --token-leeway says", async () => {
    const statusWith = async (leeway: string, times: Parameters<typeof sign>[2]): Promise<number> => {
      await using server = await serveHere(["--jwt-secret", secret, "--token-leeway", leeway]);
      const headers = { authorization: `Bearer ${await sign(everywhere, secret, times)}` };
      return (await fetch(new URL("/topics/a", server.url), { headers })).status;
    };
    expect(await statusWith("2m", { notBefore: 60 })).toBe(200);
    expect(await statusWith("2m", { expires: -60 })).toBe(200);
    expect(await statusWith("0s", { notBefore: 3 })).toBe(401);
    expect(await statusWith("0s", { expires: -3 })).toBe(401);
  });

  const none = { alg: "none", typ: "JWT" };
  const refused: Record<string, () => string | Promise<string>> = {
    "signed with another secret": () => sign(everywhere, "a secret that this server was not given"),
    "signed with HS512 and our secret": () => sign(everywhere, secret, { algorithm: "HS512" }),
    "with no signature (alg none)": () => forge(none, everywhere),
    "with alg none and a signature": () => forge(none, everywhere, "AAAA"),
    "with alg None in another case": () => forge({ alg: "nOnE" }, everywhere),
    "without an alg": () => forge({ typ: "JWT" }, everywhere, "AAAA"),
    "whose alg is no word": () => forge({ alg: 256 }, everywhere, "AAAA"),
    "with an extension that nobody here knows": () =>
      forge({ alg: "HS256", crit: ["x"], x: 1 }, everywhere, "AAAA"),
    "whose claims were changed": async () =>
      (await sign({ subscribe: ["b"] }, secret)).replace(
        /\.[^.]+\./,
        `.${forge({}, everywhere).split(".")[1]}.`,
      ),
    "that has expired": () => sign(everywhere, secret, { expires: -60 }),
    "that is not valid yet": () => sign(everywhere, secret, { notBefore: 60 }),
    "whose exp is no number": () =>
      sign({ ...everywhere, exp: "later" as unknown as number }, secret, { expires: null }),
    "whose subscribe is no list": () => sign({ subscribe: "*", publish: [] }, secret),
    "whose publish is a list of other things": () => sign({ subscribe: ["*"], publish: [1] }, secret),
    "whose pattern has its star in the middle": () => sign({ subscribe: ["a*b"] }, secret),
    "that is longer than any need be": () => sign({ ...everywhere, padding: "x".repeat(9000) }, secret),
    "that is none": () => "no token at all".replaceAll(" ", "."),
    "of two dots": () => "..",
    "of many dots": () => ".".repeat(200),
    "of bytes that are no text": () => "\xff\xfe.\xff.\xff",
  };
  for (const [name, make] of Object.entries(refused)) {
    test(`is refused as invalid: one ${name}`, async () => {
      await expectRefusal(await look("a", bearer(await make())), 401, "invalid_token");
    });
  }

  test("is refused with a reason: it has expired, or a named claim is wrong", async () => {
    const detail = async (token: string) =>
      ((await (await look("a", bearer(token))).json()) as { detail: string }).detail;
    expect(await detail(await sign(everywhere, secret, { expires: -60 }))).toContain("expired");
    expect(await detail(await sign(everywhere, nextSecret, { expires: -60 }))).toContain("expired");
    expect(await detail(await sign(everywhere, secret, { notBefore: 60 }))).toContain("nbf");
    expect(await detail(await sign({ subscribe: "news" }, secret))).toContain("subscribe");
  });

  test("must have one of the set audiences and issuers", async () => {
    await using strict = await serveHere([
      ...["--jwt-secret", secret, "--jwt-audience", "chat,push", "--jwt-issuer", "https://login.example"],
    ]);
    const right = { ...everywhere, aud: "push", iss: "https://login.example" };
    const status = async (claims: object) => statusFor(await sign(claims as typeof right, secret), strict);
    expect(await status(right)).toBe(200);
    expect(await status({ ...right, aud: ["other", "chat"] })).toBe(200);
    expect(await status({ ...right, aud: "other" })).toBe(401);
    expect(await status({ ...right, aud: undefined })).toBe(401);
    expect(await status({ ...right, iss: "https://evil.example" })).toBe(401);
    expect(await status({ ...right, iss: undefined })).toBe(401);
    expect(await status(everywhere)).toBe(401);
  });
});

describe("a token signed with a private key", () => {
  for (const [algorithm, keyOf] of [
    ["RS256", "RS256"],
    ["PS256", "RS256"],
    ["RS512", "RS256"],
    ["ES256", "ES256"],
    ["ES384", "ES384"],
    ["EdDSA", "EdDSA"],
  ] as const) {
    test(`is accepted for its public key: ${algorithm}`, async () => {
      const { publicKey, privateKey } = await keyPair(keyOf);
      const pem = await exportSPKI(publicKey);
      await using checking = await serveHere(["--jwt-public-key-file", await file(algorithm, pem)]);
      const signing =
        algorithm === "PS256" || algorithm === "RS512"
          ? await asAlgorithm(privateKey, algorithm)
          : privateKey;
      expect(await statusFor(await sign(everywhere, signing, { algorithm }), checking)).toBe(200);
      const other = await keyPair(keyOf, "another's");
      expect(await statusFor(await sign(everywhere, other.privateKey, { algorithm: keyOf }), checking)).toBe(
        401,
      );
    });
  }

  test("cannot be forged with the public key as a secret, in any of the key's formats", async () => {
    const signedBy = (taken: string, bits: 256 | 512): string => {
      const unsigned = forge({ alg: `HS${bits}`, typ: "JWT" }, everywhere);
      return unsigned + createHmac(`sha${bits}`, taken).update(unsigned.slice(0, -1)).digest("base64url");
    };
    expect(await statusFor(signedBy(secret, 256))).toBe(200); // So it is by its key that the others are refused.
    for (const algorithm of ["RS256", "ES256", "EdDSA"] as const) {
      const { publicKey } = await keyPair(algorithm);
      const pem = await exportSPKI(publicKey);
      await using checking = await serveHere(["--jwt-public-key", pem]);
      const taken = [pem.trim(), `${pem.trim()}\n`, pem.replaceAll("\n", ""), pem.split("\n")[1] ?? ""];
      const tokens = [
        ...taken.flatMap((text) => [signedBy(text, 256), signedBy(text, 512)]),
        forge({ alg: "none" }, everywhere),
      ];
      const statuses = await Promise.all(tokens.map((token) => statusFor(token, checking)));
      expect(statuses).toEqual(tokens.map(() => 401));
    }
  });

  test("is refused if only a secret is set, and a token of a secret is refused if only a public key is", async () => {
    const { publicKey, privateKey } = await keyPair("RS256");
    expect(await statusFor(await sign(everywhere, privateKey, { algorithm: "RS256" }))).toBe(401);
    await using checking = await serveHere(["--jwt-public-key", await exportSPKI(publicKey)]);
    expect(await statusFor(await sign(everywhere, secret), checking)).toBe(401);
  });

  test("is accepted beside secrets and other public keys", async () => {
    const pairs = await Promise.all(["ES256", "EdDSA"].map((name) => keyPair(name)));
    const pems = await Promise.all(pairs.map(({ publicKey }) => exportSPKI(publicKey)));
    await using checking = await serveHere([
      "--jwt-secret",
      secret,
      "--jwt-public-key-file",
      await file("both", pems.join("\n")),
    ]);
    const tokens = await Promise.all(
      pairs.map(({ privateKey }, index) =>
        sign(everywhere, privateKey, { algorithm: index === 0 ? "ES256" : "EdDSA" }),
      ),
    );
    for (const token of [...tokens, await sign(everywhere, secret)])
      expect(await statusFor(token, checking)).toBe(200);
  });
});

describe("the topics that a token names", () => {
  test("are listed apart for subscribing and for publishing", async () => {
    const token = await sign({ subscribe: ["news", "chat/*"], publish: ["chat/1"] }, secret);
    const subscribing = async (topic: string) => (await look(topic, bearer(token))).status;
    const publishing = async (topic: string) => (await post(server, topic, "x", bearer(token))).status;
    for (const topic of ["news", "chat/1", "chat/2/3"]) expect(await subscribing(topic)).toBe(200);
    for (const topic of ["new", "newsroom", "news/1", "chat", "chats/1", "other"]) {
      await expectRefusal(await look(topic, bearer(token)), 403, "insufficient_scope");
    }
    expect(await publishing("chat/1")).toBe(200);
    for (const topic of ["chat/2", "chat", "news", "open/1"]) {
      await expectRefusal(await post(server, topic, "x", bearer(token)), 403, "insufficient_scope");
    }
  });

  test("are all topics for the star alone, and none for an empty or missing list", async () => {
    expect((await look("any/thing", bearer(await sign({ subscribe: ["*"] }, secret)))).status).toBe(200);
    for (const claims of [{}, { subscribe: [] }, { publish: ["*"] }]) {
      await expectRefusal(await look("a", bearer(await sign(claims, secret))), 403, "insufficient_scope");
    }
  });

  test("must include every topic of a request, or nothing is done", async () => {
    const token = await sign({ subscribe: ["a", "b"], publish: ["both/a"] }, secret);
    expect((await look("a,b", bearer(token))).status).toBe(200);
    await expectRefusal(await look("a,c", bearer(token)), 403, "insufficient_scope");
    await expectRefusal(await post(server, "both/a,both/b", "x", bearer(token)), 403, "insufficient_scope");
    const { topics } = (await (await look("both/a", bearer(apiKey))).json()) as {
      topics: { position: string | null }[];
    };
    expect(topics[0]?.position).toBeNull();
  });

  test("must include every topic that a request ends, or none is ended", async () => {
    const token = await sign({ subscribe: ["*"], publish: ["*"], end: ["mine/*"] }, secret);
    await expectRefusal(
      await post(server, "mine/a,yours/a?end", "the last", bearer(token)),
      403,
      "insufficient_scope",
    );
    expect((await post(server, "mine/a,yours/a", "not the last", bearer(token))).status).toBe(200);
  });

  test("are compared after decoding, so that no encoding evades them", async () => {
    const token = await sign({ subscribe: ["chat/*"] }, secret);
    expect((await look("%63hat%2F1", bearer(token))).status).toBe(200);
    for (const path of ["secret", "%73ecret", "chat%2F..%2Fsecret", "chat%2f..%2fsecret", "chat/x,secret"]) {
      const { status } = await exchange(server.url, request("GET", `/topics/${path}`, bearer(token)));
      expect({ path, status }).toEqual({ path, status: path.includes("..") ? 400 : 403 });
    }
  });
});

describe("a public topic", () => {
  test("may be subscribed to without a token, in every form", async () => {
    expect((await look("open/1")).status).toBe(200);
    expect((await look("open/1?since=all")).status).toBe(200);
    using raw = await openTopic(server, "open/1");
    using events = await openEvents(server, "open/1");
    await using stream = await openStream(server, "open/1");
    await stream.next();
    expect((await post(server, "open/1", "to all", bearer(apiKey))).status).toBe(200);
    expect(await raw.next()).toBe("to all");
    expect(await events.event()).toMatchObject({ data: "to all" });
    expect((await stream.next()).data).toBe("to all");
  });

  test("may not be published to without permission, by POST or by a frame", async () => {
    await expectRefusal(await post(server, "open/1", "x"), 401);
    using raw = await openTopic(server, "open/1");
    raw.send("x");
    expect((await within(raw.closed, "the close")).code).toBe(4401);
    const holder = await sign({ subscribe: [] }, secret);
    using named = await openTopic(server, "open/1", [], bearer(holder));
    named.send("x");
    expect((await within(named.closed, "the close")).code).toBe(4403);
  });

  test("ends where its pattern does", async () => {
    for (const topic of ["open", "opened", "open-2/1", "a"]) await expectRefusal(await look(topic), 401);
    await expectRefusal(await look("open/1,a"), 401);
  });
});

describe("without a token", () => {
  test("every request to a topic is answered with 401 and without an error code", async () => {
    await expectRefusal(await look("a"), 401);
    await expectRefusal(await look("a?since=all"), 401);
    await expectRefusal(await look("a", { Accept: "text/event-stream" }), 401);
    await expectRefusal(await post(server, "a", "x"), 401);
    const { status, headers } = await handshake("/topics/a");
    expect(status).toBe(401);
    expect(headers.get("www-authenticate")).toBe("Bearer");
  });

  test("/ping is open, with and without an upgrade", async () => {
    using client = await openWs(server.socketUrl());
    client.send("ping");
    expect(await client.next()).toBe("pong");
    expect((await fetch(new URL("/ping", server.url))).status).toBe(426);
  });
});

describe("a token is presented", () => {
  const rights = { subscribe: ["ways"], publish: ["ways"] };
  let token = "";
  beforeAll(async () => {
    token = await sign(rights, secret);
  });

  test("as Authorization: Bearer, in any case", async () => {
    for (const scheme of ["Bearer", "bearer", "BEARER"])
      expect((await look("ways", { Authorization: `${scheme} ${token}` })).status).toBe(200);
    await expectRefusal(await look("ways", { Authorization: `Basic ${token}` }), 401);
    await expectRefusal(await look("ways", { Authorization: token }), 401);
  });

  test("as a subprotocol, which the server never chooses", async () => {
    for (const [offered, chosen] of [
      [["longwire.raw", `bearer.${token}`], "longwire.raw"],
      [[`bearer.${token}`, "longwire.raw"], "longwire.raw"],
      [[`bearer.${token}`, "cloudevents.json"], "cloudevents.json"],
    ] as const) {
      for (const open of [openWs, openBun]) {
        using client = await open(server.socketUrl("/topics/ways"), offered);
        expect(client.protocol).toBe(chosen);
      }
    }
    const alone = await handshake("/topics/ways", { "Sec-WebSocket-Protocol": `bearer.${token}` });
    expect(alone.status).toBe(101);
    expect(alone.headers.get("sec-websocket-protocol")).toBeNull();
  });

  test("as access_token, in every form", async () => {
    const path = `ways?access_token=${token}`;
    expect((await look(path)).status).toBe(200);
    expect((await post(server, path, "x")).status).toBe(200);
    expect((await look(`${path}&since=all`)).status).toBe(200);
    using client = await openTopic(server, path);
    client.send("x");
    expect(await client.next()).toBe("x");
    await using stream = await openStream(server, path);
    expect((await stream.next()).event).toBe("longwire.open");
  });

  test("in the cookie that --token-cookie names, from a permitted Origin or from the server's own site", async () => {
    const cookie = { Cookie: `other=1; session=${token}; more=2` };
    expect((await look("ways", { ...cookie, Origin: page })).status).toBe(200);
    expect((await look("ways", { ...cookie, Origin: server.url.origin })).status).toBe(200);
    expect((await look("ways", { ...cookie, "Sec-Fetch-Site": "same-origin" })).status).toBe(200);
    using client = await openTopic(server, "ways", [], { ...cookie, Origin: page });
    client.send("x");
    expect(await client.next()).toBe("x");
  });

  test("not in a cookie of a request whose page is unknown", async () => {
    const cookie = { Cookie: `session=${token}` };
    await expectRefusal(await look("ways", cookie), 401);
    for (const site of ["same-site", "none"])
      await expectRefusal(await look("ways", { ...cookie, "Sec-Fetch-Site": site }), 401);
    expect((await look("ways", { ...cookie, "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await look("ways", { ...cookie, Origin: "https://evil.example" })).status).toBe(403);
    expect((await handshake("/topics/ways", { ...cookie, Origin: "https://evil.example" })).status).toBe(403);
    await expectRefusal(await look("ways", { Cookie: `Session=${token}`, Origin: page }), 401);
  });

  test("not in a cookie without --token-cookie", async () => {
    await using plain = await serveHere(["--jwt-secret", secret, "--origin", page]);
    for (const name of ["", "session", "token", "access_token"])
      await expectRefusal(await look("ways", { Cookie: `${name}=${token}`, Origin: page }, plain), 401);
  });

  test("in no cookie if any page is permitted, which could act as its visitor: the exit code is 2", async () => {
    for (const origin of ["*", "null"]) {
      const flags = ["--jwt-secret", secret, "--token-cookie", "session", "--port", "0", "--origin", origin];
      const errors = await mistakeIn(flags);
      for (const word of ["--token-cookie", `--origin ${origin}`]) expect(errors).toContain(word);
    }
  });

  test("in one way: a wrong token in the first is not replaced by a right one in another", async () => {
    const wrong = await sign(rights, "a secret that this server was not given");
    await expectRefusal(await look(`ways?access_token=${token}`, bearer(wrong)), 401, "invalid_token");
    expect((await look(`ways?access_token=${wrong}`, bearer(token))).status).toBe(200);
  });
});

describe("the close code of a page's WebSocket, since a page sees nothing of a refused handshake", () => {
  for (const [name, subprotocols] of [
    ["raw", ["longwire.raw"]],
    ["CloudEvents", [...cloudEvents]],
    ["no subprotocol", []],
  ] as const) {
    test(`is 4401 without a token or with a wrong one, and 4403 without permission: ${name}`, async () => {
      const offering = (token: string) => ({ subprotocols: [...subprotocols, `bearer.${token}`] });
      expect(await ending("a", { subprotocols })).toMatchObject({
        code: 4401,
        reason: expect.stringContaining("token"),
      });
      const expired = await sign(everywhere, secret, { expires: -60 });
      expect(await ending(`a?access_token=${expired}`, { subprotocols })).toEqual({
        code: 4401,
        reason: "The token has expired.",
      });
      const other = await sign({ subscribe: ["b"] }, secret);
      expect(await ending(`a?access_token=${other}`, { subprotocols })).toEqual({
        code: 4403,
        reason: "Not allowed to subscribe to a.",
      });
      if (subprotocols.length > 0) expect((await ending("a", offering(other))).code).toBe(4403);
    });

    test(`is 4403 if it publishes a frame without permission, and the frame is not published: ${name}`, async () => {
      const reader = await sign({ subscribe: ["quiet"] }, secret);
      using client = await openTopic(server, `quiet?access_token=${reader}`, subprotocols, { Origin: page });
      if (client.protocol === "cloudevents.json") {
        await client.event();
        client.send(JSON.stringify({ specversion: "1.0", type: "x", source: "x", id: "1", data: "x" }));
      } else client.send("x");
      expect(await within(client.closed, "the close")).toEqual({
        code: 4403,
        reason: "Not allowed to publish to quiet.",
      });
      const { topics } = (await (await look("quiet", bearer(apiKey))).json()) as {
        topics: { position: string }[];
      };
      expect(topics[0]?.position).toEndWith("-0");
    });
  }

  test("is an HTTP status if the client is not a page", async () => {
    expect((await handshake("/topics/a")).status).toBe(401);
    const wrong = await handshake("/topics/a", bearer("x".repeat(30)));
    expect(wrong.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
    const other = await handshake("/topics/a", bearer(await sign({ subscribe: ["b"] }, secret)));
    expect(other.status).toBe(403);
    expect(other.headers.get("www-authenticate")).toBe('Bearer error="insufficient_scope"');
  });

  test("is an HTTP status that CORS lets the page read, if it sends a plain request", async () => {
    for (const [token, status] of [
      [undefined, 401],
      [await sign({ subscribe: ["b"] }, secret), 403],
    ] as const) {
      const response = await look("a", { Origin: page, ...(token !== undefined && bearer(token)) });
      expect(response.status).toBe(status);
      expect(response.headers.get("access-control-allow-origin")).toBe(page);
    }
  });
});

describe("when a token expires", () => {
  test("its WebSockets are closed with 4401, and those of others stay", async () => {
    const brief = bearer(await sign(everywhere, secret, { expires: 2 }));
    using raw = await openTopic(server, "brief", [], brief);
    using events = await openTopic(server, "brief", cloudEvents, brief);
    using lasting = await openTopic(server, "brief", [], bearer(await sign(everywhere, secret)));
    const reason = "the token has expired";
    for (const { closed } of [raw, events])
      expect(await within(closed, "the close")).toEqual({ code: 4401, reason });
    lasting.send("ping");
    expect(await lasting.next()).toBe("pong");
  });

  test("its event streams end with a reason", async () => {
    const brief = bearer(await sign(everywhere, secret, { expires: 2 }));
    await using plain = await openStream(server, "brief", brief);
    await using events = await openStream(server, "brief?format=cloudevents", brief);
    await plain.next();
    await events.next();
    const told = { code: 4401, reason: "the token has expired" };
    const { event, data } = await plain.next();
    expect({ event, data: JSON.parse(data) }).toEqual({ event: "longwire.close", data: told });
    expect(JSON.parse((await events.next()).data)).toMatchObject({ type: "longwire.close", data: told });
    await within(Promise.all([plain.ended, events.ended]), "the end of both streams");
  });

  test("its polls that are held are refused, though there is nothing to tell", async () => {
    const brief = bearer(await sign(everywhere, secret, { expires: 2 }));
    const response = await fetch(`${topicsUrl(server, "brief")}?since=-&wait=60s`, { headers: brief });
    await expectRefusal(response, 401, "invalid_token");
  });

  test("each closed connection is counted", async () => {
    const before = await counted("longwire_cut_total", "expired");
    using client = await openTopic(
      server,
      "brief",
      [],
      bearer(await sign(everywhere, secret, { expires: 1 })),
    );
    await within(client.closed, "the close");
    expect(await counted("longwire_cut_total", "expired")).toBe(before + 1);
  });
});

describe("wrong tokens", () => {
  test("are refused and counted in every form", async () => {
    const before = await counted("longwire_refused_total", "token");
    const wrong = bearer("x".repeat(30));
    const forms = [
      () => look("a", wrong),
      () => post(server, "a", "x", wrong),
      () => look("a?since=all", wrong),
      () => look("a", { ...wrong, Accept: "text/event-stream" }),
      () => handshake("/topics/a", wrong),
      () => look("open/1", wrong),
    ];
    for (const ask of forms) expect((await ask()).status).toBe(401);
    expect(await counted("longwire_refused_total", "token")).toBe(before + forms.length);
  });

  test("are refused without a delay, since keys are too long to be guessed", async () => {
    const start = performance.now();
    for (let count = 0; count < 20; count++) expect(await statusFor(`wrong-token-${count}`)).toBe(401);
    expect(performance.now() - start).toBeLessThan(20 * 1000); // A delay would be of a second or more.
  });

  test("do not delay other clients", async () => {
    const wrong = Array.from({ length: 200 }, (_, index) => look("a", bearer(`wrong-token-${index}`)));
    const start = performance.now();
    for (let count = 0; count < 20; count++) expect((await look("a", bearer(apiKey))).status).toBe(200);
    expect(performance.now() - start).toBeLessThan(20 * 1000); // A tenth of a delay of each.
    for (const { status } of await Promise.all(wrong)) expect(status).toBe(401);
  });

  test("and missing permissions are counted apart", async () => {
    const before = await counted("longwire_refused_total", "permission");
    await look("a", bearer(await sign({}, secret)));
    expect(await counted("longwire_refused_total", "permission")).toBe(before + 1);
  });
});

test("no key, secret or token appears in the log or in an answer, however it was presented", async () => {
  await using watched = await spawnServer([
    ...["--api-key", apiKey, "--jwt-secret", secret, "--token-cookie", "session", "--origin", page],
    ...["--log-level", "trace"],
  ]);
  const right = await sign({ subscribe: ["a"] }, secret);
  const wrong = await sign(everywhere, "a secret that this server was not given");
  const tokens = [right, wrong, apiKey, "wrong-key-of-someone"];
  const asked = tokens.flatMap((token) => [
    ...(
      [
        ["a", bearer(token)],
        ["b", bearer(token)],
        [`a?access_token=${token}`, {}],
        [`a%00?access_token=${token}`, {}],
        [`a?access_token=${token}&since=nonsense`, {}],
        ["a", { Cookie: `session=${token}`, Origin: page }],
        [`a?access_token=${token}`, { Origin: "https://evil.example" }],
      ] as const
    ).map(([path, headers]) => look(path, headers, watched)),
    ...["/nowhere", "/ping"].map((path) => fetch(new URL(`${path}?access_token=${token}`, watched.url))),
  ]);
  const handshakes = tokens.map((token) =>
    handshake("/topics/a", { "Sec-WebSocket-Protocol": `bearer.${token}` }, watched),
  );
  const answers = [
    ...(await Promise.all(asked.map(async (answer) => (await answer).text()))),
    ...(await Promise.all(handshakes)).map(({ body }) => body),
  ];
  watched.process.kill("SIGTERM");
  const log = await watched.errors;
  expect(log).toContain("another origin was refused");
  expect(log).toContain("connection opened");
  for (const hidden of [secret, ...tokens]) {
    expect(log).not.toContain(hidden);
    for (const answer of answers) expect(answer).not.toContain(hidden);
  }
});

describe("--private-ping", () => {
  test("asks for a token on /ping, and accepts every valid one", async () => {
    await using quiet = await serveHere([
      "--private-ping",
      "--api-key",
      apiKey,
      "--jwt-secret",
      secret,
      "--origin",
      page,
    ]);
    expect((await handshake("/ping", {}, quiet)).status).toBe(401);
    expect((await handshake("/ping", bearer("x".repeat(30)), quiet)).status).toBe(401);
    const token = await sign({}, secret);
    for (const right of [apiKey, token])
      expect((await handshake("/ping", bearer(right), quiet)).status).toBe(101);
    using client = await openWs(quiet.socketUrl(`/ping?access_token=${token}`));
    client.send("ping");
    expect(await client.next()).toBe("pong");
    expect((await fetch(new URL("/ping", quiet.url))).status).toBe(426);
  });

  test("closes a page's WebSocket with 4401, also at exp", async () => {
    await using quiet = await serveHere(["--private-ping", "--jwt-secret", secret, "--origin", page]);
    expect((await ending("../ping", { on: quiet })).code).toBe(4401);
    const brief = await sign({}, secret, { expires: 2 });
    using client = await openWs(quiet.socketUrl(`/ping?access_token=${brief}`));
    expect((await within(client.closed, "the close")).code).toBe(4401);
  });
});

describe("an Idempotency-Key", () => {
  const tokenOf = async (claims: object) => bearer(await sign({ ...everywhere, ...claims }, secret));

  test("belongs to a token's issuer and subject, to an API key, or to all senders without a subject", async () => {
    const senders = {
      ann: [await tokenOf({ sub: "ann" }), await tokenOf({ sub: "ann", more: "claims" })],
      annOfAnotherIssuer: [await tokenOf({ sub: "ann", iss: "other" })],
      // A careless encoding would make this subject equal to Ann of the other issuer.
      cunning: [await tokenOf({ sub: 'other","ann' })],
      issuerOnly: [await tokenOf({ iss: "other" }), await tokenOf({}), await tokenOf({ sub: "" })],
      apiKey: [bearer(apiKey)],
      nextApiKey: [bearer(nextApiKey)],
      asIfTheApiKey: [await tokenOf({ sub: apiKey })],
      number: [await tokenOf({ sub: 42 }), await tokenOf({ sub: "42" })],
    };
    const ids: string[] = [];
    for (const same of Object.values(senders)) {
      const found = new Set<string>();
      for (const headers of same) found.add(await publishedId(server, headers));
      expect(found.size).toBe(1);
      ids.push(...found);
    }
    expect(new Set(ids).size).toBe(Object.keys(senders).length);
  });

  test("is refused with a token whose subject is neither text nor a whole number", async () => {
    for (const sub of [{ name: "ann" }, ["ann"], true, 1.5, 2 ** 53])
      expect(await statusFor(await sign({ ...everywhere, ...({ sub } as object) }, secret))).toBe(401);
  });
});

/** The same key for another algorithm of its kind, since WebCrypto binds a key to one. */
async function asAlgorithm(key: CryptoKey, algorithm: "PS256" | "RS512"): Promise<CryptoKey> {
  const name = algorithm === "PS256" ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
  const hash = algorithm === "PS256" ? "SHA-256" : "SHA-512";
  const bytes = await crypto.subtle.exportKey("pkcs8", key);
  return await crypto.subtle.importKey("pkcs8", bytes, { name, hash }, true, ["sign"]);
}
