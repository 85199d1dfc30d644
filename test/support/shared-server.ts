/** One server for all the tests of a file, or of a `describe`. */
import { afterAll, beforeAll } from "bun:test";
import { type RunningServer, type SpawnOptions, spawnServer } from "./server.ts";

/**
 * Call it at the top level of a file or of a `describe`: the server runs from before the first of its tests until after the
 * last one, and can be used within them only.
 */
export function sharedServer(flags: readonly string[] = [], options: SpawnOptions = {}): RunningServer {
  let started: RunningServer | undefined;
  const server = (): RunningServer => {
    if (!started) throw new Error("the server is used before its tests began");
    return started;
  };
  const stop = async (): Promise<void> => started?.[Symbol.asyncDispose]();
  beforeAll(async () => {
    started = await spawnServer(flags, options);
  });
  afterAll(stop);
  return {
    get url() {
      return server().url;
    },
    get process() {
      return server().process;
    },
    get startLines() {
      return server().startLines;
    },
    get errors() {
      return server().errors;
    },
    socketUrl: (path) => server().socketUrl(path),
    log: () => server().log(),
    logged: (message) => server().logged(message),
    [Symbol.asyncDispose]: stop,
  };
}
