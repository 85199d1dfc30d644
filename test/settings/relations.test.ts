/** Settings that contradict each other are refused at start, in words; those that are rarely meant are logged. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  ConfigError,
  completeConfig,
  type GivenHandlerConfig,
  handlerSettings,
  readOptions,
} from "../../src/settings/config.ts";
import { checkRelations } from "../../src/settings/relations.ts";
import { mistakeIn, serveHere } from "../support/command-line.ts";
import { compiledServer } from "../support/compiled.ts";
import { spawnServer } from "../support/server.ts";

setDefaultTimeout(120_000);

const secret = "a-secret-for-tokens-of-40-characters-001";
const redis = "redis://127.0.0.1:1";
const key = "an-api-key-of-32-characters-0001";

describe("settings that contradict each other end the command with 2 and one line that names them", () => {
  const contradictions: Record<string, { flags: string[]; said: string[] }> = {
    "a buffer for less than two messages": {
      flags: ["--max-buffered", "2047KiB"],
      said: ["--max-buffered 2047KiB", "--max-message 1MiB"],
    },
    "a message of more than half a buffer": {
      flags: ["--max-message", "1048577"],
      said: ["--max-buffered 2MiB", "--max-message 1048577"],
    },
    "less for all connections than for each": {
      flags: ["--max-buffered-total", "1MiB"],
      said: ["--max-buffered-total 1MiB", "--max-buffered 2MiB"],
    },
    "a position that ages before its messages": {
      flags: ["--history-age", "2h", "--position-age", "1h"],
      said: ["--position-age 1h", "--history-age 2h"],
    },
    "public topics of an open server": { flags: ["--public", "news/*"], said: ["--public", "--api-key"] },
    "a private line of an open server": { flags: ["--private-ping"], said: ["--private-ping", "--api-key"] },
    "a cookie of an open server": {
      flags: ["--token-cookie", "token"],
      said: ["--token-cookie", "--api-key"],
    },
    "an audience without tokens": {
      flags: ["--jwt-audience", "chat", "--api-key", key],
      said: ["--jwt-audience", "--jwt-secret"],
    },
    "an issuer without tokens": { flags: ["--jwt-issuer", "me"], said: ["--jwt-issuer", "--jwt-secret"] },
    "a leeway without tokens": {
      flags: ["--token-leeway", "1m", "--api-key", key],
      said: ["--token-leeway", "--jwt-secret"],
    },
    "a cookie for any page": {
      flags: ["--token-cookie", "token", "--jwt-secret", secret, "--origin", "*"],
      said: ["--token-cookie", "--origin *"],
    },
    "two engines": { flags: ["--redis", redis, "--data", "somewhere"], said: ["--redis", "--data"] },
    "a prefix without Redis": { flags: ["--redis-prefix", "mine"], said: ["--redis-prefix", "--redis"] },
    "a replica in another database": {
      flags: ["--redis", `${redis}/3`, "--redis-replica", "redis://127.0.0.1:2"],
      said: ["--redis names the database 3 and --redis-replica 0"],
    },
    "replicas without Redis": {
      flags: ["--redis-acknowledge", "1"],
      said: ["--redis-acknowledge", "--redis"],
    },
    "bytes of history in Redis": {
      flags: ["--redis", redis, "--history-bytes", "1GiB"],
      said: ["--history-bytes", "maxmemory"],
    },
    "a lossless failover that waits for no replica": {
      flags: ["--redis", redis, "--redis-lossless-failover"],
      said: ["--redis-lossless-failover", "--redis-acknowledge"],
    },
    "a shared port without a shared engine": {
      flags: ["--reuse-port", "--port", "9191"],
      said: ["--reuse-port", "--redis"],
    },
    "a shared port that is none": {
      flags: ["--redis", redis, "--reuse-port"],
      said: ["--reuse-port", "--port"],
    },
    "two listeners for operators": {
      flags: ["--operations-port", "9191", "--operations-unix", "some.sock"],
      said: ["--operations-port", "--operations-unix"],
    },
    "a certificate without its key": { flags: ["--tls-cert", "some.pem"], said: ["--tls-cert", "--tls-key"] },
    "a key without its certificate": { flags: ["--tls-key", "some.pem"], said: ["--tls-cert", "--tls-key"] },
  };
  for (const [name, { flags, said }] of Object.entries(contradictions)) {
    test(name, async () => {
      const error = await mistakeIn(["--port", "0", ...flags]);
      expect(error).toMatch(/^longwire: [^\n]+\.\n$/);
      for (const word of said) expect(error).toContain(word);
    });
  }
});

describe("settings that go together are taken", () => {
  const check = (given: Partial<GivenHandlerConfig>, hasAuthorize = false): void =>
    checkRelations(completeConfig(handlerSettings, readOptions(handlerSettings, given)), { hasAuthorize });

  test("the defaults, and limits that just suffice", () => {
    check({});
    check({ messageBytesMax: 1000, bufferedBytesMax: 4096, historyAgeSeconds: 60, positionAgeSeconds: 60 });
    check({ messageBytesMax: 2048, bufferedBytesMax: 4096 });
    expect(() => check({ messageBytesMax: 2049, bufferedBytesMax: 4096 })).toThrow(ConfigError);
  });

  test("with a key of any kind", () => {
    for (const keys of [{ apiKeys: [key] }, { jwtSecrets: [secret] }, { jwksUrls: ["https://a.example"] }])
      check({ ...keys, publicTopics: ["*"], privatePing: true, tokenCookie: "token" });
  });

  test("keyed topics in Redis", () => {
    check({ keyed: ["prices", "scores/*"], keysMax: 10, redisUrl: redis });
    expect(() => check({ keysMax: 10, redisUrl: redis })).toThrow("--keys-max has no effect without --keyed");
  });

  test("feeds in Redis", () => {
    check({ feeds: ["chat/* all-chats"], redisUrl: redis });
  });

  test("the pattern of a feed that names another feed, which would not go into it", () => {
    const feeds = ["chat/* chats", "* all"];
    check({ feeds });
    expect(() => check({ feeds: [...feeds, "chats copy"] })).toThrow(
      "'chats copy' has no effect: chats is a feed",
    );
  });

  test("feeds on disk, of messages that are a row of the file together with their copies", () => {
    const feeds = ["chat/* all-chats"];
    const sizes = { messageBytesMax: 128 * 1024 ** 2, bufferedBytesMax: 512 * 1024 ** 2 };
    check({ feeds, data: "/data", ...sizes });
    const larger = { ...sizes, messageBytesMax: sizes.messageBytesMax + 1 };
    check({ feeds, ...larger });
    check({ data: "/data", ...larger });
    expect(() => check({ feeds, data: "/data", ...larger })).toThrow("--feed with --data takes, 128MiB");
  });

  test("with an authorize of the program's in place of keys", () => {
    check({ publicTopics: ["*"], privatePing: true, tokenCookie: "token" }, true);
    expect(() => check({ jwtAudiences: ["chat"] }, true)).toThrow("--jwt-audience");
  });
});

describe("the log warns of", () => {
  const warningsOf = async (flags: string[]): Promise<unknown[]> => {
    await using server = await serveHere(flags);
    return server.log.lines.flatMap(({ level, message }) => (level === "warn" ? [message] : []));
  };

  const warningsOfCommand = async (flags: string[], command: string[]): Promise<unknown[]> => {
    await using server = await spawnServer(flags, { command });
    await server.logged("listening");
    return server.log().flatMap(({ level, msg }) => (Number(level) >= 40 ? [msg] : []));
  };

  /** The server with another limit on file descriptors. */
  const withDescriptors = async (limit: number): Promise<string[]> => [
    ...["bash", "-c", `ulimit -n ${limit}; exec "$@"`, "bash"],
    await compiledServer(),
  ];

  test("nothing by default", async () => {
    expect(await warningsOf(["--heartbeat-interval", "30s"])).toEqual([]);
  });

  test("a heartbeat that comes too late for some proxies", async () => {
    expect(await warningsOf(["--heartbeat-interval", "31s"])).toEqual([
      expect.stringContaining("--heartbeat-interval is over 30s"),
    ]);
  });

  test("a limit on descriptors that leaves fewer than 100 connections", async () => {
    expect(await warningsOfCommand([], await withDescriptors(355))).toEqual([
      expect.stringContaining("(ulimit -n) leaves only 99 connections"),
    ]);
    expect(await warningsOfCommand([], await withDescriptors(356))).toEqual([]);
    expect(await warningsOfCommand(["--max-connections", "5"], await withDescriptors(300))).toEqual([]);
  });

  test("more connections than the descriptors allow", async () => {
    expect(await warningsOfCommand(["--max-connections", "2000"], await withDescriptors(1256))).toEqual([
      expect.stringMatching(/--max-connections 2000 is more than the 1000 /),
    ]);
  });
});
