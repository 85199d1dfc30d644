/** Who may do what: keys, tokens, the ways to present them, and what whoever may not is told. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHmac } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWTVerifyGetKey,
  jwtVerify,
} from "jose";
import type { VerifiedToken } from "../src/access/jwt.ts";
import { TopicPermissions } from "../src/access/permissions.ts";
import { type FetchTimes, PublishedKeys } from "../src/access/published-keys.ts";
import { TokenError } from "../src/access/token-errors.ts";
import { Tokens } from "../src/access/tokens.ts";
import { Refusal } from "../src/http/refusal.ts";
import { type Authorize, createServer, type LongwireServer, type Options } from "../src/longwire.ts";
import { completeConfig, type HandlerConfig, handlerSettings } from "../src/settings/config.ts";
import { type Close, openBun, openWs } from "./support/clients.ts";
import { sampleOf, scrape } from "./support/prometheus.ts";
import { exchange, handshakeHeaders, request } from "./support/raw-socket.ts";
import { recordingLog } from "./support/recording-log.ts";
import { type RunningServer, root, runCommand, spawnServer } from "./support/server.ts";
import { sharedServer } from "./support/shared-server.ts";
import { forge, sign } from "./support/tokens.ts";
import { cloudEvents, openEvents, openStream, openTopic, post, topicsUrl } from "./support/topics.ts";
import { until, within } from "./support/wait.ts";

setDefaultTimeout(30_000);

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

/** Allows everything to whoever may do that. */
const everywhere = { subscribe: ["*"], publish: ["*"] };

const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

const look = (topic: string, headers: Record<string, string> = {}, on = server): Promise<Response> =>
  fetch(topicsUrl(on, topic), { headers });

/** What a look at topic `a` is answered with. */
const statusFor = async (token: string, on = server): Promise<number> =>
  (await look("a", bearer(token), on)).status;

/** How often this server has done that, by its own metrics. */
const counted = async (name: string, reason: string): Promise<number> =>
  sampleOf(await scrape(server, bearer(apiKey)), name, `reason="${reason}"`);

/** Checks a refusal, its words and what it says of the token. */
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

/** What a handshake is answered with that a client without a page makes. */
const handshake = async (path: string, headers: Record<string, string> = {}, on = server) =>
  await exchange(on.url, request("GET", path, { ...handshakeHeaders, ...headers }));

/** How a line ends that a page opened. */
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
  readonly on: RunningServer;
}

describe("a server without a key", () => {
  for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.org"]) {
    test(`does not start on ${host}: it ends with 2 and names the three ways out`, async () => {
      const { exitCode, output, errors } = await runCommand(["--host", host, "--port", "0"]);
      expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
      expect(errors.trimEnd().split("\n")).toHaveLength(1);
      for (const word of [host, "--host 127.0.0.1", "--api-key", "--insecure"])
        expect(errors).toContain(word);
    });
  }

  for (const host of ["127.0.0.1", "127.91.0.4", "localhost", "::1"]) {
    test(`starts on ${host}, and there everyone may do everything`, async () => {
      await using open = await spawnServer(["--host", host]);
      expect((await post(open, "a", "x")).status).toBe(200);
      expect((await look("a", {}, open)).status).toBe(200);
      expect((await look("a", bearer("whatever this is"), open)).status).toBe(200);
      expect(await open.logged("listening")).toMatchObject({ isOpen: true });
    });
  }

  test("starts on any address with --insecure, and with a key of any kind", async () => {
    const { publicKey } = await generateKeyPair("ES256");
    for (const flags of [
      ["--insecure"],
      ["--api-key", apiKey],
      ["--jwt-secret", secret],
      ["--jwt-public-key", await exportSPKI(publicKey)],
      ["--jwks-url", "http://127.0.0.1:9/"],
    ]) {
      await using reachable = await spawnServer(["--host", "0.0.0.0", ...flags]);
      expect((await fetch(new URL("/healthz", reachable.url))).status).toBe(200);
    }
  });
});

