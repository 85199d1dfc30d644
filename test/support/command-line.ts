/** The command line in this process: a mistake in it is found without a process of its own. */
import { readCommandLine } from "../../src/command/command-line.ts";
import { UsageError } from "../../src/command/flags.ts";
import { makeToken } from "../../src/command/token.ts";
import { createLogger } from "../../src/log.ts";
import { ConfigError } from "../../src/longwire.ts";
import { startServer } from "../../src/server.ts";
import type { Config } from "../../src/settings/config.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";

/** @returns the settings of the server that the words start, in an environment of its own */
export function configOf(
  words: readonly string[],
  environment: Record<string, string> = {},
): Promise<Config> {
  return inEnvironment(environment, async () => {
    const line = await readCommandLine(words);
    if (line.command !== "serve") throw new Error(`"${words.join(" ")}" is no server`);
    return line.config;
  });
}

/** @returns what `longwire token` prints for the words that follow it */
export function tokenOf(words: readonly string[], environment: Record<string, string> = {}): Promise<string> {
  return inEnvironment(environment, async () => {
    const line = await readCommandLine(["token", ...words]);
    if (line.command !== "token") throw new Error(`"${words.join(" ")}" makes no token`);
    return await makeToken(line.claims);
  });
}

export interface ServerHere extends AsyncDisposable {
  readonly url: URL;
  readonly log: RecordingLog;
  socketUrl(path?: string): string;
}

/** Starts what the command would, for a twentieth of the CPU time. */
export async function serveHere(
  flags: readonly string[],
  environment: Record<string, string> = {},
): Promise<ServerHere> {
  const log = recordingLog();
  const server = await startServer(await configOf(["--port", "0", ...flags], environment), log, undefined);
  return {
    url: server.url,
    log,
    socketUrl: (path = "/ping") => `ws://${server.url.host}${path}`,
    [Symbol.asyncDispose]: () => server.stop(),
  };
}

/**
 * @returns the line that the command prints on stderr before it ends with 2
 * @throws if there is no mistake
 */
export async function mistakeIn(
  words: readonly string[],
  environment: Record<string, string> = {},
): Promise<string> {
  try {
    await inEnvironment(environment, async () => {
      const line = await readCommandLine(words);
      if (line.command === "serve")
        await (await startServer(line.config, createLogger("silent"), undefined)).stop();
    });
  } catch (error) {
    if (error instanceof UsageError || error instanceof ConfigError) return `longwire: ${error.message}\n`;
    throw error;
  }
  throw new Error(`there is no mistake in "${words.join(" ")}"`);
}

/** The developer may have settings in this process's own environment. */
async function inEnvironment<Value>(
  environment: Record<string, string>,
  act: () => Promise<Value>,
): Promise<Value> {
  const own = process.env;
  process.env = environment;
  try {
    return await act();
  } finally {
    process.env = own;
  }
}
