/** One Redis server for those tests of a file that leave it running. */
import { afterAll } from "bun:test";
import { RedisServer } from "./redis.ts";

/**
 * Call it at the top level of a file.
 * @param opened of the file: what a test opens after it has the server is closed before the server is emptied
 * @returns gives the server, empty, to the test that is running
 */
export function sharedRedis(opened: (resource: AsyncDisposable) => AsyncDisposable) {
  let started: RedisServer | undefined;
  afterAll(async () => started?.[Symbol.asyncDispose]());
  return async (): Promise<RedisServer> => {
    started ??= await RedisServer.start();
    const redis = started;
    opened({
      [Symbol.asyncDispose]: async () => {
        redis.resume();
        await acceptWrites(redis);
        await redis.command("FLUSHALL");
      },
    });
    return redis;
  };
}

/** Takes back what makes a server refuse to write. */
export async function acceptWrites(redis: RedisServer): Promise<void> {
  await redis.command("CONFIG", "SET", "maxmemory", "0", "save", "", "min-replicas-to-write", "0");
}
