/** How soon a node tries again to reach Redis, and what a command costs it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { tracingChannel } from "node:diagnostics_channel";
import { pauseMilliseconds, RedisConnection } from "../../../src/engine/redis/link.ts";
import { RedisServer } from "../../support/redis.ts";
import { lacks } from "../../support/tool.ts";

/** The longest that an attempt can hang: a command that is unanswered ends its connection (link.ts). */
const hangingMilliseconds = 2500;

/** Every number of failures, 20 times each because of the jitter. */
const failures = Array.from({ length: 400 }, (_, index) => index % 20);

describe("a node that cannot reach Redis", () => {
  test("begins an attempt within 2.6 s after Redis answers again, whatever the attempts before were like", () => {
    // Redis may answer again just after an attempt began that hangs all the same.
    let longest = 0;
    for (let took = 0; took <= hangingMilliseconds; took += 10)
      for (const before of failures) longest = Math.max(longest, took + pauseMilliseconds(before, took));
    expect(longest).toBeLessThan(2600);
  });

  test("tries again soon after a connection that was in use, and more and more rarely where it is refused", () => {
    for (const before of failures) {
      const refused = pauseMilliseconds(before, 0);
      const most = Math.min(50 * 2 ** before, 2000);
      expect(refused).toBeLessThanOrEqual(most);
      expect(refused).toBeGreaterThanOrEqual(most / 2);
      const after = pauseMilliseconds(0, 3_600_000);
      expect(after).toBeLessThanOrEqual(50);
      expect(after).toBeGreaterThanOrEqual(25);
    }
  });
});

describe.skipIf(lacks("redis-server"))("a command to Redis", () => {
  let redis: RedisServer;
  let connection: RedisConnection;
  beforeAll(async () => {
    redis = await RedisServer.start();
    connection = new RedisConnection({ url: redis.url });
    await connection.open();
  });
  afterAll(async () => {
    connection.end("the test is over");
    await redis[Symbol.asyncDispose]();
  });

  /** Sends bytes. @returns how often a text was made of them */
  async function textsOf(bytes: Buffer): Promise<number> {
    let texts = 0;
    bytes.toString = () => {
      texts++;
      return "bytes";
    };
    expect(await connection.command(["EVAL", "return ARGV[1]", "0", bytes])).toEqual(Buffer.from([0xff, 0]));
    return texts;
  }

  test("makes no text of bytes", async () => {
    expect(await textsOf(Buffer.from([0xff, 0]))).toBe(0);
  });

  test("is traced where somebody subscribes to its traces", async () => {
    const commands: string[] = [];
    const subscriber = {
      start: (context: object) => void commands.push(String((context as { command?: string }).command)),
      ...{
        end: () => undefined,
        asyncStart: () => undefined,
        asyncEnd: () => undefined,
        error: () => undefined,
      },
    };
    const channel = tracingChannel("node-redis:command");
    channel.subscribe(subscriber);
    await connection.command(["PING"]);
    channel.unsubscribe(subscriber);
    expect(commands).toEqual(["PING"]);
  });
});
