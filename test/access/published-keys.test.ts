/** Tokens whose keys a provider publishes at a URL (--jwks-url), and how long a verified token is kept. */
import { describe, expect, setDefaultTimeout, setSystemTime, test } from "bun:test";
import { join } from "node:path";
import { type CryptoKey, exportJWK, generateKeyPair, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { VerifiedToken } from "../../src/access/jwt.ts";
import { TopicPermissions } from "../../src/access/permissions.ts";
import { type FetchTimes, PublishedKeys } from "../../src/access/published-keys.ts";
import { anonymous } from "../../src/access/publishers.ts";
import { TokenError } from "../../src/access/token-errors.ts";
import { Tokens } from "../../src/access/tokens.ts";
import { Refusal } from "../../src/http/refusal.ts";
import { completeConfig, type HandlerConfig, handlerSettings } from "../../src/settings/config.ts";
import { type ServerHere, serveHere } from "../support/command-line.ts";
import { exchange, handshakeHeaders, request } from "../support/raw-socket.ts";
import { root } from "../support/server.ts";
import { bearer, everywhere, forge, sign } from "../support/tokens.ts";
import { topicsUrl } from "../support/topics.ts";
import { until } from "../support/wait.ts";

setDefaultTimeout(120_000);

const secret = "the secret of tokens that is in use";

const look = (token: string, on: ServerHere): Promise<Response> =>
  fetch(topicsUrl(on, "a"), { headers: bearer(token) });

const statusFor = async (token: string, on: ServerHere): Promise<number> => (await look(token, on)).status;

describe("a token whose keys are published at a JWKS URL", () => {
  test("is accepted for its key, also for one that was added after the first fetch", async () => {
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
    await using checking = await serveHere(["--jwks-url", publisher.url]);
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
    expect(fetches).toBe(1); // Otherwise any client could make the server fetch.
  });

  test("is refused with 503 and a log line while they cannot be fetched, and accepted when they can", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
    let answers: () => Response = () => new Response("out of order", { status: 500 });
    await using publisher = serveKeys(() => answers());
    await using checking = await serveHere(["--jwks-url", publisher.url, "--jwt-secret", secret]);
    const token = await sign(everywhere, privateKey, { algorithm: "ES256", keyId: "one" });
    const response = await look(token, checking);
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(
      (await exchange(checking.url, request("GET", "/topics/a", { ...handshakeHeaders, ...bearer(token) })))
        .status,
    ).toBe(503);
    const warning = {
      level: "warn",
      message: expect.stringContaining("public keys of tokens cannot be fetched"),
    };
    expect(checking.log.lines).toContainEqual(expect.objectContaining(warning));
    expect(await statusFor(await sign(everywhere, secret), checking)).toBe(200); // A secret needs no URL.
    const jwk = { ...(await exportJWK(publicKey)), kid: "one", alg: "ES256" };
    answers = () => Response.json({ keys: [jwk] });
    await until(async () => (await statusFor(token, checking)) === 200, "the token taken");
    expect(checking.log.errors()).toEqual([]);
  });

  test("causes one fetch and not one per token, whether the fetch succeeds or fails", async () => {
    const known = await publishedKey("one");
    const stranger = await generateKeyPair("ES256");
    let fetches = 0;
    let answers: () => Response = () => new Response("out of order", { status: 500 });
    await using publisher = serveKeys(() => {
      fetches++;
      return answers();
    });
    await using checking = await serveHere(["--jwks-url", publisher.url]);
    const crowd = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
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

  test("is refused with 503 if nothing listens at the URL", async () => {
    await using checking = await serveHere(["--jwks-url", "http://127.0.0.1:9/keys"]);
    const { privateKey } = await generateKeyPair("ES256");
    expect(await statusFor(await sign(everywhere, privateKey, { algorithm: "ES256" }), checking)).toBe(503);
  });
});

describe("published keys", () => {
  /** @param failures takes the errors of fetches */
  const keysAt = (url: string, failures: unknown[] = []): PublishedKeys =>
    new PublishedKeys(new URL(url), (error) => failures.push(error), fetchAtOnce);
  const verified = async (keys: PublishedKeys, token: string): Promise<string> => {
    try {
      const keyOf: JWTVerifyGetKey = async (header, input) => (await keys.find(header, input)).key;
      return String((await jwtVerify(token, keyOf)).payload.sub);
    } catch (error) {
      return error instanceof Error ? error.constructor.name : String(error);
    }
  };

  test("are refused in words past 1 MiB, of which no more is read", async () => {
    const known = await publishedKey("one");
    const piece = new Uint8Array(64 * 1024).fill(0x20);
    const piecesMax = 1024;
    let pieces = 0;
    await using publisher = serveKeys(() => {
      const endless = new ReadableStream({
        async pull(controller) {
          await Bun.sleep(0); // Otherwise all of it is made before anyone can end it.
          controller.enqueue(piece);
          if (++pieces === piecesMax) controller.close();
        },
      });
      return new Response(endless);
    });
    const failures: unknown[] = [];
    expect(await verified(keysAt(publisher.url, failures), known.token)).toBe("KeysUnavailable");
    expect(failures).toMatchObject([{ cause: { message: "the answer has more than 1048576 bytes" } }]);
    expect(pieces).toBeLessThan(piecesMax / 2);
  });

  test("stay valid while their provider is away, and are fetched again and again", async () => {
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

  test("are no longer used after their provider withdrew them", async () => {
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

  test("are unavailable if the answer holds no keys", async () => {
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
  test("are shared by its connections, and by no other token's", async () => {
    const tokens = keepingTokens({ jwtSecrets: [secret] });
    const [one, other] = [await sign({ sub: "ann" }, secret), await sign({ sub: "bob" }, secret)];
    const first = await tokens.permissionsOf(one);
    expect(await tokens.permissionsOf(one)).toBe(first);
    expect(await tokens.permissionsOf(other)).not.toBe(first);
  });

  test("end at exp", async () => {
    const tokens = keepingTokens({ jwtSecrets: [secret] });
    const token = await sign({ sub: "ann" }, secret, { expires: 60 });
    const first = await tokens.permissionsOf(token);
    try {
      setSystemTime(first.expiresTime - 1);
      expect(await tokens.permissionsOf(token)).toBe(first);
      setSystemTime(first.expiresTime);
      // Verified again, and accepted for the 5 s by which clocks may differ.
      expect(await tokens.permissionsOf(token)).not.toBe(first);
    } finally {
      setSystemTime();
    }
  });

  test("are forgotten at exp, whether or not their token comes again", async () => {
    const tokens = keepingTokens({ jwtSecrets: [secret] });
    const lasting = await sign(everywhere, secret);
    const kept = await tokens.permissionsOf(lasting);
    const count = 50;
    let gone = 0;
    const collected = new FinalizationRegistry(() => gone++);
    for (let number = 0; number < count; number++) {
      const token = await sign({ ...everywhere, sub: String(number) }, secret, { expires: 3 });
      collected.register(await tokens.permissionsOf(token), undefined);
    }
    const { expiresTime } = await tokens.permissionsOf(await sign(everywhere, secret, { expires: 3 }));
    await until(() => {
      if (Date.now() < expiresTime) return false; // A collection costs 10 ms.
      Bun.gc(true);
      return gone > count / 2; // A few may be seen on the stack, where the collector takes any number for a pointer.
    }, "the permissions of expired tokens to go");
    expect(await tokens.permissionsOf(lasting)).toBe(kept);
  });

  test("end when the set of published keys that verified it changes", async () => {
    const [known, other] = [await publishedKey("one"), await publishedKey("two")];
    let answer = { keys: [known.jwk] };
    await using publisher = serveKeys(() => Response.json(answer));
    const tokens = keepingTokens({ jwksUrls: [new URL(publisher.url)] });
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

test("jose is loaded only if a key of tokens is set", async () => {
  const script = `
    const { createHandler } = await import(${JSON.stringify(join(root, "src/longwire.ts"))});
    const count = () => Object.keys(require.cache).filter((path) => path.includes("/node_modules/jose/")).length;
    createHandler({ logLevel: "silent", apiKeys: ["an-api-key-of-16-bytes"] });
    console.log(count());
    createHandler({ logLevel: "silent", jwtSecrets: [${JSON.stringify(secret)}] });
    while (count() === 0) await Bun.sleep(1);
    console.log(count() > 0);
    process.exit();`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("0\ntrue\n");
});

/** Published keys are old at once, and fetched again without a pause. */
const fetchAtOnce: FetchTimes = { refreshSeconds: 0, cooldownSeconds: 0, retrySeconds: 0 };

function keepingTokens(keys: Partial<HandlerConfig>): Tokens {
  const permissionsFor = ({ expiresTime }: VerifiedToken): TopicPermissions =>
    new TopicPermissions(
      anonymous,
      expiresTime,
      { subscribe: [], publish: [], end: [], presence: [] },
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