describe("an API key", () => {
  test("may do everything, and so may the one that comes after it", async () => {
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
    test(`does not stand for ${name}`, async () => {
      await expectRefusal(await look("a", bearer(key)), 401, "invalid_token");
      await expectRefusal(await post(server, "a", "x", bearer(key)), 401, "invalid_token");
    });
  }

  test("is taken from a file or a variable as from a flag", async () => {
    const path = await file("keys", `${apiKey}\n${nextApiKey}\n`);
    for (const [flags, environment] of [
      [["--api-key-file", path], {}],
      [[], { LONGWIRE_API_KEY_FILE: path }],
      [[], { LONGWIRE_API_KEY: `${apiKey},${nextApiKey}` }],
    ] as const) {
      await using guarded = await spawnServer(flags, { environment });
      for (const key of [apiKey, nextApiKey]) expect(await statusFor(key, guarded)).toBe(200);
      expect(await statusFor("api-key-that-is-not-ours", guarded)).toBe(401);
    }
  });

  test("is asked for by /metrics, and by nothing else that is there for operators", async () => {
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
  test("is taken by each of the secrets", async () => {
    for (const key of [secret, nextSecret]) expect(await statusFor(await sign(everywhere, key))).toBe(200);
  });

  test("is taken without an expiry, and within the few seconds that clocks differ", async () => {
    expect(await statusFor(await sign(everywhere, secret, { expires: null }))).toBe(200);
    expect(await statusFor(await sign(everywhere, secret, { notBefore: 3 }))).toBe(200);
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
  const answers = new Map<string, Promise<Response>>();
  beforeAll(async () => {
    // All at once, because each is held back for a while.
    for (const [name, make] of Object.entries(refused)) answers.set(name, look("a", bearer(await make())));
  });
  for (const name of Object.keys(refused)) {
    test(`is refused as invalid where it is one ${name}`, async () => {
      await expectRefusal((await answers.get(name)) as Response, 401, "invalid_token");
    });
  }

  test("is refused with the reason that helps its holder: it expired, or which claim is wrong", async () => {
    const detail = async (token: string) =>
      ((await (await look("a", bearer(token))).json()) as { detail: string }).detail;
    expect(await detail(await sign(everywhere, secret, { expires: -60 }))).toContain("expired");
    expect(await detail(await sign(everywhere, nextSecret, { expires: -60 }))).toContain("expired");
    expect(await detail(await sign(everywhere, secret, { notBefore: 60 }))).toContain("nbf");
    expect(await detail(await sign({ subscribe: "news" }, secret))).toContain("subscribe");
  });

  test("must be for one of the audiences and from one of the issuers, where they are set", async () => {
    await using strict = await spawnServer([
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
    test(`is taken by its public key: ${algorithm}`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(keyOf, { extractable: true });
      const pem = await exportSPKI(publicKey);
      await using checking = await spawnServer(["--jwt-public-key-file", await file(algorithm, pem)]);
      const signing =
        algorithm === "PS256" || algorithm === "RS512"
          ? await asAlgorithm(privateKey, algorithm)
          : privateKey;
      expect(await statusFor(await sign(everywhere, signing, { algorithm }), checking)).toBe(200);
      const other = await generateKeyPair(keyOf);
      expect(await statusFor(await sign(everywhere, other.privateKey, { algorithm: keyOf }), checking)).toBe(
        401,
      );
    });
  }

  test("is not confused with a secret: the public key signs nothing, in whichever form it is taken for one", async () => {
    const signedBy = (taken: string, bits: 256 | 512): string => {
      const unsigned = forge({ alg: `HS${bits}`, typ: "JWT" }, everywhere);
      return unsigned + createHmac(`sha${bits}`, taken).update(unsigned.slice(0, -1)).digest("base64url");
    };
    expect(await statusFor(signedBy(secret, 256))).toBe(200); // So it is by its key that the others are refused.
    for (const algorithm of ["RS256", "ES256", "EdDSA"] as const) {
      const { publicKey } = await generateKeyPair(algorithm, { extractable: true });
      const pem = await exportSPKI(publicKey);
      await using checking = await spawnServer(["--jwt-public-key", pem]);
      const taken = [pem.trim(), `${pem.trim()}\n`, pem.replaceAll("\n", ""), pem.split("\n")[1] ?? ""];
      const tokens = [
        ...taken.flatMap((text) => [signedBy(text, 256), signedBy(text, 512)]),
        forge({ alg: "none" }, everywhere),
      ];
      const statuses = await Promise.all(tokens.map((token) => statusFor(token, checking)));
      expect(statuses).toEqual(tokens.map(() => 401));
    }
  });

  test("is refused where only a secret is set, and one of a secret where only a public key is", async () => {
    const { publicKey, privateKey } = await generateKeyPair("RS256", { extractable: true });
    expect(await statusFor(await sign(everywhere, privateKey, { algorithm: "RS256" }))).toBe(401);
    await using checking = await spawnServer(["--jwt-public-key", await exportSPKI(publicKey)]);
    expect(await statusFor(await sign(everywhere, secret), checking)).toBe(401);
  });

  test("is taken beside secrets and other public keys", async () => {
    const pairs = await Promise.all(
      ["ES256", "EdDSA"].map((name) => generateKeyPair(name, { extractable: true })),
    );
    const pems = await Promise.all(pairs.map(({ publicKey }) => exportSPKI(publicKey)));
    await using checking = await spawnServer([
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

describe("a token whose keys are published at a JWKS URL", () => {
  test("is taken by its key, also by one that was added since", async () => {
    const keys: object[] = [];
    let fetches = 0;
    await using publisher = serveKeys(() => {
      fetches++;
      return Response.json({ keys });
    });
    const add = async (algorithm: string, keyId: string): Promise<CryptoKey> => {
      const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
      keys.push({ ...(await exportJWK(publicKey)), kid: keyId, alg: algorithm });
      return privateKey;
    };
    const first = await add("RS256", "one");
    const second = await add("ES256", "two");
    await using checking = await spawnServer(["--jwks-url", publisher.url]);
    expect(fetches).toBe(0);
    expect(
      await statusFor(await sign(everywhere, first, { algorithm: "RS256", keyId: "one" }), checking),
    ).toBe(200);
    expect(
      await statusFor(await sign(everywhere, second, { algorithm: "ES256", keyId: "two" }), checking),
    ).toBe(200);
    expect(fetches).toBe(1);
    const stranger = await generateKeyPair("ES256");
    for (const keyId of ["two", "three"]) {
      const token = await sign(everywhere, stranger.privateKey, { algorithm: "ES256", keyId });
      expect(await statusFor(token, checking)).toBe(401);
    }
    expect(await statusFor(await sign(everywhere, secret, { keyId: "one" }), checking)).toBe(401);
    expect(await statusFor(forge({ alg: "none", kid: "one" }, everywhere), checking)).toBe(401);
    expect(fetches).toBe(1); // Strangers must not make the server fetch whenever they like.
  });

  test("is answered with 503 while they cannot be fetched, which is logged; and is taken once they can", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
    let answers: () => Response = () => new Response("out of order", { status: 500 });
    await using publisher = serveKeys(() => answers());
    await using checking = await spawnServer([
      "--jwks-url",
      publisher.url,
      "--jwt-secret",
      secret,
      "--origin",
      page,
    ]);
    const token = await sign(everywhere, privateKey, { algorithm: "ES256", keyId: "one" });
    const response = await look("a", bearer(token), checking);
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect((await handshake("/topics/a", bearer(token), checking)).status).toBe(503);
    expect(await checking.logged("public keys of tokens cannot be fetched")).toMatchObject({ level: 40 });
    expect(await statusFor(await sign(everywhere, secret), checking)).toBe(200); // Another kind of key needs no URL.
    const jwk = { ...(await exportJWK(publicKey)), kid: "one", alg: "ES256" };
    answers = () => Response.json({ keys: [jwk] });
    await until(async () => (await statusFor(token, checking)) === 200, "the token taken");
    expect(checking.log().filter(({ level }) => Number(level) >= 50)).toEqual([]);
  });

  test("costs the provider one request for a crowd of them, be its keys known there, unknown, or not to be had", async () => {
    const known = await publishedKey("one");
    const stranger = await generateKeyPair("ES256");
    let fetches = 0;
    let answers: () => Response = () => new Response("out of order", { status: 500 });
    await using publisher = serveKeys(() => {
      fetches++;
      return answers();
    });
    await using checking = await spawnServer(["--jwks-url", publisher.url]);
    const crowd = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        sign(everywhere, stranger.privateKey, { algorithm: "ES256", keyId: `unknown-${index}` }),
      ),
    );
    const statuses = async () => new Set(await Promise.all(crowd.map((token) => statusFor(token, checking))));
    const began = performance.now();
    expect(await statuses()).toEqual(new Set([503]));
    for (const token of crowd.slice(0, 20)) await statusFor(token, checking);
    const seconds = (performance.now() - began) / 1000;
    expect(fetches).toBeLessThanOrEqual(1 + seconds / 2); // A failed fetch is repeated after 2 s.
    answers = () => Response.json({ keys: [known.jwk] });
    await until(async () => (await statusFor(known.token, checking)) === 200, "the token taken");
    fetches = 0;
    expect(await statuses()).toEqual(new Set([401]));
    expect(fetches).toBe(0);
  });

  test("is answered with 503 where nothing listens at the URL", async () => {
    await using checking = await spawnServer(["--jwks-url", "http://127.0.0.1:9/keys"]);
    const { privateKey } = await generateKeyPair("ES256");
    expect(await statusFor(await sign(everywhere, privateKey, { algorithm: "ES256" }), checking)).toBe(503);
  });
});

describe("published keys", () => {
  /** @param failures takes the errors of fetches */
  const keysAt = (url: string, failures: unknown[] = []): PublishedKeys =>
    new PublishedKeys(url, (error) => failures.push(error), fetchAtOnce);
  const verified = async (keys: PublishedKeys, token: string): Promise<string> => {
    try {
      const keyOf: JWTVerifyGetKey = async (header, input) => (await keys.find(header, input)).key;
      return String((await jwtVerify(token, keyOf)).payload.sub);
    } catch (error) {
      return error instanceof Error ? error.constructor.name : String(error);
    }
  };

  test("stay valid however long their provider is away, and it is asked again", async () => {
    const known = await publishedKey("one");
    const next = await publishedKey("two");
    let answers: () => Response = () => Response.json({ keys: [known.jwk] });
    let fetches = 0;
    await using publisher = serveKeys(() => {
      fetches++;
      return answers();
    });
    const keys = keysAt(publisher.url);
    expect(await verified(keys, known.token)).toBe("ann");
    answers = () => new Response("out of order", { status: 500 });
    fetches = 0;
    await until(async () => {
      expect(await verified(keys, known.token)).toBe("ann");
      return fetches >= 5;
    }, "five more attempts");
    expect(await verified(keys, next.token)).toBe("KeysUnavailable");
    answers = () => Response.json({ keys: [known.jwk, next.jwk] });
    await until(async () => (await verified(keys, next.token)) === "ann", "the next key taken");
    expect(await verified(keys, known.token)).toBe("ann");
  });

  test("are forgotten when their provider withdraws them", async () => {
    const [known, other] = [await publishedKey("one"), await publishedKey("two")];
    let answer = { keys: [known.jwk] };
    await using publisher = serveKeys(() => Response.json(answer));
    const keys = keysAt(publisher.url);
    expect(await verified(keys, known.token)).toBe("ann");
    const { version } = await keys.find({ alg: "ES256", kid: "one" }, { payload: "", signature: "" });
    expect(keys.isCurrent(version)).toBe(true);
    answer = { keys: [other.jwk] };
    await until(async () => (await verified(keys, known.token)) === "JWKSNoMatchingKey", "the key forgotten");
    expect(keys.isCurrent(version)).toBe(false);
  });

  test("are not to be had from an answer that holds none", async () => {
    const { token } = await publishedKey("one");
    let answer = new Response();
    await using publisher = serveKeys(() => answer);
    for (answer of [
      new Response("out of order", { status: 500 }),
      new Response("no JSON"),
      Response.json({ other: 1 }),
      Response.redirect("http://127.0.0.1:9/"),
    ]) {
      const failures: unknown[] = [];
      expect(await verified(keysAt(publisher.url, failures), token)).toBe("KeysUnavailable");
      expect(failures.length).toBe(1);
    }
  });
});

describe("the permissions of a token", () => {
  test("are the same object for each of its connections, and not for those of another", async () => {
    const tokens = keepingTokens({ jwtSecrets: [secret] });
    const [one, other] = [await sign({ sub: "ann" }, secret), await sign({ sub: "bob" }, secret)];
    const first = await tokens.permissionsOf(one);
    expect(await tokens.permissionsOf(one)).toBe(first);
    expect(await tokens.permissionsOf(other)).not.toBe(first);
  });

  test("end at exp", async () => {
    const tokens = keepingTokens({ jwtSecrets: [secret] });
    const token = await sign({ sub: "ann" }, secret, { expires: 2 });
    const first = await tokens.permissionsOf(token);
    expect(first.expiresTime).toBeGreaterThan(Date.now());
    await until(() => Date.now() >= first.expiresTime, "exp");
    // Checked anew: the leeway for clocks accepts it for some seconds more.
    expect(await tokens.permissionsOf(token)).not.toBe(first);
  });

  test("end with the set of published keys that verified it", async () => {
    const [known, other] = [await publishedKey("one"), await publishedKey("two")];
    let answer = { keys: [known.jwk] };
    await using publisher = serveKeys(() => Response.json(answer));
    const tokens = keepingTokens({ jwksUrls: [publisher.url] });
    const first = await tokens.permissionsOf(known.token);
    expect(await tokens.permissionsOf(known.token)).toBe(first);
    answer = { keys: [other.jwk] };
    await until(async () => {
      try {
        return (await tokens.permissionsOf(known.token)) !== first;
      } catch (error) {
        return error instanceof TokenError;
      }
    }, "the token refused");
    await expect(tokens.permissionsOf(known.token)).rejects.toThrow(TokenError);
  });
});

test("jose is loaded with a key of tokens, and not without one", async () => {
  const script = `
    const { createHandler } = await import(${JSON.stringify(join(root, "src/longwire.ts"))});
    const count = () => Object.keys(require.cache).filter((path) => path.includes("/node_modules/jose/")).length;
    createHandler({ logLevel: "silent", apiKeys: [${JSON.stringify(apiKey)}] });
    console.log(count());
    createHandler({ logLevel: "silent", jwtSecrets: [${JSON.stringify(secret)}] });
    while (count() === 0) await Bun.sleep(1);
    console.log(count() > 0);
    process.exit();`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("0\ntrue\n");
});

describe("the topics that a token names", () => {
  test("are those it may subscribe to and those it may publish to, each for itself", async () => {
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

  test("are all of them for the star alone, and none for an empty list or no list", async () => {
    expect((await look("any/thing", bearer(await sign({ subscribe: ["*"] }, secret)))).status).toBe(200);
    for (const claims of [{}, { subscribe: [] }, { publish: ["*"] }]) {
      await expectRefusal(await look("a", bearer(await sign(claims, secret))), 403, "insufficient_scope");
    }
  });

  test("must hold every topic of a request, and nothing is done where one is missing", async () => {
    const token = await sign({ subscribe: ["a", "b"], publish: ["both/a"] }, secret);
    expect((await look("a,b", bearer(token))).status).toBe(200);
    await expectRefusal(await look("a,c", bearer(token)), 403, "insufficient_scope");
    await expectRefusal(await post(server, "both/a,both/b", "x", bearer(token)), 403, "insufficient_scope");
    const { topics } = (await (await look("both/a", bearer(apiKey))).json()) as {
      topics: { position: string | null }[];
    };
    expect(topics[0]?.position).toBeNull();
  });

  test("are compared as they are after decoding, so that no spelling gets around them", async () => {
    const token = await sign({ subscribe: ["chat/*"] }, secret);
    expect((await look("%63hat%2F1", bearer(token))).status).toBe(200);
    for (const path of ["secret", "%73ecret", "chat%2F..%2Fsecret", "chat%2f..%2fsecret", "chat/x,secret"]) {
      const { status } = await exchange(server.url, request("GET", `/topics/${path}`, bearer(token)));
      expect({ path, status }).toEqual({ path, status: path.includes("..") ? 400 : 403 });
    }
  });
});

describe("a public topic", () => {
  test("may be subscribed to by anyone in every form", async () => {
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

  test("may not be published to without a right, by POST or by a frame", async () => {
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
  test("subscribing, looking, polling, streaming and publishing are answered with 401 and no error code", async () => {
    await expectRefusal(await look("a"), 401);
    await expectRefusal(await look("a?since=all"), 401);
    await expectRefusal(await look("a", { Accept: "text/event-stream" }), 401);
    await expectRefusal(await post(server, "a", "x"), 401);
    const { status, headers } = await handshake("/topics/a");
    expect(status).toBe(401);
    expect(headers.get("www-authenticate")).toBe("Bearer");
  });

  test("the echo line is open, and so is what says how to connect to it", async () => {
    using client = await openWs(server.socketUrl());
    client.send("ping");
    expect(await client.next()).toBe("pong");
    expect((await fetch(new URL("/ping", server.url))).status).toBe(426);
  });

  test("an answer is not held back: nothing was tried out", async () => {
    const start = performance.now();
    await look("a");
    expect(performance.now() - start).toBeLessThan(450);
  });
});

describe("a token is presented", () => {
  const rights = { subscribe: ["ways"], publish: ["ways"] };
  let token = "";
  beforeAll(async () => {
    token = await sign(rights, secret);
  });

  test("as Authorization: Bearer, whatever the case of that word", async () => {
    for (const scheme of ["Bearer", "bearer", "BEARER"])
      expect((await look("ways", { Authorization: `${scheme} ${token}` })).status).toBe(200);
    await expectRefusal(await look("ways", { Authorization: `Basic ${token}` }), 401);
    await expectRefusal(await look("ways", { Authorization: token }), 401);
  });

  test("as a subprotocol, which is never the one chosen", async () => {
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

  test("in the cookie that was named, by a page of a permitted Origin or of the server's own site", async () => {
    const cookie = { Cookie: `other=1; session=${token}; more=2` };
    expect((await look("ways", { ...cookie, Origin: page })).status).toBe(200);
    expect((await look("ways", { ...cookie, Origin: server.url.origin })).status).toBe(200);
    expect((await look("ways", { ...cookie, "Sec-Fetch-Site": "same-origin" })).status).toBe(200);
    using client = await openTopic(server, "ways", [], { ...cookie, Origin: page });
    client.send("x");
    expect(await client.next()).toBe("x");
  });

  test("not in a cookie that came without a page of which it is known that it may", async () => {
    const cookie = { Cookie: `session=${token}` };
    await expectRefusal(await look("ways", cookie), 401);
    for (const site of ["same-site", "none"])
      await expectRefusal(await look("ways", { ...cookie, "Sec-Fetch-Site": site }), 401);
    expect((await look("ways", { ...cookie, "Sec-Fetch-Site": "cross-site" })).status).toBe(403);
    expect((await look("ways", { ...cookie, Origin: "https://evil.example" })).status).toBe(403);
    expect((await handshake("/topics/ways", { ...cookie, Origin: "https://evil.example" })).status).toBe(403);
    await expectRefusal(await look("ways", { Cookie: `Session=${token}`, Origin: page }), 401);
  });

  test("not in a cookie where none was named", async () => {
    await using plain = await spawnServer(["--jwt-secret", secret, "--origin", page]);
    for (const name of ["", "session", "token", "access_token"])
      await expectRefusal(await look("ways", { Cookie: `${name}=${token}`, Origin: page }, plain), 401);
  });

  test("in no cookie where every page is permitted, for any could act as its visitor: the start ends with 2", async () => {
    for (const origin of ["*", "null"]) {
      const flags = ["--jwt-secret", secret, "--token-cookie", "session", "--port", "0", "--origin", origin];
      const { exitCode, errors } = await runCommand(flags);
      expect(exitCode).toBe(2);
      for (const word of ["--token-cookie", `--origin ${origin}`]) expect(errors).toContain(word);
    }
  });

  test("in one way, and a wrong one there is not made good by a right one elsewhere", async () => {
    const wrong = await sign(rights, "a secret that this server was not given");
    await expectRefusal(await look(`ways?access_token=${token}`, bearer(wrong)), 401, "invalid_token");
    expect((await look(`ways?access_token=${wrong}`, bearer(token))).status).toBe(200);
  });
});

describe("what a page is told, which sees nothing of a refused handshake", () => {
  for (const [name, subprotocols] of [
    ["raw", ["longwire.raw"]],
    ["CloudEvents", [...cloudEvents]],
    ["no subprotocol", []],
  ] as const) {
    test(`is 4401 without a token and with a wrong one, 4403 without the right: ${name}`, async () => {
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

    test(`is 4403 when it publishes a frame without the right, and the frame is not published: ${name}`, async () => {
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

  test("is the HTTP status where no page asks", async () => {
    expect((await handshake("/topics/a")).status).toBe(401);
    const wrong = await handshake("/topics/a", bearer("x".repeat(30)));
    expect(wrong.headers.get("www-authenticate")).toBe('Bearer error="invalid_token"');
    const other = await handshake("/topics/a", bearer(await sign({ subscribe: ["b"] }, secret)));
    expect(other.status).toBe(403);
    expect(other.headers.get("www-authenticate")).toBe('Bearer error="insufficient_scope"');
  });

  test("is a status that CORS lets it read, for a request", async () => {
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

  test("its streams end in words", async () => {
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

  test("each of them is counted", async () => {
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
  test("are refused in every form, and counted", async () => {
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

  test("are answered without a delay: keys are too long to be guessed", async () => {
    const start = performance.now();
    for (let count = 0; count < 20; count++) expect(await statusFor(`wrong-token-${count}`)).toBe(401);
    expect(performance.now() - start).toBeLessThan(20 * 250);
  });

  test("hold up nobody else", async () => {
    const wrong = Array.from({ length: 200 }, (_, index) => look("a", bearer(`wrong-token-${index}`)));
    const start = performance.now();
    for (let count = 0; count < 20; count++) expect((await look("a", bearer(apiKey))).status).toBe(200);
    expect(performance.now() - start).toBeLessThan(5000);
    for (const { status } of await Promise.all(wrong)) expect(status).toBe(401);
  });

  test("and missing rights are counted apart", async () => {
    const before = await counted("longwire_refused_total", "permission");
    await look("a", bearer(await sign({}, secret)));
    expect(await counted("longwire_refused_total", "permission")).toBe(before + 1);
  });
});

test("no key, secret or token gets into the log or an answer, however it was presented", async () => {
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
  test("asks for a token on the echo line, any that is ours", async () => {
    await using quiet = await spawnServer([
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

  test("tells a page 4401, and ends the line at exp", async () => {
    await using quiet = await spawnServer(["--private-ping", "--jwt-secret", secret, "--origin", page]);
    expect((await ending("../ping", { on: quiet })).code).toBe(4401);
    const brief = await sign({}, secret, { expires: 2 });
    using client = await openWs(quiet.socketUrl(`/ping?access_token=${brief}`));
    expect((await within(client.closed, "the close")).code).toBe(4401);
  });
});

describe("--private-ping with authorize and no keys", () => {
  const ping = (on: LongwireServer, headers: Record<string, string>) =>
    exchange(on.url, request("GET", "/ping", { ...handshakeHeaders, ...headers }));

  test("asks it whether the sender may subscribe to ping, and no token opens the line", async () => {
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

  test("is answered for with 500 and a line in the log where it fails", async () => {
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
  /** The id that a POST with one and the same key is answered with. */
  const idOf = async (on: { readonly url: URL }, headers: Record<string, string>, topics = "once") => {
    const request = { method: "POST", body: "x", headers: { ...headers, "Idempotency-Key": "k" } };
    const response = await fetch(new URL(`/topics/${topics}`, on.url), request);
    expect(response.status).toBe(200);
    const { published } = (await response.json()) as { published: { id: string }[] };
    return published.map(({ id }) => id).join();
  };
  const tokenOf = async (claims: object) => bearer(await sign({ ...everywhere, ...claims }, secret));

  test("is its publisher's own: that of a token's issuer and subject, of an API key, or of all without a subject", async () => {
    const senders = {
      ann: [await tokenOf({ sub: "ann" }), await tokenOf({ sub: "ann", more: "claims" })],
      annOfAnotherIssuer: [await tokenOf({ sub: "ann", iss: "other" })],
      // A name that a careless encoding would take for Ann of the other issuer.
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
      for (const headers of same) found.add(await idOf(server, headers));
      expect(found.size).toBe(1);
      ids.push(...found);
    }
    expect(new Set(ids).size).toBe(Object.keys(senders).length);
  });

  test("is not taken from a token whose subject is neither text nor a whole number", async () => {
    for (const sub of [{ name: "ann" }, ["ann"], true, 1.5, 2 ** 53])
      expect(await statusFor(await sign({ ...everywhere, ...({ sub } as object) }, secret))).toBe(401);
  });

  test("is its subject's own where authorize names one, and shared by all whom it does not name", async () => {
    const authorize: Authorize = ({ headers }, { topic }) => {
      const user = headers.get("x-user");
      return user ? { subject: topic === "elsewhere" ? "someone else" : user } : true;
    };
    await using own = await createServer({ port: 0, logLevel: "silent", authorize, jwtSecrets: [secret] });
    const ann = await idOf(own, { "X-User": "ann" });
    expect(await idOf(own, { "X-User": "ann" })).toBe(ann);
    const bob = await idOf(own, { "X-User": "bob" });
    const nobody = await idOf(own, {});
    expect(await idOf(own, {})).toBe(nobody);
    const token = await idOf(own, await tokenOf({ sub: "ann" }));
    expect(new Set([ann, bob, nobody, token]).size).toBe(4);
    // A token's own subject comes before the rule's, also where only the rule allows the topic.
    const unrelated = bearer(await sign({ sub: "ann" }, secret));
    expect(await idOf(own, { ...unrelated, "X-User": "bob" })).toBe(token);
    expect(await idOf(own, { "X-User": "ann" }, "once,elsewhere")).toBe(
      `${ann},${await idOf(own, { "X-User": "cid" }, "elsewhere")}`,
    );
  });
});

describe("authorize, an application's own rule", () => {
  const serve = (options: Partial<Options>): Promise<LongwireServer> =>
    createServer({ port: 0, logLevel: "silent", ...options });
  const status = async (on: LongwireServer, topic: string, init: RequestInit = {}): Promise<number> =>
    (await fetch(new URL(`/topics/${topic}`, on.url), init)).status;

  test("decides alone where there are no keys, and is told the request, the topic and the action", async () => {
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

  test("may take its time", async () => {
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

  test("is asked beside keys only for what no token allows", async () => {
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
    test(`is answered for with 500 where it ${name}, with 1011 on a line, and the cause is logged`, async () => {
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

/** The same key for another algorithm of its kind: WebCrypto ties a key to one. */
async function asAlgorithm(key: CryptoKey, algorithm: "PS256" | "RS512"): Promise<CryptoKey> {
  const name = algorithm === "PS256" ? "RSA-PSS" : "RSASSA-PKCS1-v1_5";
  const hash = algorithm === "PS256" ? "SHA-256" : "SHA-512";
  const bytes = await crypto.subtle.exportKey("pkcs8", key);
  return await crypto.subtle.importKey("pkcs8", bytes, { name, hash }, true, ["sign"]);
}

/** Published keys are old at once, and fetched again without a pause. */
const fetchAtOnce: FetchTimes = { refreshSeconds: 0, cooldownSeconds: 0, retrySeconds: 0 };

function keepingTokens(keys: Partial<HandlerConfig>): Tokens {
  const permissionsFor = ({ expiresTime }: VerifiedToken): TopicPermissions =>
    new TopicPermissions(
      "",
      expiresTime,
      { subscribe: [], publish: [] },
      () => new Refusal("permission", "no"),
    );
  return new Tokens(completeConfig(handlerSettings, keys), permissionsFor, () => undefined, fetchAtOnce);
}

/** A key as a provider publishes it, and a token of Ann's signed with it. */
async function publishedKey(keyId: string): Promise<{ readonly jwk: object; readonly token: string }> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: keyId, alg: "ES256" };
  const claims = { ...everywhere, sub: "ann" };
  return { jwk, token: await sign(claims, privateKey, { algorithm: "ES256", keyId }) };
}

function serveKeys(answer: () => Response): AsyncDisposable & { readonly url: string } {
  const publisher = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  return { url: new URL("/keys", publisher.url).href, [Symbol.asyncDispose]: () => publisher.stop(true) };
}
